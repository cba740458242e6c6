//! Printing: tables for people, JSON for programs.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::error::CliError;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns of text
    Table,
    /// JSON as the node answers it
    Json,
}

/// Where commands print to.
pub(crate) struct Output<'a> {
    /// How to print.
    pub(crate) format: Format,
    writer: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    /// Prints to `writer`.
    pub(crate) fn new(format: Format, writer: &'a mut dyn Write) -> Self {
        Self { format, writer }
    }

    /// Whether JSON is asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints a value as one JSON document, with line breaks.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        serde_json::to_writer_pretty(&mut *self.writer, value)?;
        Ok(self.writer.write_all(b"\n")?)
    }

    /// Prints a value as one line of JSON and sends it off.
    pub(crate) fn json_line<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        serde_json::to_writer(&mut *self.writer, value)?;
        self.writer.write_all(b"\n")?;
        Ok(self.writer.flush()?)
    }

    /// Prints a line of text and sends it off.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.write_all(b"\n")?;
        Ok(self.writer.flush()?)
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.writer.write_all(bytes)?;
        Ok(self.writer.flush()?)
    }

    /// Prints a table.
    pub(crate) fn table<const N: usize>(&mut self, header: [&str; N], rows: Vec<[String; N]>) -> Result<(), CliError> {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(header);
        for row in rows {
            table.add_row(row.map(|cell| printable(&cell)));
        }
        // Columns are padded on both sides, which a line of text does not need.
        for line in table.lines() {
            self.line(line.trim_end().strip_prefix(' ').unwrap_or(line.trim_end()))?;
        }
        Ok(())
    }
}

/// Text that leaves a terminal as it is: control characters are escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let escaped = character.is_control().then(|| character.escape_default());
            let plain = (!character.is_control()).then_some(character);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// At most `count` characters; what is cut off is shown as `…`.
pub(crate) fn shorten(text: &str, count: usize) -> String {
    if text.chars().count() <= count {
        return text.to_owned();
    }
    text.chars().take(count.saturating_sub(1)).chain(['…']).collect()
}

/// A value that may be missing.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A count with its thousands apart.
pub(crate) fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that suits them.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    format!("{value:.1} {unit}")
}

/// Reads `500K`, `32M`, `1G` or a plain number of bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no number of bytes: write 500K, 32M, 1G or a plain number");
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let shift = match text[digits.len()..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A time in seconds for people: the two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, length) in units {
        if left >= length {
            parts.push(format!("{}{unit}", left / length));
            left %= length;
        }
    }
    parts.truncate(2);
    match parts.is_empty() {
        true => "0s".to_owned(),
        false => parts.join(" "),
    }
}

#[cfg(test)]
pub(crate) fn printed(format: Format, print: impl FnOnce(&mut Output<'_>) -> Result<(), CliError>) -> String {
    let mut bytes = Vec::new();
    print(&mut Output::new(format, &mut bytes)).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_columns_without_frame() {
        let text = printed(Format::Table, |output| {
            output.table(
                ["TOPIC", "REVISION"],
                vec![["a/b".into(), "7".into()], ["long/topic".into(), "12".into()]],
            )
        });
        assert_eq!(text, "TOPIC       REVISION\na/b         7\nlong/topic  12\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2J\nß\u{9b}"), "a\\u{1b}[2J\\nß\\u{9b}");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count_text),
            ["0", "999", "1,000", "1,234,567"]
        );
        let texts = [0, 1_023, 1_024, 1_572_864, 5 << 30].map(bytes_text);
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB"]);
        assert_eq!(
            ["0", "10", "2K", "3MiB", "1g"].map(|text| parse_bytes(text).unwrap()),
            [0, 10, 2048, 3 << 20, 1 << 30]
        );
        assert!(
            ["", "K", "1X", "-1", "99999999999G", "ä"]
                .iter()
                .all(|text| parse_bytes(text).is_err())
        );
        let times = [0, 59, 61, 7_200, 90_061].map(duration);
        assert_eq!(times, ["0s", "59s", "1m 1s", "2h", "1d 1h"]);
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shorten("12345", 5), "12345");
        assert_eq!(shorten("123456", 5), "1234…");
    }
}
