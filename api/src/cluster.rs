//! Members of the cluster and their progress.

use serde::{Deserialize, Serialize};

/// Answer to `GET /v1/cluster`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The identity of the cluster, given at bootstrap, hexadecimal.
    pub cluster_id: String,
    /// The node that answered.
    pub node_id: u64,
    /// The term the answering node is in.
    pub term: u64,
    /// The leader, if the answering node knows one.
    pub leader: Option<u64>,
    /// Voters that must agree on a write.
    pub quorum: usize,
    /// Every member.
    pub members: Vec<Member>,
    /// Everything that is wrong, as far as the answering node hears; what hurts most first.
    #[serde(default)]
    pub alarms: Vec<Alarm>,
}

/// Something that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// `no-quorum`, `writes-refused`, `divergence`, `disk-space`, `disk-slow`, `clock-skew`, `lagging` or `unreachable`; later
    /// versions may have more.
    pub kind: String,
    /// The node that it is about.
    pub node_id: u64,
    /// Since when, microseconds since the Unix epoch.
    pub since: u64,
    /// The numbers.
    pub detail: String,
    /// What such an alarm means.
    pub meaning: String,
    /// What ends it.
    pub action: String,
    /// The nodes that have raised it.
    pub raised_by: Vec<u64>,
}

/// Answer to `GET /v1/cluster/members`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Every member.
    pub items: Vec<Member>,
    /// Voters that must agree on a write.
    #[serde(default)]
    pub quorum: usize,
    /// Members that have a vote.
    #[serde(default)]
    pub voters: usize,
    /// Join tokens that can still be used.
    #[serde(default)]
    pub tokens: Vec<OpenToken>,
}

/// A join token that can still be used. The token itself is shown only once, when it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenToken {
    /// When it expires, microseconds since the epoch.
    pub expires_at: u64,
    /// Whether the node that enters with it becomes a voter.
    pub voter: bool,
}

/// Answer to a request that changes the members, or who of them leads. What takes time goes on after it; `GET
/// /v1/cluster/members` shows how far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipChange {
    /// Whether nothing was changed, since that was asked for.
    pub dry_run: bool,
    /// Whether all was as asked already.
    pub unchanged: bool,
    /// Voters and quorum before.
    pub before: Quorum,
    /// Voters and quorum once it is done. Id 0 stands for a node that has yet to come.
    pub after: Quorum,
    /// What else should be known.
    pub notes: Vec<String>,
    /// With `POST /v1/cluster/members`: the token, shown only here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<JoinToken>,
}

/// Who has a vote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// Their ids.
    pub voters: Vec<u64>,
    /// How many of them must agree on a write.
    pub quorum: usize,
    /// How many of them may be lost without stopping writes.
    pub spare: usize,
}

/// With which a node enters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The setting `join_token` of the new node.
    pub token: String,
    /// The setting `join` of the new node: where members listen for it.
    pub join: Vec<String>,
    /// When the token expires, microseconds since the epoch.
    pub expires_at: u64,
}

/// One member. What only the member itself knows is absent while it cannot be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's id.
    pub id: u64,
    /// `leader`, `voter`, `learner`, or `entering` before it receives the log.
    pub role: String,
    /// What is to become of it: `voter`, `learner` or `leaves`; absent if nobody ever asked anything of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<String>,
    /// The member that leaves once this one is a voter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u64>,
    /// Whether the answering node reaches it.
    pub reachable: bool,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Where MQTT clients reach it.
    pub mqtt_address: Option<String>,
    /// Where HTTP clients reach it.
    pub http_address: Option<String>,
    /// Version of its program.
    pub version: Option<String>,
    /// What all members understand, as far as it has applied: the feature level of the cluster.
    pub feature_level: Option<u16>,
    /// The last feature level that it takes part in.
    pub feature_level_max: Option<u16>,
    /// The term it is in.
    pub term: Option<u64>,
    /// Index of the last log entry in its log.
    pub last_log_index: Option<u64>,
    /// Index of the last committed log entry it knows.
    pub committed_index: Option<u64>,
    /// Index of the last log entry in its state.
    pub applied_index: Option<u64>,
    /// Index of the last log entry that is purged.
    pub purged_index: Option<u64>,
    /// Index of the last log entry that its checkpoint covers.
    pub snapshot_index: Option<u64>,
    /// The revision of its state.
    pub revision: Option<u64>,
    /// The digest of its state, hexadecimal: equal on all nodes at equal applied index.
    pub digest: Option<String>,
    /// The number of topics that hold a value.
    pub topic_count: Option<u64>,
    /// The number of MQTT clients connected to it.
    pub client_count: Option<u64>,
    /// The number of MQTT sessions in its state, connected or not.
    pub session_count: Option<u64>,
    /// The number of superseded messages that its state keeps for sessions that have not had them.
    pub message_count: Option<u64>,
    /// How many bytes these are.
    pub message_bytes: Option<u64>,
    /// Messages handed to its clients, since it started.
    pub delivered_count: Option<u64>,
    /// Messages of QoS 0 that it dropped because a client reads too slowly, since it started.
    pub dropped_count: Option<u64>,
    /// How often a connected session read too slowly and was served from what is stored, since it started.
    pub fallen_behind_count: Option<u64>,
    /// How often a session was told that messages are gone that it had not had, since it started.
    pub gap_count: Option<u64>,
    /// Appends to its log that were made durable, since it started.
    pub log_appends: Option<u64>,
    /// Syncs of log and vote, since it started.
    pub log_fsyncs: Option<u64>,
    /// Free space where it keeps its data, bytes.
    #[serde(default)]
    pub disk_free_bytes: Option<u64>,
    /// Below how much free space its disk is low, bytes.
    #[serde(default)]
    pub disk_floor_bytes: Option<u64>,
    /// Median time of its log's syncs in the last seconds, microseconds; absent if there were none.
    #[serde(default)]
    pub log_sync_median_us: Option<u64>,
    /// Commands of its clients that it has answered, since it started.
    #[serde(default)]
    pub write_count: Option<u64>,
    /// What 99 in 100 of them did not exceed in the last seconds, microseconds; absent if there were none.
    #[serde(default)]
    pub write_p99_us: Option<u64>,
    /// What 99 in 100 syncs of its log did not exceed in the last seconds, microseconds; absent if there were none.
    #[serde(default)]
    pub log_fsync_p99_us: Option<u64>,
    /// Memory that its process uses, bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// How long it has been running, seconds.
    #[serde(default)]
    pub uptime_s: Option<u64>,
    /// Why it cannot serve, if it cannot.
    pub not_ready: Option<String>,
}

/// Answer to `/health/live` and `/health/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: String,
}
