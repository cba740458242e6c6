//! All sessions, and who of them is connected or due.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashTable;
use imbl::OrdMap;

use crate::keyspace::Session;
use crate::planted::{Bug, planted};

/// The sessions in memory. Everything follows from the sessions themselves.
#[derive(Debug, Default)]
pub(in crate::state) struct Sessions {
    /// By client identifier. Shared with views.
    by_client: OrdMap<Bytes, Arc<Session>>,
    /// Fences in force, with the client that each belongs to: asked for every message of every client.
    by_fence: HashTable<(u64, Bytes)>,
    /// Those of them from which nothing is taken any more but their end.
    late: BTreeSet<u64>,
    /// Node and fence of each connection in force.
    by_node: BTreeSet<(u64, u64)>,
    /// When something is to be done about sessions without a connection.
    due: BTreeSet<(u64, Bytes)>,
}

/// Fences are consecutive: multiplying by an odd number spreads them over all bits.
const fn hash(fence: u64) -> u64 {
    fence.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Sessions {
    /// All of them, by client identifier. O(1).
    pub(in crate::state) fn by_client(&self) -> OrdMap<Bytes, Arc<Session>> {
        self.by_client.clone()
    }

    pub(in crate::state) fn get(&self, client_id: &[u8]) -> Option<Arc<Session>> {
        self.by_client.get(client_id).cloned()
    }

    /// For changes that nothing else follows from.
    pub(super) fn get_mut(&mut self, client_id: &[u8]) -> Option<&mut Session> {
        self.by_client.get_mut(client_id).map(Arc::make_mut)
    }

    /// The client whose connection has this fence; none if it is not in force.
    pub(in crate::state) fn client_of(&self, fence: u64) -> Option<&Bytes> {
        let entry = self.by_fence.find(hash(fence), |(other, _)| *other == fence);
        entry.map(|(_, client_id)| client_id)
    }

    /// Whether nothing is taken from a connection any more but its end.
    pub(in crate::state) fn is_late(&self, fence: u64) -> bool {
        self.late.contains(&fence)
    }

    /// Connections in force.
    pub(in crate::state) fn connection_count(&self) -> usize {
        self.by_fence.len()
    }

    /// Fences of the connections that a node holds, ascending.
    pub(in crate::state) fn fences_of(&self, node_id: u64) -> impl DoubleEndedIterator<Item = u64> {
        let all = self.by_node.range((node_id, 0)..=(node_id, u64::MAX));
        all.map(|(_, fence)| *fence)
    }

    /// The session that is due first, and when.
    pub(super) fn first_due(&self) -> Option<(u64, &Bytes)> {
        self.due.first().map(|(due_us, client_id)| (*due_us, client_id))
    }

    /// Makes `new` what there is of a client instead of `old`.
    pub(super) fn replace(&mut self, old: Option<&Session>, new: Option<&Arc<Session>>) {
        let is_due = |session: &Session| session.due_us().map(|due_us| (due_us, session.client_id.clone()));
        let (due, new_due) = (old.and_then(is_due), new.and_then(|new| is_due(new)));
        if due != new_due {
            due.map(|due| self.due.remove(&due));
            self.due.extend(new_due);
        }
        self.replace_connection(old, new.map(Arc::as_ref));
        match (old, new) {
            (_, Some(new)) => drop(self.by_client.insert(new.client_id.clone(), Arc::clone(new))),
            (Some(old), None) => drop(self.by_client.remove(&old.client_id)),
            (None, None) => {}
        }
    }

    fn replace_connection(&mut self, old: Option<&Session>, new: Option<&Session>) {
        let (connection, new_connection) = (
            old.and_then(|session| session.connection),
            new.and_then(|session| session.connection),
        );
        if connection == new_connection {
            return;
        }
        if let Some(connection) = connection {
            let fence = connection.fence;
            if let Ok(entry) = self.by_fence.find_entry(hash(fence), |(other, _)| *other == fence)
                && !(planted(Bug::P13) && new_connection.is_some_and(|new| new.fence != fence))
            {
                entry.remove();
            }
            self.late.remove(&fence);
            self.by_node.remove(&(connection.node_id, fence));
        }
        if let (Some(connection), Some(new)) = (new_connection, new) {
            let entry = (connection.fence, new.client_id.clone());
            self.by_fence
                .insert_unique(hash(connection.fence), entry, |(fence, _)| hash(*fence));
            if connection.is_late {
                self.late.insert(connection.fence);
            }
            self.by_node.insert((connection.node_id, connection.fence));
        }
    }
}

#[cfg(test)]
impl Sessions {
    /// All that there is, in order.
    pub(in crate::state) fn contents(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let mut by_fence: Vec<_> = self.by_fence.iter().cloned().collect();
        by_fence.sort();
        (
            self.by_client
                .values()
                .map(|session| Session::clone(session))
                .collect::<Vec<_>>(),
            by_fence,
            self.late.clone(),
            self.by_node.clone(),
            self.due.clone(),
        )
    }
}
