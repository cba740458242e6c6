//! openraft over real sockets, with log and state in memory.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;

use banyan_core::store::{Direction, MemoryStore};
use futures_util::{FutureExt, StreamExt};
use openraft::errors::RPCError;
use openraft::raft::StreamAppendError;
use openraft::storage::{EntryResponder, IOFlushed, LogState, RaftLogStorage, Snapshot};
use openraft::type_config::alias::CommittedLeaderIdOf;
use openraft::{Config, EntryPayload, RaftLogReader, RaftSnapshotBuilder, SnapshotPolicy};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::components::SystemRandom;
use crate::consensus::types::{Entry, EntryData, LogId, SnapshotMeta, StoredMembership};
use crate::net::{Net, Tcp};
use crate::peer::PeerHandler;

const LONG: Duration = Duration::from_secs(60);
const CLUSTER: u64 = 5;

/// A log that loses nothing and syncs nothing.
#[derive(Clone, Default)]
struct MemoryLog(Arc<Mutex<LogContents>>);

#[derive(Default)]
struct LogContents {
    entries: BTreeMap<u64, Entry>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
}

impl RaftLogReader<TypeConfig> for MemoryLog {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self
            .0
            .lock()
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.lock().vote)
    }

    /// Few at a time, so that a thousand entries are many requests.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.try_get_log_entries(start..end.min(start + 7)).await
    }
}

impl RaftLogStorage<TypeConfig> for MemoryLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let log = self.0.lock();
        let last = log.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState {
            last_purged_log_id: log.purged,
            last_log_id: last.or(log.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.0.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.0.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.0.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.0
            .lock()
            .entries
            .extend(entries.into_iter().map(|entry| (entry.log_id.index, entry)));
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.0.lock().entries.split_off(&last.map_or(0, |last| last.index + 1));
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut log = self.0.lock();
        log.entries = log.entries.split_off(&(log_id.index + 1));
        log.purged = Some(log_id);
        Ok(())
    }
}

/// A state that keeps each command as a key.
#[derive(Clone, Default)]
struct Machine {
    store: MemoryStore,
    shared: Arc<Mutex<MachineState>>,
}

#[derive(Default)]
struct MachineState {
    meta: SnapshotMeta,
    applied: Vec<Bytes>,
}

impl Machine {
    fn applied(&self) -> Vec<Bytes> {
        self.shared.lock().applied.clone()
    }

    fn pairs(&self) -> Vec<(Bytes, Bytes)> {
        self.store
            .view()
            .range(&[], None, Direction::Ascending)
            .map(Result::unwrap)
            .collect()
    }

    fn snapshot(&self) -> SnapshotOf<TypeConfig, SnapshotData> {
        Snapshot {
            meta: self.shared.lock().meta.clone(),
            snapshot: SnapshotData::View(self.store.view()),
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let meta = self.shared.lock().meta.clone();
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.next().await.transpose()? {
            {
                let mut state = self.shared.lock();
                state.meta.last_log_id = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Membership(membership) => {
                        state.meta.last_membership = StoredMembership::new(Some(entry.log_id), membership);
                    }
                    EntryPayload::Normal(data) => {
                        self.store
                            .write(vec![(data.0.clone(), Some(Bytes::from_static(b"x")))])
                            .unwrap();
                        state.applied.push(data.0);
                    }
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> Result<(), io::Error> {
        // openraft also offers what this machine already has, at its start.
        if let SnapshotData::Received(replacement) = data {
            replacement.install().unwrap();
        }
        self.shared.lock().meta = meta.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        let snapshot = self.snapshot();
        Ok(snapshot.meta.last_log_id.is_some().then_some(snapshot))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        Ok(self.snapshot())
    }
}

struct RaftHandler(RaftServer<Machine>);

impl PeerHandler for RaftHandler {
    fn on_request(&self, from: u64, lane: Lane, kind: u8, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        self.0.on_request(from, lane, kind, body)
    }

    fn on_message(&self, _from: u64, _lane: Lane, _kind: u8, _body: Bytes) {}

    fn on_stream(&self, from: u64, lane: Lane, kind: u8, stream: PeerStream) {
        self.0.on_stream(from, lane, kind, stream);
    }
}

fn peers(local: u64) -> Peers {
    Peers::new(local, CLUSTER, Arc::new(Tcp), Arc::new(SystemRandom))
}

/// Serves `handler` as node `id` and returns the address.
async fn listen(id: u64, address: &str, handler: Arc<dyn PeerHandler>) -> (String, impl AsyncFnOnce()) {
    let listener = Tcp.bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(crate::peer::serve(listener, id, CLUSTER, handler, shutdown.clone()));
    (address, async move || {
        shutdown.cancel();
        served.await.unwrap();
    })
}

struct Node<F> {
    raft: Raft<TypeConfig, Machine>,
    log: MemoryLog,
    machine: Machine,
    address: String,
    stop_listening: F,
}

async fn start(id: u64, address: &str, log: MemoryLog, machine: Machine) -> Node<impl AsyncFnOnce()> {
    let config = Config {
        heartbeat_interval: 250,
        election_timeout_min: 1000,
        election_timeout_max: 2000,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        enable_pre_vote: Some(true),
        ..Config::default()
    };
    let network = NetworkFactory::new(peers(id), Arc::default(), Arc::default());
    let config = Arc::new(config.validate().unwrap());
    let raft = Raft::new(id, config, network, log.clone(), machine.clone())
        .await
        .unwrap();
    let server = RaftServer::new(raft.clone(), Arc::new(machine.store.clone()), 0);
    let (address, stop_listening) = listen(id, address, Arc::new(RaftHandler(server))).await;
    Node {
        raft,
        log,
        machine,
        address,
        stop_listening,
    }
}

async fn start_new(id: u64, machine: Machine) -> Node<impl AsyncFnOnce()> {
    start(id, "127.0.0.1:0", MemoryLog::default(), machine).await
}

/// Writes `count` commands at once and returns after all are applied at the leader.
async fn write(leader: &Raft<TypeConfig, Machine>, name: &str, count: u32) {
    // A new leader takes nothing before a majority has heard of it.
    leader
        .wait(Some(LONG))
        .leader_with_quorum_acked(None, "has contact")
        .await
        .unwrap();
    let written = (0..count).map(|number| leader.client_write(EntryData(Bytes::from(format!("{name}-{number:06}")))));
    futures_util::future::try_join_all(written).await.unwrap();
}

async fn wait_for<F>(nodes: &[&Node<F>], index: u64) {
    for node in nodes {
        node.raft
            .wait(Some(LONG))
            .applied_index_at_least(Some(index), "catches up")
            .await
            .unwrap();
    }
}

fn last_index<F>(node: &Node<F>) -> u64 {
    node.machine.shared.lock().meta.last_log_id.unwrap().index
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_elect_replicate_and_take_a_restarted_follower_back() {
    let one = start_new(1, Machine::default()).await;
    let two = start_new(2, Machine::default()).await;
    let three = start_new(3, Machine::default()).await;
    let members: BTreeMap<u64, BasicNode> = [(1, &one.address), (2, &two.address), (3, &three.address)]
        .map(|(id, at)| (id, BasicNode::new(at)))
        .into();
    one.raft.initialize(members).await.unwrap();
    one.raft
        .wait(Some(LONG))
        .current_leader(1, "the only one that knows the members")
        .await
        .unwrap();

    write(&one.raft, "first", 1000).await;
    wait_for(&[&two, &three], last_index(&one)).await;
    let applied = one.machine.applied();
    assert_eq!(applied.len(), 1000);
    assert_eq!(two.machine.applied(), applied);
    assert_eq!(three.machine.applied(), applied);

    // A follower goes, misses something, and comes back.
    three.raft.shutdown().await.unwrap();
    (three.stop_listening)().await;
    write(&one.raft, "second", 100).await;
    let three = start(3, &three.address, three.log, three.machine).await;
    write(&one.raft, "third", 100).await;
    three
        .raft
        .wait(Some(LONG))
        .applied_index_at_least(Some(last_index(&one)), "comes back")
        .await
        .unwrap();
    assert_eq!(three.machine.applied(), one.machine.applied());

    // The leader goes, and another takes over.
    one.raft.shutdown().await.unwrap();
    (one.stop_listening)().await;
    let wait = two.raft.wait(Some(LONG));
    let elected = wait
        .metrics(|now| matches!(now.current_leader, Some(2 | 3)), "a new leader")
        .await
        .unwrap();
    // The index is the machine's: the metrics of the leader may lag what it has answered.
    let index = if elected.current_leader == Some(2) {
        write(&two.raft, "fourth", 100).await;
        last_index(&two)
    } else {
        write(&three.raft, "fourth", 100).await;
        last_index(&three)
    };
    for raft in [&two.raft, &three.raft] {
        let wait = raft.wait(Some(LONG));
        wait.applied_index_at_least(Some(index), "follows").await.unwrap();
    }
    assert_eq!(two.machine.applied(), three.machine.applied());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_the_purged_log_gets_a_snapshot() {
    let machine = Machine::default();
    // Several chunks, and one pair that fills a chunk alone.
    let mut pairs: Vec<_> = (0..10_000)
        .map(|n| (Bytes::from(format!("k{n:05}")), Some(vec![7; 300].into())))
        .collect();
    pairs.push((Bytes::from("large"), Some(vec![8; 3_000_000].into())));
    machine.store.write(pairs).unwrap();
    let one = start_new(1, machine).await;
    one.raft
        .initialize(BTreeMap::from([(1, BasicNode::new(&one.address))]))
        .await
        .unwrap();
    one.raft.wait(Some(LONG)).current_leader(1, "alone").await.unwrap();
    write(&one.raft, "before", 10).await;
    let covered = last_index(&one);
    one.raft.trigger().snapshot().await.unwrap();
    one.raft
        .wait(Some(LONG))
        .metrics(|now| now.snapshot.is_some_and(|at| at.index >= covered), "built")
        .await
        .unwrap();
    one.raft.trigger().purge_log(covered).await.unwrap();
    one.raft
        .wait(Some(LONG))
        .metrics(|now| now.purged.is_some_and(|at| at.index >= covered), "purged")
        .await
        .unwrap();

    let two = start_new(2, Machine::default()).await;
    one.raft
        .add_learner(2, BasicNode::new(&two.address), false)
        .await
        .unwrap();
    write(&one.raft, "after", 10).await;
    two.raft
        .wait(Some(LONG))
        .applied_index_at_least(Some(last_index(&one)), "installed")
        .await
        .unwrap();
    let (sent, received) = (one.machine.pairs(), two.machine.pairs());
    assert_eq!(received.len(), 10_021);
    assert!(sent == received, "the stores differ");
    assert!(
        two.machine.applied().len() < 20,
        "something was not applied but installed"
    );
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderIdOf::<TypeConfig> { term: 1, node_id: 1 }, index)
}

fn append(index: u64) -> AppendEntriesRequest {
    AppendEntriesRequest {
        vote: Vote::new_committed(1, 1),
        prev_log_id: Some(log_id(index - 1)),
        entries: vec![openraft::entry::RaftEntry::new(
            log_id(index),
            EntryPayload::Normal(EntryData(Bytes::from("command"))),
        )],
        leader_commit: None,
    }
}

/// A follower that answers nothing until it has `hold` requests, then all: with success, but a conflict for the last.
struct Holding {
    hold: u64,
    conflict: bool,
}

impl PeerHandler for Holding {
    fn on_request(
        &self,
        _from: u64,
        _lane: Lane,
        _kind: u8,
        _body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        async { Err("not asked for".to_owned()) }.boxed()
    }

    fn on_message(&self, _from: u64, _lane: Lane, _kind: u8, _body: Bytes) {}

    fn on_stream(&self, _from: u64, lane: Lane, _kind: u8, mut stream: PeerStream) {
        assert_eq!(lane, Lane::Append);
        let (hold, conflict) = (self.hold, self.conflict);
        tokio::spawn(async move {
            let mut held = Vec::new();
            for _ in 0..hold {
                let body = stream.receiver.recv().await.unwrap().unwrap();
                held.push(wire::decode_append(&body).unwrap().entries[0].log_id);
            }
            let last = *held.last().unwrap();
            for log_id in held {
                let result: StreamAppendResult<TypeConfig> = if conflict && log_id == last {
                    Err(StreamAppendError::Conflict(log_id))
                } else {
                    Ok(Some(log_id))
                };
                stream.sender.send(wire::encode(&result).unwrap()).unwrap();
            }
        });
    }
}

async fn client_of(follower: Holding) -> RaftClient {
    let (address, _stop) = listen(2, "127.0.0.1:0", Arc::new(follower)).await;
    NetworkFactory::new(peers(1), Arc::default(), Arc::default())
        .new_client(2, &BasicNode::new(address))
        .await
}

#[tokio::test]
async fn requests_do_not_wait_for_responses_and_responses_keep_their_order() {
    let mut client = client_of(Holding {
        hold: 50,
        conflict: false,
    })
    .await;
    let input = futures_util::stream::iter((1..=50).map(append));
    let responses = RaftNetworkV2::stream_append(&mut client, input, RPCOption::new(LONG))
        .await
        .unwrap();
    let matching: Vec<_> = responses
        .map(|response| response.unwrap().unwrap().unwrap().index)
        .collect()
        .await;
    assert_eq!(matching, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_conflict_ends_the_stream() {
    let mut client = client_of(Holding {
        hold: 3,
        conflict: true,
    })
    .await;
    let input = futures_util::stream::iter((1..=50).map(append));
    let responses = RaftNetworkV2::stream_append(&mut client, input, RPCOption::new(LONG))
        .await
        .unwrap();
    let responses: Vec<_> = responses.map(Result::unwrap).collect().await;
    let expected = [
        Ok(Some(log_id(1))),
        Ok(Some(log_id(2))),
        Err(StreamAppendError::Conflict(log_id(3))),
    ];
    assert_eq!(responses, expected);
}

#[tokio::test]
async fn a_stream_that_breaks_is_an_error_even_when_idle() {
    let mut client = client_of(Holding {
        hold: 1,
        conflict: false,
    })
    .await;
    let input = futures_util::stream::iter([append(1)]).chain(futures_util::stream::pending());
    let mut responses = RaftNetworkV2::stream_append(&mut client, Box::pin(input), RPCOption::new(LONG))
        .await
        .unwrap();
    assert_eq!(responses.next().await.unwrap().unwrap(), Ok(Some(log_id(1))));
    // The follower has closed its side.
    assert!(matches!(responses.next().await, Some(Err(RPCError::Network(_)))));
    assert!(responses.next().await.is_none());
}

#[tokio::test]
async fn nobody_speaks_for_another_node_and_unknown_kinds_are_refused() {
    let node = start_new(2, Machine::default()).await;
    let impostor = peers(9);
    impostor.set_address(2, node.address.clone());
    let vote = wire::encode(&VoteRequest::<TypeConfig>::new(Vote::new(7, 1), None)).unwrap();
    let append = wire::encode_append(&append(1)).unwrap();
    for (kind, body) in [
        (kind::VOTE, vote.clone()),
        (kind::PRE_VOTE, vote),
        (kind::APPEND, append.clone()),
    ] {
        let answer = impostor.request(2, Lane::Control, kind, body, LONG).await;
        assert_eq!(
            answer,
            Err(PeerError::Failed("node 9 speaks in the name of node 1".into()))
        );
    }
    assert!(matches!(
        impostor.request(2, Lane::Control, 0x3f, append.clone(), LONG).await,
        Err(PeerError::Failed(_))
    ));
    let mut stream = impostor
        .open_stream(2, Lane::Append, kind::APPEND_STREAM, LONG)
        .await
        .unwrap();
    stream.sender.send(append).unwrap();
    assert_eq!(stream.receiver.recv().await, None);
    assert_eq!(node.log.0.lock().vote, None);
    assert!(node.log.0.lock().entries.is_empty());
}

#[tokio::test]
async fn a_snapshot_that_breaks_off_is_damaged_or_is_overtaken_leaves_no_trace() {
    let node = start_new(2, Machine::default()).await;
    node.machine
        .store
        .write(vec![(Bytes::from("kept"), Some(Bytes::from("so")))])
        .unwrap();
    let sender = peers(9);
    sender.set_address(2, node.address.clone());
    let open = async || {
        sender
            .open_stream(2, Lane::Snapshot, kind::SNAPSHOT_STREAM, LONG)
            .await
            .unwrap()
    };
    let begin = wire::encode(&(Vote::new_committed(7, 9), SnapshotMeta::default())).unwrap();
    let begin = Bytes::from([&[0][..], &begin].concat());
    let chunk = Bytes::from_static(b"\x01\0\0\0\x03\0\0\0\x01keyv");
    let taken = Some(Ok(Bytes::from_static(&[0])));

    // Breaks off.
    let mut broken = open().await;
    broken.sender.send(begin.clone()).unwrap();
    assert_eq!(broken.receiver.recv().await, taken);
    broken.sender.send(chunk.clone()).unwrap();
    assert_eq!(broken.receiver.recv().await, taken);
    drop(broken);

    // Is overtaken by one that is damaged. Both are told what is there and begin anew.
    let mut overtaken = open().await;
    overtaken.sender.send(begin.clone()).unwrap();
    let held = overtaken.receiver.recv().await.unwrap().unwrap();
    assert_eq!((held[0], held.len()), (0, 13));
    let mut damaged = open().await;
    damaged.sender.send(begin).unwrap();
    let replaced = PeerError::Failed("a newer transfer replaces this one".into());
    assert_eq!(overtaken.receiver.recv().await, Some(Err(replaced)));
    assert_eq!(damaged.receiver.recv().await, Some(Ok(held)));
    damaged.sender.send(chunk).unwrap();
    assert_eq!(damaged.receiver.recv().await, taken);
    damaged
        .sender
        .send(Bytes::from_static(b"\x02\0\0\0\0\0\0\0\x01\0\0\0\0"))
        .unwrap();
    assert!(
        matches!(damaged.receiver.recv().await, Some(Err(PeerError::Failed(reason))) if reason.contains("what came"))
    );
    assert_eq!(node.machine.pairs(), [(Bytes::from("kept"), Bytes::from("so"))]);
}

/// Sends `begin`, and gives what the receiver says it has.
async fn begin_snapshot(sender: &Peers, begin: &Bytes) -> (PeerStream, Bytes) {
    let stream = sender.open_stream(2, Lane::Snapshot, kind::SNAPSHOT_STREAM, LONG);
    let mut stream = stream.await.unwrap();
    stream.sender.send(begin.clone()).unwrap();
    let taken = stream.receiver.recv().await.unwrap().unwrap();
    assert_eq!(taken[0], 0);
    (stream, taken.slice(1..))
}

#[tokio::test]
async fn a_snapshot_that_broke_off_goes_on_where_it_was() {
    let node = start_new(2, Machine::default()).await;
    let sender = peers(9);
    sender.set_address(2, node.address.clone());
    let begin_of = |meta: &SnapshotMeta| {
        let begin = wire::encode(&(Vote::new_committed(7, 9), meta)).unwrap();
        Bytes::from([&[0][..], &begin].concat())
    };
    let begin = begin_of(&SnapshotMeta::default());
    let chunk = |key: u8| Bytes::from(vec![1, 0, 0, 0, 1, 0, 0, 0, 1, key, b'v']);
    let tagged = |tag: u8, chunks: &[u8]| {
        let bodies: Vec<u8> = chunks.iter().flat_map(|key| chunk(*key)[1..].to_vec()).collect();
        let crc = crc32c::crc32c(&bodies).to_be_bytes();
        Bytes::from([&[tag][..], &(chunks.len() as u64).to_be_bytes(), &crc].concat())
    };
    let taken = Some(Ok(Bytes::from_static(&[0])));

    let (mut broken, held) = begin_snapshot(&sender, &begin).await;
    assert!(held.is_empty());
    for key in [b'a', b'b'] {
        broken.sender.send(chunk(key)).unwrap();
        assert_eq!(broken.receiver.recv().await, taken);
    }
    // The connection is not even known to be broken yet when the next attempt comes.
    let (mut resumed, held) = begin_snapshot(&sender, &begin).await;
    assert_eq!(held, tagged(0, b"ab").slice(1..), "it says what it has");
    resumed.sender.send(tagged(3, b"ab")).unwrap();
    resumed.sender.send(chunk(b'c')).unwrap();
    assert_eq!(resumed.receiver.recv().await, taken);
    drop(resumed);

    // Whoever goes on with something else is refused, and then nothing is left to go on with.
    let (mut wrong, held) = begin_snapshot(&sender, &begin).await;
    assert_eq!(held, tagged(0, b"abc").slice(1..));
    wrong.sender.send(tagged(3, b"abd")).unwrap();
    assert!(
        matches!(wrong.receiver.recv().await, Some(Err(PeerError::Failed(reason))) if reason.contains("not there"))
    );
    let (mut anew, held) = begin_snapshot(&sender, &begin).await;
    assert!(held.is_empty());
    anew.sender.send(chunk(b'a')).unwrap();
    assert_eq!(anew.receiver.recv().await, taken);
    drop(anew);

    // One who does not go on begins anew; another snapshot finds nothing.
    let (mut anew, held) = begin_snapshot(&sender, &begin).await;
    assert_eq!(held, tagged(0, b"a").slice(1..));
    anew.sender.send(chunk(b'a')).unwrap();
    assert_eq!(anew.receiver.recv().await, taken);
    drop(anew);
    let other = SnapshotMeta {
        last_log_id: Some(log_id(3)),
        ..SnapshotMeta::default()
    };
    let (mut other, held) = begin_snapshot(&sender, &begin_of(&other)).await;
    assert!(held.is_empty());
    for key in [b'x', b'y'] {
        other.sender.send(chunk(key)).unwrap();
        assert_eq!(other.receiver.recv().await, taken);
    }
    other.sender.send(tagged(2, b"xy")).unwrap();
    let done = other.receiver.recv().await.unwrap().unwrap();
    assert_eq!(done[0], 1);
    let keys: Vec<_> = node.machine.pairs().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["x", "y"]);
}

/// A receiver that takes two chunks and goes, then says what it has, and takes the rest.
#[derive(Default)]
struct Breaking(Arc<Mutex<Vec<Vec<Bytes>>>>);

impl PeerHandler for Breaking {
    fn on_request(
        &self,
        _from: u64,
        _lane: Lane,
        _kind: u8,
        _body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        async { Err("not asked for".to_owned()) }.boxed()
    }

    fn on_message(&self, _from: u64, _lane: Lane, _kind: u8, _body: Bytes) {}

    fn on_stream(&self, _from: u64, _lane: Lane, _kind: u8, mut stream: PeerStream) {
        let attempts = Arc::clone(&self.0);
        tokio::spawn(async move {
            let held: Vec<u8> = attempts
                .lock()
                .iter()
                .flatten()
                .flat_map(|chunk| chunk[1..].to_vec())
                .collect();
            let begin = stream.receiver.recv().await.unwrap().unwrap();
            assert_eq!(begin[0], 0);
            let (pairs, crc) = (attempts.lock().iter().flatten().count() as u64, crc32c::crc32c(&held));
            let has = [&[0][..], &pairs.to_be_bytes(), &crc.to_be_bytes()].concat();
            let taken = if pairs == 0 { vec![0] } else { has.clone() };
            stream.sender.send(taken.into()).unwrap();
            attempts.lock().push(Vec::new());
            if pairs > 0 {
                let resume = stream.receiver.recv().await.unwrap().unwrap();
                assert_eq!((resume[0], &resume[1..]), (3, &has[1..]));
            }
            loop {
                let message = stream.receiver.recv().await.unwrap().unwrap();
                if message[0] == 2 {
                    let response = SnapshotResponse::<TypeConfig>::new(Vote::new_committed(1, 1));
                    let done = [&[1][..], &wire::encode(&response).unwrap()].concat();
                    return stream.sender.send(done.into()).unwrap();
                }
                attempts.lock().last_mut().unwrap().push(message);
                if pairs == 0 && attempts.lock()[0].len() == 2 {
                    return;
                }
                stream.sender.send(Bytes::from_static(&[0])).unwrap();
            }
        });
    }
}

#[tokio::test]
async fn a_sender_goes_on_where_it_was() {
    let follower = Breaking::default();
    let attempts = Arc::clone(&follower.0);
    let (address, _stop) = listen(2, "127.0.0.1:0", Arc::new(follower)).await;
    let unfinished = Arc::new(Unfinished::default());
    let mut factory = NetworkFactory::new(peers(1), Arc::clone(&unfinished), Arc::default());
    let mut client = factory.new_client(2, &BasicNode::new(address)).await;
    let store = MemoryStore::new();
    let large = |key: u8| (Bytes::copy_from_slice(&[key]), Some(vec![key; 1_500_000].into()));
    store.write((0..5).map(large).collect()).unwrap();
    let view: Arc<dyn banyan_core::store::ReadView> = store.view();
    let snapshot = || Snapshot {
        meta: SnapshotMeta {
            last_log_id: Some(log_id(3)),
            ..SnapshotMeta::default()
        },
        snapshot: SnapshotData::View(Arc::clone(&view)),
    };
    let vote = Vote::new_committed(1, 1);
    let mut send = async || {
        let never = std::future::pending();
        RaftNetworkV2::full_snapshot(&mut client, vote, snapshot(), never, RPCOption::new(LONG)).await
    };
    assert!(send().await.is_err(), "the follower has gone");
    let kept = unfinished.snapshot().map(|snapshot| snapshot.meta.last_log_id);
    assert_eq!(kept, Some(Some(log_id(3))), "the snapshot is kept for the next attempt");
    send().await.unwrap();
    assert!(unfinished.snapshot().is_none());
    let sent: Vec<Vec<u8>> = attempts
        .lock()
        .iter()
        .map(|chunks| chunks.iter().map(|chunk| chunk[9]).collect())
        .collect();
    assert_eq!(sent, [vec![0, 1], vec![2, 3, 4]], "keys of the chunks of each attempt");
}
