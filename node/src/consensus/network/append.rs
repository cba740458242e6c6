//! The log as a stream: the leader sends requests as they come and does not wait for responses; the follower takes them in
//! order and answers in order.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::Raft;
use openraft::errors::RPCError;
use openraft::raft::StreamAppendResult;
use openraft::storage::RaftStateMachine;
use tokio::time::{Instant, Sleep};

use super::{network_error, speaks_for_itself};
use crate::consensus::types::TypeConfig;
use crate::consensus::wire::{self, AppendEntriesRequest};
use crate::peer::{PeerStream, StreamReceiver};

/// Most requests of a stream that wait for their response.
const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// No further request is sent while this many bytes wait for their response. What a follower has to hold is this and one
/// request more, which is within what a stream takes.
const BYTES_IN_FLIGHT_MAX: usize = 8 * 1024 * 1024;
const _: () = assert!(
    BYTES_IN_FLIGHT_MAX + banyan_core::limits::PEER_FRAME_BYTES_MAX < crate::peer::STREAM_QUEUE_BYTES_MAX,
    "a full window must not overrun the follower"
);
/// A follower that answers nothing for this long is stuck: the stream is given up and replication starts over.
const STALL_MAX: Duration = Duration::from_secs(10);

/// The leader's side: a stream of responses that, while it is polled, sends what `input` yields.
///
/// It does everything inside of `poll_next`, so that no request is taken from `input` by anything that outlives the stream:
/// openraft would count it as sent.
pub(super) struct AppendStream<S> {
    input: Option<S>,
    stream: PeerStream,
    /// Bytes of each request that waits for its response.
    in_flight: VecDeque<usize>,
    in_flight_bytes: usize,
    /// Runs while something is in flight.
    stall: Pin<Box<Sleep>>,
    finished: bool,
}

type Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

impl<S: Stream<Item = AppendEntriesRequest> + Unpin> AppendStream<S> {
    pub(super) fn new(input: S, stream: PeerStream) -> Self {
        Self {
            input: Some(input),
            stream,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            stall: Box::pin(tokio::time::sleep(STALL_MAX)),
            finished: false,
        }
    }

    /// Sends what there is to send and the window allows.
    fn send(&mut self, context: &mut Context<'_>) -> Result<(), RPCError<TypeConfig>> {
        while self.in_flight.len() < REQUESTS_IN_FLIGHT_MAX && self.in_flight_bytes < BYTES_IN_FLIGHT_MAX {
            let Some(input) = &mut self.input else {
                return Ok(());
            };
            match input.poll_next_unpin(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.input = None,
                Poll::Ready(Some(request)) => {
                    let body = wire::encode_append(&request).map_err(|error| network_error(&error))?;
                    let bytes = body.len();
                    self.stream.sender.send(body).map_err(|error| network_error(&error))?;
                    if self.in_flight.is_empty() {
                        self.stall.as_mut().reset(Instant::now() + STALL_MAX);
                    }
                    self.in_flight.push_back(bytes);
                    self.in_flight_bytes += bytes;
                }
            }
        }
        Ok(())
    }

    /// Takes one response in.
    fn on_response(&mut self, response: &Bytes) -> Item {
        let Some(bytes) = self.in_flight.pop_front() else {
            return Err(network_error(&"the follower answers what was not asked"));
        };
        self.in_flight_bytes -= bytes;
        self.stall.as_mut().reset(Instant::now() + STALL_MAX);
        let result: StreamAppendResult<TypeConfig> = wire::decode(response).map_err(|error| network_error(&error))?;
        // A conflict or a higher vote: nothing of what follows is answered.
        self.finished = result.is_err();
        Ok(result)
    }

    fn advance(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<StreamAppendResult<TypeConfig>>, RPCError<TypeConfig>>> {
        self.send(context)?;
        if self.input.is_none() && self.in_flight.is_empty() {
            return Poll::Ready(Ok(None));
        }
        match self.stream.receiver.poll_recv(context) {
            Poll::Ready(Some(Ok(response))) => return Poll::Ready(self.on_response(&response).map(Some)),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(network_error(&error))),
            Poll::Ready(None) => return Poll::Ready(Err(network_error(&"the follower has ended the stream"))),
            Poll::Pending if self.in_flight.is_empty() => return Poll::Pending,
            Poll::Pending => {}
        }
        self.stall
            .as_mut()
            .poll(context)
            .map(|()| Err(network_error(&"the follower is stuck")))
    }
}

impl<S: Stream<Item = AppendEntriesRequest> + Unpin> Stream for AppendStream<S> {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let this = self.get_mut();
        if this.finished {
            return Poll::Ready(None);
        }
        this.advance(context).map(|outcome| {
            this.finished |= !matches!(outcome, Ok(Some(_)));
            outcome.transpose()
        })
    }
}

/// The follower's side: feeds `raft` until either of them ends the stream.
pub(super) async fn serve<SM>(raft: Raft<TypeConfig, SM>, from: u64, stream: PeerStream)
where
    SM: RaftStateMachine<TypeConfig>,
{
    let mut results = pin!(raft.stream_append(requests(from, stream.receiver)));
    while let Some(result) = results.next().await {
        let result = match result {
            Ok(result) => result,
            Err(fatal) => return stream.sender.fail(&fatal.to_string()),
        };
        let Ok(response) = wire::encode(&result) else {
            return;
        };
        if stream.sender.send(response).is_err() {
            return;
        }
    }
}

/// The requests of a stream, up to its end or the first that makes no sense.
fn requests(from: u64, receiver: StreamReceiver) -> impl Stream<Item = AppendEntriesRequest> + Send + 'static {
    futures_util::stream::unfold(receiver, move |mut receiver| async move {
        let body = receiver.recv().await?.ok()?;
        let request = wire::decode_append(&body).map_err(|error| error.to_string());
        match request.and_then(|request| speaks_for_itself(&request.vote, from).map(|()| request)) {
            Ok(request) => Some((request, receiver)),
            Err(error) => {
                tracing::warn!(from, error, "refused a stream of log entries");
                None
            }
        }
    })
}
