//! A node that is emptied before it stops.

use serde::{Deserialize, Serialize};

/// Answer to `GET`, `POST` and `DELETE /v1/cluster/members/{id}/drain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drain {
    /// The node.
    pub node_id: u64,
    /// `serving`, `draining` or `ready-to-stop`.
    pub state: String,
    /// MQTT clients connected to it.
    pub clients: u64,
    /// Change feeds and lists that it streams.
    pub streams: u64,
    /// Whether it leads.
    pub leader: bool,
    /// Clients that are handed over a second; 0: all at once.
    pub rate: u32,
    /// Where clients are sent: the ready members.
    pub sends_to: Vec<String>,
    /// Voters that must agree on a write.
    pub quorum: u64,
    /// Voters that are ready once this node has stopped.
    pub voters_left: u64,
    /// What speaks against stopping it.
    pub objections: Vec<String>,
}
