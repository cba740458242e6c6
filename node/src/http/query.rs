//! Query parameters: percent-decoded once, each name at most once, unknown names refused so that a misspelt `fliter=`
//! does not list everything.
//!
//! A `+` is a blank, as HTML forms write it, with one exception: where it is a whole level of `filter` it is MQTT's
//! wildcard, since that is what people type. A level that is one blank is written `%20`.

use std::str::FromStr;

use banyan_core::topic::{TopicFilter, TopicName};
use percent_encoding::percent_decode_str;

use super::problem::Failure;

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of the URI behind `?`.
    pub(super) fn parse(raw: Option<&str>, allowed: &[&str]) -> Result<Self, Failure> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !allowed.contains(&name) {
                let name: String = name.chars().take(64).collect();
                let known = if allowed.is_empty() {
                    "none".to_owned()
                } else {
                    allowed.join(", ")
                };
                return Err(Failure::parameter(
                    &name,
                    format_args!("not known here. Known: {known}."),
                ));
            }
            if pairs.iter().any(|(other, _)| other == name) {
                return Err(Failure::parameter(name, "given twice; give it once."));
            }
            let spaced = if name == "filter" {
                blanks_in_filter(value)
            } else {
                value.replace('+', " ")
            };
            let decoded = percent_decode(&spaced).ok_or_else(|| Failure::parameter(name, NOT_DECODABLE))?;
            let text = String::from_utf8(decoded).map_err(|_| Failure::parameter(name, "not UTF-8."))?;
            pairs.push((name.to_owned(), text));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that is `true` or `false`; absent is `absent`, and present without a value is true.
    pub(super) fn flag(&self, name: &str, absent: bool) -> Result<bool, Failure> {
        match self.get(name) {
            None => Ok(absent),
            Some("true" | "1" | "") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(Failure::parameter(name, "write true or false.")),
        }
    }

    /// A parameter that is a number.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if plain { text.parse().ok() } else { None };
        number
            .map(Some)
            .ok_or_else(|| Failure::parameter(name, "write a whole number in range, without sign."))
    }

    /// A parameter that is a topic name.
    pub(super) fn topic(&self, name: &str) -> Result<Option<TopicName>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match TopicName::parse(text) {
            Ok(topic) => Ok(Some(topic)),
            // The same answer as for a topic in the path.
            Err(error) if name == "topic" => Err(error.into()),
            Err(error) => Err(Failure::parameter(name, error)),
        }
    }

    /// The parameter `filter`.
    pub(super) fn filter(&self) -> Result<Option<TopicFilter>, Failure> {
        Ok(self.get("filter").map(TopicFilter::parse).transpose()?)
    }
}

/// What to do about a broken percent encoding.
pub(super) const NOT_DECODABLE: &str = "a % must be followed by two hexadecimal digits; write a % itself as %25.";

/// Decodes percent encoding, once. `None` if a `%` is not followed by two hexadecimal digits.
pub(super) fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    parts.next();
    for part in parts {
        let mut digits = part.bytes().take(2);
        let (Some(high), Some(low)) = (digits.next(), digits.next()) else {
            return None;
        };
        if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
            return None;
        }
    }
    Some(percent_decode_str(text).collect())
}

/// Replaces each `+` by a blank that is not a whole level of the still encoded filter.
fn blanks_in_filter(raw: &str) -> String {
    let is_slash_before =
        |text: &str| text.is_empty() || text.ends_with('/') || text.to_ascii_uppercase().ends_with("%2F");
    let is_slash_after =
        |text: &str| text.is_empty() || text.starts_with('/') || text.to_ascii_uppercase().starts_with("%2F");
    let mut out = String::with_capacity(raw.len());
    for (at, character) in raw.char_indices() {
        let whole_level = || {
            let (before, after) = (raw.get(..at).unwrap_or_default(), raw.get(at + 1..).unwrap_or_default());
            let before = before.get(before.len().saturating_sub(3)..).unwrap_or(before);
            let after = after.get(..3).unwrap_or(after);
            (is_slash_before(before)) && is_slash_after(after)
        };
        out.push(if character == '+' && !whole_level() {
            ' '
        } else {
            character
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(raw: &str) -> String {
        Query::parse(Some(&format!("filter={raw}")), &["filter"])
            .unwrap()
            .get("filter")
            .unwrap()
            .to_owned()
    }

    #[test]
    fn plus_is_a_wildcard_where_it_is_a_level() {
        assert_eq!(filter("+"), "+");
        assert_eq!(filter("cities/+/NL/%23"), "cities/+/NL/#");
        assert_eq!(filter("cities%2F+%2fNL"), "cities/+/NL");
        assert_eq!(filter("a/%2B/b"), "a/+/b");
        assert_eq!(filter("New+York/+"), "New York/+");
        assert_eq!(filter("++"), "  ");
        assert_eq!(filter("é/+/é+é"), "é/+/é é");
    }

    #[test]
    fn decodes_once() {
        let query = Query::parse(Some("topic=a%252Fb+c"), &["topic"]).unwrap();
        assert_eq!(query.get("topic"), Some("a%2Fb c"));
    }

    #[test]
    fn refuses_unknown_repeated_and_broken() {
        assert!(Query::parse(Some("fliter=a"), &["filter"]).is_err());
        assert!(Query::parse(Some("limit=1&limit=2"), &["limit"]).is_err());
        for broken in [
            "topic=%",
            "topic=%2",
            "topic=%zz",
            "topic=%+2",
            "topic=%ff",
            "topic=%c0%af",
        ] {
            assert!(Query::parse(Some(broken), &["topic"]).is_err(), "{broken}");
        }
    }

    #[test]
    fn numbers_and_flags() {
        let query = Query::parse(
            Some("a=1&b=-1&c=&d=true&e=false&f=yes&g"),
            &["a", "b", "c", "d", "e", "f", "g"],
        )
        .unwrap();
        assert_eq!(query.number::<u64>("a").unwrap(), Some(1));
        assert!(query.number::<u64>("b").is_err());
        assert!(query.number::<u64>("c").is_err());
        assert_eq!(query.number::<u64>("z").unwrap(), None);
        assert!(query.flag("d", false).unwrap());
        assert!(!query.flag("e", true).unwrap());
        assert!(query.flag("f", true).is_err());
        assert!(query.flag("g", false).unwrap());
    }
}
