//! The receiver's side.

use std::sync::Arc;
use std::time::Duration;

use banyan_core::planted::{Bug, planted};
use banyan_core::store::{Replacement, Store};
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::SnapshotResponse;
use openraft::storage::{RaftStateMachine, Snapshot};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::chunk::push_chunk;
use super::{Begin, CHUNK_TIMEOUT, SnapshotData, TransferError, receive, sum_of, tag, tagged, tagged_sum};
use crate::consensus::network::speaks_for_itself;
use crate::consensus::types::{NodeId, SnapshotMeta, TypeConfig};
use crate::consensus::unfinished::{Sum, UNFINISHED_TIMEOUT};
use crate::consensus::wire;
use crate::peer::PeerStream;

/// What has been loaded of a snapshot that is not there yet.
struct Loaded {
    from: NodeId,
    meta: SnapshotMeta,
    replacement: Box<dyn Replacement>,
    sum: Sum,
}

/// The receiver's side. One transfer is received at a time: a newer one replaces it.
pub(in crate::consensus) struct SnapshotInbox {
    store: Arc<dyn Store>,
    /// Bytes a second, 0 for no limit.
    rate_max: u64,
    current: Mutex<CancellationToken>,
    /// Held while a replacement of the store's contents is worked on: there is one at most.
    loading: tokio::sync::Mutex<Option<Loaded>>,
}

impl SnapshotInbox {
    pub(in crate::consensus) fn new(store: Arc<dyn Store>, rate_max: u64) -> Self {
        Self {
            store,
            rate_max,
            current: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        }
    }

    /// Receives one snapshot of node `from` and has `raft` install it.
    pub(in crate::consensus) async fn receive<SM>(&self, raft: Raft<TypeConfig, SM>, from: u64, mut stream: PeerStream)
    where
        SM: RaftStateMachine<TypeConfig, SnapshotData = SnapshotData>,
    {
        let mut begun = None;
        match self.try_receive(&raft, from, &mut stream, &mut begun).await {
            Ok(response) => match wire::encode(&response) {
                Ok(response) => drop(stream.sender.send(tagged(tag::DONE, &response))),
                Err(error) => stream.sender.fail(&error.to_string()),
            },
            Err(error) => {
                tracing::warn!(from, %error, "did not receive a snapshot");
                stream.sender.fail(&error.to_string());
                drop(stream.receiver);
                if let Some(newer) = begun {
                    self.forget_unless(newer).await;
                }
            }
        }
    }

    /// What has been loaded stays for the next attempt, of which `newer` tells, unless that does not come.
    async fn forget_unless(&self, newer: CancellationToken) {
        if tokio::time::timeout(UNFINISHED_TIMEOUT, newer.cancelled())
            .await
            .is_err()
        {
            let mut loading = self.loading.lock().await;
            if !newer.is_cancelled() {
                *loading = None;
            }
        }
    }

    async fn try_receive<SM>(
        &self,
        raft: &Raft<TypeConfig, SM>,
        from: u64,
        stream: &mut PeerStream,
        begun: &mut Option<CancellationToken>,
    ) -> Result<SnapshotResponse<TypeConfig>, TransferError>
    where
        SM: RaftStateMachine<TypeConfig, SnapshotData = SnapshotData>,
    {
        let (tag::BEGIN, body) = receive(stream, CHUNK_TIMEOUT).await? else {
            return Err(TransferError::Protocol("no begin"));
        };
        let Begin { vote, mut meta } = wire::decode(&body)?;
        speaks_for_itself(&vote, from).map_err(TransferError::Refused)?;
        let known = raft.metrics().borrow_watched().vote;
        if known > vote {
            // A leader of the past must not get in the way of the present one's.
            return Ok(SnapshotResponse::new(known));
        }
        if planted(Bug::P26) {
            meta.last_membership = (*raft.metrics().borrow_watched().membership_config).clone();
        }
        tracing::info!(from, %meta, "receiving a snapshot");
        let newer = begun.insert(self.replace());
        let mut loading = tokio::select! {
            biased;
            () = newer.cancelled() => return Err(TransferError::Replaced),
            loading = self.loading.lock() => loading,
        };
        let held = loading.take_if(|loaded| loaded.from != from || loaded.meta != meta);
        drop(held);
        let taken = match &*loading {
            Some(loaded) => tagged_sum(tag::TAKEN, loaded.sum),
            None => tagged(tag::TAKEN, &[]),
        };
        stream.sender.send(taken)?;
        let replacement = self.load(stream, newer, from, &meta, &mut loading).await?;
        let snapshot = Snapshot {
            meta,
            snapshot: SnapshotData::Received(replacement),
        };
        let installed = raft.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|fatal| TransferError::Refused(fatal.to_string()))
    }

    /// What `bytes` take at the rate allowed.
    fn time_for(&self, bytes: usize) -> Duration {
        match self.rate_max {
            0 => Duration::ZERO,
            rate_max => Duration::from_secs_f64(bytes as f64 / rate_max as f64),
        }
    }

    /// Makes this the current transfer and returns what is cancelled when it is not any more.
    fn replace(&self) -> CancellationToken {
        let token = CancellationToken::new();
        std::mem::replace(&mut *self.current.lock(), token.clone()).cancel();
        token
    }

    /// Loads the chunks up to the end, and checks the whole. If that breaks off between two of them, what was loaded stays in
    /// `loading`.
    async fn load(
        &self,
        stream: &mut PeerStream,
        newer: &CancellationToken,
        from: NodeId,
        meta: &SnapshotMeta,
        loading: &mut Option<Loaded>,
    ) -> Result<Box<dyn Replacement>, TransferError> {
        let mut is_first = true;
        // When as much has been loaded as the rate allows: the disk, and on a shared machine the processor, is for those who
        // serve.
        let mut due = Instant::now();
        loop {
            let (tag, body) = tokio::select! {
                biased;
                () = newer.cancelled() => return Err(TransferError::Replaced),
                message = receive(stream, CHUNK_TIMEOUT) => message?,
            };
            // Nothing is there while a chunk is worked on, and after whatever must not be.
            let held = loading.take();
            let was_first = std::mem::replace(&mut is_first, false);
            if tag == tag::RESUME && was_first {
                *loading = held.filter(|held| sum_of(body) == Some(held.sum));
                if loading.is_none() {
                    return Err(TransferError::Protocol("goes on with what is not there"));
                }
                continue;
            }
            let held = match held {
                Some(held) if !was_first => held,
                held => {
                    drop(held);
                    let store = Arc::clone(&self.store);
                    let replacement = crate::blocking::run_in_background(move || store.begin_replacement()).await?;
                    Loaded {
                        from,
                        meta: meta.clone(),
                        replacement,
                        sum: Sum::default(),
                    }
                }
            };
            match tag {
                tag::CHUNK => {
                    // Not cancelled in between: nothing may outlive the lock that is held here.
                    let Loaded { replacement, sum, .. } = held;
                    due = due.max(Instant::now()) + self.time_for(body.len());
                    let pushed = crate::blocking::run_in_background(move || push_chunk(replacement, sum, body));
                    let (replacement, sum) = pushed.await?;
                    *loading = Some(Loaded {
                        from,
                        meta: meta.clone(),
                        replacement,
                        sum,
                    });
                    tokio::time::sleep_until(due).await;
                    stream.sender.send(tagged(tag::TAKEN, &[]))?;
                }
                tag::END => {
                    return match sum_of(body) {
                        Some(announced) if announced == held.sum => Ok(held.replacement),
                        _ => Err(TransferError::Protocol("what was sent is not what came")),
                    };
                }
                _ => return Err(TransferError::Protocol("an unknown message")),
            }
        }
    }
}
