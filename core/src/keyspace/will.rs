//! Wills of sessions (kind 0x22).
//!
//! The key is the client identifier; the value is format version 1 and the will as in [commands](crate::command).

use bytes::Bytes;

use super::KeyKind;
use super::record::FormatError;
use crate::command::Will;
use crate::command::wire::Reader;

const VERSION: u8 = 1;

/// The stored form of a will.
#[must_use]
pub fn encode_will(will: &Will) -> Bytes {
    let mut out = vec![VERSION];
    will.encode(&mut out);
    Bytes::from(out)
}

/// Reads the stored form. What it holds are slices of it.
///
/// # Errors
/// The bytes are no will: storage is damaged, or a newer version wrote it.
pub fn parse_will(bytes: &Bytes) -> Result<Will, FormatError> {
    if bytes.first() != Some(&VERSION) {
        return Err(FormatError::new("will", "has an unknown version"));
    }
    let mut reader = Reader::new(bytes, 1..bytes.len());
    Will::decode(&mut reader).map_err(|_| FormatError::new("will", "is malformed"))
}

/// Key of the will of a client.
#[must_use]
pub fn will_key(client_id: &[u8]) -> Bytes {
    Bytes::from([&[KeyKind::Will as u8], client_id].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;
    use crate::topic::TopicName;

    #[test]
    fn wills_come_back_as_they_went() {
        let will = Will {
            topic: TopicName::parse("a/gone").unwrap(),
            payload: Bytes::new(),
            metadata: Metadata::empty(),
            qos: 1,
            retain: true,
            delay_s: 3,
            expiry_s: None,
        };
        let bytes = encode_will(&will);
        assert_eq!(parse_will(&bytes), Ok(will));
        assert!(parse_will(&bytes.slice(..bytes.len() - 1)).is_err());
        assert!(parse_will(&Bytes::new()).is_err());
        assert_eq!(will_key(b"probe")[..], *b"\x22probe");
    }
}
