//! What a setting is: its name, its type, and how it is given.

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the settings file; flag and variable follow from it.
    pub name: &'static str,
    /// Type, range and default.
    pub kind: Kind,
    /// A right line of the settings file, shown beside a wrong one.
    pub example: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
}

/// Type, range and default of a setting.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, free or one of a few words.
    Text {
        /// None: derived from others, or required.
        default: Option<&'static str>,
        /// The words allowed; empty: any text.
        choices: &'static [&'static str],
    },
    /// True or false; false by default.
    Switch,
    /// A whole number.
    Number {
        /// None: chosen at the first start.
        default: Option<u64>,
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
        /// Whether it counts bytes and may be written as `"64 MiB"`.
        bytes: bool,
    },
    /// Texts.
    List {
        /// Default.
        default: &'static [&'static str],
    },
}

impl Key {
    /// The flag, without its dashes: `data-dir`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable: `BANYAN_DATA_DIR`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("BANYAN_{}", self.name.to_uppercase())
    }
}

pub(super) const fn text(
    name: &'static str,
    default: Option<&'static str>,
    example: &'static str,
    help: &'static str,
) -> Key {
    Key {
        name,
        kind: Kind::Text { default, choices: &[] },
        example,
        help,
    }
}

pub(super) const fn switch(name: &'static str, example: &'static str, help: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Switch,
        example,
        help,
    }
}

pub(super) const fn list(
    name: &'static str,
    default: &'static [&'static str],
    example: &'static str,
    help: &'static str,
) -> Key {
    Key {
        name,
        kind: Kind::List { default },
        example,
        help,
    }
}

pub(super) const fn number(
    name: &'static str,
    default: u64,
    range: (u64, u64),
    example: &'static str,
    help: &'static str,
) -> Key {
    Key {
        name,
        kind: in_range(default, range, false),
        example,
        help,
    }
}

pub(super) const fn bytes(
    name: &'static str,
    default: u64,
    range: (u64, u64),
    example: &'static str,
    help: &'static str,
) -> Key {
    Key {
        name,
        kind: in_range(default, range, true),
        example,
        help,
    }
}

const fn in_range(default: u64, (min, max): (u64, u64), bytes: bool) -> Kind {
    Kind::Number {
        default: Some(default),
        min,
        max,
        bytes,
    }
}
