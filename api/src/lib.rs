//! The bodies of Banyan's HTTP interface and the kinds of problem it answers with: what a node writes and a client reads.
//!
//! Only data and its serialisation: no client, no server, nothing of the node. Numbers that are times are microseconds since
//! the Unix epoch in bodies, and Unix seconds with a fraction ([`timestamp`]) in headers and parameters.
//!
//! | module | responsibility |
//! |---|---|
//! | [`record`] | a record as JSON, and the three forms of its payload |
//! | [`list`] | a page of records, and the lines of a streamed list |
//! | [`mod@write`] | answers to writes and deletes |
//! | [`publish`] | events and their answers |
//! | [`changes`] | the change feed |
//! | [`cluster`] | members and their progress |
//! | [`drain`] | a node that is emptied before it stops |
//! | [`session`] | MQTT sessions |
//! | [`problem`] | errors, RFC 9457 |
//! | [`timestamp`] | times as text |

pub mod changes;
pub mod cluster;
pub mod drain;
pub mod list;
pub mod problem;
pub mod publish;
pub mod record;
pub mod session;
pub mod timestamp;
pub mod write;

/// The media type of one JSON value per line.
pub const NDJSON: &str = "application/x-ndjson";

/// The media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";

/// The media type of a record with all its fields, for `Accept` in place of `view=record`.
pub const RECORD_JSON: &str = "application/vnd.banyan.record+json";

/// The media type of [`problem::Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";
