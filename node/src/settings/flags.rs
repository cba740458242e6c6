//! Settings from the command line.

use clap::{Arg, ArgAction, ArgMatches};

use super::error::Problem;
use super::keys::{KEYS, Key, Kind};
use super::value::{Source, Values};

/// One flag a setting. Values are taken as text and judged in [`super::load`] like those of every other source.
#[must_use]
pub fn arguments() -> Vec<Arg> {
    KEYS.into_iter().map(argument).collect()
}

fn argument(key: &'static Key) -> Arg {
    // clap keeps names for as long as the process lives; these are few and made once.
    let flag: &'static str = key.flag().leak();
    let argument = Arg::new(key.name).long(flag).help(help(key)).help_heading("Settings");
    match &key.kind {
        Kind::Text { choices, .. } if !choices.is_empty() => argument.value_name("WORD"),
        Kind::Text { .. } => argument.value_name("TEXT"),
        Kind::Switch => argument
            .value_name("true|false")
            .num_args(0..=1)
            .default_missing_value("true")
            .require_equals(true),
        Kind::Number { bytes: true, .. } => argument.value_name("BYTES"),
        Kind::Number { .. } => argument.value_name("NUMBER"),
        Kind::List { .. } => argument.value_name("LIST").action(ArgAction::Append),
    }
}

fn help(key: &Key) -> String {
    let default = match &key.kind {
        Kind::Text {
            default: Some(default), ..
        } => format!(" [default: {default}]"),
        Kind::Number {
            default: Some(default),
            bytes: true,
            ..
        } => format!(" [default: {}]", size(*default)),
        Kind::Number {
            default: Some(default), ..
        } => format!(" [default: {default}]"),
        Kind::List { default } if !default.is_empty() => format!(" [default: {}]", default.join(",")),
        _ => String::new(),
    };
    format!("{}{default} [env: {}]", key.help, key.variable())
}

fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        bytes.to_string()
    }
}

/// Takes what was given on the command line.
pub(super) fn read(matches: &ArgMatches, values: &mut Values, problems: &mut Vec<Problem>) {
    for key in KEYS {
        let Ok(Some(texts)) = matches.try_get_many::<String>(key.name) else {
            continue; // not given
        };
        let text = texts.map(String::as_str).collect::<Vec<_>>().join(",");
        problems.extend(values.put_text(key, &text, Source::Flag).err());
    }
}
