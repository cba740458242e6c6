//! A copy of a state for another node: what a Raft snapshot carries.

use bytes::Bytes;

use super::StateView;
use crate::keyspace::KeyKind;
use crate::keyspace::meta::{MEMBERSHIP_KEY, POSITION_KEY};
use crate::keyspace::origin::origin_key;
use crate::store::{Direction, ReadView, StoreError};

impl StateView {
    /// Appends the rows after the key `last` (`None`: from the first), in key order, until they have `bytes_max` bytes or
    /// there are no more; at least one row if there is one. Returns whether there may be more.
    ///
    /// All rows, pushed into a [`Replacement`](crate::store::Replacement), make a store that
    /// [`State::open`](super::State::open) opens as the state of this view.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn export_chunk(
        &self,
        last: Option<&[u8]>,
        bytes_max: usize,
        out: &mut Vec<(Bytes, Bytes)>,
    ) -> Result<bool, StoreError> {
        let mut bytes = 0;
        let lower = match last {
            Some(last) if last >= &[KeyKind::Topic as u8][..] => [last, &[0]].concat(),
            _ => vec![KeyKind::Topic as u8],
        };
        let heads = self.head_rows().into_iter().map(Ok);
        let rows = heads.chain(self.view.range(&lower, None, Direction::Ascending));
        for row in rows {
            let (key, value) = row?;
            if last.is_some_and(|last| &key[..] <= last) {
                continue;
            }
            if bytes >= bytes_max && bytes > 0 {
                return Ok(true);
            }
            bytes += key.len() + value.len();
            out.push((key, value));
        }
        Ok(false)
    }

    /// The rows that live outside of the layers between checkpoints. Their kinds sort before all others.
    fn head_rows(&self) -> Vec<(Bytes, Bytes)> {
        const _: () = assert!((KeyKind::Meta as u8) < KeyKind::Origin as u8);
        const _: () = assert!((KeyKind::Origin as u8) < KeyKind::Topic as u8);
        let mut rows = vec![(Bytes::from_static(&POSITION_KEY), self.position().encode())];
        rows.extend(
            self.membership
                .clone()
                .map(|membership| (Bytes::from_static(&MEMBERSHIP_KEY), membership)),
        );
        rows.extend(
            self.origins
                .iter()
                .map(|(node_id, row)| (origin_key(*node_id), row.encode())),
        );
        rows
    }
}
