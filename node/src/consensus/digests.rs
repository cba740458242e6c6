//! Digests of the state at recent log indexes, kept so that nodes find indexes that they have in common.
//!
//! Nodes are never at the same index at the same moment. So each keeps, for every power of two, its digests at the last two
//! multiples that it has applied: of two nodes that are less than 2^k entries apart, both have one at a multiple of 2^k, and
//! what both keep at equal index must be equal (invariant I-7).

use banyan_core::state::Digest;

/// Powers of two that are kept: nodes that are further apart are not compared until they are closer.
const LEVELS: usize = 24;

/// A log index and the digest of the state after it.
pub type DigestMark = (u64, u128);

/// The digests that a node keeps.
#[derive(Debug, Default)]
pub struct DigestMarks {
    /// By power of two: the last two multiples, the later first.
    levels: [[Option<DigestMark>; 2]; LEVELS],
}

impl DigestMarks {
    /// The state at `index` has this digest; `index` grows from call to call.
    pub fn note(&mut self, index: u64, digest: Digest) {
        let multiples = (index.trailing_zeros() as usize + 1).min(LEVELS);
        for [last, before] in self.levels.iter_mut().take(multiples) {
            *before = last.replace((index, digest.as_u128()));
        }
    }

    /// The state is another one now, such as a snapshot's.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Everything that is kept, by index, each once.
    #[must_use]
    pub fn marks(&self) -> Vec<DigestMark> {
        let mut marks: Vec<_> = self.levels.iter().flatten().flatten().copied().collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied_through(index: u64) -> DigestMarks {
        let mut marks = DigestMarks::default();
        for index in 1..=index {
            marks.note(index, Digest::default());
        }
        marks
    }

    fn common(one: &DigestMarks, other: &DigestMarks) -> usize {
        let others = other.marks();
        let is_common = |(index, _): &&DigestMark| others.iter().any(|(other, _)| other == index);
        one.marks().iter().filter(is_common).count()
    }

    #[test]
    fn two_nodes_have_an_index_in_common_however_far_apart() {
        let ahead = applied_through(100_000);
        for behind in [1, 2, 3, 31, 32, 33, 1_000, 30_000] {
            let other = applied_through(100_000 - behind);
            assert!(common(&ahead, &other) > 0, "{behind} apart");
        }
    }

    #[test]
    fn what_is_kept_is_small_and_recent() {
        let marks = applied_through(1 << 20).marks();
        assert!(marks.len() <= 2 * LEVELS, "{}", marks.len());
        assert_eq!(marks.last().map(|(index, _)| *index), Some(1 << 20));
        assert!(marks.is_sorted());
        assert!(DigestMarks::default().marks().is_empty());
    }
}
