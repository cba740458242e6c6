//! `run` and `replay`.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::progress::Progress;
use super::summary::Summary;
use super::{Turn, parse_seeds};
use crate::report;
use crate::run::{self, Outcome, Pulse};
use crate::trace;

/// How often is looked whether seeds move on.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A seed that makes no step between so many looks never will. Many looks, so that a stopped and continued process, whose
/// first look comes at once, is not taken for one that stands still.
const LOOKS_MAX: u32 = 24;
/// Lines of the timeline that are shown for a failure.
const TIMELINE_LINES: usize = 60;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds `A..B`, B excluded
    #[arg(long, value_parser = parse_seeds)]
    seeds: Option<Range<u64>>,
    /// Seeds that run at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
    /// Print the whole trace of the seed
    #[arg(long)]
    trace: bool,
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
    let seeds = match (arguments.seed, &arguments.seeds) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(seeds)) => seeds.clone(),
        (None, None) => return Err("give `--seed S` or `--seeds A..B`".to_owned()),
    };
    arguments.turn.config(0)?;
    trace::install(false);
    run::keep_panics();
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let progress = Mutex::new(Progress::new(seeds.end - seeds.start));
    let mut summary = Summary::default();
    let mut drawn = Ok(());
    let (sender, outcomes) = mpsc::channel::<Outcome>();
    let pulses: Vec<Arc<Pulse>> = (0..arguments.jobs.max(1)).map(|_| Arc::default()).collect();
    watch(pulses.clone());
    std::thread::scope(|scope| {
        for pulse in &pulses {
            let sender = sender.clone();
            let (next, stop, seeds) = (&next, &stop, &seeds);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let Ok(config) = arguments.turn.config(seed) else {
                        return;
                    };
                    if seed >= seeds.end || sender.send(run::run(&config, pulse)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            if arguments.trace {
                outcome.trace.iter().for_each(|line| println!("{line}"));
            }
            drawn = draw(arguments.report.as_ref(), &outcome, &arguments.turn);
            if let Ok(mut progress) = progress.lock() {
                progress.clear();
                if outcome.violation.is_some() {
                    tell(&outcome, &arguments.turn);
                    stop.fetch_or(!arguments.keep_going, Ordering::Relaxed);
                }
                summary.add(&outcome);
                progress.show(&summary);
            }
        }
    });
    if let Ok(mut progress) = progress.lock() {
        progress.clear();
    }
    print!("{summary}");
    drawn?;
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

fn tell(outcome: &Outcome, turn: &Turn) {
    let Some(violation) = &outcome.violation else { return };
    println!("seed {} breaks a promise. {violation}", outcome.seed);
    println!("  {}", outcome.plan.describe());
    let important: Vec<_> = outcome.trace.iter().filter(|line| line.matters()).collect();
    let from = important.len().saturating_sub(TIMELINE_LINES);
    important[from..].iter().for_each(|line| println!("  {line}"));
    println!("again: {}\n", turn.command(outcome.seed));
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
