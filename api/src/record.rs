//! A record as JSON, and the three forms in which its payload can be shown.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Deepest nesting of a payload that is shown as `json`.
pub const JSON_DEPTH_MAX: usize = 32;

/// Longest number of a payload that is shown as `json`, characters.
pub const JSON_NUMBER_CHARACTERS_MAX: usize = 64;

/// One record. In lists the fields that are `None` or empty are left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// The topic name.
    pub topic: String,
    /// The revision of the write that gave this value.
    pub revision: u64,
    /// The revision of the write that created the topic after its last deletion. Only in the view of one record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_revision: Option<u64>,
    /// When the value was true, microseconds since the Unix epoch.
    pub timestamp: u64,
    /// When the record is deleted by itself, microseconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// What the publisher says the payload is.
    pub content_type: Option<String>,
    /// 1 if the publisher says that the payload is UTF-8. Only in the view of one record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_format: Option<u8>,
    /// Where answers are expected. Only in the view of one record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    /// What an answer must carry, base64. Only in the view of one record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_data_base64: Option<String>,
    /// Name and value of each user property, in the publisher's order. Only in the view of one record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_properties: Vec<(String, String)>,
    /// Client identifier or principal of the writer. Only in the view of one record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// The payload, in one of three forms.
    #[serde(flatten)]
    pub payload: Payload,
}

/// A payload in JSON: exactly one member is present, none if payloads were not asked for.
///
/// - `json`: the content type is JSON (`application/json` or `…+json`) and the payload is one JSON value, nested at most
///   [`JSON_DEPTH_MAX`] deep. Shown as it was written, line ends replaced by blanks.
/// - `payload`: otherwise, if it is UTF-8.
/// - `payload_base64`: otherwise. Standard alphabet, padded.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Payload {
    /// The payload as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// The payload as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Json>,
}

/// A JSON value kept as it was written. It is read through [`serde_json::Value`], since a flattened member cannot be read raw.
#[derive(Debug, Clone)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The text of the value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value in `text`, if `text` is one JSON value within the bounds of depth and number length.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        if !within_bounds(text) {
            return None;
        }
        // Only between tokens can a line end stand raw, so that a blank changes nothing; a streamed list is one line per item.
        let line = text.trim().replace(['\n', '\r'], " ");
        RawValue::from_string(line).ok().map(Self)
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        RawValue::from_string(value.to_string())
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// A payload whose JSON form cannot be turned back into bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// More than one form, or none.
    #[error("give exactly one of payload, payload_base64 and json")]
    Forms,
    /// Not base64.
    #[error("payload_base64 is not base64 of the standard alphabet with padding")]
    Base64,
}

impl Payload {
    /// The form that fits `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8], content_type: Option<&str>) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self {
                payload_base64: Some(encode_base64(bytes)),
                ..Self::default()
            };
        };
        if content_type.is_some_and(is_json)
            && let Some(json) = Json::from_text(text)
        {
            return Self {
                json: Some(json),
                ..Self::default()
            };
        }
        Self {
            payload: Some(text.to_owned()),
            ..Self::default()
        }
    }

    /// Whether no form is present: payloads were not asked for.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.payload.is_none() && self.payload_base64.is_none() && self.json.is_none()
    }

    /// The bytes of the payload.
    ///
    /// # Errors
    /// [`PayloadError`] if no form, several, or broken base64 is present.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PayloadError> {
        match (&self.payload, &self.payload_base64, &self.json) {
            (Some(text), None, None) => Ok(text.as_bytes().to_vec()),
            (None, Some(text), None) => decode_base64(text),
            (None, None, Some(json)) => Ok(json.as_str().as_bytes().to_vec()),
            _ => Err(PayloadError::Forms),
        }
    }
}

/// Base64 of the standard alphabet, padded.
#[must_use]
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of base64 of the standard alphabet, padded.
///
/// # Errors
/// [`PayloadError::Base64`].
pub fn decode_base64(text: &str) -> Result<Vec<u8>, PayloadError> {
    STANDARD.decode(text).map_err(|_| PayloadError::Base64)
}

/// Base64 of the alphabet for URLs, not padded.
#[must_use]
pub fn encode_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of base64 of the alphabet for URLs, not padded. `None` for anything else.
#[must_use]
pub fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Whether a media type is JSON: `application/json` or a type with the suffix `+json`, whatever its parameters.
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence
            .rsplit_once('+')
            .is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
}

/// Whether JSON text keeps the bounds of depth and number length. The text need not be valid otherwise.
#[must_use]
pub fn within_bounds(text: &str) -> bool {
    let (mut depth, mut number, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in text.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        number = if matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E') {
            number + 1
        } else {
            0
        };
        if depth > JSON_DEPTH_MAX || number > JSON_NUMBER_CHARACTERS_MAX {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], content_type: Option<&str>) -> String {
        serde_json::to_string(&Payload::of(bytes, content_type)).unwrap()
    }

    #[test]
    fn form_follows_content_type_and_content() {
        assert_eq!(shown(b"21.5", None), r#"{"payload":"21.5"}"#);
        assert_eq!(shown(b"21.5", Some("application/json")), r#"{"json":21.5}"#);
        assert_eq!(
            shown(b"{\"a\":\n1}", Some("application/ld+json; charset=utf-8")),
            r#"{"json":{"a": 1}}"#
        );
        assert_eq!(shown(b"{oops", Some("application/json")), r#"{"payload":"{oops"}"#);
        assert_eq!(
            shown(b"\xff\x00", Some("application/json")),
            r#"{"payload_base64":"/wA="}"#
        );
    }

    #[test]
    fn numbers_keep_their_digits() {
        let digits = "0.1234567890123456789012345678901234567890";
        assert_eq!(
            shown(digits.as_bytes(), Some("application/json")),
            format!(r#"{{"json":{digits}}}"#)
        );
    }

    #[test]
    fn json_beyond_the_bounds_is_text() {
        let deep = "[".repeat(JSON_DEPTH_MAX + 1) + &"]".repeat(JSON_DEPTH_MAX + 1);
        assert!(Payload::of(deep.as_bytes(), Some("application/json")).json.is_none());
        let fits = "[".repeat(JSON_DEPTH_MAX) + &"]".repeat(JSON_DEPTH_MAX);
        assert!(Payload::of(fits.as_bytes(), Some("application/json")).json.is_some());
        let long = "1".repeat(JSON_NUMBER_CHARACTERS_MAX + 1);
        assert!(Payload::of(long.as_bytes(), Some("application/json")).json.is_none());
        let brackets_in_string = format!("\"\\\"{}\"", "[".repeat(100));
        assert!(
            Payload::of(brackets_in_string.as_bytes(), Some("application/json"))
                .json
                .is_some()
        );
    }

    #[test]
    fn every_form_gives_its_bytes_back() {
        for (bytes, content_type) in [
            (&b"x\xff"[..], None),
            (b"text", None),
            (b"[1,2]", Some("application/json")),
        ] {
            let text = shown(bytes, content_type);
            let read: Payload = serde_json::from_str(&text).unwrap();
            assert_eq!(read.to_bytes().unwrap(), bytes);
        }
        let two: Payload = serde_json::from_str(r#"{"payload":"a","json":1}"#).unwrap();
        assert_eq!(two.to_bytes(), Err(PayloadError::Forms));
    }

    #[test]
    fn a_record_reads_back() {
        let record = Record {
            topic: "a/b".into(),
            revision: 7,
            payload: Payload::of(b"{\"n\":1}", Some("application/json")),
            content_type: Some("application/json".into()),
            ..Record::default()
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            text,
            r#"{"topic":"a/b","revision":7,"timestamp":0,"expires_at":null,"content_type":"application/json","json":{"n":1}}"#
        );
        let read: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(read.payload.json.unwrap().as_str(), r#"{"n":1}"#);
    }
}
