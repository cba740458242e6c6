//! Times as text: Unix seconds as a decimal number with up to six digits of fraction, `1490347944.893743`.

/// Microseconds in a second.
const US_PER_S: u64 = 1_000_000;

/// Reads Unix seconds as microseconds. Digits, optionally a point and one to six digits; no sign, no exponent, no blanks.
/// `None` for anything else and for times that do not fit into 64 bits of microseconds.
#[must_use]
pub fn parse_us(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let scale = 10u64.pow(6 - u32::try_from(fraction.len()).ok()?);
    let fraction_us = fraction.parse::<u64>().ok()?.checked_mul(scale)?;
    seconds
        .parse::<u64>()
        .ok()?
        .checked_mul(US_PER_S)?
        .checked_add(fraction_us)
}

/// Writes microseconds as Unix seconds, with the fraction only as long as needed. [`parse_us`] reads it back unchanged.
#[must_use]
pub fn format_us(time_us: u64) -> String {
    let (seconds, fraction) = (time_us / US_PER_S, time_us % US_PER_S);
    if fraction == 0 {
        return seconds.to_string();
    }
    let text = format!("{seconds}.{fraction:06}");
    text.trim_end_matches('0').to_owned()
}

/// Writes microseconds as UTC date and time of ISO 8601: `2017-03-24T09:32:24.893743Z`.
#[must_use]
pub fn format_utc(time_us: u64) -> String {
    let (seconds, fraction) = (time_us / US_PER_S, time_us % US_PER_S);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 1970-01-01 to a date of the proleptic Gregorian calendar, in eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_with_and_without_fraction() {
        assert_eq!(parse_us("1490347944.893743"), Some(1_490_347_944_893_743));
        assert_eq!(parse_us("1490347944.5"), Some(1_490_347_944_500_000));
        assert_eq!(parse_us("0"), Some(0));
        assert_eq!(parse_us("18446744073709.551615"), Some(u64::MAX));
    }

    #[test]
    fn refuses_what_is_no_plain_number() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            " 1",
            "1 ",
            "1.2345678",
            "1,5",
            "18446744073709.551616",
            "٣",
        ] {
            assert_eq!(parse_us(text), None, "{text:?}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for time_us in [0, 1, 999_999, 1_000_000, 1_490_347_944_893_740, u64::MAX] {
            assert_eq!(parse_us(&format_us(time_us)), Some(time_us));
        }
        assert_eq!(format_us(1_500_000), "1.5");
    }

    #[test]
    fn dates() {
        assert_eq!(format_utc(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(format_utc(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(format_utc(1_490_347_944_893_743), "2017-03-24T09:32:24.893743Z");
        assert_eq!(format_utc(4_102_444_799_000_001), "2099-12-31T23:59:59.000001Z");
    }
}
