//! Streams: any number of messages in order, in both directions, on one connection.
//!
//! Nothing limits how much is sent but the queues at both ends, so the protocol on top keeps a window: a receiver that is
//! overrun closes the connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::PeerError;
use super::connection::Violation;
use super::frame::{Frame, FrameType, Status};
use super::outbox::Outbox;
use banyan_core::limits::PEER_FRAME_BYTES_MAX;

/// Most bytes of one stream that wait for their receiver.
pub(crate) const STREAM_QUEUE_BYTES_MAX: usize = 2 * PEER_FRAME_BYTES_MAX;
/// Most streams of one connection.
const STREAMS_MAX: usize = 64;
/// What a queued message costs beside its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// A stream between two nodes. The halves may be used by different tasks.
pub struct PeerStream {
    /// Sends to the other node.
    pub sender: StreamSender,
    /// Receives from the other node.
    pub receiver: StreamReceiver,
}

/// The sending half of a stream. Dropped, it tells the other side that nothing more comes.
pub struct StreamSender {
    id: u64,
    outbox: Arc<Outbox>,
    close: Option<(Status, Bytes)>,
}

impl StreamSender {
    /// Sends one message. Never waits.
    ///
    /// # Errors
    /// [`PeerError::Disconnected`], [`PeerError::Busy`] if too much waits to be written, [`PeerError::TooLarge`].
    pub fn send(&self, body: Bytes) -> Result<(), PeerError> {
        self.outbox.push(Frame::of(FrameType::StreamData, 0, self.id, body))
    }

    /// Closes this direction; the other side receives `reason` as [`PeerError::Failed`] after what was sent.
    pub fn fail(mut self, reason: &str) {
        self.close = Some((Status::Failed, Bytes::copy_from_slice(reason.as_bytes())));
    }
}

impl Drop for StreamSender {
    fn drop(&mut self) {
        if let Some((status, reason)) = self.close.take() {
            // A connection that takes no more frames closes its streams itself.
            let _ = self
                .outbox
                .push(Frame::of(FrameType::StreamClose, status as u8, self.id, reason));
        }
    }
}

/// The receiving half of a stream. Dropped, it discards what still comes.
pub struct StreamReceiver {
    id: u64,
    messages: mpsc::UnboundedReceiver<Result<Bytes, PeerError>>,
    queued_bytes: Arc<AtomicUsize>,
    table: Arc<StreamTable>,
}

impl StreamReceiver {
    /// The next message; `None` once the other side has closed the stream in order. Cancelling loses nothing.
    ///
    /// # Errors
    /// [`PeerError::Disconnected`] or [`PeerError::Failed`], once; nothing follows.
    pub async fn recv(&mut self) -> Option<Result<Bytes, PeerError>> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// [`StreamReceiver::recv`] for implementers of futures.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, PeerError>>> {
        let message = ready!(self.messages.poll_recv(context));
        if let Some(Ok(body)) = &message {
            self.queued_bytes.fetch_sub(cost(body), Ordering::Relaxed);
        }
        Poll::Ready(message)
    }
}

impl Drop for StreamReceiver {
    fn drop(&mut self) {
        self.table.slots.lock().remove(&self.id);
    }
}

fn cost(body: &Bytes) -> usize {
    body.len() + MESSAGE_OVERHEAD_BYTES
}

/// The streams of one connection that this side receives on.
#[derive(Default)]
pub(crate) struct StreamTable {
    slots: Mutex<BTreeMap<u64, Slot>>,
}

struct Slot {
    messages: mpsc::UnboundedSender<Result<Bytes, PeerError>>,
    queued_bytes: Arc<AtomicUsize>,
}

impl StreamTable {
    /// Adds stream `id`, which sends through `outbox`.
    ///
    /// # Errors
    /// The id is in use, or there are too many.
    pub(crate) fn open(self: &Arc<Self>, id: u64, outbox: &Arc<Outbox>) -> Result<PeerStream, Violation> {
        let (sender, messages) = mpsc::unbounded_channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let mut slots = self.slots.lock();
        if slots.len() >= STREAMS_MAX || slots.contains_key(&id) {
            return Err(Violation::Streams);
        }
        slots.insert(
            id,
            Slot {
                messages: sender,
                queued_bytes: Arc::clone(&queued_bytes),
            },
        );
        drop(slots);
        Ok(PeerStream {
            sender: StreamSender {
                id,
                outbox: Arc::clone(outbox),
                close: Some((Status::Ok, Bytes::new())),
            },
            receiver: StreamReceiver {
                id,
                messages,
                queued_bytes,
                table: Arc::clone(self),
            },
        })
    }

    /// Takes a frame of type stream data or stream close. A stream that is gone is no fault: its receiver was dropped.
    ///
    /// # Errors
    /// The stream is overrun, or the frame is malformed.
    pub(crate) fn on_frame(&self, frame: Frame) -> Result<(), Violation> {
        let mut slots = self.slots.lock();
        if frame.frame_type == FrameType::StreamClose {
            let slot = slots.remove(&frame.id);
            drop(slots);
            return match (Status::from_u8(frame.kind), slot) {
                (None, _) => Err(Violation::Malformed),
                (Some(Status::Ok), _) | (_, None) => Ok(()),
                (Some(_), Some(slot)) => {
                    let reason = String::from_utf8_lossy(&frame.body).into_owned();
                    let _ = slot.messages.send(Err(PeerError::Failed(reason)));
                    Ok(())
                }
            };
        }
        let Some(slot) = slots.get(&frame.id) else {
            return Ok(());
        };
        let added = cost(&frame.body);
        if slot.queued_bytes.fetch_add(added, Ordering::Relaxed) + added > STREAM_QUEUE_BYTES_MAX {
            return Err(Violation::Overrun);
        }
        let _ = slot.messages.send(Ok(frame.body));
        Ok(())
    }

    /// Ends all streams: the connection is gone.
    pub(crate) fn disconnect(&self) {
        let slots = std::mem::take(&mut *self.slots.lock());
        for slot in slots.into_values() {
            let _ = slot.messages.send(Err(PeerError::Disconnected));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(id: u64, bytes: usize) -> Frame {
        Frame::of(FrameType::StreamData, 0, id, Bytes::from(vec![1; bytes]))
    }

    #[tokio::test]
    async fn delivers_in_order_then_the_end() {
        let table = Arc::new(StreamTable::default());
        let mut stream = table.open(1, &Arc::default()).unwrap();
        table.on_frame(data(1, 3)).unwrap();
        table.on_frame(data(2, 3)).unwrap();
        table
            .on_frame(Frame::of(
                FrameType::StreamClose,
                Status::Failed as u8,
                1,
                Bytes::from("full"),
            ))
            .unwrap();
        assert_eq!(stream.receiver.recv().await.unwrap().unwrap().len(), 3);
        assert_eq!(
            stream.receiver.recv().await,
            Some(Err(PeerError::Failed("full".into())))
        );
        assert_eq!(stream.receiver.recv().await, None);
    }

    #[tokio::test]
    async fn an_overrun_receiver_is_a_violation_and_receiving_makes_room() {
        let table = Arc::new(StreamTable::default());
        let mut stream = table.open(1, &Arc::default()).unwrap();
        let half = STREAM_QUEUE_BYTES_MAX / 2 - MESSAGE_OVERHEAD_BYTES;
        table.on_frame(data(1, half)).unwrap();
        table.on_frame(data(1, half)).unwrap();
        stream.receiver.recv().await.unwrap().unwrap();
        table.on_frame(data(1, half)).unwrap();
        assert_eq!(table.on_frame(data(1, half)), Err(Violation::Overrun));
    }

    #[tokio::test]
    async fn a_lost_connection_ends_streams_with_an_error() {
        let table = Arc::new(StreamTable::default());
        let mut stream = table.open(1, &Arc::default()).unwrap();
        table.disconnect();
        assert_eq!(stream.receiver.recv().await, Some(Err(PeerError::Disconnected)));
        assert_eq!(stream.receiver.recv().await, None);
    }

    #[test]
    fn ids_are_used_once_and_bounded() {
        let table = Arc::new(StreamTable::default());
        let streams: Vec<_> = (0..STREAMS_MAX as u64)
            .map(|id| table.open(id, &Arc::default()).unwrap())
            .collect();
        assert!(table.open(99, &Arc::default()).is_err());
        drop(streams);
        let _first = table.open(1, &Arc::default()).unwrap();
        assert!(table.open(1, &Arc::default()).is_err());
    }
}
