//! What the nodes agree on, as keys and values of one ordered map: one file per kind of key.
//!
//! A key is its kind (one byte) and the rest; numbers are big-endian, so that keys sort as numbers do.
//!
//! | kind | rest of the key | value | present while | file |
//! |---|---|---|---|---|
//! | 0x01 Meta | name (u8) | counters and settings of the whole | always | [`meta`] |
//! | 0x02 Origin | node id (u64) | [`OriginRow`] | the node is a member | [`origin`] |
//! | 0x08 Member | 0x01, node id (u64); 0x02, hash of a token | [`MemberRow`](member::MemberRow); [`TokenRow`](member::TokenRow) | something was ever asked of the node; it has not expired long ago | [`member`] |
//! | 0x10 Topic | stored topic | [`TopicRecord`] | the topic holds a value | [`topic`], [`record`] |
//! | 0x11 Tombstone | stored topic | [`Tombstone`] | the topic was deleted not long ago | [`tombstone`] |
//! | 0x12 Change | revision (u64), ordinal (u32) | stored topic | the topic has a record or a tombstone | [`change`] |
//! | 0x13 Expiry | expires at (u64, µs), stored topic | empty | the record expires | [`expiry`] |
//! | 0x14 TombstoneAge | revision (u64), ordinal (u32) | stored topic | the tombstone is kept | [`tombstone`] |
//! | 0x20 Session | client identifier | [`Session`] | the session has not ended | [`session`] |
//! | 0x21 Subscription | client identifier, 0x00, filter | [`SubscriptionRow`] | the session has subscribed | [`subscription`] |
//! | 0x22 Will | client identifier | [`crate::command::Will`] | the will may be published | [`will`] |
//! | 0x23 Group | text of the subscription; or that, 0x00, revision (u64), ordinal (u32) | [`GroupRow`]; empty | it has members; a lost member had the message | [`group`] |
//! | 0x24 Message | revision (u64), ordinal (u32) | [`Message`] | somebody may still wait for it | [`message`] |
//!
//! A *stored topic* is a topic name with `/` as 0x00; see [`topic`] for why. Reading topics by filter, prefix and range
//! is in [`scan`], which topics a filter needs to look at in [`plan`].

mod buffer;
pub mod change;
pub mod expiry;
pub mod group;
pub mod kind;
pub mod member;
pub mod message;
pub mod meta;
pub mod origin;
pub mod plan;
pub mod position;
pub mod record;
pub mod scan;
pub mod session;
pub mod subscription;
pub mod tombstone;
pub mod topic;
pub mod will;

pub use group::GroupRow;
pub use kind::KeyKind;
pub use message::{Message, MessageContent};
pub use origin::OriginRow;
pub use position::MessagePosition;
pub use record::{FormatError, RecordFields, RecordHead, TopicRecord};
pub use scan::{Scan, Selection};
pub use session::{InFlight, LiveConnection, Session};
pub use subscription::SubscriptionRow;
pub use tombstone::Tombstone;
pub use topic::{subtree_range, topic_key, topic_of_key};
