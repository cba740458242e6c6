//! `meta`: a run that does not repeat itself to the byte proves nothing twice.
//!
//! Each seed runs in two processes. Hash maps of the standard library are seeded anew in every process, memory lies elsewhere,
//! and `BANYAN_HASH_SEED` makes them differ for certain: what depends on any of it shows in the traces.

use std::collections::hash_map::RandomState;
use std::ops::Range;
use std::process::{Command, Stdio};

use super::{Turn, parse_seeds};

/// Name of the variable by which the two processes differ.
const HASH_SEED: &str = "BANYAN_HASH_SEED";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Seeds `A..B`, B excluded
    #[arg(long, value_parser = parse_seeds, default_value = "0..20")]
    seeds: Range<u64>,
    #[command(flatten)]
    turn: Turn,
}

/// Makes hash maps and addresses of this process those of its hash seed.
pub(super) fn scatter() -> Vec<Vec<u8>> {
    let seed: u64 = std::env::var(HASH_SEED)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    // The keys of a thread's hash maps are counted up from one to the next.
    for _ in 0..seed % 1_000 {
        let _counted = RandomState::new();
    }
    (0..seed % 64).map(|size| vec![0; size as usize * 24]).collect()
}

pub(super) fn run(arguments: &Arguments) -> Result<bool, String> {
    let mut all_equal = true;
    for seed in arguments.seeds.clone() {
        let traces = [1, 917].map(|hash_seed| trace_of(seed, hash_seed, &arguments.turn));
        let [first, second] = traces;
        let (first, second) = (first?, second?);
        if first == second {
            println!("seed {seed}: {} bytes of trace, twice the same", first.len());
            continue;
        }
        all_equal = false;
        let place = first.lines().zip(second.lines()).position(|(a, b)| a != b);
        println!("seed {seed}: the traces differ");
        if let Some(line) = place {
            println!("  line {}:", line + 1);
            println!("  {}", first.lines().nth(line).unwrap_or_default());
            println!("  {}", second.lines().nth(line).unwrap_or_default());
        }
    }
    Ok(all_equal)
}

fn trace_of(seed: u64, hash_seed: u64, turn: &Turn) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .arg("replay")
        .arg(seed.to_string())
        .args(turn.arguments())
        .env(HASH_SEED, hash_seed.to_string())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}
