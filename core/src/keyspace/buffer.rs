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

/// `length` bytes as `fill` leaves them. Small buffers are rounded up to the next of a few sizes, such that with their count
/// and length (16 bytes) they fill whole lines of the processor's cache.
pub(super) fn shared_buffer(length: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
    match length {
        0..=48 => Inline::<48>::filled(length, fill),
        49..=112 => Inline::<112>::filled(length, fill),
        113..=176 => Inline::<176>::filled(length, fill),
        177..=240 => Inline::<240>::filled(length, fill),
        241..=304 => Inline::<304>::filled(length, fill),
        305..=368 => Inline::<368>::filled(length, fill),
        369..=496 => Inline::<496>::filled(length, fill),
        _ => {
            let mut bytes = vec![0; length];
            fill(&mut bytes);
            Bytes::from(bytes)
        }
    }
}
