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
    fn long_values_are_cut() {
        assert_eq!(shorten("12345", 5), "12345");
        assert_eq!(shorten("123456", 5), "1234…");
    }
}
