//! `run` and `replay`.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::progress::Progress;
use super::summary::Summary;
use super::{Turn, parse_seeds};
use crate::apart::{self, Told};
use crate::report;
use crate::run::{self, Outcome, Pulse};
use crate::trace;

/// How often is looked whether seeds move on.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A seed that makes no step between so many looks never will. Many looks, so that a stopped and continued process, whose
/// first look comes at once, is not taken for one that stands still.
const LOOKS_MAX: u32 = 24;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds `A..B`, B excluded
    #[arg(long, value_parser = parse_seeds)]
    seeds: Option<Range<u64>>,
    /// Seeds that run at a time, each in a process of its own
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
    /// Print the whole trace of the seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Print what came out of the seed as one line of JSON, and nothing else
    #[arg(long, requires = "seed")]
    json: bool,
    /// Draw the timeline of the seed into this HTML file
    #[arg(long, value_name = "FILE", requires = "seed")]
    report: Option<PathBuf>,
    #[command(flatten)]
    turn: Turn,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArguments {
    /// The seed
    seed: u64,
    /// Everything that nodes log at level DEBUG too; this changes nothing in the run
    #[arg(long)]
    verbose: bool,
    /// Draw the timeline into this HTML file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    turn: Turn,
}

/// Returns whether all promises were kept.
pub(super) fn run(arguments: &Arguments) -> Result<bool, String> {
    match (arguments.seed, &arguments.seeds) {
        (Some(seed), _) => one(seed, arguments),
        (None, Some(seeds)) => many(seeds, arguments),
        (None, None) => Err("give `--seed S` or `--seeds A..B`".to_owned()),
    }
}

/// Runs one seed, here.
fn one(seed: u64, arguments: &Arguments) -> Result<bool, String> {
    let config = arguments.turn.config(seed)?;
    trace::install(false);
    run::keep_panics();
    let mut summary = Summary::default();
    let pulse = Arc::default();
    watch(vec![Arc::clone(&pulse)]);
    let outcome = run::run(&config, &pulse);
    let told = Told::of(&outcome);
    if arguments.trace {
        outcome.trace.iter().for_each(|line| println!("{line}"));
    }
    draw(arguments.report.as_ref(), &outcome, &arguments.turn)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&told).map_err(|error| error.to_string())?);
        return Ok(told.violation.is_none());
    }
    tell(&told, &arguments.turn);
    summary.add(&told);
    print!("{summary}");
    Ok(summary.failures.is_empty())
}

/// Runs many seeds, each in a process of its own.
fn many(seeds: &Range<u64>, arguments: &Arguments) -> Result<bool, String> {
    arguments.turn.config(seeds.start)?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let turn = arguments.turn.arguments();
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let mut progress = Progress::new(seeds.end.saturating_sub(seeds.start));
    let mut summary = Summary::default();
    let mut failed = Ok(());
    let (sender, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            let (sender, program, turn) = (sender.clone(), &program, &turn);
            let (next, stop) = (&next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || sender.send(apart::run(program, seed, turn)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for told in told {
            progress.clear();
            match told {
                Ok(told) => {
                    tell(&told, &arguments.turn);
                    stop.fetch_or(told.violation.is_some() && !arguments.keep_going, Ordering::Relaxed);
                    summary.add(&told);
                }
                Err(error) => {
                    failed = Err(error);
                    stop.store(true, Ordering::Relaxed);
                }
            }
            progress.show(&summary);
        }
    });
    progress.clear();
    print!("{summary}");
    failed?;
    Ok(summary.failures.is_empty())
}

/// Ends the program when a seed makes no step for long: some task of it runs without ever waiting.
#[expect(
    clippy::disallowed_methods,
    reason = "it watches the real time of threads, not a condition"
)]
fn watch(pulses: Vec<Arc<Pulse>>) {
    std::thread::spawn(move || {
        let mut before: Vec<_> = pulses.iter().map(|pulse| (pulse.read(), 0)).collect();
        loop {
            std::thread::sleep(LOOK_EVERY);
            for (pulse, (before, looks)) in pulses.iter().zip(&mut before) {
                let now = pulse.read();
                *looks = if now == *before && !pulse.is_idle() {
                    *looks + 1
                } else {
                    0
                };
                *before = now;
                if *looks >= LOOKS_MAX {
                    println!("seed {} stands still: a task of it runs without ever waiting", now.0);
                    std::process::exit(1);
                }
            }
        }
    });
}

/// Tells of a broken promise, if one was.
fn tell(told: &Told, turn: &Turn) {
    let Some(violation) = &told.violation else { return };
    println!("seed {} breaks a promise. {}", told.seed, violation.text);
    println!("  {}", told.plan);
    told.timeline.iter().for_each(|line| println!("  {line}"));
    println!("again: {}\n", turn.command(told.seed));
}

/// Draws the run, if that is wanted.
fn draw(path: Option<&PathBuf>, outcome: &Outcome, turn: &Turn) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    let drawn = report::write(path, outcome, &turn.command(outcome.seed));
    drawn.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    eprintln!("the timeline is in {}", path.display());
    Ok(())
}

pub(super) fn replay(arguments: &ReplayArguments) -> Result<bool, String> {
    let _scattered = super::meta::scatter();
    run::keep_panics();
    trace::install(arguments.verbose);
    let pulse = Arc::default();
    watch(vec![Arc::clone(&pulse)]);
    let outcome = run::run(&arguments.turn.config(arguments.seed)?, &pulse);
    outcome.trace.iter().for_each(|line| println!("{line}"));
    draw(arguments.report.as_ref(), &outcome, &arguments.turn)?;
    Ok(outcome.violation.is_none())
}
