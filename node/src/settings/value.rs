//! Values with the place they came from.

use std::collections::BTreeMap;

use super::error::Problem;
use super::keys::{Key, Kind};

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// `path:line` of the settings file.
    File { place: String },
    /// An environment variable.
    Environment,
    /// A command line flag.
    Flag,
    /// Nowhere.
    Default,
}

impl Source {
    /// How a message names the place of `key` in this source.
    pub(super) fn place(&self, key: &Key) -> String {
        match self {
            Self::File { place } => place.clone(),
            Self::Environment => key.variable(),
            Self::Flag => format!("--{}", key.flag()),
            Self::Default => "settings".to_owned(),
        }
    }
}

/// A value, of the variant that its key's [`Kind`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Switch(bool),
    Number(u64),
    List(Vec<String>),
}

/// What was given, by key. A later `put` replaces an earlier one: sources are read from the weakest to the strongest.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<&'static str, (Value, Source)>);

impl Values {
    pub(super) fn put(&mut self, key: &'static Key, value: Value, source: Source) {
        self.0.insert(key.name, (value, source));
    }

    pub(super) fn put_if_absent(&mut self, key: &'static Key, value: Value, source: Source) {
        self.0.entry(key.name).or_insert((value, source));
    }

    /// Takes `text` for `key`, as flags and variables give it, or says what is wrong with it.
    pub(super) fn put_text(&mut self, key: &'static Key, text: &str, source: Source) -> Result<(), Problem> {
        match parse_text(key, text) {
            Ok(value) => {
                self.put(key, value, source);
                Ok(())
            }
            Err(message) => Err(Problem {
                place: source.place(key),
                message,
            }),
        }
    }

    pub(super) fn is_given(&self, key: &Key) -> bool {
        self.0.contains_key(key.name)
    }

    /// How a message names the place of `key`.
    pub(super) fn place(&self, key: &Key) -> String {
        self.0
            .get(key.name)
            .map_or(&Source::Default, |(_, source)| source)
            .place(key)
    }

    /// The text given for `key`, or its default.
    pub(super) fn text(&self, key: &Key) -> Option<&str> {
        match (self.0.get(key.name), &key.kind) {
            (Some((Value::Text(text), _)), _) => Some(text),
            (_, Kind::Text { default, .. }) => *default,
            _ => None,
        }
    }

    pub(super) fn switch(&self, key: &Key) -> bool {
        matches!(self.0.get(key.name), Some((Value::Switch(true), _)))
    }

    /// The number given for `key`, or its default.
    pub(super) fn number(&self, key: &Key) -> Option<u64> {
        match (self.0.get(key.name), &key.kind) {
            (Some((Value::Number(number), _)), _) => Some(*number),
            (_, Kind::Number { default, .. }) => *default,
            _ => None,
        }
    }

    /// The list given for `key`, or its default.
    pub(super) fn list(&self, key: &Key) -> Vec<String> {
        match (self.0.get(key.name), &key.kind) {
            (Some((Value::List(list), _)), _) => list.clone(),
            (_, Kind::List { default }) => default.iter().map(|&text| text.to_owned()).collect(),
            _ => Vec::new(),
        }
    }
}

/// The value that `text` means for `key`; the error is a sentence without its place.
fn parse_text(key: &Key, text: &str) -> Result<Value, String> {
    match &key.kind {
        Kind::Text { .. } => check_text(key, text).map(Value::Text),
        Kind::Switch => match text {
            "true" => Ok(Value::Switch(true)),
            "false" => Ok(Value::Switch(false)),
            _ => Err(format!("`{text}` is neither `true` nor `false`")),
        },
        Kind::Number { bytes: true, .. } => parse_bytes(text)
            .ok_or_else(|| format!("`{text}` is no size: write a number of bytes, or one with KiB, MiB or GiB"))
            .and_then(|number| check_number(key, number)),
        Kind::Number { .. } => text
            .parse::<u64>()
            .map_err(|_| format!("`{text}` is no whole number"))
            .and_then(|number| check_number(key, number)),
        Kind::List { .. } => {
            let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
            Ok(Value::List(texts.map(str::to_owned).collect()))
        }
    }
}

/// `text` if the key allows it.
pub(super) fn check_text(key: &Key, text: &str) -> Result<String, String> {
    match &key.kind {
        Kind::Text { choices, .. } if !choices.is_empty() && !choices.contains(&text) => Err(format!(
            "`{}` is `{text}`, but must be one of: {}",
            key.name,
            choices.join(", ")
        )),
        _ if text.is_empty() => Err(format!("`{}` is empty; for example: {}", key.name, key.example)),
        _ => Ok(text.to_owned()),
    }
}

/// `number` if it is within the key's range.
pub(super) fn check_number(key: &Key, number: u64) -> Result<Value, String> {
    match key.kind {
        Kind::Number { min, max, .. } if !(min..=max).contains(&number) => Err(format!(
            "`{}` is {number}, but must be between {min} and {max}",
            key.name
        )),
        _ => Ok(Value::Number(number)),
    }
}

/// Bytes from `1048576`, `1MiB`, `1 MiB`.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        assert_eq!(parse_bytes("17"), Some(17));
        assert_eq!(parse_bytes("64 MiB"), Some(64 << 20));
        assert_eq!(parse_bytes("2GiB"), Some(2 << 30));
        for wrong in [
            "",
            "MiB",
            "1 MB",
            "-1",
            "1.5 MiB",
            "99999999999999999999",
            "18446744073709551615 KiB",
        ] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }
}
