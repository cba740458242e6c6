//! Subscriptions of sessions (kind 0x21).
//!
//! | key | value |
//! |---|---|
//! | client identifier, 0x00, text of the filter | format version 1, since u64, subscription as in [commands](crate::command) |
//!
//! Neither part of the key holds U+0000, so the first 0x00 parts them.

use bytes::Bytes;

use super::KeyKind;
use super::record::FormatError;
use crate::command::SessionSubscription;
use crate::command::wire::Reader;

const VERSION: u8 = 1;

/// A subscription of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// What was asked for, and how far its replay is.
    pub subscription: SessionSubscription,
    /// Revision of the state when the filter was subscribed to first: only later messages are for it.
    pub since: u64,
}

impl SubscriptionRow {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.since.to_be_bytes());
        self.subscription.encode(&mut out);
        Bytes::from(out)
    }

    /// Reads the stored form. What it holds are slices of it.
    ///
    /// # Errors
    /// The bytes are no subscription: storage is damaged, or a newer version wrote it.
    pub fn parse(bytes: &Bytes) -> Result<Self, FormatError> {
        if bytes.first() != Some(&VERSION) {
            return Err(FormatError::new("subscription", "has an unknown version"));
        }
        let mut reader = Reader::new(bytes, 1..bytes.len());
        let read = |reader: &mut Reader<'_>| {
            let since = reader.u64()?;
            let subscription = SessionSubscription::decode(reader)?;
            reader.finish()?;
            Ok::<_, crate::command::DecodeError>(Self { subscription, since })
        };
        read(&mut reader).map_err(|_| FormatError::new("subscription", "is malformed"))
    }
}

/// Key of a client's subscription.
#[must_use]
pub fn subscription_key(client_id: &[u8], filter: &[u8]) -> Bytes {
    Bytes::from([&[KeyKind::Subscription as u8], client_id, &[0], filter].concat())
}

/// Client identifier and text of the filter of a key of kind 0x21: slices of it.
///
/// # Errors
/// It is none.
pub fn subscription_of_key(key: &Bytes) -> Result<(Bytes, Bytes), FormatError> {
    let end = key.iter().position(|byte| *byte == 0);
    match (KeyKind::of_key(key), end) {
        (Some(KeyKind::Subscription), Some(end)) if end > 1 => Ok((key.slice(1..end), key.slice(end + 1..))),
        _ => Err(FormatError::new("subscription", "has a malformed key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{ReplayFrom, SubscriptionOptions};
    use crate::topic::SubscriptionFilter;

    fn row() -> SubscriptionRow {
        let options = SubscriptionOptions {
            qos: 2,
            no_local: true,
            retain_as_published: false,
        };
        let subscription = SessionSubscription {
            filter: SubscriptionFilter::parse("a/#").unwrap(),
            options,
            latest: true,
            subscription_id: Some(1),
            replay: Some(ReplayFrom::Topics { after: None }),
        };
        SubscriptionRow { subscription, since: 9 }
    }

    #[test]
    fn rows_and_keys_come_back_as_they_went() {
        let bytes = row().encode();
        assert_eq!(SubscriptionRow::parse(&bytes), Ok(row()));
        for length in 0..bytes.len() {
            assert!(SubscriptionRow::parse(&bytes.slice(..length)).is_err());
        }
        let key = subscription_key(b"probe", b"a/#");
        assert_eq!(key[..], *b"\x21probe\0a/#");
        let parts = (Bytes::from_static(b"probe"), Bytes::from_static(b"a/#"));
        assert_eq!(subscription_of_key(&key), Ok(parts));
        assert!(subscription_of_key(&key.slice(..6)).is_err());
        assert!(subscription_of_key(&key.slice(1..)).is_err());
    }
}
