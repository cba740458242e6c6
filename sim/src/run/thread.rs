//! What belongs to the thread of a run: its numbers, its chance, its panics.

use std::cell::RefCell;

use banyan_node::simulation;
use rand::Rng;

use crate::components::random::stream;
use crate::faults::plan::{Class, Plan};

/// What another node asks or tells comes twice with at most this probability.
const REPEAT_MAX: f64 = 0.1;

/// Lets rare things happen on this thread, as `plan` has it.
pub(super) fn stir(plan: &Plan) {
    let mut random = stream(plan.seed, "rare");
    let (seed, repeat) = (random.random(), random.random_range(0.0..=REPEAT_MAX));
    let repeats = plan.classes.contains(&Class::Repeat);
    simulation::stir(
        seed,
        plan.classes.contains(&Class::Knobs),
        if repeats { repeat } else { 0.0 },
    );
}

/// tokio numbers tasks by process and keeps those of a runtime in a few lists by that number: it decides in which order the
/// tasks of a crashed host end, and its connections with them. So every run begins with the same number but for a multiple.
/// Runs at the same time take numbers from each other: only those that run alone in their process repeat themselves.
pub(super) fn align_task_ids() {
    const MULTIPLE: u64 = 4_096;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without input and output");
    let mut id = 1;
    while !u64::is_multiple_of(id, MULTIPLE) {
        let next = runtime.spawn(async {}).id().to_string().parse();
        id = next.expect("tokio shows a task's number");
    }
}

/// Processor time of this thread, seconds; 0 where the system does not tell.
pub(super) fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.unwrap_or_default() / 1e9
}

thread_local! {
    /// The first panic of this thread's run: what comes out of a node is tokio's complaint about it.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The first panic of this thread since the last call.
pub(super) fn first_panic() -> Option<String> {
    PANIC.take()
}

/// Begins the line on the standard error output that tells of a panic which more panics followed.
pub(crate) const PANIC_MARK: &str = "panic: ";

/// Keeps panics for [`crate::run::Outcome::violation`] instead of printing them.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string().replace('\n', " ");
        PANIC.with_borrow_mut(|first| match first {
            None => *first = Some(text),
            // What is dropped because of the first may panic too, which can end the process and with it all that is not told.
            Some(first) => eprintln!("{PANIC_MARK}{first}"),
        });
    }));
}
