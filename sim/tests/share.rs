//! The share of simulation that every change passes: the simulator repeats itself, fixed seeds, then some that nobody has run.
//!
//! `BANYAN_SIM_FRESH_SECONDS` is how long fresh ones go on; 0: there are none. Which they were is printed, and
//! `BANYAN_SIM_FRESH=A..B` runs those instead, all of them.

#![allow(clippy::disallowed_methods)] // How long fresh seeds go on is real time.

use std::io::Write;
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
/// How long faults strike in each seed: what a build without optimization gets through while somebody waits.
const ARGUMENTS: [&str; 2] = ["--minutes", "0.5"];
const MUST_SEE: [&str; 5] = [
    LEADER_CHANGES,
    SNAPSHOT_INSTALLS,
    ORIGIN_RESENDS,
    REFUSED_CORRUPTIONS,
    REFUSED_READS,
];
/// Seeds at a time, each in a process of its own.
const JOBS: u64 = 2;
/// How long fresh seeds go on unless the environment says otherwise. A seed that has begun is finished.
const FRESH_SECONDS: u64 = 30;

/// Runs `seeds` until `deadline` and returns how many of them ran, what they have seen, and what they have broken.
fn run_seeds(seeds: &Range<u64>, deadline: Option<Instant>) -> (u64, Coverage, Vec<String>) {
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
                    let told = apart::run(program, seed, &ARGUMENTS).expect("the simulator runs");
                    let mut seen = seen.lock().expect("no thread panics here");
                    seen.0 += 1;
                    seen.1.merge(&told.coverage);
                    seen.2.extend(told.violation.map(|violation| {
                        let text = violation.text;
                        format!(
                            "{text}\nagain: cargo run --profile sim -p banyan-sim -- replay {seed} {}",
                            ARGUMENTS.join(" ")
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

    let (count, coverage, broken) = run_seeds(&FIXED, None);
    println!("{count} fixed seeds: {:.0} s", started.elapsed().as_secs_f64());
    for (name, count) in coverage.iter() {
        println!("  {name:<26} {count:>8}");
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let never: Vec<_> = MUST_SEE.iter().filter(|name| coverage.get(name) == 0).collect();
    assert!(never.is_empty(), "these seeds have never seen {never:?}");

    let (fresh, deadline) = fresh();
    // Told before they run: what stands still must be found again too.
    say(&format!(
        "fresh seeds from {}, with {}",
        fresh.start,
        ARGUMENTS.join(" ")
    ));
    let (count, _, broken) = run_seeds(&fresh, deadline);
    say(&format!(
        "{count} fresh seeds: {:.0} s; the same again: BANYAN_SIM_FRESH={}..{} cargo test -p banyan-sim --test share",
        started.elapsed().as_secs_f64(),
        fresh.start,
        fresh.start + count
    ));
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Prints a line where it is seen although the test passes.
fn say(line: &str) {
    let _nobody_reads_it = writeln!(std::io::stderr(), "{line}");
}

/// Seeds that are to run after the fixed ones, and until when new ones of them begin.
fn fresh() -> (Range<u64>, Option<Instant>) {
    if let Ok(text) = std::env::var("BANYAN_SIM_FRESH") {
        let seeds = text
            .split_once("..")
            .and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
        let seeds = seeds.unwrap_or_else(|| panic!("BANYAN_SIM_FRESH={text} is not A..B"));
        return (seeds, None);
    }
    let seconds = std::env::var("BANYAN_SIM_FRESH_SECONDS").map_or(FRESH_SECONDS, |text| {
        let seconds = text.parse();
        seconds.unwrap_or_else(|_| panic!("BANYAN_SIM_FRESH_SECONDS={text} is not a number of seconds"))
    });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let start = now.map_or(0, |now| now.as_secs());
    (start..u64::MAX, Some(Instant::now() + Duration::from_secs(seconds)))
}
