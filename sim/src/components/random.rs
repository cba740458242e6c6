//! Seeded chance.

use banyan_node::components::Random;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// One seed makes many: a stream of its own for each `purpose`, so that what one of them draws does not change what the
/// others do.
#[must_use]
pub fn stream(seed: u64, purpose: &str) -> StdRng {
    // FNV-1a: any fixed function of both does.
    let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    StdRng::seed_from_u64(seed.rotate_left(32) ^ hash)
}

/// The randomness of a node.
pub struct SimRandom(Mutex<StdRng>);

impl SimRandom {
    /// Draws from `stream`.
    #[must_use]
    pub fn new(stream: StdRng) -> Self {
        Self(Mutex::new(stream))
    }
}

impl Random for SimRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }
}
