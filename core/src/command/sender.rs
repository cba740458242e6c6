//! A command: what is asked, and by which connection.

use super::wire::Reader;
use super::{DecodeError, Operation};

/// Kind byte of the prefix that names the sender. No operation has it.
const SENDER: u8 = 0x20;

/// One request: an operation, and the connection of an MQTT client that sent it.
///
/// Operations of HTTP clients and of the node itself have no sender. Those of a session always have one, except that
/// [`Operation::Connect`] makes the connection and [`Operation::CaughtUp`] names several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Who sends it.
    pub sender: Option<Sender>,
    /// What is asked.
    pub operation: Operation,
}

/// A connection of an MQTT client, as the state knows it. What a connection sends that is not in force any more changes
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The fence that the connection was given ([`crate::state::Outcome::Connected`]), not 0.
    pub fence: u64,
    /// Packet identifier of a QoS 2 PUBLISH of a session that outlives its connection: the identifier and the message
    /// take effect together, and never again until the identifier is released.
    pub packet_id: Option<u16>,
}

impl Command {
    /// A command of the connection with `fence`.
    #[must_use]
    pub fn of(fence: u64, operation: impl Into<Operation>) -> Self {
        Self {
            sender: Some(Sender { fence, packet_id: None }),
            operation: operation.into(),
        }
    }

    /// Appends the encoding.
    ///
    /// # Panics
    /// As [`Operation::encode`], and if the sender is not of the shape that the operation needs.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            is_allowed(self.sender, &self.operation),
            "sender of {:?}",
            self.operation
        );
        if let Some(Sender { fence, packet_id }) = self.sender {
            out.push(SENDER);
            out.extend_from_slice(&fence.to_be_bytes());
            out.extend_from_slice(&packet_id.unwrap_or(0).to_be_bytes());
        }
        self.operation.encode(out);
    }

    /// Reads one command that takes all of `reader`.
    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let mut kind = reader.u8()?;
        let mut sender = None;
        if kind == SENDER {
            let fence = reader.u64()?;
            let packet_id = match reader.u16()? {
                0 => None,
                packet_id => Some(packet_id),
            };
            sender = Some(Sender { fence, packet_id });
            kind = reader.u8()?;
        }
        let operation = Operation::decode(kind, reader)?;
        if is_allowed(sender, &operation) {
            Ok(Self { sender, operation })
        } else {
            Err(DecodeError::Sender)
        }
    }
}

/// Whether `operation` may come from `sender`.
const fn is_allowed(sender: Option<Sender>, operation: &Operation) -> bool {
    let (fence, packet_id) = match sender {
        Some(sender) => (Some(sender.fence), sender.packet_id),
        None => (None, None),
    };
    if matches!(fence, Some(0)) || matches!(packet_id, Some(0)) {
        return false;
    }
    match operation {
        Operation::Put(_) | Operation::Delete(_) | Operation::Event(_) => true,
        Operation::DeleteFilter(_) => packet_id.is_none(),
        Operation::Connect(_) | Operation::CaughtUp(_) | Operation::Kick(_) => fence.is_none(),
        Operation::Disconnect(_)
        | Operation::Subscribe(_)
        | Operation::Unsubscribe(_)
        | Operation::Release(_)
        | Operation::Progress(_) => fence.is_some() && packet_id.is_none(),
    }
}

impl From<Operation> for Command {
    /// Without a sender.
    fn from(operation: Operation) -> Self {
        Self {
            sender: None,
            operation,
        }
    }
}
