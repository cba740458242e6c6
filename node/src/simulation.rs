//! What a simulator says where no component reaches: to a library that knows types only, and to work that blocks.
//!
//! A simulation is one thread. Once [`begin`] was called on it, consensus draws its randomness from the given seed, blocking
//! work runs on this thread, and answers over HTTP carry no date, which the library takes from the machine's clock. Every
//! other thread is as it always is: each question here then costs one look at a thread-local variable, where an election
//! timeout is drawn or a thread is about to be handed work.

use std::cell::RefCell;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

thread_local! {
    static SIMULATION: RefCell<Option<Simulation>> = const { RefCell::new(None) };
}

struct Simulation {
    random: StdRng,
    blocking_max: Duration,
}

/// Makes this thread a simulation until [`end`]: all chance comes from `seed`, and blocking work takes up to
/// `blocking_max` of simulated time.
pub fn begin(seed: u64, blocking_max: Duration) {
    let random = StdRng::seed_from_u64(seed);
    SIMULATION.set(Some(Simulation { random, blocking_max }));
}

/// Makes this thread an ordinary one again.
pub fn end() {
    SIMULATION.set(None);
}

/// Whether this thread is a simulation.
pub(crate) fn is_active() -> bool {
    SIMULATION.with_borrow(Option::is_some)
}

/// Random bits: the simulation's on its thread, else the operating system's.
pub(crate) fn random_u64() -> u64 {
    SIMULATION
        .with_borrow_mut(|simulation| simulation.as_mut().map(|simulation| simulation.random.next_u64()))
        .unwrap_or_else(rand::random)
}

/// How long the blocking work that comes next takes, if this thread is a simulation.
pub(crate) fn blocking_delay() -> Option<Duration> {
    SIMULATION.with_borrow_mut(|simulation| {
        simulation.as_mut().map(|simulation| {
            let max_us = simulation.blocking_max.as_micros() as u64;
            Duration::from_micros(simulation.random.random_range(0..=max_us))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_simulation_repeats_itself() {
        assert_ne!(random_u64(), random_u64());
        assert!(!is_active() && blocking_delay().is_none());
        let drawn = |seed| {
            begin(seed, Duration::from_millis(5));
            (random_u64(), blocking_delay(), random_u64())
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        end();
        assert_eq!(blocking_delay(), None);
    }
}
