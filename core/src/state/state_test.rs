//! Each rule of `apply` by itself.

use bytes::Bytes;

use super::compact::TombstoneBounds;
use super::testing::*;
use super::*;
use crate::command::{BatchId, Condition, Delete, Item, Operation, Put};
use crate::keyspace::Tombstone;
use crate::keyspace::scan::Selection;
use crate::limits::TIMESTAMP_AHEAD_MAX_US;
use crate::metadata::{Metadata, MetadataBuilder};
use crate::store::{Direction, MemoryStore, Store};
use crate::topic::TopicFilter;

mod checkpoints;
mod compaction;
mod conditions;
mod delete_by_filter;
mod entries;
mod expiry;
mod messages;
mod origins;
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
