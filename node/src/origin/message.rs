//! What nodes send each other on the origin lane, one way each.

use banyan_core::command::{Batch, BatchBuilder, BatchId, Command, DecodeError, Event, Operation};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A batch for the leader: term (u64, big-endian), then the encoded batch.
pub const BATCH: u8 = 0x01;
/// The leader rejects: resend from the first unapplied batch. No body.
pub const REJECT: u8 = 0x02;
/// An event of QoS 0 for the receiver's own subscribers: a batch of one, of no origin.
pub const EVENT: u8 = 0x03;

/// An event of QoS 0 for one connection of the receiver, by a shared subscription: its fence (u64, big-endian), subscription
/// identifier (u32, big-endian; 0: none), then as [`EVENT`].
pub const SHARED_EVENT: u8 = 0x04;

/// Encodes an event for [`EVENT`].
#[must_use]
pub fn encode_event(event: &Event) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(&Command::from(Operation::Event(event.clone())));
    builder.finish(
        BatchId {
            node_id: 0,
            incarnation: 0,
            sequence: 0,
        },
        0,
    )
}

/// Decodes the body of [`EVENT`].
///
/// # Errors
/// It is something else.
pub fn decode_event(body: Bytes) -> Result<Event, DecodeError> {
    let batch = Batch::parse(body)?;
    let mut commands = batch.commands();
    match commands.next().transpose()?.map(|command| command.operation) {
        Some(Operation::Event(event)) => Ok(event),
        _ => Err(DecodeError::Kind(0)),
    }
}

/// Encodes an event for [`SHARED_EVENT`]: `event` is the body of [`EVENT`].
#[must_use]
pub fn encode_shared_event(fence: u64, subscription_id: Option<u32>, event: &Bytes) -> Bytes {
    let mut body = BytesMut::with_capacity(12 + event.len());
    body.put_u64(fence);
    body.put_u32(subscription_id.unwrap_or(0));
    body.put_slice(event);
    body.freeze()
}

/// Decodes the body of [`SHARED_EVENT`]: fence, subscription identifier, event.
///
/// # Errors
/// It is something else.
pub fn decode_shared_event(mut body: Bytes) -> Result<(u64, Option<u32>, Event), DecodeError> {
    let fence = body.try_get_u64().map_err(|_| DecodeError::Truncated)?;
    let subscription_id = body.try_get_u32().map_err(|_| DecodeError::Truncated)?;
    Ok((fence, Some(subscription_id).filter(|id| *id > 0), decode_event(body)?))
}

/// Bytes that `command` takes while it waits, roughly.
#[must_use]
pub fn command_bytes(command: &Command) -> usize {
    const FIXED_BYTES: usize = 64;
    const PART_BYTES: usize = 64;
    let held = match &command.operation {
        Operation::Put(put) => put.topic.len() + put.payload.len() + put.metadata.as_bytes().len(),
        Operation::Delete(delete) => delete.topic.len() + delete.metadata.as_bytes().len(),
        Operation::DeleteFilter(delete) => delete.filter.as_str().len(),
        Operation::Event(event) => event.topic.len() + event.payload.len() + event.metadata.as_bytes().len(),
        Operation::Connect(connect) => {
            connect.client_id.len() + connect.will.as_ref().map_or(0, |will| will.payload.len())
        }
        Operation::Subscribe(subscribe) => subscribe.subscriptions.len() * PART_BYTES,
        Operation::Unsubscribe(unsubscribe) => unsubscribe.filters.len() * PART_BYTES,
        Operation::Progress(progress) => {
            (progress.settled.len() + progress.sent.len() + progress.replayed.len()) * PART_BYTES
        }
        Operation::CaughtUp(caught_up) => caught_up.fences.len() * 8,
        Operation::Disconnect(_) | Operation::Release(_) | Operation::Kick(_) => 0,
    };
    FIXED_BYTES + held
}
