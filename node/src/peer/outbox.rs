//! What waits to be written on one connection, bounded in bytes.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::PeerError;
use super::frame::Frame;
use banyan_core::limits::PEER_FRAME_BYTES_MAX;

/// Most bytes that wait to be written on one connection. Room for two of the largest frames, so that one that waits does not
/// keep another out for ever.
pub(crate) const OUTBOX_BYTES_MAX: usize = 2 * PEER_FRAME_BYTES_MAX;

/// A queue of frames with one taker. Pushing never waits.
#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    /// Of the queued frames and of those taken but not yet written.
    bytes: usize,
    closed: bool,
}

impl Outbox {
    /// Queues `frame`.
    ///
    /// # Errors
    /// [`PeerError::TooLarge`], [`PeerError::Busy`] if too much is queued, [`PeerError::Disconnected`] if closed.
    pub(crate) fn push(&self, frame: Frame) -> Result<(), PeerError> {
        let bytes = frame.len();
        if bytes > PEER_FRAME_BYTES_MAX {
            return Err(PeerError::TooLarge(frame.body.len()));
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(PeerError::Disconnected);
        }
        if state.bytes + bytes > OUTBOX_BYTES_MAX {
            return Err(PeerError::Busy);
        }
        state.bytes += bytes;
        state.frames.push_back(frame);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for frames and takes all of them in exchange for the emptied `batch`. Cancelling loses nothing.
    pub(crate) async fn take(&self, batch: &mut VecDeque<Frame>) {
        loop {
            {
                let mut state = self.state.lock();
                if !state.frames.is_empty() {
                    std::mem::swap(&mut state.frames, batch);
                    return;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Makes room: `bytes` of taken frames have been written.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    /// Refuses everything from now on and drops what is queued.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.frames = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::peer::frame::FrameType;

    fn frame(bytes: usize) -> Frame {
        Frame::new(FrameType::Message, Bytes::from(vec![0; bytes]))
    }

    #[tokio::test]
    async fn is_bounded_by_what_is_not_yet_written() {
        let outbox = Outbox::default();
        let half = OUTBOX_BYTES_MAX / 2 - 1000;
        assert_eq!(outbox.push(frame(half)), Ok(()));
        assert_eq!(outbox.push(frame(half)), Ok(()));
        assert_eq!(outbox.push(frame(half)), Err(PeerError::Busy));
        let mut batch = VecDeque::new();
        outbox.take(&mut batch).await;
        assert_eq!(batch.len(), 2);
        assert_eq!(outbox.push(frame(half)), Err(PeerError::Busy), "taken is not written");
        outbox.written(batch.iter().map(Frame::len).sum());
        assert_eq!(outbox.push(frame(half)), Ok(()));
    }

    #[test]
    fn refuses_oversized_frames_and_everything_once_closed() {
        let outbox = Outbox::default();
        assert_eq!(
            outbox.push(frame(PEER_FRAME_BYTES_MAX)),
            Err(PeerError::TooLarge(PEER_FRAME_BYTES_MAX))
        );
        outbox.close();
        assert_eq!(outbox.push(frame(1)), Err(PeerError::Disconnected));
    }
}
