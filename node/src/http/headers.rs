//! What request headers say about a write and a condition, and what response headers say about a record.
//!
//! Entity tags are `"REVISION"` for the payload and `"REVISION.record"` for the record as JSON; a write takes either.

use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use banyan_api::timestamp;
use banyan_core::command::Condition;
use banyan_core::keyspace::TopicRecord;
use banyan_core::metadata::{Metadata, MetadataBuilder};

use super::problem::Failure;

/// The revision of the record.
pub(super) const BANYAN_REVISION: HeaderName = HeaderName::from_static("banyan-revision");
/// The revision of the write that created the topic.
const BANYAN_CREATED_REVISION: HeaderName = HeaderName::from_static("banyan-created-revision");
/// When the value was or is true, Unix seconds with fraction.
const BANYAN_TIMESTAMP: HeaderName = HeaderName::from_static("banyan-timestamp");
/// When the record expires, Unix seconds with fraction.
const BANYAN_EXPIRES: HeaderName = HeaderName::from_static("banyan-expires");
/// Seconds until the record expires, in a request.
const BANYAN_EXPIRY: HeaderName = HeaderName::from_static("banyan-expiry");
/// One user property, `name=value`.
const BANYAN_USER_PROPERTY: HeaderName = HeaderName::from_static("banyan-user-property");
/// The writer.
const BANYAN_PUBLISHER: HeaderName = HeaderName::from_static("banyan-publisher");

/// The representations of a record. Each has its own entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// The payload as it is.
    Payload,
    /// All fields as JSON.
    Record,
}

/// The entity tag of a record at `revision`.
pub(super) fn entity_tag(revision: u64, view: View) -> HeaderValue {
    let text = match view {
        View::Payload => format!("\"{revision}\""),
        View::Record => format!("\"{revision}.record\""),
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The entity tags of `If-Match` or `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
enum EntityTags<'a> {
    /// `*`: whatever there is.
    Any,
    /// The text between the quotes of each, and whether it is weak.
    List(Vec<(&'a str, bool)>),
}

/// Reads `*` or a list of entity tags (RFC 9110 §8.8.3). `None` if it is neither.
fn entity_tags(text: &str) -> Option<EntityTags<'_>> {
    if text.trim() == "*" {
        return Some(EntityTags::Any);
    }
    let mut tags = Vec::new();
    let mut rest = text.trim();
    loop {
        let (unprefixed, weak) = rest.strip_prefix("W/").map_or((rest, false), |strong| (strong, true));
        let (opaque, behind) = unprefixed.strip_prefix('"')?.split_once('"')?;
        tags.push((opaque, weak));
        rest = behind.trim_start();
        if rest.is_empty() {
            return Some(EntityTags::List(tags));
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// The value of a header that may be given once, as UTF-8.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::header(name.as_str(), "given twice; give it once."));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Failure::header(name.as_str(), "not UTF-8."))?;
    Ok(Some(text.trim()))
}

/// Whether a reader who sent `If-None-Match` has the record at `revision` in this view already.
pub(super) fn not_modified(headers: &HeaderMap, revision: u64, view: View) -> Result<bool, Failure> {
    let current = entity_tag(revision, view);
    let current = current.to_str().unwrap_or_default().trim_matches('"').to_owned();
    for value in headers.get_all(IF_NONE_MATCH) {
        let tags = value
            .to_str()
            .ok()
            .and_then(entity_tags)
            .ok_or_else(|| Failure::header("If-None-Match", TAG_FORM))?;
        // RFC 9110 §13.1.2: the weak comparison, which does not care for W/.
        match tags {
            EntityTags::Any => return Ok(true),
            EntityTags::List(tags) if tags.iter().any(|(opaque, _)| *opaque == current) => return Ok(true),
            EntityTags::List(_) => {}
        }
    }
    Ok(false)
}

/// What to write as an entity tag.
const TAG_FORM: &str = "write * or an entity tag as it was sent in ETag, with its quotes.";

/// The condition of a write: `If-Match: *` (must exist), `If-Match: "REVISION"`, `If-None-Match: *` (must not exist).
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, Failure> {
    match (single(headers, &IF_MATCH)?, single(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Condition::None),
        (Some(_), Some(_)) => Err(Failure::header(
            "If-Match",
            "contradicts If-None-Match; send one of them.",
        )),
        (None, Some(text)) => match entity_tags(text) {
            Some(EntityTags::Any) => Ok(Condition::Absent),
            _ => Err(Failure::header(
                "If-None-Match",
                "a write takes * only; use If-Match for a revision.",
            )),
        },
        (Some(text), None) => match entity_tags(text) {
            Some(EntityTags::Any) => Ok(Condition::Present),
            Some(EntityTags::List(tags)) => match tags.as_slice() {
                [(opaque, weak)] => Ok(Condition::Revision(revision_of_tag(opaque, *weak))),
                _ => Err(Failure::header("If-Match", "a write takes one entity tag.")),
            },
            None => Err(Failure::header("If-Match", TAG_FORM)),
        },
    }
}

/// The revision that a tag names. A weak tag or one that no node made matches nothing (RFC 9110 §13.1.1), which is what the
/// one revision that is never reached stands for: the condition fails at commit and tells the current revision.
fn revision_of_tag(opaque: &str, weak: bool) -> u64 {
    let digits = opaque.strip_suffix(".record").unwrap_or(opaque);
    if weak || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return u64::MAX;
    }
    digits.parse().unwrap_or(u64::MAX)
}

/// `Banyan-Timestamp`, microseconds.
pub(super) fn timestamp_us(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(text) = single(headers, &BANYAN_TIMESTAMP)? else {
        return Ok(None);
    };
    timestamp::parse_us(text).map(Some).ok_or_else(|| {
        Failure::header(
            "Banyan-Timestamp",
            "write Unix seconds with up to six digits of fraction.",
        )
    })
}

/// `Banyan-Expiry`, seconds.
pub(super) fn expiry_s(headers: &HeaderMap) -> Result<Option<u32>, Failure> {
    let Some(text) = single(headers, &BANYAN_EXPIRY)? else {
        return Ok(None);
    };
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain
        .then(|| text.parse().ok())
        .flatten()
        .map(Some)
        .ok_or_else(|| Failure::header("Banyan-Expiry", "write whole seconds, at most 4294967295."))
}

/// `Content-Type` and each `Banyan-User-Property` as metadata. Properties are taken as they are, without decoding.
pub(super) fn metadata(headers: &HeaderMap) -> Result<Metadata, Failure> {
    let mut builder = MetadataBuilder::new();
    if let Some(content_type) = single(headers, &CONTENT_TYPE)? {
        builder.content_type(content_type);
    }
    for value in headers.get_all(BANYAN_USER_PROPERTY) {
        let text =
            std::str::from_utf8(value.as_bytes()).map_err(|_| Failure::header("Banyan-User-Property", "not UTF-8."))?;
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::header("Banyan-User-Property", "write NAME=VALUE."))?;
        builder.user_property(name.trim(), value.trim());
    }
    builder
        .build()
        .map_err(|error| Failure::header("Banyan-User-Property, Content-Type", error))
}

/// The headers that describe a record. What cannot stand in a header (line ends in a user property) is left out; the record
/// view has everything.
pub(super) fn describe(record: &TopicRecord, view: View, headers: &mut HeaderMap) {
    let number = |number: u64| HeaderValue::from(number);
    headers.insert(ETAG, entity_tag(record.revision(), view));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(BANYAN_REVISION, number(record.revision()));
    headers.insert(BANYAN_CREATED_REVISION, number(record.created_revision()));
    let time = |time_us: u64| HeaderValue::from_str(&timestamp::format_us(time_us)).ok();
    if let Some(value) = time(record.timestamp_us()) {
        headers.insert(BANYAN_TIMESTAMP, value);
    }
    if let Some(value) = record.expires_at_us().and_then(time) {
        headers.insert(BANYAN_EXPIRES, value);
    }
    if let Ok(value) = HeaderValue::from_bytes(record.publisher().as_bytes()) {
        headers.insert(BANYAN_PUBLISHER, value);
    }
}

/// The headers that only the payload itself carries: its type, the user properties, and that a browser must neither guess
/// the type nor run what anybody may have published.
pub(super) fn describe_payload(metadata: &Metadata, headers: &mut HeaderMap) {
    let content_type = metadata
        .content_type()
        .and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok());
    let fallback = if metadata.payload_format() == 1 {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    };
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static(fallback)));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    for (name, value) in metadata.user_properties() {
        if let Ok(value) = HeaderValue::from_bytes(format!("{name}={value}").as_bytes()) {
            headers.append(BANYAN_USER_PROPERTY, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        headers
    }

    #[test]
    fn entity_tag_lists() {
        let list = |tags: &[(&'static str, bool)]| Some(EntityTags::List(tags.to_vec()));
        assert_eq!(entity_tags(" * "), Some(EntityTags::Any));
        assert_eq!(entity_tags("\"1\""), list(&[("1", false)]));
        assert_eq!(
            entity_tags("\"1\" , W/\"a,b\",\"\""),
            list(&[("1", false), ("a,b", true), ("", false)])
        );
        for broken in ["", "1", "\"1", "\"1\" \"2\"", "\"1\",", "w/\"1\"", "*, \"1\""] {
            assert_eq!(entity_tags(broken), None, "{broken}");
        }
    }

    #[test]
    fn conditions_of_writes() {
        assert!(matches!(condition(&HeaderMap::new()), Ok(Condition::None)));
        assert!(matches!(
            condition(&with(IF_MATCH, "\"42\"")),
            Ok(Condition::Revision(42))
        ));
        assert!(matches!(
            condition(&with(IF_MATCH, "\"42.record\"")),
            Ok(Condition::Revision(42))
        ));
        assert!(matches!(condition(&with(IF_MATCH, "*")), Ok(Condition::Present)));
        assert!(matches!(condition(&with(IF_NONE_MATCH, "*")), Ok(Condition::Absent)));
        // Never equal to any revision.
        for foreign in ["W/\"42\"", "\"abc\"", "\"+42\"", "\"99999999999999999999\"", "\"\""] {
            assert!(
                matches!(condition(&with(IF_MATCH, foreign)), Ok(Condition::Revision(u64::MAX))),
                "{foreign}"
            );
        }
        for refused in ["42", "\"1\",\"2\""] {
            assert!(condition(&with(IF_MATCH, refused)).is_err());
        }
        assert!(condition(&with(IF_NONE_MATCH, "\"1\"")).is_err());
    }

    #[test]
    fn not_modified_compares_the_tag_of_the_view() {
        let read = |text: &str, view| not_modified(&with(IF_NONE_MATCH, text), 7, view).unwrap();
        assert!(read("\"6\", W/\"7\"", View::Payload));
        assert!(!read("\"7\"", View::Record));
        assert!(read("\"7.record\"", View::Record));
        assert!(read("*", View::Payload));
        assert!(!not_modified(&HeaderMap::new(), 7, View::Payload).unwrap());
    }

    #[test]
    fn times_and_properties() {
        assert_eq!(timestamp_us(&with(BANYAN_TIMESTAMP, "1.5")).unwrap(), Some(1_500_000));
        assert!(timestamp_us(&with(BANYAN_TIMESTAMP, "yesterday")).is_err());
        assert_eq!(expiry_s(&with(BANYAN_EXPIRY, "60")).unwrap(), Some(60));
        assert!(expiry_s(&with(BANYAN_EXPIRY, "-1")).is_err());
        let read = metadata(&with(BANYAN_USER_PROPERTY, "unit=°C=x")).unwrap();
        assert_eq!(read.user_property("unit"), Some("°C=x"));
        assert!(metadata(&with(BANYAN_USER_PROPERTY, "unit")).is_err());
    }
}
