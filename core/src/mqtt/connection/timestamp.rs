//! The decimal form of a timestamp: Unix seconds with a fraction, exact to the microsecond.
//!
//! No floating point takes part: two texts that differ by a microsecond stay different, on every machine alike.

use thiserror::Error;

const MICROSECONDS_PER_SECOND: u64 = 1_000_000;

/// Digits of a fraction that count. Further ones are cut off, never rounded up into the future.
const FRACTION_DIGITS: u32 = 6;

/// Why a number is not a point in time that a record can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TimestampError {
    /// A negative number.
    #[error("before 1970: write Unix seconds, such as 1490347944.893743")]
    BeforeEpoch,
    /// More microseconds than 64 bits hold: the year 586,000 and later.
    #[error("too large: write Unix seconds, such as 1490347944.893743, not milli-, micro- or nanoseconds")]
    TooLarge,
}

/// Microseconds since the Unix epoch of a decimal number of seconds, or `None` if `text` is no such number.
///
/// A number is one or more digits, maybe followed by a point and one or more digits, maybe preceded by `-`.
///
/// # Errors
/// `BeforeEpoch`, `TooLarge`: it is a number, but no time a record can have. Answered 0x83 (HTTP: 422).
pub fn parse_timestamp_us(text: &str) -> Result<Option<u64>, TimestampError> {
    let (negative, number) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = number
        .split_once('.')
        .map_or((number, None), |(whole, part)| (whole, Some(part)));
    if !is_digits(seconds) || !fraction.is_none_or(is_digits) {
        return Ok(None);
    }
    let fraction_us = fraction.unwrap_or_default().bytes().chain(std::iter::repeat(b'0'));
    let fraction_us = fraction_us
        .take(FRACTION_DIGITS as usize)
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let timestamp_us = seconds
        .bytes()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .and_then(|seconds| seconds.checked_mul(MICROSECONDS_PER_SECOND)?.checked_add(fraction_us));
    match timestamp_us {
        Some(0) => Ok(Some(0)),
        _ if negative => Err(TimestampError::BeforeEpoch),
        Some(timestamp_us) => Ok(Some(timestamp_us)),
        None => Err(TimestampError::TooLarge),
    }
}

/// The number that [`parse_timestamp_us`] reads back exactly: seconds, a point, six digits.
#[must_use]
pub fn format_timestamp_us(timestamp_us: u64) -> String {
    format!(
        "{}.{:06}",
        timestamp_us / MICROSECONDS_PER_SECOND,
        timestamp_us % MICROSECONDS_PER_SECOND
    )
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers() {
        for (text, timestamp_us) in [
            ("1490347944.893743", 1_490_347_944_893_743),
            ("1490347944", 1_490_347_944_000_000),
            ("1490347944.1", 1_490_347_944_100_000),
            ("1490347944.8937439", 1_490_347_944_893_743),
            ("0", 0),
            ("-0.0", 0),
            ("0000000000000000000000000000001.5", 1_500_000),
            ("18446744073709.551615", u64::MAX),
        ] {
            assert_eq!(parse_timestamp_us(text), Ok(Some(timestamp_us)), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_ordinary() {
        for text in [
            "", "now", ".5", "5.", "1.2.3", "+1", "1e9", " 1", "1 ", "--1", "-", "0x10", "1,5", "١٢", "NaN", "inf",
        ] {
            assert_eq!(parse_timestamp_us(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn numbers_out_of_range() {
        assert_eq!(parse_timestamp_us("-1"), Err(TimestampError::BeforeEpoch));
        assert_eq!(
            parse_timestamp_us("-99999999999999999999"),
            Err(TimestampError::BeforeEpoch)
        );
        assert_eq!(
            parse_timestamp_us("18446744073709.551616"),
            Err(TimestampError::TooLarge)
        );
        assert_eq!(
            parse_timestamp_us("99999999999999999999"),
            Err(TimestampError::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn formatting_reads_back(timestamp_us: u64) {
            prop_assert_eq!(parse_timestamp_us(&format_timestamp_us(timestamp_us)), Ok(Some(timestamp_us)));
        }

        #[test]
        fn any_text_has_an_answer(text in ".*") {
            let _ = parse_timestamp_us(&text);
        }
    }
}
