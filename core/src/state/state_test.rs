//! Each rule of `apply` by itself.

use bytes::Bytes;

use super::compact::TombstoneBounds;
use super::testing::*;
use super::*;
use crate::command::{
    BatchId, CaughtUp, Command, Condition, Delete, Disconnect, Item, Kick, Operation, Progress, Put, Release,
    ReplayFrom, Sent, Unsubscribe, Will,
};
use crate::keyspace::Tombstone;
use crate::keyspace::scan::Selection;
use crate::limits::TIMESTAMP_AHEAD_MAX_US;
use crate::metadata::{Metadata, MetadataBuilder};
use crate::store::{Direction, MemoryStore, Store};
use crate::topic::{SubscriptionFilter, TopicFilter};

mod checkpoints;
mod compaction;
mod conditions;
mod delete_by_filter;
mod entries;
mod expiry;
mod levels;
mod members;
mod messages;
mod origins;
mod sessions_connect;
mod sessions_late;
mod sessions_messages;
mod sessions_wills;
mod timestamps;
mod views;
mod writes;

fn put_at(text: &str, payload: &str, timestamp_us: u64) -> Put {
    Put {
        timestamp_us: Some(timestamp_us),
        ..put(text, payload)
    }
}

fn delete_at(text: &str, timestamp_us: u64) -> Delete {
    Delete {
        timestamp_us: Some(timestamp_us),
        ..delete(text)
    }
}
