//! Raft's messages between nodes: what openraft asks others ([`NetworkFactory`]) and what others ask it ([`RaftServer`]).
//!
//! Votes and heartbeats are requests on the control lane, so that neither a long log nor a snapshot delays them. The log is
//! streamed on a lane of its own (`append`), snapshots on another (`super::snapshot`).
//!
//! A node only speaks for itself: a vote, log or snapshot in the name of another node than its sender is refused.

mod append;
#[cfg(test)]
mod network_test;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use banyan_core::planted::{Bug, planted};
use banyan_core::store::Store;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use openraft::base::BoxStream;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, stream_append_sequential};
use openraft::raft::{
    AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::RaftStateMachine;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::SnapshotOf;
use openraft::{BasicNode, OptionalSend, RPCTypes, Raft, RaftNetworkFactory, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::append::AppendStream;
use super::observe::ReplicaCounts;
use super::snapshot::{SnapshotData, SnapshotInbox, SnapshotOutbox};
use super::types::{NodeId, TypeConfig, Vote};
use super::unfinished::Unfinished;
use super::wire::{self, AppendEntriesRequest};
use crate::peer::{Lane, PeerError, PeerStream, Peers};

/// Kinds of peer requests and streams that belong to Raft. Others start at 0x40.
mod kind {
    pub(super) const VOTE: u8 = 0x01;
    pub(super) const PRE_VOTE: u8 = 0x02;
    pub(super) const TRANSFER_LEADER: u8 = 0x03;
    /// One AppendEntries with its answer: heartbeats.
    pub(super) const APPEND: u8 = 0x04;
    /// Stream of AppendEntries.
    pub(super) const APPEND_STREAM: u8 = 0x05;
    /// Stream of a snapshot.
    pub(super) const SNAPSHOT_STREAM: u8 = 0x06;
}

type RaftResult<T> = Result<T, RPCError<TypeConfig>>;

/// Makes openraft's clients of other nodes.
#[derive(Clone)]
pub struct NetworkFactory {
    peers: Peers,
    unfinished: Arc<Unfinished>,
    counts: Arc<ReplicaCounts>,
}

impl NetworkFactory {
    /// Reaches other nodes through `peers`, which learns their addresses from the membership. What becomes of snapshots on
    /// their way is noted in `unfinished`, and how many arrive is in `counts`.
    #[must_use]
    pub fn new(peers: Peers, unfinished: Arc<Unfinished>, counts: Arc<ReplicaCounts>) -> Self {
        Self {
            peers,
            unfinished,
            counts,
        }
    }

    fn client(&self, target: NodeId, node: &BasicNode, pipelined: bool) -> RaftClient {
        if !node.addr.is_empty() {
            self.peers.set_address(target, node.addr.clone());
        }
        RaftClient {
            peers: self.peers.clone(),
            unfinished: Arc::clone(&self.unfinished),
            counts: Arc::clone(&self.counts),
            target,
            pipelined,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = RaftClient;

    async fn new_client(&mut self, target: NodeId, node: &BasicNode) -> RaftClient {
        self.client(target, node, true)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &BasicNode) -> RaftClient {
        self.client(target, node, false)
    }
}

/// What openraft asks of one other node.
pub struct RaftClient {
    peers: Peers,
    unfinished: Arc<Unfinished>,
    counts: Arc<ReplicaCounts>,
    target: NodeId,
    /// Whether AppendEntries are streamed on their own lane, or are requests on the control lane.
    pipelined: bool,
}

impl RaftClient {
    async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        action: RPCTypes,
        kind: u8,
        request: &Q,
        option: &RPCOption,
    ) -> RaftResult<A> {
        let body = wire::encode(request).map_err(|error| network_error(&error))?;
        self.ask_encoded(action, kind, body, option).await
    }

    async fn ask_encoded<A: DeserializeOwned>(
        &self,
        action: RPCTypes,
        kind: u8,
        body: Bytes,
        option: &RPCOption,
    ) -> RaftResult<A> {
        let timeout = option.soft_ttl();
        let answer = self
            .peers
            .request(self.target, Lane::Control, kind, body, timeout)
            .await;
        let answer = answer.map_err(|error| self.error(action, timeout, &error))?;
        wire::decode(&answer).map_err(|error| network_error(&error))
    }

    /// The error as openraft sorts them: *unreachable* backs off before the next attempt, the others do not at once.
    fn error(&self, action: RPCTypes, timeout: Duration, error: &PeerError) -> RPCError<TypeConfig> {
        match error {
            PeerError::Timeout => RPCError::Timeout(Timeout {
                action,
                id: self.peers.local(),
                target: self.target,
                timeout,
            }),
            PeerError::Unreachable(_) | PeerError::Failed(_) | PeerError::Busy => {
                RPCError::Unreachable(Unreachable::from_string(error))
            }
            PeerError::Disconnected | PeerError::TooLarge(_) => network_error(error),
        }
    }
}

fn network_error(error: &impl std::fmt::Display) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(error))
}

impl RaftNetworkV2<TypeConfig> for RaftClient {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest,
        option: RPCOption,
    ) -> RaftResult<AppendEntriesResponse<TypeConfig>> {
        let body = wire::encode_append(&request).map_err(|error| network_error(&error))?;
        self.ask_encoded(RPCTypes::AppendEntries, kind::APPEND, body, &option)
            .await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, RaftResult<BoxStream<'s, RaftResult<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest> + OptionalSend + Unpin + 'static,
    {
        if !self.pipelined {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let timeout = option.soft_ttl();
            let opened = self
                .peers
                .open_stream(self.target, Lane::Append, kind::APPEND_STREAM, timeout)
                .await;
            let stream = opened.map_err(|error| self.error(RPCTypes::AppendEntries, timeout, &error))?;
            Ok(Box::pin(AppendStream::new(input, stream)) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RaftResult<VoteResponse<TypeConfig>> {
        self.ask(RPCTypes::Vote, kind::VOTE, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RaftResult<VoteResponse<TypeConfig>> {
        self.ask(RPCTypes::Vote, kind::PRE_VOTE, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        if planted(Bug::P24) {
            return Err(StreamingError::Closed(cancel.await));
        }
        let timeout = option.soft_ttl().max(SnapshotOutbox::CONNECT_TIMEOUT_MIN);
        let send = async {
            let opened = self
                .peers
                .open_stream(self.target, Lane::Snapshot, kind::SNAPSHOT_STREAM, timeout)
                .await;
            let stream = opened.map_err(|error| self.error(RPCTypes::InstallSnapshot, timeout, &error))?;
            let outbox = SnapshotOutbox::new(stream, self.target, Arc::clone(&self.unfinished));
            let sent = outbox.send(vote, snapshot).await;
            if sent.is_ok() {
                self.counts.snapshots_sent.fetch_add(1, Ordering::Relaxed);
            }
            sent
        };
        tokio::select! {
            biased;
            // Dropping the stream tells the receiver.
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> RaftResult<TransferLeaderResponse<TypeConfig>> {
        self.ask(RPCTypes::TransferLeader, kind::TRANSFER_LEADER, &request, &option)
            .await
    }
}

/// Answers what the openraft of other nodes asks of this one's.
pub struct RaftServer<SM>
where
    SM: RaftStateMachine<TypeConfig, SnapshotData = SnapshotData>,
{
    raft: Raft<TypeConfig, SM>,
    snapshots: Arc<SnapshotInbox>,
}

impl<SM> RaftServer<SM>
where
    SM: RaftStateMachine<TypeConfig, SnapshotData = SnapshotData>,
{
    /// Answers with `raft`, and loads snapshots that come beside the contents of `store`: so many bytes a second at most,
    /// without a limit if 0.
    #[must_use]
    pub fn new(raft: Raft<TypeConfig, SM>, store: Arc<dyn Store>, load_rate_max: u64) -> Self {
        Self {
            raft,
            snapshots: Arc::new(SnapshotInbox::new(store, load_rate_max)),
        }
    }

    /// See [`PeerHandler::on_request`](crate::peer::PeerHandler::on_request). A kind that is not Raft's is refused.
    pub fn on_request(
        &self,
        from: u64,
        lane: Lane,
        kind: u8,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        let raft = self.raft.clone();
        match kind {
            kind::VOTE => Box::pin(async move {
                let request: VoteRequest<TypeConfig> = decode(&body)?;
                speaks_for_itself(&request.vote, from)?;
                encode(raft.vote(request).await)
            }),
            kind::PRE_VOTE => Box::pin(async move {
                let request: VoteRequest<TypeConfig> = decode(&body)?;
                speaks_for_itself(&request.vote, from)?;
                encode(raft.pre_vote(request).await)
            }),
            kind::TRANSFER_LEADER => Box::pin(async move {
                let request: TransferLeaderRequest<TypeConfig> = decode(&body)?;
                speaks_for_itself(request.from_leader(), from)?;
                encode(raft.handle_transfer_leader(request).await)
            }),
            kind::APPEND => Box::pin(async move {
                let request = wire::decode_append(&body).map_err(|error| error.to_string())?;
                speaks_for_itself(&request.vote, from)?;
                encode(raft.append_entries(request).await)
            }),
            _ => Box::pin(std::future::ready(Err(format!(
                "unknown request 0x{kind:02x} on lane {lane:?}"
            )))),
        }
    }

    /// See [`PeerHandler::on_stream`](crate::peer::PeerHandler::on_stream). A kind that is not Raft's is refused.
    pub fn on_stream(&self, from: u64, lane: Lane, kind: u8, stream: PeerStream) {
        let raft = self.raft.clone();
        match kind {
            kind::APPEND_STREAM => {
                TypeConfig::spawn(append::serve(raft, from, stream));
            }
            kind::SNAPSHOT_STREAM => {
                let inbox = Arc::clone(&self.snapshots);
                TypeConfig::spawn(async move { inbox.receive(raft, from, stream).await });
            }
            _ => stream
                .sender
                .fail(&format!("unknown stream 0x{kind:02x} on lane {lane:?}")),
        }
    }
}

fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    wire::decode(body).map_err(|error| error.to_string())
}

fn encode<T: Serialize, E: std::fmt::Display>(result: Result<T, E>) -> Result<Bytes, String> {
    let answer = result.map_err(|error| error.to_string())?;
    wire::encode(&answer).map_err(|error| error.to_string())
}

/// Refuses a message of `from` in the name of another node.
pub(super) fn speaks_for_itself(vote: &Vote, from: NodeId) -> Result<(), String> {
    let named = vote.leader_id.node_id;
    if named == from {
        Ok(())
    } else {
        Err(format!("node {from} speaks in the name of node {named}"))
    }
}
