//! What an entry did to connections, for the nodes that hold them.

use bytes::Bytes;

use crate::state::Change;

/// A connection that the state has ended without its node asking for it; or that it takes nothing more from than its end,
/// which the node is to bring about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The node that holds it, or held it.
    pub node_id: u64,
    /// Which connection.
    pub fence: u64,
    /// Its client.
    pub client_id: Bytes,
    /// Why it is closed.
    pub reason: CloseReason,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client has connected again, here or elsewhere [MQTT-3.1.4-3].
    TakenOver,
    /// An operator ended the session.
    Kicked,
    /// The node, or this life of it, was given up.
    NodeLost,
    /// Something that the client has sent came to the log after its deadline.
    TooLate,
}

/// A message of a shared subscription that a connection is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The node that holds the connection.
    pub node_id: u64,
    /// Which connection.
    pub fence: u64,
    /// The message.
    pub change: Change,
    /// QoS with which it is sent.
    pub qos: u8,
    /// Identifier of the subscription.
    pub subscription_id: Option<u32>,
    /// The RETAIN flag is delivered as it was published.
    pub retain_as_published: bool,
}
