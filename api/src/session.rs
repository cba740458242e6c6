//! MQTT sessions.

use serde::{Deserialize, Serialize};

/// Answer to `GET /v1/sessions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The revision of the state that was read.
    pub revision: u64,
    /// Sessions, by client identifier. Their subscriptions are counted only.
    pub items: Vec<Session>,
    /// Where the next page begins; absent on the last.
    pub next: Option<String>,
}

/// A session. `GET /v1/sessions/{client_id}` answers one with its subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The client identifier.
    pub client_id: String,
    /// Whether the client is connected.
    pub connected: bool,
    /// The node that the client is connected to.
    pub node: Option<u64>,
    /// Since when it is connected, or not connected, microseconds since the Unix epoch.
    pub since: Option<u64>,
    /// How long the session outlives its connection, seconds; 0: it ends with it. Absent: it never expires.
    pub expiry_s: Option<u32>,
    /// When the session ends unless the client returns, microseconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// Whether a will is to be published.
    pub has_will: bool,
    /// Subscriptions. Of a session that ends with its connection, the cluster knows the shared ones only.
    pub subscription_count: usize,
    /// Messages that wait to be sent.
    pub lag_messages: u64,
    /// There are more messages that wait than were counted.
    pub lag_is_partial: bool,
    /// Age of the oldest message that waits, seconds.
    pub lag_s: u64,
    /// Messages that were sent and are not acknowledged.
    pub in_flight: usize,
    /// The subscriptions, by filter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<Subscription>,
}

/// A subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The topic filter, of a shared subscription with its group.
    pub filter: String,
    /// Maximum QoS.
    pub qos: u8,
    /// Not what the client publishes itself.
    pub no_local: bool,
    /// RETAIN as it was published.
    pub retain_as_published: bool,
    /// Only the latest value of each topic after an absence.
    pub latest: bool,
    /// Subscription Identifier.
    pub subscription_id: Option<u32>,
    /// Retained messages are yet to be sent.
    pub replaying: bool,
}

/// Answer to `DELETE /v1/sessions/{client_id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kicked {
    /// The session is gone, and its connection is being closed.
    pub kicked: bool,
}
