//! The digest of a state: the wrapping sum of XXH3-128 of each row's value, seeded with XXH3-64 of its key, over topics,
//! tombstones and origins.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// The rows that count, each with its share of the sum.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    shares: BTreeMap<Bytes, u128>,
    sum: u128,
}

impl Rows {
    /// Sets a row, or takes it away.
    pub(super) fn set(&mut self, key: Bytes, value: Option<&[u8]>) {
        let former = match value {
            Some(value) => {
                let share = xxh3_128_with_seed(value, xxh3_64(&key));
                self.sum = self.sum.wrapping_add(share);
                self.shares.insert(key, share)
            }
            None => self.shares.remove(&key),
        };
        self.sum = self.sum.wrapping_sub(former.unwrap_or(0));
    }

    pub(super) const fn digest(&self) -> u128 {
        self.sum
    }
}
