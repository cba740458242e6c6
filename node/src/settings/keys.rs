//! The table of settings: one row a key, from which the file reader, the flags, the environment and the help are made.

use banyan_core::feature::FeatureLevel;
use banyan_core::limits;

pub use super::key::{Key, Kind};
use super::key::{bytes, list, number, switch, text};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

/// `data_dir`
pub static DATA_DIR: Key = text(
    "data_dir",
    None,
    r#"data_dir = "/var/lib/banyan""#,
    "Directory of everything the node keeps",
);
/// `node_id`. TOML integers end at 2^63 - 1, so ids do too.
pub static NODE_ID: Key = Key {
    name: "node_id",
    kind: Kind::Number {
        default: None,
        min: 1,
        max: i64::MAX as u64,
        bytes: false,
    },
    example: "node_id = 1",
    help: "Id of this node; drawn at random and kept at the first start unless given",
};
/// `mqtt`
pub static MQTT: Key = list(
    "mqtt",
    &["127.0.0.1:1883"],
    r#"mqtt = ["127.0.0.1:1883"]"#,
    "Addresses to serve MQTT on",
);
/// `mqtts`
pub static MQTTS: Key = list(
    "mqtts",
    &[],
    r#"mqtts = ["127.0.0.1:8883"]"#,
    "Addresses to serve MQTT over TLS on",
);
/// `http`
pub static HTTP: Key = list(
    "http",
    &["127.0.0.1:8080"],
    r#"http = ["127.0.0.1:8080"]"#,
    "Addresses to serve HTTP and MQTT over WebSocket on",
);
/// `https`
pub static HTTPS: Key = list(
    "https",
    &[],
    r#"https = ["127.0.0.1:8443"]"#,
    "Addresses to serve HTTP and MQTT over WebSocket on, over TLS",
);
/// `tls_certificate`
pub static TLS_CERTIFICATE: Key = text(
    "tls_certificate",
    None,
    r#"tls_certificate = "/etc/banyan/server.crt""#,
    "Certificate of `mqtts` and `https` (PEM, intermediates after it); read again when it changes",
);
/// `tls_key`
pub static TLS_KEY: Key = text(
    "tls_key",
    None,
    r#"tls_key = "/etc/banyan/server.key""#,
    "Private key of `tls_certificate` (PEM)",
);
/// `tls_client_certificates`
pub static TLS_CLIENT_CERTIFICATES: Key = Key {
    name: "tls_client_certificates",
    kind: Kind::Text {
        default: Some("off"),
        choices: &["off", "optional", "required"],
    },
    example: r#"tls_client_certificates = "required""#,
    help: "Whether clients show a certificate on `mqtts` and `https`: off, optional or required",
};
/// `tls_client_ca`
pub static TLS_CLIENT_CA: Key = text(
    "tls_client_ca",
    None,
    r#"tls_client_ca = "/etc/banyan/clients-ca.crt""#,
    "CAs of the clients' certificates (PEM)",
);
/// `proxy_protocol`
pub static PROXY_PROTOCOL: Key = list(
    "proxy_protocol",
    &[],
    r#"proxy_protocol = ["mqtt"]"#,
    "Listeners behind a load balancer that sends a PROXY protocol header, version 2: mqtt, mqtts, http, https",
);
/// `websocket_origins`
pub static WEBSOCKET_ORIGINS: Key = list(
    "websocket_origins",
    &[],
    r#"websocket_origins = ["https://app.example.org"]"#,
    "Origins whose pages may connect over WebSocket, as SCHEME://HOST[:PORT]; empty: any",
);
/// `peer`
pub static PEER: Key = text(
    "peer",
    Some("127.0.0.1:7400"),
    r#"peer = "127.0.0.1:7400""#,
    "Address to listen on for other nodes",
);
/// `peer_advertise`
pub static PEER_ADVERTISE: Key = text(
    "peer_advertise",
    None,
    r#"peer_advertise = "node1.example.org:7400""#,
    "Address that other nodes connect to; `peer` unless given",
);
/// `mqtt_advertise`
pub static MQTT_ADVERTISE: Key = text(
    "mqtt_advertise",
    None,
    r#"mqtt_advertise = "node1.example.org:1883""#,
    "Address that MQTT clients of a node that drains are sent to; the first of `mqtt` unless given",
);
/// `mqtts_advertise`
pub static MQTTS_ADVERTISE: Key = text(
    "mqtts_advertise",
    None,
    r#"mqtts_advertise = "node1.example.org:8883""#,
    "The same for MQTT over TLS; the first of `mqtts` unless given",
);
/// `drain_rate`
pub static DRAIN_RATE: Key = number(
    "drain_rate",
    500,
    (0, 1_000_000),
    "drain_rate = 500",
    "MQTT clients that a node which drains hands over a second, unless the command says otherwise; 0: all at once",
);
/// `peer_certificate`
pub static PEER_CERTIFICATE: Key = text(
    "peer_certificate",
    None,
    r#"peer_certificate = "/etc/banyan/node.crt""#,
    "Certificate that this node shows to other nodes (PEM, intermediates after it); read again when it changes",
);
/// `peer_key`
pub static PEER_KEY: Key = text(
    "peer_key",
    None,
    r#"peer_key = "/etc/banyan/node.key""#,
    "Private key of `peer_certificate` (PEM)",
);
/// `peer_ca`
pub static PEER_CA: Key = text(
    "peer_ca",
    None,
    r#"peer_ca = "/etc/banyan/nodes-ca.crt""#,
    "CA of the nodes' certificates, and of nothing else (PEM)",
);
/// `bootstrap`
pub static BOOTSTRAP: Key = switch(
    "bootstrap",
    "bootstrap = true",
    "First start: begin a new cluster of `members`; ignored afterwards",
);
/// `members`
pub static MEMBERS: Key = list(
    "members",
    &[],
    r#"members = ["1@node1.example.org:7400", "2@node2.example.org:7400"]"#,
    "Members of the new cluster, this node among them, as ID@HOST:PORT; the same list on every node",
);
/// `join`
pub static JOIN: Key = list(
    "join",
    &[],
    r#"join = ["node1.example.org:7400"]"#,
    "First start: members to ask to be let into their cluster, with `join_token`; ignored afterwards",
);
/// `join_token`
pub static JOIN_TOKEN: Key = text(
    "join_token",
    None,
    r#"join_token = "banyan-0123456789abcdef-00112233445566778899aabbccddeeff-0123""#,
    "First start: what to show to the members of `join`, from `banyanctl member add`; good for one node and a short time",
);
/// `allow_anonymous`
pub static ALLOW_ANONYMOUS: Key = switch(
    "allow_anonymous",
    "allow_anonymous = true",
    "Serve clients that do not say who they are, also beyond loopback",
);
/// `insecure_peers`
pub static INSECURE_PEERS: Key = switch(
    "insecure_peers",
    "insecure_peers = true",
    "Trust whoever reaches the peer port, also beyond loopback",
);
/// `write_timeout_ms`
pub static WRITE_TIMEOUT_MS: Key = number(
    "write_timeout_ms",
    10_000,
    (100, 600_000),
    "write_timeout_ms = 10000",
    "How long a write waits for its outcome, milliseconds",
);
/// `heartbeat_ms`
pub static HEARTBEAT_MS: Key = number(
    "heartbeat_ms",
    100,
    (5, 60_000),
    "heartbeat_ms = 100",
    "Interval of the leader's heartbeats, milliseconds",
);
/// `election_timeout_min_ms`
pub static ELECTION_TIMEOUT_MIN_MS: Key = number(
    "election_timeout_min_ms",
    200,
    (10, 600_000),
    "election_timeout_min_ms = 200",
    "Shortest time to wait after the leader's lease before an election, milliseconds",
);
/// `election_timeout_max_ms`
pub static ELECTION_TIMEOUT_MAX_MS: Key = number(
    "election_timeout_max_ms",
    400,
    (11, 600_000),
    "election_timeout_max_ms = 400",
    "Longest such time, and the leader's lease: how long a follower votes for nobody else, milliseconds",
);
/// `packet_bytes_max`. Not more than twice fits into a frame between nodes beside a full entry.
pub static PACKET_BYTES_MAX: Key = bytes(
    "packet_bytes_max",
    limits::PACKET_BYTES_MAX as u64,
    (limits::CONNECT_BYTES_MAX as u64, 4 * MIB),
    r#"packet_bytes_max = "1 MiB""#,
    "Largest MQTT packet or HTTP body",
);
/// `receive_maximum`
pub static RECEIVE_MAXIMUM: Key = number(
    "receive_maximum",
    limits::RECEIVE_MAXIMUM as u64,
    (1, 65_535),
    "receive_maximum = 1024",
    "Unacknowledged QoS > 0 messages taken from one client",
);
/// `topic_alias_maximum`
pub static TOPIC_ALIAS_MAXIMUM: Key = number(
    "topic_alias_maximum",
    limits::TOPIC_ALIAS_MAXIMUM as u64,
    (0, 65_535),
    "topic_alias_maximum = 16",
    "Topic aliases of one connection, each way",
);
/// `filters_per_subscribe_max`
pub static FILTERS_PER_SUBSCRIBE_MAX: Key = number(
    "filters_per_subscribe_max",
    limits::FILTERS_PER_PACKET_MAX as u64,
    (1, 65_535),
    "filters_per_subscribe_max = 64",
    "Topic filters of one SUBSCRIBE",
);
/// `subscriptions_per_session_max`
pub static SUBSCRIPTIONS_PER_SESSION_MAX: Key = number(
    "subscriptions_per_session_max",
    limits::SUBSCRIPTIONS_PER_SESSION_MAX as u64,
    (1, 1_000_000),
    "subscriptions_per_session_max = 1000",
    "Subscriptions of one session",
);
/// `keep_alive_max_s`
pub static KEEP_ALIVE_MAX_S: Key = number(
    "keep_alive_max_s",
    65_535,
    (5, 65_535),
    "keep_alive_max_s = 300",
    "Longest Keep Alive granted, seconds",
);
/// `connect_timeout_ms`
pub static CONNECT_TIMEOUT_MS: Key = number(
    "connect_timeout_ms",
    limits::CONNECT_TIMEOUT_MS,
    (100, 600_000),
    "connect_timeout_ms = 5000",
    "Time a client has to finish CONNECT, milliseconds",
);
/// `connections_max`
pub static CONNECTIONS_MAX: Key = number(
    "connections_max",
    0,
    (0, 10_000_000),
    "connections_max = 100000",
    "MQTT connections of this node at a time; 0: as many as there are file descriptors",
);
/// `connections_per_address_max`
pub static CONNECTIONS_PER_ADDRESS_MAX: Key = number(
    "connections_per_address_max",
    0,
    (0, 10_000_000),
    "connections_per_address_max = 1000",
    "MQTT connections of this node from one address at a time; 0: no limit",
);
/// `connection_rate_per_address_max`
pub static CONNECTION_RATE_PER_ADDRESS_MAX: Key = number(
    "connection_rate_per_address_max",
    0,
    (0, 1_000_000),
    "connection_rate_per_address_max = 20",
    "MQTT connections from one address a second, those of 5 seconds at once; 0: no limit",
);
/// `publish_rate_max`
pub static PUBLISH_RATE_MAX: Key = number(
    "publish_rate_max",
    0,
    (0, 1_000_000),
    "publish_rate_max = 1000",
    "Messages taken from one MQTT client a second; a faster one is read no faster; 0: no limit",
);
/// `refuse_wildcard_subscriptions`
pub static REFUSE_WILDCARD_SUBSCRIPTIONS: Key = switch(
    "refuse_wildcard_subscriptions",
    "refuse_wildcard_subscriptions = true",
    "Refuse topic filters with wildcards",
);
/// `wildcard_subscriptions_per_session_max`
pub static WILDCARD_SUBSCRIPTIONS_PER_SESSION_MAX: Key = number(
    "wildcard_subscriptions_per_session_max",
    0,
    (0, 1_000_000),
    "wildcard_subscriptions_per_session_max = 100",
    "Topic filters with wildcards that one session may have; 0: as many as subscriptions",
);
/// `refuse_root_wildcard`
pub static REFUSE_ROOT_WILDCARD: Key = switch(
    "refuse_root_wildcard",
    "refuse_root_wildcard = true",
    "Refuse the topic filter #, which matches everything",
);
/// `refuse_shared_subscriptions`
pub static REFUSE_SHARED_SUBSCRIPTIONS: Key = switch(
    "refuse_shared_subscriptions",
    "refuse_shared_subscriptions = true",
    "Refuse shared subscriptions",
);
/// `replay_rate_max`
pub static REPLAY_RATE_MAX: Key = bytes(
    "replay_rate_max",
    0,
    (0, GIB),
    r#"replay_rate_max = "1 MiB""#,
    "Retained messages sent to one MQTT client a second after it subscribes; 0: as fast as it takes them",
);
/// `response_information`
pub static RESPONSE_INFORMATION: Key = text(
    "response_information",
    None,
    r#"response_information = "responses""#,
    "Response Information for MQTT 5.0 clients that ask for it: what their response topics begin with",
);
/// `server_reference`
pub static SERVER_REFERENCE: Key = text(
    "server_reference",
    None,
    r#"server_reference = "node2.example.org:1883 node3.example.org:1883""#,
    "Where MQTT 5.0 clients are sent when this node stops (Server Reference), instead of being told that it stops",
);
/// `sys_interval_s`
pub static SYS_INTERVAL_S: Key = number(
    "sys_interval_s",
    10,
    (0, 86_400),
    "sys_interval_s = 10",
    "Interval at which the topics beneath $SYS/broker are brought up to date, seconds; 0: there are none",
);
/// `slow_operation_ms`
pub static SLOW_OPERATION_MS: Key = number(
    "slow_operation_ms",
    500,
    (0, 3_600_000),
    "slow_operation_ms = 500",
    "Operations that take so long are logged, one line in 10 s, milliseconds; 0: none are",
);
/// `otlp_endpoint`
pub static OTLP_ENDPOINT: Key = text(
    "otlp_endpoint",
    None,
    r#"otlp_endpoint = "http://127.0.0.1:4318""#,
    "OpenTelemetry collector that spans of requests are sent to, as OTLP over HTTP with JSON",
);
/// `trace_one_in`
pub static TRACE_ONE_IN: Key = number(
    "trace_one_in",
    1_000,
    (1, 1_000_000_000),
    "trace_one_in = 1000",
    "One request in so many is traced, if there is an `otlp_endpoint`; 1: all",
);
/// `outbound_bytes_max`
pub static OUTBOUND_BYTES_MAX: Key = bytes(
    "outbound_bytes_max",
    MIB,
    (64 * KIB, GIB),
    r#"outbound_bytes_max = "1 MiB""#,
    "What may wait to be sent to one client",
);
/// `session_expiry_max_s`
pub static SESSION_EXPIRY_MAX_S: Key = number(
    "session_expiry_max_s",
    limits::SESSION_EXPIRY_MAX_S as u64,
    (0, u32::MAX as u64),
    "session_expiry_max_s = 604800",
    "Longest Session Expiry Interval granted, seconds; 4294967295: sessions that never expire may be asked for",
);
/// `message_keep_bytes`
pub static MESSAGE_KEEP_BYTES: Key = bytes(
    "message_keep_bytes",
    GIB,
    (MIB, TIB),
    r#"message_keep_bytes = "1 GiB""#,
    "Messages kept for sessions that have not had them; beyond it the oldest are dropped, and the sessions told; \
     the same on every node",
);
/// `message_keep_s`
pub static MESSAGE_KEEP_S: Key = number(
    "message_keep_s",
    7 * 24 * 60 * 60,
    (1, 10 * 365 * 24 * 60 * 60),
    "message_keep_s = 604800",
    "Age at which a message kept for a session is dropped, and the session told, seconds; the same on every node",
);
/// `node_lost_s`
pub static NODE_LOST_S: Key = number(
    "node_lost_s",
    10,
    (1, 86_400),
    "node_lost_s = 10",
    "How long a node may be out of touch with the leader before its clients count as disconnected, seconds",
);
/// `view_lease_s`
pub static VIEW_LEASE_S: Key = number(
    "view_lease_s",
    60,
    (1, 86_400),
    "view_lease_s = 60",
    "How long a list cursor or a retained delivery keeps its moment, seconds",
);
/// `log_segment_bytes`
pub static LOG_SEGMENT_BYTES: Key = bytes(
    "log_segment_bytes",
    16 * MIB,
    (MIB, GIB),
    r#"log_segment_bytes = "16 MiB""#,
    "Size of one segment file of the Raft log",
);
/// `log_keep_bytes`
pub static LOG_KEEP_BYTES: Key = bytes(
    "log_keep_bytes",
    64 * MIB,
    (0, TIB),
    r#"log_keep_bytes = "64 MiB""#,
    "Raft log kept behind the last checkpoint for nodes that lag; half as much starts a checkpoint",
);
/// `checkpoint_bytes`
pub static CHECKPOINT_BYTES: Key = bytes(
    "checkpoint_bytes",
    32 * MIB,
    (MIB, GIB),
    r#"checkpoint_bytes = "32 MiB""#,
    "Changed state that starts a checkpoint",
);
/// `change_ring_bytes`
pub static CHANGE_RING_BYTES: Key = bytes(
    "change_ring_bytes",
    64 * MIB,
    (MIB, 64 * GIB),
    r#"change_ring_bytes = "64 MiB""#,
    "Applied changes held in memory until they are dispatched; clean sessions are closed if they outgrow it",
);
/// `catch_up_rate_max`
pub static CATCH_UP_RATE_MAX: Key = bytes(
    "catch_up_rate_max",
    32 * MIB,
    (0, TIB),
    r#"catch_up_rate_max = "32 MiB""#,
    "Bytes of a snapshot that this node loads a second while it catches up, beside those who serve; 0: as fast as they come",
);
/// `disk_free_min_bytes`
pub static DISK_FREE_MIN_BYTES: Key = bytes(
    "disk_free_min_bytes",
    2 * GIB,
    (0, TIB),
    r#"disk_free_min_bytes = "2 GiB""#,
    "Free space on the disk of the data below which it is low; writes are refused once fewer voters than a quorum have more; \
     0: never",
);
/// `disk_free_min_percent`
pub static DISK_FREE_MIN_PERCENT: Key = number(
    "disk_free_min_percent",
    5,
    (1, 100),
    "disk_free_min_percent = 5",
    "On a small disk, its part that must be free, percent: the lesser of both counts",
);
/// `disk_reserve_bytes`
pub static DISK_RESERVE_BYTES: Key = bytes(
    "disk_reserve_bytes",
    256 * MIB,
    (0, TIB),
    r#"disk_reserve_bytes = "256 MiB""#,
    "Space taken in advance, to be given up when the disk is all but full; 0: none",
);
/// `disk_slow_ms`
pub static DISK_SLOW_MS: Key = number(
    "disk_slow_ms",
    100,
    (1, 60_000),
    "disk_slow_ms = 100",
    "Median time of the log's syncs from which a disk is slow: its node does not lead if another can, milliseconds",
);
/// `feature_level_max`
pub static FEATURE_LEVEL_MAX: Key = number(
    "feature_level_max",
    FeatureLevel::KNOWN.number() as u64,
    (1, FeatureLevel::KNOWN.number() as u64),
    "feature_level_max = 1",
    "Feature level up to which this node takes part: the cluster goes no further while a member holds it back",
);
/// `log_format`
pub static LOG_FORMAT: Key = Key {
    name: "log_format",
    kind: Kind::Text {
        default: Some("text"),
        choices: &["text", "json"],
    },
    example: r#"log_format = "text""#,
    help: "Form of the log lines: text or json",
};
/// `log_filter`
pub static LOG_FILTER: Key = text(
    "log_filter",
    Some("info,openraft=error"),
    r#"log_filter = "info,openraft=error""#,
    "Which log lines are written, as tracing directives",
);

/// Every setting, in the order of `--help`.
pub static KEYS: [&Key; 70] = [
    &DATA_DIR,
    &NODE_ID,
    &MQTT,
    &MQTTS,
    &HTTP,
    &HTTPS,
    &TLS_CERTIFICATE,
    &TLS_KEY,
    &TLS_CLIENT_CERTIFICATES,
    &TLS_CLIENT_CA,
    &PROXY_PROTOCOL,
    &WEBSOCKET_ORIGINS,
    &PEER,
    &PEER_ADVERTISE,
    &MQTT_ADVERTISE,
    &MQTTS_ADVERTISE,
    &DRAIN_RATE,
    &PEER_CERTIFICATE,
    &PEER_KEY,
    &PEER_CA,
    &BOOTSTRAP,
    &MEMBERS,
    &JOIN,
    &JOIN_TOKEN,
    &ALLOW_ANONYMOUS,
    &INSECURE_PEERS,
    &WRITE_TIMEOUT_MS,
    &HEARTBEAT_MS,
    &ELECTION_TIMEOUT_MIN_MS,
    &ELECTION_TIMEOUT_MAX_MS,
    &PACKET_BYTES_MAX,
    &RECEIVE_MAXIMUM,
    &TOPIC_ALIAS_MAXIMUM,
    &FILTERS_PER_SUBSCRIBE_MAX,
    &SUBSCRIPTIONS_PER_SESSION_MAX,
    &KEEP_ALIVE_MAX_S,
    &CONNECT_TIMEOUT_MS,
    &CONNECTIONS_MAX,
    &CONNECTIONS_PER_ADDRESS_MAX,
    &CONNECTION_RATE_PER_ADDRESS_MAX,
    &PUBLISH_RATE_MAX,
    &REFUSE_WILDCARD_SUBSCRIPTIONS,
    &WILDCARD_SUBSCRIPTIONS_PER_SESSION_MAX,
    &REFUSE_ROOT_WILDCARD,
    &REFUSE_SHARED_SUBSCRIPTIONS,
    &REPLAY_RATE_MAX,
    &RESPONSE_INFORMATION,
    &SERVER_REFERENCE,
    &SYS_INTERVAL_S,
    &SLOW_OPERATION_MS,
    &OTLP_ENDPOINT,
    &TRACE_ONE_IN,
    &OUTBOUND_BYTES_MAX,
    &SESSION_EXPIRY_MAX_S,
    &MESSAGE_KEEP_BYTES,
    &MESSAGE_KEEP_S,
    &NODE_LOST_S,
    &VIEW_LEASE_S,
    &LOG_SEGMENT_BYTES,
    &LOG_KEEP_BYTES,
    &CHECKPOINT_BYTES,
    &CHANGE_RING_BYTES,
    &CATCH_UP_RATE_MAX,
    &DISK_FREE_MIN_BYTES,
    &DISK_FREE_MIN_PERCENT,
    &DISK_RESERVE_BYTES,
    &DISK_SLOW_MS,
    &FEATURE_LEVEL_MAX,
    &LOG_FORMAT,
    &LOG_FILTER,
];

/// The setting named `name` in a settings file.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.into_iter().find(|key| key.name == name)
}

// Two packets of the largest size beside a full entry must fit into a frame between nodes.
const _: () = assert!(
    limits::ENTRY_BYTES_TARGET + limits::BATCH_BYTES_TARGET + 2 * (4 * MIB as usize) < limits::PEER_FRAME_BYTES_MAX
);
