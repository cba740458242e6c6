//! Snapshots on their way from one node to another.
//!
//! A snapshot is a frozen view of the leader's store and costs nothing to take. It is read, checked and sent in chunks, as a
//! [`PeerStream`]; the receiver loads it beside the contents of its own store and hands the whole to openraft.
//!
//! | from the sender | body after the tag |
//! |---|---|
//! | 0 begin | vote and metadata (bincode) |
//! | 1 chunk | pairs in key order: key length u32, value length u32, key, value (big-endian) |
//! | 2 end | number of pairs u64, CRC-32C of the bodies of all chunks u32 (big-endian) |
//!
//! | from the receiver | body after the tag |
//! |---|---|
//! | 0 taken | nothing: the begin, or the next chunk, has been taken |
//! | 1 done | openraft's answer (bincode): installed, or a higher vote |

use std::sync::Arc;
use std::time::Duration;

use banyan_core::limits::SNAPSHOT_CHUNK_BYTES;
use banyan_core::store::{Direction, ReadView, Replacement, Store, StoreError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ErrorSource, NetworkError, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::type_config::alias::{ErrorSourceOf, SnapshotOf};
use openraft::{Raft, StorageError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::network::speaks_for_itself;
use super::types::{SnapshotMeta, TypeConfig, Vote};
use super::wire::{self, WireError};
use crate::peer::{PeerError, PeerStream};
use crate::simulation::{self, Site};

/// The contents of a snapshot.
pub enum SnapshotData {
    /// To send: a frozen view of this node's store.
    View(Arc<dyn ReadView>),
    /// To install: loaded beside the present contents.
    Received(Box<dyn Replacement>),
}

/// Chunks on their way: one is read while another travels.
const CHUNKS_IN_FLIGHT_MAX: u32 = 2;
/// Longest wait for the other side to take or send the next chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the other side to install what it has received.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

mod tag {
    pub(super) const BEGIN: u8 = 0;
    pub(super) const CHUNK: u8 = 1;
    pub(super) const END: u8 = 2;
    pub(super) const TAKEN: u8 = 0;
    pub(super) const DONE: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct Begin {
    vote: Vote,
    meta: SnapshotMeta,
}

/// What all pairs of a snapshot come to, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    pairs: u64,
    check: u32,
}

impl Sum {
    fn add(&mut self, pairs: u64, encoded: &[u8]) {
        self.pairs += pairs;
        self.check = crc32c::crc32c_append(self.check, encoded);
    }
}

#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("storage of this node: {0}")]
    Store(#[from] StoreError),
    #[error("the other side broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("a newer transfer replaces this one")]
    Replaced,
    #[error("{0}")]
    Refused(String),
}

fn tagged(tag: u8, body: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + body.len());
    message.put_u8(tag);
    message.extend_from_slice(body);
    message.freeze()
}

async fn receive(stream: &mut PeerStream, timeout: Duration) -> Result<(u8, Bytes), TransferError> {
    let received = tokio::time::timeout(timeout, stream.receiver.recv())
        .await
        .map_err(|_| PeerError::Timeout)?;
    let mut message = received.ok_or(PeerError::Disconnected)??;
    let tag = message
        .try_get_u8()
        .map_err(|_| TransferError::Protocol("an empty message"))?;
    Ok((tag, message))
}

/// The sender's side of one transfer.
pub(super) struct SnapshotOutbox {
    stream: PeerStream,
    untaken: u32,
}

impl SnapshotOutbox {
    /// A transfer is worth waiting for a connection.
    pub(super) const CONNECT_TIMEOUT_MIN: Duration = Duration::from_secs(2);

    pub(super) fn new(stream: PeerStream) -> Self {
        Self { stream, untaken: 0 }
    }

    /// Sends the whole of `snapshot` and returns the receiver's answer to it. Cancelling makes the receiver forget it.
    pub(super) async fn send(
        mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::View(view) = snapshot.snapshot else {
            return Err(Unreachable::from_string("a received snapshot is not there to be sent").into());
        };
        self.transfer(vote, snapshot.meta, view)
            .await
            .map_err(|error| match error {
                TransferError::Store(error) => {
                    StorageError::read_snapshot(None, ErrorSourceOf::<TypeConfig>::from_string(error)).into()
                }
                TransferError::Peer(PeerError::Disconnected) => NetworkError::from_string(error).into(),
                error => Unreachable::from_string(error).into(),
            })
    }

    async fn transfer(
        &mut self,
        vote: Vote,
        meta: SnapshotMeta,
        view: Arc<dyn ReadView>,
    ) -> Result<SnapshotResponse<TypeConfig>, TransferError> {
        let begin = wire::encode(&Begin { vote, meta })?;
        if let Some(early) = self.put(tagged(tag::BEGIN, &begin)).await? {
            return Ok(early);
        }
        let mut sum = Sum::default();
        let mut from = Some(Bytes::new());
        while let Some(lower) = from {
            let view = Arc::clone(&view);
            let chunk = crate::blocking::run(move || read_chunk(&*view, &lower)).await?;
            sum.add(chunk.pairs, &chunk.message[1..]);
            from = chunk.next;
            if let Some(early) = self.put(chunk.message).await? {
                return Ok(early);
            }
        }
        let mut end = BytesMut::new();
        end.put_u64(sum.pairs);
        end.put_u32(sum.check);
        self.stream.sender.send(tagged(tag::END, &end))?;
        loop {
            if let Some(response) = self.take(INSTALL_TIMEOUT).await? {
                return Ok(response);
            }
        }
    }

    /// Sends a message that the receiver takes, once it has taken enough of what was sent before.
    async fn put(&mut self, message: Bytes) -> Result<Option<SnapshotResponse<TypeConfig>>, TransferError> {
        self.stream.sender.send(message)?;
        self.untaken += 1;
        while self.untaken >= CHUNKS_IN_FLIGHT_MAX {
            if let Some(early) = self.take(CHUNK_TIMEOUT).await? {
                return Ok(Some(early));
            }
        }
        Ok(None)
    }

    /// Waits for the receiver; returns its final answer if it is that.
    async fn take(&mut self, timeout: Duration) -> Result<Option<SnapshotResponse<TypeConfig>>, TransferError> {
        match receive(&mut self.stream, timeout).await? {
            (tag::TAKEN, _) => {
                self.untaken = self
                    .untaken
                    .checked_sub(1)
                    .ok_or(TransferError::Protocol("took what was not sent"))?;
                Ok(None)
            }
            (tag::DONE, body) => Ok(Some(wire::decode(&body)?)),
            _ => Err(TransferError::Protocol("an unknown answer")),
        }
    }
}

struct Chunk {
    /// Tag and pairs.
    message: Bytes,
    pairs: u64,
    /// First key that is not in it; `None` at the end.
    next: Option<Bytes>,
}

/// The pairs of `view` from `lower` on, as many as a chunk takes but at least one.
fn read_chunk(view: &dyn ReadView, lower: &[u8]) -> Result<Chunk, StoreError> {
    let mut message = BytesMut::with_capacity(SNAPSHOT_CHUNK_BYTES);
    message.put_u8(tag::CHUNK);
    let bytes_max = match simulation::happens(Site::SmallChunk) {
        true => 0,
        false => SNAPSHOT_CHUNK_BYTES,
    };
    let (mut pairs, mut next) = (0, None);
    let len = |bytes: &Bytes| u32::try_from(bytes.len()).map_err(|error| StoreError(error.to_string()));
    for pair in view.range(lower, None, Direction::Ascending) {
        let (key, value) = pair?;
        if pairs > 0 && message.len() + 8 + key.len() + value.len() > bytes_max {
            next = Some(key);
            break;
        }
        message.put_u32(len(&key)?);
        message.put_u32(len(&value)?);
        message.extend_from_slice(&key);
        message.extend_from_slice(&value);
        pairs += 1;
    }
    Ok(Chunk {
        message: message.freeze(),
        pairs,
        next,
    })
}

/// The receiver's side. One transfer is received at a time: a newer one replaces it.
pub(super) struct SnapshotInbox {
    store: Arc<dyn Store>,
    current: Mutex<CancellationToken>,
    /// Held while a replacement of the store's contents exists.
    loading: tokio::sync::Mutex<()>,
}

impl SnapshotInbox {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            current: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        }
    }

    /// Receives one snapshot of node `from` and has `raft` install it.
    pub(super) async fn receive<SM>(&self, raft: Raft<TypeConfig, SM>, from: u64, mut stream: PeerStream)
    where
        SM: RaftStateMachine<TypeConfig, SnapshotData = SnapshotData>,
    {
        match self.try_receive(&raft, from, &mut stream).await {
            Ok(response) => match wire::encode(&response) {
                Ok(response) => drop(stream.sender.send(tagged(tag::DONE, &response))),
                Err(error) => stream.sender.fail(&error.to_string()),
            },
            Err(error) => {
                tracing::warn!(from, %error, "did not receive a snapshot");
                stream.sender.fail(&error.to_string());
            }
        }
    }

    async fn try_receive<SM>(
        &self,
        raft: &Raft<TypeConfig, SM>,
        from: u64,
        stream: &mut PeerStream,
    ) -> Result<SnapshotResponse<TypeConfig>, TransferError>
    where
        SM: RaftStateMachine<TypeConfig, SnapshotData = SnapshotData>,
    {
        let (tag::BEGIN, body) = receive(stream, CHUNK_TIMEOUT).await? else {
            return Err(TransferError::Protocol("no begin"));
        };
        let Begin { vote, meta } = wire::decode(&body)?;
        speaks_for_itself(&vote, from).map_err(TransferError::Refused)?;
        let known = raft.metrics().borrow_watched().vote;
        if known > vote {
            // A leader of the past must not get in the way of the present one's.
            return Ok(SnapshotResponse::new(known));
        }
        tracing::info!(from, %meta, "receiving a snapshot");
        let newer = self.replace();
        let _loading = tokio::select! {
            biased;
            () = newer.cancelled() => return Err(TransferError::Replaced),
            loading = self.loading.lock() => loading,
        };
        stream.sender.send(tagged(tag::TAKEN, &[]))?;
        let replacement = self.load(stream, &newer).await?;
        let snapshot = Snapshot {
            meta,
            snapshot: SnapshotData::Received(replacement),
        };
        let installed = raft.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|fatal| TransferError::Refused(fatal.to_string()))
    }

    /// Makes this the current transfer and returns what is cancelled when it is not any more.
    fn replace(&self) -> CancellationToken {
        let token = CancellationToken::new();
        std::mem::replace(&mut *self.current.lock(), token.clone()).cancel();
        token
    }

    /// Loads the chunks up to the end, and checks the whole.
    async fn load(
        &self,
        stream: &mut PeerStream,
        newer: &CancellationToken,
    ) -> Result<Box<dyn Replacement>, TransferError> {
        let store = Arc::clone(&self.store);
        let mut replacement = crate::blocking::run(move || store.begin_replacement()).await?;
        let mut sum = Sum::default();
        loop {
            let (tag, mut body) = tokio::select! {
                biased;
                () = newer.cancelled() => return Err(TransferError::Replaced),
                message = receive(stream, CHUNK_TIMEOUT) => message?,
            };
            match tag {
                tag::CHUNK => {
                    // Not cancelled in between: nothing may outlive the lock that is held here.
                    (replacement, sum) = crate::blocking::run(move || push_chunk(replacement, sum, body)).await?;
                    stream.sender.send(tagged(tag::TAKEN, &[]))?;
                }
                tag::END if body.len() == 12 => {
                    let announced = Sum {
                        pairs: body.get_u64(),
                        check: body.get_u32(),
                    };
                    if announced != sum {
                        return Err(TransferError::Protocol("what was sent is not what came"));
                    }
                    return Ok(replacement);
                }
                _ => return Err(TransferError::Protocol("an unknown message")),
            }
        }
    }
}

fn push_chunk(
    mut replacement: Box<dyn Replacement>,
    mut sum: Sum,
    mut chunk: Bytes,
) -> Result<(Box<dyn Replacement>, Sum), TransferError> {
    let encoded = chunk.clone();
    let mut pairs = 0;
    while !chunk.is_empty() {
        let cut = |_| TransferError::Protocol("a chunk that is cut short");
        let key_len = chunk.try_get_u32().map_err(cut)? as usize;
        let value_len = chunk.try_get_u32().map_err(cut)? as usize;
        if key_len.saturating_add(value_len) > chunk.len() {
            return Err(TransferError::Protocol("a chunk that is cut short"));
        }
        let key = chunk.split_to(key_len);
        let value = chunk.split_to(value_len);
        replacement.push(key, value)?;
        pairs += 1;
    }
    sum.add(pairs, &encoded);
    Ok((replacement, sum))
}

#[cfg(test)]
mod tests {
    use banyan_core::store::MemoryStore;

    use super::*;

    fn store_of(sizes: &[usize]) -> MemoryStore {
        let store = MemoryStore::new();
        let pairs = (0_u32..).zip(sizes);
        let pair = |(n, size): (u32, &usize)| (Bytes::copy_from_slice(&n.to_be_bytes()), Some(vec![1; *size].into()));
        store.write(pairs.map(pair).collect()).unwrap();
        store
    }

    fn chunks_of(store: &MemoryStore) -> Vec<Chunk> {
        let (view, mut from, mut chunks) = (store.view(), Some(Bytes::new()), Vec::new());
        while let Some(lower) = from {
            let chunk = read_chunk(&*view, &lower).unwrap();
            from = chunk.next.clone();
            chunks.push(chunk);
        }
        chunks
    }

    #[test]
    fn chunks_are_bounded_but_hold_at_least_one_pair() {
        let sizes = [
            10,
            2 * SNAPSHOT_CHUNK_BYTES,
            10,
            SNAPSHOT_CHUNK_BYTES / 2,
            SNAPSHOT_CHUNK_BYTES / 2,
            0,
        ];
        let pairs: Vec<_> = chunks_of(&store_of(&sizes)).iter().map(|chunk| chunk.pairs).collect();
        assert_eq!(pairs, [1, 1, 2, 2]);
        let empty = chunks_of(&MemoryStore::new());
        assert_eq!((empty.len(), empty[0].pairs), (1, 0));
    }

    #[test]
    fn what_is_pushed_is_what_was_read() {
        let source = store_of(&[3, 0, SNAPSHOT_CHUNK_BYTES, 5, 700_000, 700_000]);
        let target = MemoryStore::new();
        let (mut replacement, mut received, mut sent) =
            (target.begin_replacement().unwrap(), Sum::default(), Sum::default());
        for chunk in chunks_of(&source) {
            sent.add(chunk.pairs, &chunk.message[1..]);
            (replacement, received) = push_chunk(replacement, received, chunk.message.slice(1..)).unwrap();
        }
        assert_eq!(sent, received);
        replacement.install().unwrap();
        let pairs = |store: &MemoryStore| -> Vec<_> {
            store
                .view()
                .range(&[], None, Direction::Ascending)
                .map(Result::unwrap)
                .collect()
        };
        assert!(pairs(&source) == pairs(&target));
    }

    #[test]
    fn a_chunk_that_is_cut_short_is_refused() {
        let chunk = chunks_of(&store_of(&[5])).remove(0).message.slice(1..);
        for len in 1..chunk.len() {
            let replacement = MemoryStore::new().begin_replacement().unwrap();
            assert!(
                push_chunk(replacement, Sum::default(), chunk.slice(..len)).is_err(),
                "{len}"
            );
        }
    }
}
