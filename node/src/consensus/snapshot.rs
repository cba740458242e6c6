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
//! | 3 resume | as 2, of what the receiver has: the chunks that follow come after it |
//!
//! | from the receiver | body after the tag |
//! |---|---|
//! | 0 taken | nothing: the begin, or the next chunk, has been taken. To a begin: as 2, if it has some of this snapshot |
//! | 1 done | openraft's answer (bincode): installed, or a higher vote |
//!
//! A transfer that breaks off is taken up again where it was: the receiver keeps what it has loaded for a while, and says so
//! to the next begin of the same snapshot. A sender that does not answer with *resume* begins anew.

mod chunk;
mod inbox;
mod outbox;

use std::sync::Arc;
use std::time::Duration;

use banyan_core::store::{ReadView, Replacement, StoreError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::types::{SnapshotMeta, Vote};
use super::unfinished::Sum;
use super::wire::WireError;
use crate::peer::{PeerError, PeerStream};

pub(super) use inbox::SnapshotInbox;
pub(super) use outbox::SnapshotOutbox;

/// The contents of a snapshot.
pub enum SnapshotData {
    /// To send: a frozen view of this node's store.
    View(Arc<dyn ReadView>),
    /// To install: loaded beside the present contents.
    Received(Box<dyn Replacement>),
}

/// Longest wait for the other side to take or send the next chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);

mod tag {
    pub(super) const BEGIN: u8 = 0;
    pub(super) const CHUNK: u8 = 1;
    pub(super) const END: u8 = 2;
    pub(super) const RESUME: u8 = 3;
    pub(super) const TAKEN: u8 = 0;
    pub(super) const DONE: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct Begin {
    vote: Vote,
    meta: SnapshotMeta,
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

fn tagged_sum(tag: u8, sum: Sum) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u64(sum.pairs);
    body.put_u32(sum.check);
    tagged(tag, &body)
}

/// What [`tagged_sum`] has written.
fn sum_of(mut body: Bytes) -> Option<Sum> {
    let sum = Sum {
        pairs: body.try_get_u64().ok()?,
        check: body.try_get_u32().ok()?,
    };
    body.is_empty().then_some(sum)
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
