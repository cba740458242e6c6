//! The share of simulation that every change passes: the simulator repeats itself, fixed seeds, then some that nobody has run.
//!
//! `BANYAN_SIM_FRESH=A..B` runs those seeds instead of fresh ones; `BANYAN_SIM_FRESH_SECONDS` is how long fresh ones go on.

#![allow(clippy::disallowed_methods)] // How long fresh seeds go on is real time.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use banyan_sim::apart;
use banyan_sim::invariants::coverage::{
    Coverage, LEADER_CHANGES, ORIGIN_RESENDS, REFUSED_CORRUPTIONS, REFUSED_READS, SNAPSHOT_INSTALLS,
};

/// Together these have seen everything that [`MUST_SEE`] names. What is rarer, a set of a hundred seeds is asked for
/// ([`banyan_sim::invariants::coverage::REQUIRED`]).
const FIXED: Range<u64> = 8..16;
/// How long faults strike in each of them: what a build without optimization gets through while somebody waits.
const FIXED_ARGUMENTS: [&str; 2] = ["--minutes", "0.5"];
const MUST_SEE: [&str; 5] = [
    LEADER_CHANGES,
    SNAPSHOT_INSTALLS,
    ORIGIN_RESENDS,
    REFUSED_CORRUPTIONS,
    REFUSED_READS,
];
/// Seeds at a time, each in a process of its own.
const JOBS: u64 = 2;
/// How long fresh seeds go on unless the environment says otherwise: not at all, until some hundred seeds were seen to raise no
/// false alarm.
const FRESH_SECONDS: u64 = 0;

/// Runs `seeds` until `deadline` and returns how many ran, what they have seen, and what they have broken.
fn run_seeds(seeds: &Range<u64>, arguments: &[&str], deadline: Option<Instant>) -> (u64, Coverage, Vec<String>) {
    let next = AtomicU64::new(seeds.start);
    let seen = Mutex::new((0, Coverage::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                while deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let program = Path::new(env!("CARGO_BIN_EXE_banyan-sim"));
                    let told = apart::run(program, seed, arguments).expect("the simulator runs");
                    let mut seen = seen.lock().expect("no thread panics here");
                    seen.0 += 1;
                    seen.1.merge(&told.coverage);
                    seen.2.extend(told.violation.map(|violation| {
                        let text = violation.text;
                        format!(
                            "{text}\nagain: cargo run --profile sim -p banyan-sim -- replay {seed} {}",
                            arguments.join(" ")
                        )
                    }));
                }
            });
        }
    });
    seen.into_inner().expect("no thread panics here")
}

/// The same seeds in two processes each, with hash maps of different order.
fn meta(seeds: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_banyan-sim"))
        .args(["meta", "--minutes", "0.2", "--seeds", seeds])
        .output()
        .expect("the simulator starts");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "a seed does not repeat itself:\n{told}");
}

#[test]
fn seeds_repeat_themselves_and_break_no_promise() {
    let started = Instant::now();
    meta("0..3");
    println!("meta: {:.0} s", started.elapsed().as_secs_f64());

    let (count, coverage, broken) = run_seeds(&FIXED, &FIXED_ARGUMENTS, None);
    println!("{count} fixed seeds: {:.0} s", started.elapsed().as_secs_f64());
    for (name, count) in coverage.iter() {
        println!("  {name:<26} {count:>8}");
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let never: Vec<_> = MUST_SEE.iter().filter(|name| coverage.get(name) == 0).collect();
    assert!(never.is_empty(), "these seeds have never seen {never:?}");

    let fresh = fresh();
    let seconds = std::env::var("BANYAN_SIM_FRESH_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(FRESH_SECONDS);
    let (count, _, broken) = run_seeds(&fresh, &[], Some(Instant::now() + Duration::from_secs(seconds)));
    println!(
        "{count} fresh seeds from {}: {:.0} s",
        fresh.start,
        started.elapsed().as_secs_f64()
    );
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn fresh() -> Range<u64> {
    if let Ok(text) = std::env::var("BANYAN_SIM_FRESH") {
        let seeds = text
            .split_once("..")
            .and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
        return seeds.unwrap_or_else(|| panic!("BANYAN_SIM_FRESH={text} is not A..B"));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let start = now.map_or(0, |now| now.as_secs());
    start..start + 10_000
}
