//! Variable Byte Integer (§1.5.5): seven bits a byte, least significant first, the top bit says that another byte
//! follows.

use super::DecodeError;

/// Largest value: four bytes of seven bits.
pub(super) const MAX: u32 = 268_435_455;

/// Reads the value at the front of `bytes`: the value and the number of its bytes, or `None` if its end is missing.
///
/// # Errors
/// 0x81 for a fifth byte, and for more bytes than the value needs [MQTT-1.5.5-1].
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(DecodeError::malformed(
                    "variable byte integer is longer than its value needs",
                ));
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 {
        return Err(DecodeError::malformed(
            "variable byte integer is longer than four bytes",
        ));
    }
    Ok(None)
}

/// The bytes of `value` and how many of them are used.
pub(super) fn encode(value: u32) -> ([u8; 4], usize) {
    let continued = |shift: u32| 0x80 | (value >> shift) as u8;
    match len(value) {
        1 => ([value as u8, 0, 0, 0], 1),
        2 => ([continued(0), (value >> 7) as u8, 0, 0], 2),
        3 => ([continued(0), continued(7), (value >> 14) as u8, 0], 3),
        _ => (
            [continued(0), continued(7), continued(14), (value >> 21) as u8 & 0x7F],
            4,
        ),
    }
}

/// Bytes that `value` takes, 1 to 4.
pub(super) const fn len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// §1.5.5, table 1-1: both ends of each length.
    #[test]
    fn borders_of_each_length() {
        for (value, expected) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (MAX, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let (bytes, used) = encode(value);
            assert_eq!(&bytes[..used], expected);
            assert_eq!(len(value), expected.len());
            assert_eq!(decode(expected), Ok(Some((value, expected.len()))));
            for cut in 0..expected.len() {
                assert_eq!(decode(&expected[..cut]), Ok(None));
            }
        }
    }

    /// [MQTT-1.5.5-1]: the encoded value uses the minimum number of bytes.
    #[test]
    fn refuses_more_bytes_than_needed() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xFF, 0x00],
            &[0x80, 0x80, 0x00],
            &[0x81, 0x80, 0x80, 0x00],
        ] {
            assert!(decode(bytes).is_err(), "{bytes:02X?}");
        }
    }

    /// §1.5.5: at most four bytes.
    #[test]
    fn refuses_a_fifth_byte() {
        assert!(decode(&[0x80, 0x80, 0x80, 0x80]).is_err());
        assert!(decode(&[0xFF, 0xFF, 0xFF, 0xFF, 0x01]).is_err());
    }
}
