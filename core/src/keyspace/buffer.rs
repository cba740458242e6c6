//! Small buffers that are shared.

use bytes::Bytes;

/// A buffer in one allocation with its reference count.
///
/// `Bytes` made of a vector keeps the count in an allocation of its own: one more to make, to free, and to fetch into the
/// cache whenever a row is cloned or dropped, which every write does with the row that it replaces.
struct Inline<const N: usize> {
    length: usize,
    bytes: [u8; N],
}

impl<const N: usize> Inline<N> {
    fn filled(length: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
        let mut inline = Self { length, bytes: [0; N] };
        fill(&mut inline.bytes[..length]);
        Bytes::from_owner(inline)
    }
}

impl<const N: usize> AsRef<[u8]> for Inline<N> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// `length` bytes as `fill` leaves them. Small buffers are rounded up to the next of a few sizes.
pub(super) fn shared_buffer(length: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
    match length {
        0..=64 => Inline::<64>::filled(length, fill),
        65..=128 => Inline::<128>::filled(length, fill),
        129..=192 => Inline::<192>::filled(length, fill),
        193..=256 => Inline::<256>::filled(length, fill),
        257..=384 => Inline::<384>::filled(length, fill),
        385..=512 => Inline::<512>::filled(length, fill),
        _ => {
            let mut bytes = vec![0; length];
            fill(&mut bytes);
            Bytes::from(bytes)
        }
    }
}
