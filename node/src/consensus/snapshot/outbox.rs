//! The sender's side.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::StorageError;
use openraft::errors::{ErrorSource, NetworkError, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::{ErrorSourceOf, SnapshotOf};

use super::chunk::read_chunk;
use super::{Begin, CHUNK_TIMEOUT, SnapshotData, TransferError, receive, sum_of, tag, tagged, tagged_sum};
use crate::consensus::state_machine::CurrentSnapshot;
use crate::consensus::types::{NodeId, TypeConfig, Vote};
use crate::consensus::unfinished::{Sum, Unfinished};
use crate::consensus::wire;
use crate::peer::{PeerError, PeerStream};

/// Chunks on their way: one is read while another travels.
const CHUNKS_IN_FLIGHT_MAX: u32 = 2;
/// Longest wait for the other side to install what it has received.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// The sender's side of one transfer.
pub(in crate::consensus) struct SnapshotOutbox {
    stream: PeerStream,
    to: NodeId,
    unfinished: Arc<Unfinished>,
    untaken: u32,
}

/// What the receiver answers.
enum Answer {
    /// It has taken the begin, and has what comes to this; or another chunk.
    Taken(Option<Sum>),
    /// Its last word.
    Done(SnapshotResponse<TypeConfig>),
}

impl SnapshotOutbox {
    /// A transfer is worth waiting for a connection.
    pub(in crate::consensus) const CONNECT_TIMEOUT_MIN: Duration = Duration::from_secs(2);

    pub(in crate::consensus) fn new(stream: PeerStream, to: NodeId, unfinished: Arc<Unfinished>) -> Self {
        Self {
            stream,
            to,
            unfinished,
            untaken: 0,
        }
    }

    /// Sends the whole of `snapshot`, or what the receiver lacks of it, and returns the receiver's answer to it. Cancelled, it
    /// can be resumed.
    pub(in crate::consensus) async fn send(
        mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::View(view) = snapshot.snapshot else {
            return Err(Unreachable::from_string("a received snapshot is not there to be sent").into());
        };
        let meta = snapshot.meta;
        let sent = self.transfer(vote, &CurrentSnapshot { meta, view }).await;
        if sent.is_ok() {
            self.unfinished.forget(self.to);
        }
        sent.map_err(|error| match error {
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
        snapshot: &CurrentSnapshot,
    ) -> Result<SnapshotResponse<TypeConfig>, TransferError> {
        let meta = snapshot.meta.clone();
        let begin = wire::encode(&Begin { vote, meta })?;
        self.stream.sender.send(tagged(tag::BEGIN, &begin))?;
        self.untaken += 1;
        let held = match self.take(CHUNK_TIMEOUT).await? {
            Answer::Done(early) => return Ok(early),
            Answer::Taken(held) => held,
        };
        let (mut sum, mut from) = (Sum::default(), Some(Bytes::new()));
        if let Some(held) = held
            && let Some(next) = self.unfinished.next_after(self.to, &snapshot.meta, held)
        {
            tracing::info!(
                to = self.to,
                pairs = held.pairs,
                "a snapshot goes on where it broke off"
            );
            self.stream.sender.send(tagged_sum(tag::RESUME, held))?;
            (sum, from) = (held, next);
        }
        while let Some(lower) = from {
            let view = Arc::clone(&snapshot.view);
            let chunk = crate::blocking::run_in_background(move || read_chunk(&*view, &lower)).await?;
            sum.add(chunk.pairs, &chunk.message[1..]);
            from = chunk.next;
            self.unfinished.note(self.to, snapshot, sum, from.clone());
            if let Some(early) = self.put(chunk.message).await? {
                return Ok(early);
            }
        }
        self.stream.sender.send(tagged_sum(tag::END, sum))?;
        loop {
            if let Answer::Done(response) = self.take(INSTALL_TIMEOUT).await? {
                return Ok(response);
            }
        }
    }

    /// Sends a chunk once the receiver has taken enough of what was sent before.
    async fn put(&mut self, message: Bytes) -> Result<Option<SnapshotResponse<TypeConfig>>, TransferError> {
        self.stream.sender.send(message)?;
        self.untaken += 1;
        while self.untaken >= CHUNKS_IN_FLIGHT_MAX {
            if let Answer::Done(early) = self.take(CHUNK_TIMEOUT).await? {
                return Ok(Some(early));
            }
        }
        Ok(None)
    }

    /// Waits for the receiver.
    async fn take(&mut self, timeout: Duration) -> Result<Answer, TransferError> {
        match receive(&mut self.stream, timeout).await? {
            (tag::TAKEN, body) => {
                self.untaken = self
                    .untaken
                    .checked_sub(1)
                    .ok_or(TransferError::Protocol("took what was not sent"))?;
                Ok(Answer::Taken(sum_of(body)))
            }
            (tag::DONE, body) => Ok(Answer::Done(wire::decode(&body)?)),
            _ => Err(TransferError::Protocol("an unknown answer")),
        }
    }
}
