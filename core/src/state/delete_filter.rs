//! Deleting all topics that match a filter.

use std::sync::Arc;

use super::rows::{Current, StoredRecord, TopicKey};
use super::{ApplyError, Change, ChangeKind, DeleteCause, Deletion, Outcome, State};
use crate::command::DeleteFilter;
use crate::keyspace::scan::{Scan, Selection};
use crate::limits::DELETE_FILTER_TOPICS_MAX;
use crate::metadata::Metadata;
use crate::store::Direction;

/// Topics read at a time: bounds what one command holds in memory besides its changes.
const CHUNK_TOPICS: usize = 256;
const CHUNK_BYTES: usize = 1024 * 1024;

impl State {
    pub(super) fn delete_filter(
        &mut self,
        delete: DeleteFilter,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, ApplyError> {
        let limit = delete.limit.min(DELETE_FILTER_TOPICS_MAX);
        // The scan reads the state before the command: deletions do not disturb it.
        let view = Arc::new(self.layer.view());
        let mut scan = Scan::new(view, Selection::Filter(delete.filter), Direction::Ascending);
        let revision = self.position.revision + 1;
        let mut count = 0;
        let mut more = false;
        let mut chunk = Vec::new();
        loop {
            // One row beyond the limit tells whether there are more.
            let wanted = (limit - count) as usize + 1;
            let rows_left = scan.next_chunk(wanted.min(CHUNK_TOPICS), CHUNK_BYTES, &mut chunk)?;
            for (topic, record) in chunk.drain(..) {
                if count == limit {
                    more = true;
                    break;
                }
                let key = TopicKey::of(&topic);
                let current = Current::Record(StoredRecord::of(&key, &record));
                let timestamp_us = self.stamp(&current);
                self.bury(&topic, key, &current, revision, count, timestamp_us)?;
                let deletion = Deletion {
                    timestamp_us,
                    publisher: delete.publisher.clone(),
                    metadata: Metadata::empty(),
                    qos: 2,
                    cause: DeleteCause::Client,
                };
                changes.push(Change {
                    revision,
                    ordinal: count,
                    topic,
                    kind: ChangeKind::Delete(Box::new(deletion)),
                });
                count += 1;
            }
            if more || !rows_left {
                break;
            }
        }
        if count > 0 {
            self.position.revision = revision;
        }
        Ok(Outcome::DeletedMany {
            revision: self.position.revision,
            count,
            more,
        })
    }
}
