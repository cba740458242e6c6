//! Every bound of the system, with its unit, checked against the others at compile time.
//!
//! A constant here is either part of a format or the default of a setting. What a node may change is in its settings and
//! starts from the default here.

/// Longest topic name or topic filter, bytes of UTF-8. The standard allows 65,535 [MQTT-4.7.3-3].
pub const TOPIC_BYTES_MAX: usize = 1024;

/// Most levels of a topic name or topic filter.
pub const TOPIC_LEVELS_MAX: usize = 32;

/// Longest client identifier, bytes of UTF-8.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// Largest MQTT packet, bytes, fixed header included. Default of a setting.
pub const PACKET_BYTES_MAX: u32 = 1024 * 1024;

/// Largest CONNECT packet, bytes: nothing larger is buffered for a client that is not known yet.
pub const CONNECT_BYTES_MAX: u32 = 32 * 1024;

/// Largest encoded metadata of a record, bytes (content type, response topic, correlation data, user properties).
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Most user properties of one packet or record.
pub const USER_PROPERTIES_COUNT_MAX: usize = 32;

/// Receive Maximum that a node advertises. Default of a setting.
pub const RECEIVE_MAXIMUM: u16 = 1024;

/// Topic Alias Maximum that a node advertises, and the most it uses towards a client. Default of a setting.
pub const TOPIC_ALIAS_MAXIMUM: u16 = 16;

/// Most topic filters of one SUBSCRIBE or UNSUBSCRIBE. Default of a setting.
pub const FILTERS_PER_PACKET_MAX: usize = 64;

/// Most subscriptions of one session. Default of a setting.
pub const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 1000;

/// Longest Session Expiry Interval, seconds: 7 days. Default of a setting.
pub const SESSION_EXPIRY_MAX_S: u32 = 7 * 24 * 3600;

/// Time a client has to finish CONNECT, milliseconds. Default of a setting.
pub const CONNECT_TIMEOUT_MS: u64 = 5_000;

/// How far a client's timestamp may be ahead of log time, microseconds. Default of a replicated setting.
pub const TIMESTAMP_AHEAD_MAX_US: u64 = 5_000_000;

/// Most topics that one delete by filter takes.
pub const DELETE_FILTER_TOPICS_MAX: u32 = 100_000;

/// Most records that one expiry entry deletes; the leader proposes another while more are due.
pub const EXPIRY_CHUNK_TOPICS_MAX: u32 = 1_000;

/// Most tombstones that one compaction entry drops.
pub const COMPACTION_CHUNK_TOMBSTONES_MAX: u32 = 1_000;

/// Most kept messages that one trim entry drops; the leader proposes another while more are due.
pub const TRIM_CHUNK_MESSAGES_MAX: u32 = 10_000;

/// A trim entry looks at no further message once it has looked at this many bytes.
pub const TRIM_CHUNK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A tombstone is kept at least this long after its deletion, microseconds of log time. Default of a replicated setting.
pub const TOMBSTONE_AGE_MIN_US: u64 = 24 * 3600 * 1_000_000;

/// A tombstone is kept at least until this many revisions follow it. Default of a replicated setting.
pub const TOMBSTONE_REVISIONS_MIN: u64 = 1_000_000;

/// Most sessions that one entry of housekeeping ends or disconnects.
pub const SESSION_CHUNK_MAX: u32 = 1_000;

/// Longest address by which other nodes reach a member, bytes: a name of the DNS and a port.
pub const MEMBER_ADDRESS_BYTES_MAX: usize = 512;

/// Most join tokens at a time, expired ones that nobody has cleared away not counted.
pub const JOIN_TOKENS_MAX: usize = 64;

/// Most messages of shared groups that one entry assigns.
pub const ASSIGN_CHUNK_MESSAGES_MAX: u32 = 1_000;

/// A member of a shared group gets no further message while it has so many that it has not acknowledged.
pub const GROUP_UNACKNOWLEDGED_MAX: u32 = 128;

/// Most messages that one command looks at to serve a shared group that is behind; `Assign` does the rest.
pub const GROUP_SERVE_ROWS_MAX: usize = 64;

/// It looks at so many revisions for each message that it may look at, whether anything of them is kept or not.
pub const GROUP_SERVE_REVISIONS: u64 = 16;

/// It looks at no further message once it has looked at this many bytes.
pub const GROUP_SERVE_BYTES_MAX: usize = 1024 * 1024;

/// Most connections whose cursors one command moves.
pub const CAUGHT_UP_FENCES_MAX: usize = 1_000;

/// Most commands of one batch.
pub const BATCH_COMMANDS_MAX: usize = 256;

/// A batch takes no further command once it holds this many bytes.
pub const BATCH_BYTES_TARGET: usize = 128 * 1024;

/// A log entry takes no further batch once it holds this many bytes.
pub const ENTRY_BYTES_TARGET: usize = 256 * 1024;

/// Largest frame between nodes, bytes.
pub const PEER_FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one snapshot chunk between nodes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1024 * 1024;

/// Longest key that the stores take, bytes (lsm-tree panics above it).
pub const STORE_KEY_BYTES_MAX: usize = 65_535;

// The longest keys are an expiry index entry (kind, expiry time, topic) and a subscription (kind, client identifier, 0x00,
// filter).
const _: () = assert!(1 + 8 + TOPIC_BYTES_MAX <= STORE_KEY_BYTES_MAX);
const _: () = assert!(1 + CLIENT_ID_BYTES_MAX + 1 + TOPIC_BYTES_MAX <= STORE_KEY_BYTES_MAX);
// A batch may pass its target by one command, an entry by one batch, and both must fit into a peer frame.
const _: () = assert!(ENTRY_BYTES_TARGET + BATCH_BYTES_TARGET + 2 * (PACKET_BYTES_MAX as usize) < PEER_FRAME_BYTES_MAX);
const _: () = assert!(CONNECT_BYTES_MAX <= PACKET_BYTES_MAX);
const _: () = assert!(METADATA_BYTES_MAX + TOPIC_BYTES_MAX < PACKET_BYTES_MAX as usize);
