//! openraft's own checks of a log storage, also with a restart of the log before every call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use openraft::StorageError;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::SnapshotOf;
use parking_lot::Mutex;

use super::super::types::{SnapshotMeta, StoredMembership};
use super::*;
use crate::storage::disk::MemoryDisk;

/// A state machine that only remembers how far it is.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<Position>>);

#[derive(Clone, Default)]
struct Position {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<SnapshotMeta>,
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, ()>, io::Error> {
        let mut position = self.0.lock();
        let meta = SnapshotMeta {
            last_log_id: position.applied,
            last_membership: position.membership.clone(),
        };
        position.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let position = self.0.lock();
        Ok((position.applied, position.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, _) = item?;
            let mut position = self.0.lock();
            position.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                position.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _snapshot: ()) -> Result<(), io::Error> {
        *self.0.lock() = Position {
            applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
            snapshot: Some(meta.clone()),
        };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, ()>>, io::Error> {
        Ok(self
            .0
            .lock()
            .snapshot
            .clone()
            .map(|meta| Snapshot { meta, snapshot: () }))
    }
}

fn settings(thread: bool) -> LogSettings {
    LogSettings {
        segment_bytes: 8192,
        cache_bytes: 500,
        mark_bytes: 1000,
        thread,
        ..LogSettings::default()
    }
}

fn open(disk: &MemoryDisk, thread: bool) -> LogStore {
    LogStore::open(
        Arc::new(disk.clone()),
        &PathBuf::from("log"),
        &settings(thread),
        Arc::new(|_: &str| ()),
    )
    .unwrap()
}

struct Plain {
    thread: bool,
}

impl StoreBuilder<TypeConfig, LogStore, Machine> for Plain {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError<TypeConfig>> {
        Ok(((), open(&MemoryDisk::new(), self.thread), Machine::default()))
    }
}

#[tokio::test]
async fn passes_the_suite_with_a_writer_thread() {
    Suite::test_all(Plain { thread: true }).await.unwrap();
}

#[tokio::test]
async fn passes_the_suite_inline() {
    Suite::test_all(Plain { thread: false }).await.unwrap();
}

/// A store whose log is closed and opened again, or loses its power, before every call.
#[derive(Clone)]
struct Restarting {
    disk: MemoryDisk,
    store: Arc<Mutex<Option<LogStore>>>,
    restarts: Arc<AtomicU64>,
}

impl Restarting {
    fn restart(&self) -> (LogStore, LogReader) {
        if let Some(store) = self.store.lock().take() {
            if self.restarts.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                store.log.close().unwrap();
            } else {
                // Committed is only written at a clean stop or with the next append.
                let committed = store.log.committed().unwrap();
                drop(store);
                self.disk.crash(&mut |_| 0);
                if let Some(committed) = committed {
                    open(&self.disk, false).log.save_committed(committed).unwrap();
                }
            }
        }
        let store = open(&self.disk, false);
        let (log, reader) = (
            Arc::clone(&store.log),
            LogReader {
                log: Arc::clone(&store.log),
            },
        );
        (LogStore { log }, reader)
    }

    fn keep(&self, store: LogStore) {
        *self.store.lock() = Some(store);
    }
}

impl RaftLogReader<TypeConfig> for Restarting {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (store, mut reader) = self.restart();
        let answer = reader.try_get_log_entries(range).await;
        self.keep(store);
        answer
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let (store, mut reader) = self.restart();
        let answer = reader.read_vote().await;
        self.keep(store);
        answer
    }
}

impl RaftLogStorage<TypeConfig> for Restarting {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let (mut store, _) = self.restart();
        let answer = store.get_log_state().await;
        self.keep(store);
        answer
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (mut store, _) = self.restart();
        let answer = store.save_vote(vote).await;
        self.keep(store);
        answer
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let (mut store, _) = self.restart();
        let answer = store.save_committed(committed).await;
        store.log.close()?;
        answer
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let (mut store, _) = self.restart();
        let answer = store.read_committed().await;
        store.log.close()?;
        answer
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut store, _) = self.restart();
        let answer = store.append(entries, callback).await;
        self.keep(store);
        answer
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let (mut store, _) = self.restart();
        let answer = store.truncate_after(last_log_id).await;
        self.keep(store);
        answer
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let (mut store, _) = self.restart();
        let answer = store.purge(log_id).await;
        self.keep(store);
        answer
    }
}

struct RestartingBuilder;

impl StoreBuilder<TypeConfig, Restarting, Machine> for RestartingBuilder {
    async fn build(&self) -> Result<((), Restarting, Machine), StorageError<TypeConfig>> {
        let store = Restarting {
            disk: MemoryDisk::new(),
            store: Arc::default(),
            restarts: Arc::default(),
        };
        Ok(((), store, Machine::default()))
    }
}

#[tokio::test]
async fn passes_the_suite_with_a_restart_before_every_call() {
    Suite::test_all(RestartingBuilder).await.unwrap();
}

#[test]
fn entries_of_every_kind_read_back() {
    let membership = openraft::Membership::new(
        vec![[1, 2].into()],
        BTreeMap::from([
            (1, openraft::BasicNode::new("a:1")),
            (2, openraft::BasicNode::new("b:1")),
        ]),
    )
    .unwrap();
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(EntryData(Bytes::from_static(b"payload"))),
        EntryPayload::Membership(membership),
    ];
    for payload in payloads {
        let log_id = LogId {
            leader_id: LeaderId { term: 3, node_id: 9 },
            index: 11,
        };
        let entry = Entry { log_id, payload };
        assert_eq!(to_raft(from_raft(entry.clone()).unwrap()).unwrap(), entry);
    }
}
