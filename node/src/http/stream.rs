//! Bodies that are written while they are read: a task fills a short channel and waits for the client.

use std::io;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Chunks written ahead of the client.
const CHUNKS_AHEAD: usize = 2;

/// Bytes after which a chunk is sent.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// Rows after which a chunk is sent.
pub(super) const CHUNK_ROWS: usize = 256;

/// The end of a stream at which it is written.
pub(super) struct Writer {
    sender: mpsc::Sender<io::Result<Bytes>>,
    stall_timeout: Duration,
}

/// The client is gone, or has read nothing for too long: stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// A body, and where to write it. Dropping the writer ends the body in good order.
pub(super) fn body(stall_timeout: Duration) -> (Writer, Body) {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let chunk: io::Result<Bytes> = receiver.recv().await?;
        Some((chunk, receiver))
    });
    (Writer { sender, stall_timeout }, Body::from_stream(chunks))
}

impl Writer {
    /// Writes a chunk; waits for the client to make room.
    pub(super) async fn write(&self, chunk: Vec<u8>) -> Result<(), Closed> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.sender
            .send_timeout(Ok(Bytes::from(chunk)), self.stall_timeout)
            .await
            .map_err(|_| Closed)
    }

    /// Breaks the body off, so that the client sees that it is not complete.
    pub(super) async fn abort(self, reason: &'static str) {
        let _ = self
            .sender
            .send_timeout(Err(io::Error::other(reason)), self.stall_timeout)
            .await;
    }

    /// Completes when the client is gone.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }
}
