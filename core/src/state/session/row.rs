//! What the state knows of a session.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use imbl::OrdMap;

use crate::command::SessionSubscription;
use crate::keyspace::MessagePosition;

/// A session: the state of a client that outlives its connections, or, if it does not, the connection itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Client identifier.
    pub client_id: Bytes,
    /// The connection in force.
    pub connection: Option<LiveConnection>,
    /// How long the session outlives its connection, seconds. 0: it does not; [`u32::MAX`]: for ever.
    pub expiry_s: u32,
    /// When the last connection ended, microseconds of log time; none while there is one.
    pub disconnected_at_us: Option<u64>,
    /// Whether a will is to be published, now or if the connection ends.
    pub has_will: bool,
    /// When the will is published, microseconds of log time; none while there is a connection.
    pub will_due_us: Option<u64>,
    /// Subscriptions by the text of their filters.
    pub subscriptions: OrdMap<Bytes, SubscriptionRow>,
    /// Every message up to here is in flight, done, or not for this session.
    pub cursor: MessagePosition,
    /// Messages under a packet identifier, in the order in which they were sent first.
    pub in_flight: Vec<InFlight>,
    /// Identifiers of QoS 2 messages that came from the client and are not released.
    pub inbound: BTreeSet<u16>,
    /// Messages of shared subscriptions that this session is to send and has not sent, with the text of the subscription's
    /// filter, and their QoS.
    pub assigned: BTreeMap<(MessagePosition, Bytes), u8>,
}

/// The connection in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveConnection {
    /// Tells it from all others of the cluster: greater is later.
    pub fence: u64,
    /// The node that holds it.
    pub node_id: u64,
    /// The life of that node.
    pub incarnation: u64,
    /// When it began, microseconds of log time.
    pub since_us: u64,
}

/// A subscription of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// What was asked for.
    pub subscription: SessionSubscription,
    /// Revision of the state when it was made: only later messages are for it.
    pub since: u64,
}

/// A message under a packet identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Which message.
    pub position: MessagePosition,
    /// The identifier.
    pub packet_id: u16,
    /// QoS with which it was sent, 1 or 2.
    pub qos: u8,
    /// The text of the shared subscription that assigned it.
    pub shared: Option<Bytes>,
    /// PUBREC came: the identifier is all that is still needed.
    pub received: bool,
}
