//! Where a message stands in the one order of all messages.

/// The position of a message: the revision that brought it, and its place among the messages of that revision.
///
/// A cursor at a position has everything up to it, itself included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MessagePosition {
    /// Revision of the operation.
    pub revision: u64,
    /// Place among the messages of that revision, from 0.
    pub ordinal: u32,
}

impl MessagePosition {
    /// The position of the first message of `revision`.
    #[must_use]
    pub const fn first_of(revision: u64) -> Self {
        Self { revision, ordinal: 0 }
    }

    /// Behind every message of `revision`: what a cursor is at that needs nothing up to there.
    #[must_use]
    pub const fn end_of(revision: u64) -> Self {
        Self {
            revision,
            ordinal: u32::MAX,
        }
    }

    /// The least position greater than this one; `None` if there is none.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match (self.revision.checked_add(1), self.ordinal.checked_add(1)) {
            (_, Some(ordinal)) => Some(Self { ordinal, ..self }),
            (Some(revision), None) => Some(Self::first_of(revision)),
            (None, None) => None,
        }
    }

    /// The greatest position less than this one; the very first is its own.
    #[must_use]
    pub const fn previous(self) -> Self {
        match (self.revision.checked_sub(1), self.ordinal.checked_sub(1)) {
            (_, Some(ordinal)) => Self { ordinal, ..self },
            (Some(revision), None) => Self::end_of(revision),
            (None, None) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_follow_each_other() {
        let first = MessagePosition::first_of(5);
        assert_eq!(first.next().map(MessagePosition::previous), Some(first));
        assert_eq!(first.previous(), MessagePosition::end_of(4));
        assert_eq!(MessagePosition::end_of(4).next(), Some(first));
        assert_eq!(MessagePosition::end_of(u64::MAX).next(), None);
        assert_eq!(MessagePosition::default().previous(), MessagePosition::default());
        assert!(MessagePosition::end_of(4) < first && first < first.next().unwrap());
    }
}
