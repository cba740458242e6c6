//! The same seed gives the same run, and a run in which nothing is wrong finds nothing.

use banyan_sim::faults::plan::Plan;
use banyan_sim::run::{self, Outcome, Pulse, RunConfig};
use banyan_sim::trace;

fn run_seed(seed: u64, safety_s: u64) -> Outcome {
    let config = RunConfig {
        plan: Plan::draw(seed),
        safety_us: safety_s * 1_000_000,
        bug: None,
    };
    run::run(&config, &Pulse::default())
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    trace::install(false);
    // Another seed in between must leave nothing behind.
    let (first, other, second) = (run_seed(3, 6), run_seed(4, 1), run_seed(3, 6));
    let text = |outcome: &Outcome| outcome.trace.iter().map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(text(&first), text(&second));
    assert_eq!(first.violation, None);
    assert!(first.coverage.get("acknowledged writes") > 20, "{:?}", first.coverage);
    assert_ne!(text(&first), text(&other));
}
