//! Reading and writing the frames of one connection, and noticing that the other side is gone.
//!
//! One task reads, writes and keeps the connection alive. Everything queued is written with one call a wake-up.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::frame::{Frame, FrameError, FrameType};
use super::outbox::Outbox;
use crate::net::BoxStream;
use banyan_core::limits::PEER_FRAME_BYTES_MAX;

/// Read at once, and read buffers of idle connections are not larger.
const READ_BYTES: usize = 64 * 1024;
/// Reads in a row before writing gets its turn.
const READS_IN_A_ROW: u32 = 8;
/// A body of this size is written from where it is, a smaller one copied to its neighbours.
const DIRECT_WRITE_BYTES: usize = 32 * 1024;
/// Small frames are gathered up to this size.
const WRITE_BYTES: usize = 256 * 1024;

/// What a peer did that it must not do. The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("a frame that makes no sense")]
    Malformed,
    #[error("a frame type that is out of place")]
    OutOfPlace,
    #[error("more was sent on a stream than its receiver takes")]
    Overrun,
    #[error("too many streams, or one opened twice")]
    Streams,
    #[error("answers pile up")]
    NotReading,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("closed by the peer")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("protocol violation: {0}")]
    Violation(#[from] Violation),
    #[error("the peer has been silent for too long")]
    Silent,
}

impl End {
    /// Whether the peer did something that it must not do, rather than just go away.
    pub(crate) fn is_fault(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::Violation(_))
    }
}

/// How a connection notices that the other side is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Liveness {
    /// How often is looked.
    tick: Duration,
    /// Pings when nothing was sent or nothing was received for this long.
    ping_after: Option<Duration>,
    /// The other side is taken for dead when nothing was received for this long.
    silence_max: Duration,
}

impl Liveness {
    /// For the side that opened the connection: it pings, so that a living peer is never silent for long.
    pub(crate) const OPENER: Self = Self {
        tick: Duration::from_millis(500),
        ping_after: Some(Duration::from_secs(1)),
        silence_max: Duration::from_secs(3),
    };
    /// For the other side: it waits somewhat longer, so that it is the opener that decides.
    pub(crate) const ANSWERER: Self = Self {
        tick: Duration::from_secs(1),
        ping_after: None,
        silence_max: Duration::from_secs(5),
    };
}

/// Reads frames to `on_frame` and writes those of `outbox`, until the connection ends. Pings are answered here.
///
/// `buffer` holds what was read beyond the handshake.
pub(crate) async fn drive(
    stream: BoxStream,
    buffer: BytesMut,
    outbox: &Outbox,
    liveness: Liveness,
    on_frame: impl FnMut(Frame) -> Result<(), Violation>,
) -> End {
    let (read, write) = tokio::io::split(stream);
    let activity = Activity::new();
    tokio::select! {
        biased;
        end = read_frames(read, buffer, outbox, &activity, on_frame) => end,
        end = write_frames(write, outbox, &activity) => end,
        end = watch_silence(outbox, &activity, liveness) => end,
    }
}

/// When the connection last carried something, in either direction.
struct Activity {
    start: Instant,
    received_ms: AtomicU64,
    sent_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            received_ms: AtomicU64::new(0),
            sent_ms: AtomicU64::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn mark(&self, what: &AtomicU64) {
        what.store(self.now_ms(), Ordering::Relaxed);
    }

    fn since(&self, what: &AtomicU64) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(what.load(Ordering::Relaxed)))
    }
}

async fn read_frames(
    mut stream: ReadHalf<BoxStream>,
    mut buffer: BytesMut,
    outbox: &Outbox,
    activity: &Activity,
    mut on_frame: impl FnMut(Frame) -> Result<(), Violation>,
) -> End {
    let mut reads: u32 = 0;
    loop {
        loop {
            match Frame::decode(&mut buffer, PEER_FRAME_BYTES_MAX) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if let Err(violation) = dispatch(frame, outbox, &mut on_frame) {
                        return violation.into();
                    }
                }
                Err(error) => return error.into(),
            }
        }
        if buffer.is_empty() && buffer.capacity() > 4 * READ_BYTES {
            // Gives back what a large frame needed.
            buffer = BytesMut::with_capacity(READ_BYTES);
        } else if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            buffer.reserve(READ_BYTES);
        }
        reads += 1;
        if reads.is_multiple_of(READS_IN_A_ROW) {
            tokio::task::yield_now().await;
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) => return End::Closed,
            Ok(_) => activity.mark(&activity.received_ms),
            Err(error) => return error.into(),
        }
    }
}

fn dispatch(
    frame: Frame,
    outbox: &Outbox,
    on_frame: &mut impl FnMut(Frame) -> Result<(), Violation>,
) -> Result<(), Violation> {
    match frame.frame_type {
        FrameType::Ping => outbox
            .push(Frame::new(FrameType::Pong, Bytes::new()))
            .map_err(|_| Violation::NotReading),
        FrameType::Pong => Ok(()),
        _ => on_frame(frame),
    }
}

async fn write_frames(mut stream: WriteHalf<BoxStream>, outbox: &Outbox, activity: &Activity) -> End {
    let mut batch = VecDeque::new();
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        outbox.take(&mut batch).await;
        if let Err(error) = write_batch(&mut stream, &mut batch, &mut buffer, outbox).await {
            return error.into();
        }
        activity.mark(&activity.sent_ms);
    }
}

async fn write_batch(
    stream: &mut WriteHalf<BoxStream>,
    batch: &mut VecDeque<Frame>,
    buffer: &mut BytesMut,
    outbox: &Outbox,
) -> io::Result<()> {
    let mut bytes = 0;
    for frame in batch.drain(..) {
        bytes += frame.len();
        frame.encode_header(buffer);
        let direct = frame.body.len() >= DIRECT_WRITE_BYTES;
        if !direct {
            buffer.extend_from_slice(&frame.body);
        }
        if direct || buffer.len() >= WRITE_BYTES {
            stream.write_all(buffer).await?;
            buffer.clear();
            if direct {
                stream.write_all(&frame.body).await?;
            }
            outbox.written(std::mem::take(&mut bytes));
        }
    }
    if !buffer.is_empty() {
        stream.write_all(buffer).await?;
        buffer.clear();
    }
    outbox.written(bytes);
    stream.flush().await
}

async fn watch_silence(outbox: &Outbox, activity: &Activity, liveness: Liveness) -> End {
    loop {
        tokio::time::sleep(liveness.tick).await;
        let silence = activity.since(&activity.received_ms);
        if silence >= liveness.silence_max {
            return End::Silent;
        }
        if liveness
            .ping_after
            .is_some_and(|idle| silence >= idle || activity.since(&activity.sent_ms) >= idle)
        {
            // A full outbox is as good as a ping.
            let _ = outbox.push(Frame::new(FrameType::Ping, Bytes::new()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_silent_peer_is_given_up() {
        let (near, _far) = tokio::io::duplex(4096);
        let liveness = Liveness {
            tick: TICK,
            ping_after: Some(TICK),
            silence_max: 3 * TICK,
        };
        let end = drive(
            Box::new(near),
            BytesMut::new(),
            &Outbox::default(),
            liveness,
            |_| Ok(()),
        )
        .await;
        assert!(matches!(end, End::Silent), "{end}");
    }

    #[tokio::test]
    async fn pings_keep_an_idle_connection_alive() {
        let (near, far) = tokio::io::duplex(4096);
        let (near_outbox, far_outbox) = (Outbox::default(), Outbox::default());
        let pinging = Liveness {
            tick: TICK,
            ping_after: Some(TICK),
            silence_max: Duration::from_secs(60),
        };
        let answering = Liveness {
            tick: 100 * TICK,
            ..Liveness::ANSWERER
        };
        let mut pings = 0;
        // Pings are answered beneath `on_frame`, so look at the bytes in between.
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let (between, beyond) = tokio::io::duplex(4096);
        let (mut between_read, mut between_write) = tokio::io::split(between);
        let mut relay = Box::pin(async {
            let mut buffer = BytesMut::new();
            while pings < 3 {
                if let Some(frame) = Frame::decode(&mut buffer, 4096).unwrap() {
                    assert_eq!(frame.frame_type, FrameType::Ping);
                    let mut bytes = BytesMut::new();
                    frame.encode_header(&mut bytes);
                    between_write.write_all(&bytes).await.unwrap();
                    let mut pong = [0; super::super::frame::FRAME_HEADER_BYTES];
                    between_read.read_exact(&mut pong).await.unwrap();
                    far_write.write_all(&pong).await.unwrap();
                    pings += 1;
                } else {
                    far_read.read_buf(&mut buffer).await.unwrap();
                }
            }
        });
        tokio::select! {
            () = &mut relay => {}
            end = drive(Box::new(near), BytesMut::new(), &near_outbox, pinging, |_| Ok(())) => panic!("{end}"),
            end = drive(Box::new(beyond), BytesMut::new(), &far_outbox, answering, |_| Ok(())) => panic!("{end}"),
        }
    }

    #[tokio::test]
    async fn what_is_queued_is_written_in_order_whatever_its_size() {
        let (near, far) = tokio::io::duplex(100_000);
        let (near_outbox, far_outbox) = (Outbox::default(), Outbox::default());
        let sizes = [
            1,
            DIRECT_WRITE_BYTES,
            0,
            WRITE_BYTES + 1,
            7,
            7,
            DIRECT_WRITE_BYTES - 1,
            2_000_000,
        ];
        for size in sizes {
            near_outbox
                .push(Frame::new(FrameType::Message, Bytes::from(vec![9; size])))
                .unwrap();
        }
        let (done, finished) = tokio::sync::oneshot::channel();
        let (mut done, mut received) = (Some(done), Vec::new());
        let take = |frame: Frame| {
            received.push(frame.body.len());
            if received.len() == sizes.len() {
                let _ = done.take().map(|done| done.send(()));
            }
            Ok(())
        };
        tokio::select! {
            _ = finished => {}
            end = drive(Box::new(near), BytesMut::new(), &near_outbox, Liveness::OPENER, |_| Ok(())) => panic!("{end}"),
            end = drive(Box::new(far), BytesMut::new(), &far_outbox, Liveness::ANSWERER, take) => panic!("{end}"),
        }
        assert_eq!(received, sizes);
    }
}
