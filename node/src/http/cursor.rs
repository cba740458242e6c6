//! Cursors of lists: everything needed to continue, in one opaque string, so that a page can be asked for again.
//!
//! A cursor names the revision it reads and the node that keeps a view of it. The state at a revision is the same on every
//! node and in every life of a node, so the revision is all that names a view.
//!
//! ```text
//! cursor   base64url( version=1 u8 | shard=0 u32 | node_id u64 | place | crc32c u32 of all before it )
//! place    revision u64 | flags u8 | selection | after topic
//! flags    bit 0: descending, bit 1: without values
//! selection  1 u8 | filter        2 u8 | prefix | start | end
//! topic, filter, prefix, start, end   length u16 | bytes; length 0: none
//! ```

use super::problem::Failure;
use banyan_api::problem::ProblemKind;
use banyan_core::keyspace::Selection;
use banyan_core::store::Direction;
use banyan_core::topic::{TopicFilter, TopicName};

const VERSION: u8 = 1;
const FLAG_DESCENDING: u8 = 1;
const FLAG_NO_VALUES: u8 = 2;
const SELECTION_FILTER: u8 = 1;
const SELECTION_RANGE: u8 = 2;

/// What a list lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    /// Which topics.
    pub(super) selection: Selection,
    /// In which order.
    pub(super) direction: Direction,
    /// With payloads.
    pub(super) values: bool,
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The revision of the state that is listed.
    pub(super) revision: u64,
    /// What is listed.
    pub(super) listing: Listing,
    /// The last topic that was listed.
    pub(super) after: TopicName,
}

/// A place, and the node that keeps its view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The node.
    pub(super) node_id: u64,
    /// The place.
    pub(super) place: Place,
}

impl Cursor {
    /// The cursor as text of `[A-Za-z0-9_-]`.
    pub(super) fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&0u32.to_be_bytes());
        bytes.extend_from_slice(&self.node_id.to_be_bytes());
        self.place.encode(&mut bytes);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        banyan_api::record::encode_base64url(&bytes)
    }

    /// Reads a cursor.
    pub(super) fn decode(text: &str) -> Result<Self, Failure> {
        Self::read(text).ok_or_else(|| {
            Failure::new(
                ProblemKind::InvalidCursor,
                "Send the value of `next` as it came, percent-encoded; to start anew, leave cursor out.",
            )
        })
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = banyan_api::record::decode_base64url(text)?;
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let mut reader = Reader(body);
        if reader.u8()? != VERSION || reader.u32()? != 0 {
            return None;
        }
        let node_id = reader.u64()?;
        let place = Place::decode(&mut reader)?;
        reader.0.is_empty().then_some(Self { node_id, place })
    }
}

impl Place {
    /// Appends the encoding.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Listing {
            selection,
            direction,
            values,
        } = &self.listing;
        out.extend_from_slice(&self.revision.to_be_bytes());
        let descending = if *direction == Direction::Descending {
            FLAG_DESCENDING
        } else {
            0
        };
        out.push(descending | if *values { 0 } else { FLAG_NO_VALUES });
        match selection {
            Selection::Filter(filter) => {
                out.push(SELECTION_FILTER);
                put_text(out, filter.as_str());
            }
            Selection::Range { prefix, start, end } => {
                out.push(SELECTION_RANGE);
                for bound in [prefix, start, end] {
                    put_text(out, bound.as_ref().map_or("", TopicName::as_str));
                }
            }
        }
        put_text(out, self.after.as_str());
    }

    /// Reads what [`Self::encode`] wrote. `None` for anything else.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let revision = reader.u64()?;
        let flags = reader.u8()?;
        if flags & !(FLAG_DESCENDING | FLAG_NO_VALUES) != 0 {
            return None;
        }
        let selection = match reader.u8()? {
            SELECTION_FILTER => Selection::Filter(TopicFilter::parse(reader.text()?).ok()?),
            SELECTION_RANGE => Selection::Range {
                prefix: reader.bound()?,
                start: reader.bound()?,
                end: reader.bound()?,
            },
            _ => return None,
        };
        let after = TopicName::parse(reader.text()?).ok()?;
        let direction = if flags & FLAG_DESCENDING == 0 {
            Direction::Ascending
        } else {
            Direction::Descending
        };
        let listing = Listing {
            selection,
            direction,
            values: flags & FLAG_NO_VALUES == 0,
        };
        Some(Self {
            revision,
            listing,
            after,
        })
    }
}

/// Appends a text with its length. Topics and filters are far below 64 KiB.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(0);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(text.bytes().take(usize::from(length)));
}

/// Reads fields from the front of a slice. Each gives `None` if too little is left.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// One byte.
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A big-endian number of two bytes.
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A big-endian number of four bytes.
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A big-endian number of eight bytes.
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A text with its length.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.u16()?;
        std::str::from_utf8(self.bytes(usize::from(length))?).ok()
    }

    /// A topic that may be absent.
    fn bound(&mut self) -> Option<Option<TopicName>> {
        match self.text()? {
            "" => Some(None),
            text => TopicName::parse(text).ok().map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor(selection: Selection, direction: Direction, values: bool) -> Cursor {
        let listing = Listing {
            selection,
            direction,
            values,
        };
        Cursor {
            node_id: 3,
            place: Place {
                revision: 42,
                listing,
                after: TopicName::parse("a/ß").unwrap(),
            },
        }
    }

    #[test]
    fn a_cursor_reads_back() {
        let name = |text: &str| Some(TopicName::parse(text).unwrap());
        let filter = Selection::Filter(TopicFilter::parse("a/+/#").unwrap());
        let range = Selection::Range {
            prefix: name("a"),
            start: None,
            end: name("a/z"),
        };
        for cursor in [
            cursor(filter, Direction::Ascending, true),
            cursor(range, Direction::Descending, false),
        ] {
            let text = cursor.encode();
            assert!(
                text.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            );
            assert_eq!(Cursor::decode(&text).unwrap(), cursor);
        }
    }

    #[test]
    fn a_changed_cursor_is_refused() {
        let range = Selection::Range {
            prefix: None,
            start: None,
            end: None,
        };
        let text = cursor(range, Direction::Ascending, true).encode();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(Cursor::decode(std::str::from_utf8(&changed).unwrap()).is_err());
            assert!(Cursor::decode(&text[..at]).is_err());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Place::decode(&mut Reader(&bytes));
            let _ = Cursor::decode(&banyan_api::record::encode_base64url(&bytes));
        }
    }
}
