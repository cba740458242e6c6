//! A group of a shared subscription (kind 0x23): what of it does not follow from its members' sessions.
//!
//! | key | value | present while |
//! |---|---|---|
//! | text of the subscription, `$share/GROUP/FILTER` | [`GroupRow`] | it has members |
//! | text, 0x00, position (revision u64, ordinal u32) | empty | a lost member had the message and nobody has it now |
//!
//! U+0000 occurs in no filter [MQTT-4.7.3-2], so that no text is the beginning of another's key.
//!
//! | offset | bytes | field of the group's row |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 1 | 1 if messages wait behind the cursor, otherwise 0 |
//! | 2 | 8 + 4 | cursor: revision, ordinal; 0 if none |
//! | 14 | | client identifier of who got the latest message, to the end, maybe empty |

use bytes::{BufMut, Bytes, BytesMut};

use super::record::FormatError;
use super::{KeyKind, MessagePosition};
use crate::limits::{CLIENT_ID_BYTES_MAX, STORE_KEY_BYTES_MAX, TOPIC_BYTES_MAX};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 1 + POSITION_BYTES;
const POSITION_BYTES: usize = 8 + 4;

const _: () = assert!(1 + TOPIC_BYTES_MAX + 1 + POSITION_BYTES <= STORE_KEY_BYTES_MAX);

/// Where a group stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupRow {
    /// Messages behind here wait until a member has room; `None`: none waits.
    pub cursor: Option<MessagePosition>,
    /// Who got the latest message: the next one's turn is behind.
    pub latest: Bytes,
}

impl GroupRow {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let MessagePosition { revision, ordinal } = self.cursor.unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + self.latest.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(u8::from(self.cursor.is_some()));
        bytes.put_u64(revision);
        bytes.put_u32(ordinal);
        bytes.put_slice(&self.latest);
        bytes.freeze()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are no group's row: storage is damaged, or a newer version wrote it.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some((header, latest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(malformed("is cut short"));
        };
        let [version, behind, position @ ..] = *header;
        if version != VERSION {
            return Err(malformed("has an unknown version"));
        }
        let position = position_of(position);
        let cursor = match behind {
            0 if position == MessagePosition::default() => None,
            1 => Some(position),
            _ => return Err(malformed("has unknown flags")),
        };
        if latest.len() > CLIENT_ID_BYTES_MAX {
            return Err(malformed("names what is no client"));
        }
        Ok(Self {
            cursor,
            latest: Bytes::copy_from_slice(latest),
        })
    }
}

/// What a key of kind 0x23 is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupKey {
    /// Of a [`GroupRow`].
    Group,
    /// Of a message that a lost member had.
    Returned(MessagePosition),
}

/// Key of the row of the group with this text.
#[must_use]
pub fn group_key(text: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + text.len());
    key.put_u8(KeyKind::Group as u8);
    key.put_slice(text);
    key.freeze()
}

/// Key of a message that was returned to the group with this text.
#[must_use]
pub fn returned_key(text: &[u8], position: MessagePosition) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + text.len() + 1 + POSITION_BYTES);
    key.put_u8(KeyKind::Group as u8);
    key.put_slice(text);
    key.put_u8(0);
    key.put_u64(position.revision);
    key.put_u32(position.ordinal);
    key.freeze()
}

/// Text and meaning of a key of kind 0x23.
///
/// # Errors
/// It is none.
pub fn group_of_key(key: &Bytes) -> Result<(Bytes, GroupKey), FormatError> {
    if KeyKind::of_key(key) != Some(KeyKind::Group) || key.len() == 1 {
        return Err(malformed("has a malformed key"));
    }
    let Some(end) = key.iter().position(|byte| *byte == 0) else {
        return Ok((key.slice(1..), GroupKey::Group));
    };
    match <[u8; POSITION_BYTES]>::try_from(&key[end + 1..]) {
        Ok(position) if end > 1 => Ok((key.slice(1..end), GroupKey::Returned(position_of(position)))),
        _ => Err(malformed("has a malformed key")),
    }
}

fn position_of(bytes: [u8; POSITION_BYTES]) -> MessagePosition {
    let [revision @ .., o0, o1, o2, o3] = bytes;
    MessagePosition {
        revision: u64::from_be_bytes(revision),
        ordinal: u32::from_be_bytes([o0, o1, o2, o3]),
    }
}

const fn malformed(why: &'static str) -> FormatError {
    FormatError::new("shared group", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: MessagePosition = MessagePosition {
        revision: 258,
        ordinal: 3,
    };

    #[test]
    fn rows_come_back_as_they_went() {
        for cursor in [None, Some(MessagePosition::default()), Some(POSITION)] {
            for latest in ["", "client"] {
                let latest = Bytes::from_static(latest.as_bytes());
                let row = GroupRow { cursor, latest };
                assert_eq!(GroupRow::parse(&row.encode()), Ok(row));
            }
        }
    }

    #[test]
    fn layout_is_as_documented() {
        let row = GroupRow {
            cursor: Some(POSITION),
            latest: Bytes::from_static(b"c"),
        };
        assert_eq!(row.encode()[..], [1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, b'c']);
        assert_eq!(group_key(b"$share/g/a")[..], *b"\x23$share/g/a");
        assert_eq!(
            returned_key(b"$share/g/a", POSITION)[..],
            *b"\x23$share/g/a\0\0\0\0\0\0\0\x01\x02\0\0\0\x03"
        );
    }

    #[test]
    fn other_rows_are_refused() {
        let row = GroupRow::default().encode().to_vec();
        for (at, byte) in [(0, 2), (1, 2), (9, 1)] {
            let mut row = row.clone();
            row[at] = byte;
            assert!(GroupRow::parse(&row).is_err());
        }
        assert!(GroupRow::parse(&row[..13]).is_err());
        assert!(GroupRow::parse(&[&row[..], &[b'c'; CLIENT_ID_BYTES_MAX + 1]].concat()).is_err());
    }

    #[test]
    fn keys_return_to_their_text() {
        let text = Bytes::from_static(b"$share/g/a");
        assert_eq!(group_of_key(&group_key(&text)), Ok((text.clone(), GroupKey::Group)));
        let returned = returned_key(&text, POSITION);
        assert_eq!(group_of_key(&returned), Ok((text, GroupKey::Returned(POSITION))));
        for bad in [
            &b"\x23"[..],
            b"\x22a",
            b"\x23a\0",
            b"\x23\x00123456789012",
            &returned[..20],
        ] {
            assert!(group_of_key(&Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }
}
