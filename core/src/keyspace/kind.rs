//! The kinds of key.

/// The first byte of every key. The values are part of the format: never changed, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyKind {
    /// Counters and what else there is one of.
    Meta = 0x01,
    /// Where each origin stands.
    Origin = 0x02,
    /// What the members of the cluster are to be, and the tokens with which nodes enter it.
    Member = 0x08,
    /// A topic's record.
    Topic = 0x10,
    /// What a deleted topic leaves behind.
    Tombstone = 0x11,
    /// Index: the latest change of each topic, by revision.
    Change = 0x12,
    /// Index: the records that expire, by time.
    Expiry = 0x13,
    /// Index: the tombstones, by revision.
    TombstoneAge = 0x14,
    /// A client's session.
    Session = 0x20,
    /// A subscription of a session.
    Subscription = 0x21,
    /// The will of a session.
    Will = 0x22,
    /// A group of a shared subscription.
    Group = 0x23,
    /// A message that is kept for those who have not had it.
    Message = 0x24,
}

impl KeyKind {
    /// Every kind, in key order.
    pub const ALL: [Self; 13] = [
        Self::Meta,
        Self::Origin,
        Self::Member,
        Self::Topic,
        Self::Tombstone,
        Self::Change,
        Self::Expiry,
        Self::TombstoneAge,
        Self::Session,
        Self::Subscription,
        Self::Will,
        Self::Group,
        Self::Message,
    ];

    /// The kind with this byte.
    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// The kind of `key`.
    pub fn of_key(key: &[u8]) -> Option<Self> {
        key.first().copied().and_then(Self::from_u8)
    }

    /// The bounds of all keys of this kind: `lower <= key < upper`.
    pub fn range(self) -> ([u8; 1], [u8; 1]) {
        // No kind is 0xFF, and with the bytes in use none may become it.
        ([self as u8], [self as u8 + 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_kinds_are_one_to_one() {
        for byte in 0..=u8::MAX {
            if let Some(kind) = KeyKind::from_u8(byte) {
                assert_eq!(kind as u8, byte);
            }
        }
        assert!(KeyKind::ALL.is_sorted());
        assert_eq!((0..=u8::MAX).filter_map(KeyKind::from_u8).count(), KeyKind::ALL.len());
        assert_eq!(KeyKind::of_key(b"\x10a"), Some(KeyKind::Topic));
        assert_eq!(KeyKind::of_key(b""), None);
    }

    #[test]
    fn a_range_holds_its_kind_alone() {
        for kind in KeyKind::ALL {
            let (lower, upper) = kind.range();
            for other in KeyKind::ALL {
                let inside = |key: &[u8]| key >= &lower[..] && key < &upper[..];
                assert_eq!(inside(&[other as u8]), other == kind);
                assert_eq!(inside(&[other as u8, 0xFF, 0xFF]), other == kind);
            }
        }
    }
}
