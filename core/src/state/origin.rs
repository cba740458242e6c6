//! Origin streams: every batch of a node is taken once, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::digest::RowSum;
use super::{Disposition, OriginOpened, State};
use crate::command::BatchId;
use crate::keyspace::OriginRow;
use crate::keyspace::origin::origin_key_bytes;
use crate::planted::{Bug, planted};
use crate::store::StoreError;

impl State {
    /// Where the origin `node_id` stands.
    ///
    /// # Errors
    /// None at present: the rows are in memory.
    pub fn origin(&self, node_id: u64) -> Result<Option<OriginRow>, StoreError> {
        Ok(self.origins.get(&node_id).copied())
    }

    /// Opens a new life of a node: the next incarnation, with batches from 1 again. With the nonce of the life in force
    /// nothing changes, so that a node may ask again when it missed the answer.
    pub(super) fn open_origin(&mut self, node_id: u64, nonce: u64) -> OriginOpened {
        let row = match self.origins.get(&node_id) {
            Some(row) if row.nonce == nonce => *row,
            former => {
                let incarnation = former.map_or(0, |row| row.incarnation) + 1;
                let row = OriginRow {
                    incarnation,
                    nonce,
                    next_sequence: 1,
                };
                self.set_origin(node_id, row);
                row
            }
        };
        let OriginRow {
            incarnation,
            next_sequence,
            ..
        } = row;
        OriginOpened {
            node_id,
            nonce,
            incarnation,
            next_sequence,
        }
    }

    /// Steps the origin over the batch `id` if that is its next; otherwise says what becomes of the batch.
    pub(super) fn take_batch(&mut self, id: BatchId) -> Result<(), Disposition> {
        let Some(row) = self.origins.get(&id.node_id).copied() else {
            return Err(Disposition::Fenced { incarnation: 0 });
        };
        if id.incarnation != row.incarnation {
            return Err(Disposition::Fenced {
                incarnation: row.incarnation,
            });
        }
        if id.sequence < row.next_sequence {
            return Err(Disposition::Duplicate);
        }
        if id.sequence > row.next_sequence && !planted(Bug::Gap) {
            return Err(Disposition::Gap {
                expected: row.next_sequence,
            });
        }
        self.set_origin(
            id.node_id,
            OriginRow {
                next_sequence: id.sequence + 1,
                ..row
            },
        );
        Ok(())
    }

    fn set_origin(&mut self, node_id: u64, row: OriginRow) {
        // Copies the map only while a view shares it: it has as many entries as the cluster has nodes.
        let origins: &mut BTreeMap<_, _> = Arc::make_mut(&mut self.origins);
        let old = origins.insert(node_id, row).map(OriginRow::to_bytes);
        let key = origin_key_bytes(node_id);
        self.position
            .digest
            .replace_row(&key, old.as_ref().map(<[u8; _]>::as_slice), Some(&row.to_bytes()));
        self.changed.origins.insert(node_id);
    }
}
