//! How clients with sessions come to an end together: none ends before it has what the others have sent last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::history::Serial;

/// What clients with sessions know of each other. Clones know the same.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Clients whose last message is not acknowledged yet.
    publishing: BTreeSet<u32>,
    last: BTreeMap<u32, Serial>,
    /// Messages for members of the shared subscription, as far as they were acknowledged.
    acknowledged: BTreeSet<Serial>,
    /// Those that one of them has received.
    received: BTreeSet<Serial>,
    /// The nodes that serve until the end; none: all may.
    serving: BTreeSet<u64>,
}

impl Ending {
    /// Only nodes `ids` serve until the end.
    pub fn serve(&self, ids: &[u64]) {
        self.lock().serving = ids.iter().copied().collect();
    }

    /// Whether `node` is worth asking.
    #[must_use]
    pub fn is_served_by(&self, node: u64) -> bool {
        let shared = self.lock();
        shared.serving.is_empty() || shared.serving.contains(&node)
    }

    /// A client begins.
    pub fn begin(&self, client: u32) {
        self.lock().publishing.insert(client);
    }

    /// A client has sent everything.
    pub fn last(&self, client: u32, serial: Serial) {
        let mut shared = self.lock();
        shared.publishing.remove(&client);
        shared.last.insert(client, serial);
    }

    /// A client gives up.
    pub fn gone(&self, client: u32) {
        self.lock().publishing.remove(&client);
    }

    /// A message for the shared subscription is in the log.
    pub fn acknowledged(&self, serial: Serial) {
        self.lock().acknowledged.insert(serial);
    }

    /// A member has received it.
    pub fn received(&self, serial: Serial) {
        self.lock().received.insert(serial);
    }

    /// Whether a client that has received these messages needs to wait for nothing.
    #[must_use]
    pub fn is_over(&self, received: &BTreeSet<Serial>) -> bool {
        let shared = self.lock();
        shared.publishing.is_empty()
            && shared.last.values().all(|serial| received.contains(serial))
            && shared.acknowledged.is_subset(&shared.received)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_all() {
        let (ending, serial) = (Ending::default(), |client| Serial { client, counter: 1 });
        let received: BTreeSet<_> = [serial(1), serial(2)].into();
        (1..=2).for_each(|client| ending.begin(client));
        ending.last(1, serial(1));
        assert!(!ending.is_over(&received));
        ending.last(2, serial(2));
        assert!(ending.is_over(&received));
        assert!(!ending.is_over(&[serial(1)].into()));
        ending.acknowledged(serial(3));
        assert!(!ending.is_over(&received));
        ending.received(serial(3));
        assert!(ending.is_over(&received));
        ending.begin(3);
        assert!(!ending.is_over(&received));
        ending.gone(3);
        assert!(ending.is_over(&received));
    }
}
