//! What a simulator says where no component reaches: to a library that knows types only, and to work that blocks.
//!
//! A simulation is one thread. Once [`begin`] was called on it, consensus draws its randomness from the given seed, blocking
//! work runs on this thread, and answers over HTTP carry no date, which the library takes from the machine's clock. Every
//! other thread is as it always is: each question here then costs one look at a thread-local variable, where an election
//! timeout is drawn, a thread is about to be handed work, or at a [`Site`].
//!
//! Sites are places where a node may do what is rare, and as right as what it does otherwise: pack one command instead of many,
//! give up early, answer late. In a simulation that was [stirred](stir) some of them do, by chance.

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
    stirred: Option<Stirred>,
}

/// What is rare and happens.
struct Stirred {
    random: StdRng,
    sites: [bool; Site::ALL.len()],
    /// Probability that what another node asks or tells comes once more.
    repeat: f64,
    counts: Counts,
}

/// How often rare things happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// At sites.
    pub rare: u64,
    /// What came once more.
    pub repeats: u64,
}

/// A place where a node may do what is rare and right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// A batch takes one command.
    SmallBatch,
    /// A checkpoint is written although there is little to write.
    EarlyCheckpoint,
    /// A snapshot goes in pieces of one row.
    SmallChunk,
    /// A request to another node is given up at once.
    EarlyTimeout,
    /// An outcome is known, and its client hears of it later.
    LateAnswer,
}

impl Site {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SmallBatch,
        Self::EarlyCheckpoint,
        Self::SmallChunk,
        Self::EarlyTimeout,
        Self::LateAnswer,
    ];

    /// How often it happens where it is enabled.
    const fn probability(self) -> f64 {
        match self {
            Self::SmallBatch | Self::SmallChunk | Self::LateAnswer => 0.25,
            Self::EarlyCheckpoint | Self::EarlyTimeout => 0.05,
        }
    }
}

/// The share of simulations that have a site enabled.
const SITE_SHARE: f64 = 0.25;
/// How long after the first time a request comes again, at most.
const REPEAT_AFTER_MAX_MS: u64 = 3_000;
/// By how much an answer is late, at most.
const LATE_MAX_MS: u64 = 50;

/// Makes this thread a simulation until [`end`]: all chance comes from `seed`, and blocking work takes up to
/// `blocking_max` of simulated time.
pub fn begin(seed: u64, blocking_max: Duration) {
    let random = StdRng::seed_from_u64(seed);
    SIMULATION.set(Some(Simulation {
        random,
        blocking_max,
        stirred: None,
    }));
}

/// Lets rare things happen in this thread's simulation, drawn from `seed`, until [`calm`]: at `sites`, a quarter of them, and
/// with the probability `repeat` a request or a message of another node comes twice, the second time later.
pub fn stir(seed: u64, sites: bool, repeat: f64) {
    let mut random = StdRng::seed_from_u64(seed);
    let sites = Site::ALL.map(|_| random.random_bool(SITE_SHARE) && sites);
    SIMULATION.with_borrow_mut(|simulation| {
        if let Some(simulation) = simulation {
            simulation.stirred = Some(Stirred {
                random,
                sites,
                repeat,
                counts: Counts::default(),
            });
        }
    });
}

/// Ends what [`stir`] began, and tells what came of it.
pub fn calm() -> Counts {
    let stirred = SIMULATION.with_borrow_mut(|simulation| simulation.as_mut()?.stirred.take());
    stirred.map_or_else(Counts::default, |stirred| stirred.counts)
}

fn with_stirred<T>(draw: impl FnOnce(&mut Stirred) -> Option<T>) -> Option<T> {
    SIMULATION.with_borrow_mut(|simulation| draw(simulation.as_mut()?.stirred.as_mut()?))
}

/// Whether the rare thing is to happen here and now. Never outside of a simulation.
pub(crate) fn happens(site: Site) -> bool {
    let drawn = with_stirred(|stirred| {
        let happens = stirred.sites[site as usize] && stirred.random.random_bool(site.probability());
        stirred.counts.rare += u64::from(happens);
        Some(happens)
    });
    drawn.unwrap_or(false)
}

/// By how much the answer that comes next is late.
pub(crate) fn late_answer() -> Option<Duration> {
    if !happens(Site::LateAnswer) {
        return None;
    }
    with_stirred(|stirred| Some(Duration::from_millis(stirred.random.random_range(0..=LATE_MAX_MS))))
}

/// After how long what another node has asked or told comes once more, if it does.
pub(crate) fn repeated_after() -> Option<Duration> {
    with_stirred(|stirred| {
        let repeats = stirred.repeat > 0.0 && stirred.random.random_bool(stirred.repeat);
        stirred.counts.repeats += u64::from(repeats);
        repeats.then(|| Duration::from_millis(stirred.random.random_range(0..=REPEAT_AFTER_MAX_MS)))
    })
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

    #[test]
    fn rare_things_happen_in_a_stirred_simulation_only() {
        let count = || (0..1_000).filter(|_| Site::ALL.into_iter().any(happens)).count();
        assert_eq!((count(), repeated_after()), (0, None));
        stir(7, true, 1.0);
        assert_eq!(count(), 0, "this thread is no simulation");
        let drawn = |seed| {
            begin(seed, Duration::ZERO);
            stir(seed, true, 1.0);
            assert!(repeated_after().is_some());
            count()
        };
        assert!((0..20).any(|seed| drawn(seed) > 0));
        let drawn_7 = drawn(7);
        assert_eq!(drawn(7), drawn_7);
        let counts = calm();
        assert!(counts.repeats == 1 && counts.rare >= drawn_7 as u64);
        assert_eq!((count(), repeated_after(), late_answer()), (0, None, None));
        end();
    }
}
