//! The settings file: TOML, all keys at the top level.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::keys::{self, Key, Kind};
use super::nearest::nearest;
use super::value::{self, Source, Value, Values};

/// Largest settings file read, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the file into `values`, and what is wrong with it into `problems`.
pub(super) fn read(path: &Path, values: &mut Values, problems: &mut Vec<Problem>) {
    let file = path.display().to_string();
    match read_text(path) {
        Ok(text) => read_toml(&file, &text, values, problems),
        Err(error) => problems.push(Problem {
            place: file,
            message: format!("cannot be read: {error}"),
        }),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "larger than {FILE_BYTES_MAX} bytes, which no settings file is"
        )));
    }
    Ok(text)
}

fn read_toml(file: &str, text: &str, values: &mut Values, problems: &mut Vec<Problem>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // some editors write a byte order mark
    let place = |span: Range<usize>| format!("{file}:{}", line_at(text, span.start));
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        problems.extend(errors.into_iter().map(|error| Problem {
            place: error.span().map_or_else(|| file.to_owned(), &place),
            message: error.message().trim().replace('\n', "; "),
        }));
        return;
    }
    for (name, value) in table.into_inner() {
        let place = place(name.span());
        let Some(key) = keys::find(name.get_ref()) else {
            problems.push(Problem {
                place,
                message: unknown(name.get_ref(), value.get_ref()),
            });
            continue;
        };
        match read_value(key, value.get_ref()) {
            Ok(value) => values.put(key, value, Source::File { place }),
            Err(message) => problems.push(Problem { place, message }),
        }
    }
}

/// The message for a name that is no key.
fn unknown(name: &str, value: &DeValue<'_>) -> String {
    if let Some(key) = nearest(name, keys::KEYS.into_iter().map(|key| key.name)).and_then(keys::find) {
        return format!(
            "unknown key `{name}`; did you mean `{}`? For example: {}",
            key.name, key.example
        );
    }
    match value {
        DeValue::Table(_) => {
            format!("unknown section `{name}`: there are no sections, all keys stand at the top level")
        }
        _ => format!("unknown key `{name}`; `banyan --help` lists all of them"),
    }
}

fn read_value(key: &'static Key, value: &DeValue<'_>) -> Result<Value, String> {
    let wrong_type = |expected: &str| {
        Err(format!(
            "`{}` must be {expected}, not {}; for example: {}",
            key.name,
            name_of_type(value),
            key.example
        ))
    };
    match (&key.kind, value) {
        (Kind::Text { .. }, DeValue::String(text)) => value::check_text(key, text).map(Value::Text),
        (Kind::Text { .. }, _) => wrong_type("text in quotes"),
        (Kind::Switch, DeValue::Boolean(on)) => Ok(Value::Switch(*on)),
        (Kind::Switch, _) => wrong_type("`true` or `false`"),
        (Kind::Number { bytes: true, .. }, DeValue::String(text)) => match value::parse_bytes(text) {
            Some(number) => value::check_number(key, number),
            None => wrong_type("a number of bytes, or a size with KiB, MiB or GiB"),
        },
        (Kind::Number { .. }, DeValue::Integer(integer)) => {
            match u64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => value::check_number(key, number),
                Err(_) => Err(format!("`{}` is {integer}, which is out of range", key.name)),
            }
        }
        (Kind::Number { .. }, _) => wrong_type("a whole number"),
        (Kind::List { .. }, DeValue::Array(items)) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            match texts.collect::<Option<Vec<_>>>() {
                Some(texts) => Ok(Value::List(texts)),
                None => wrong_type("a list of texts"),
            }
        }
        (Kind::List { .. }, DeValue::String(text)) => Ok(Value::List(vec![text.clone().into_owned()])),
        (Kind::List { .. }, _) => wrong_type("a list of texts"),
    }
}

fn name_of_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// Line, from 1, of the byte `offset`.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}
