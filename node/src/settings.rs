//! What a node is told: values only, checked before anything runs.
//!
//! Every setting is one row of [`keys::KEYS`] and can be given three ways. The first of these that gives it wins:
//!
//! | from | form | example |
//! |---|---|---|
//! | flag | `--` and the key with `-` for `_` | `--write-timeout-ms 5000` |
//! | environment | `BANYAN_` and the key in capitals | `BANYAN_WRITE_TIMEOUT_MS=5000` |
//! | file | TOML, all keys at the top level | `write_timeout_ms = 5000` |
//!
//! Lists are TOML arrays in the file, and separated by commas (or the flag repeated) elsewhere. What is unknown,
//! out of range or contradictory is reported with where it stands and what to write instead, all of it at once.
//!
//! | module | responsibility |
//! |---|---|
//! | [`keys`] | the table of settings: name, type, default, range |
//! | `file`, `environment`, [`flags`] | the three sources |
//! | `value` | a value with the place it came from |
//! | `key` | name, type and range of a setting |
//! | `validate` | the rules that concern several settings |
//! | [`join_token`] | what lets a node into a cluster |
//! | [`address`] | `host:port`, and `id@host:port` |
//! | [`data_dir`] | the data directory: one process at a time, the kept node id |
//! | `nearest` | "did you mean" |

pub mod address;
pub mod data_dir;
mod environment;
mod error;
mod file;
pub mod flags;
pub mod join_token;
mod key;
pub mod keys;
mod nearest;
mod validate;
mod value;

use std::path::{Path, PathBuf};

use banyan_core::feature::FeatureLevel;

pub use address::{Address, Member};
pub use error::{Problem, SettingsError};

use self::join_token::JoinToken;
use crate::net::tls::TlsFiles;
use crate::net::tls::clients::ClientCertificates;
use value::{Source, Value, Values};

/// The settings of one node, valid by themselves and together. Field names are the keys of the settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where everything the node keeps is.
    pub data_dir: PathBuf,
    /// This node's id, not 0. Never changes for a data directory.
    pub node_id: u64,
    /// MQTT listeners.
    pub mqtt: Vec<Address>,
    /// MQTT listeners with TLS.
    pub mqtts: Vec<Address>,
    /// HTTP listeners; MQTT over WebSocket is served there at `/mqtt`.
    pub http: Vec<Address>,
    /// HTTP listeners with TLS.
    pub https: Vec<Address>,
    /// Certificate of the listeners with TLS (`tls_…`); there if there are such listeners.
    pub tls: Option<TlsSettings>,
    /// Kinds of listeners whose connections begin with a PROXY protocol header.
    pub proxy_protocol: Vec<ClientListener>,
    /// Origins whose pages may connect over WebSocket. Empty: any.
    pub websocket_origins: Vec<String>,
    /// Where other nodes reach this one's Raft: the listener.
    pub peer: Address,
    /// What other nodes are told to connect to. Never port 0 or an unspecified host, unless `peer` itself has port 0.
    pub peer_advertise: Address,
    /// Where MQTT clients of other nodes are sent. Never port 0 or an unspecified host.
    pub mqtt_advertise: Option<Address>,
    /// The same, with TLS.
    pub mqtts_advertise: Option<Address>,
    /// Clients that a drain hands over a second; 0: all at once.
    pub drain_rate: u32,
    /// What nodes prove to each other that they are nodes with: `peer_certificate`, `peer_key`, `peer_ca`.
    pub peer_tls: Option<TlsFiles>,
    /// How the node enters a cluster at its first start. Without meaning afterwards, since membership is in the log.
    pub entry: Entry,
    /// Clients need not say who they are, also on listeners that are not on loopback.
    pub allow_anonymous: bool,
    /// Peers need not prove who they are, also on a listener that is not on loopback.
    pub insecure_peers: bool,
    /// How long a write may wait for its outcome, milliseconds.
    pub write_timeout_ms: u64,
    /// Interval of the leader's heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest time that a follower waits, after the leader's lease has ended, before it stands for election, milliseconds.
    pub election_timeout_min_ms: u64,
    /// Longest such time; each election draws anew between both. It is also the leader's lease: as long as a follower has
    /// heard from the leader within it, it votes for nobody else. So a leader that dies is replaced after the lease and one
    /// wait: with the defaults 600 to 800 ms.
    pub election_timeout_max_ms: u64,
    /// Largest MQTT packet taken, bytes; also the largest HTTP body.
    pub packet_bytes_max: u32,
    /// Receive Maximum told to clients.
    pub receive_maximum: u16,
    /// Topic Alias Maximum told to clients, and the most used towards them.
    pub topic_alias_maximum: u16,
    /// Most topic filters of one SUBSCRIBE or UNSUBSCRIBE.
    pub filters_per_subscribe_max: usize,
    /// Most subscriptions of one session.
    pub subscriptions_per_session_max: usize,
    /// Longest Keep Alive granted, seconds.
    pub keep_alive_max_s: u16,
    /// Time a client has to finish CONNECT, milliseconds.
    pub connect_timeout_ms: u64,
    /// Most MQTT connections of this node at a time. 0: no limit.
    pub connections_max: usize,
    /// Most of them from one address. 0: no limit.
    pub connections_per_address_max: usize,
    /// Most MQTT connections that one address may make a second, those of five seconds at once. 0: no limit.
    pub connection_rate_per_address_max: u32,
    /// Most messages taken from one MQTT client a second. 0: no limit.
    pub publish_rate_max: u32,
    /// Topic filters with wildcards are refused.
    pub refuse_wildcard_subscriptions: bool,
    /// Most topic filters with wildcards that one session may have subscribed. 0: as many as subscriptions.
    pub wildcard_subscriptions_per_session_max: usize,
    /// The topic filter `#`, which matches everything, is refused.
    pub refuse_root_wildcard: bool,
    /// Shared subscriptions are refused.
    pub refuse_shared_subscriptions: bool,
    /// Most bytes of retained messages sent to one client a second. 0: as fast as it takes them.
    pub replay_rate_max: u64,
    /// Response Information for clients that ask for it.
    pub response_information: Option<String>,
    /// Where clients are sent when this node stops.
    pub server_reference: Option<String>,
    /// Interval at which the topics beneath `$SYS/broker` are brought up to date, seconds. 0: there are none.
    pub sys_interval_s: u64,
    /// An operation that takes so long is logged, milliseconds. 0: none is.
    pub slow_operation_ms: u64,
    /// The OpenTelemetry collector that spans are sent to: `http://HOST:PORT`.
    pub otlp_endpoint: Option<String>,
    /// One request in so many is traced, if there is such a collector.
    pub trace_one_in: u64,
    /// What may wait to be sent to one client, bytes. Beyond it QoS 0 messages are dropped, then the client is closed; that of a
    /// persistent session is served from what is stored instead.
    pub outbound_bytes_max: usize,
    /// Longest Session Expiry Interval granted, seconds.
    pub session_expiry_max_s: u32,
    /// Messages kept for sessions that have not had them, bytes. The leader's setting holds.
    pub message_keep_bytes: u64,
    /// Age at which a message kept for a session is dropped, seconds. The leader's setting holds.
    pub message_keep_s: u64,
    /// How long a node may be out of touch with the leader before its clients count as disconnected, seconds. The leader's
    /// setting holds.
    pub node_lost_s: u64,
    /// How long a frozen view may be read (retained delivery, list cursor) since it was last used, seconds.
    pub view_lease_s: u64,
    /// Size of one segment file of the Raft log, bytes.
    pub log_segment_bytes: u64,
    /// How much of the Raft log is kept behind the last checkpoint for followers that lag, bytes.
    pub log_keep_bytes: u64,
    /// The state is checkpointed when this much of it has changed, bytes.
    pub checkpoint_bytes: usize,
    /// Size of the ring of recent changes that slow subscribers read from, bytes.
    pub change_ring_bytes: usize,
    /// Bytes of a snapshot loaded a second while it catches up. 0: no limit.
    pub catch_up_rate_max: u64,
    /// While less is free on the disk of the data, it is low, bytes. 0: it never is.
    pub disk_free_min_bytes: u64,
    /// But not while more than this part of the disk is free, percent.
    pub disk_free_min_percent: u64,
    /// Size of the file that is kept so that there is something to give up when the disk is full, bytes. 0: there is none.
    pub disk_reserve_bytes: u64,
    /// From how long syncs of the log take, in the median, the disk counts as slow, milliseconds.
    pub disk_slow_ms: u64,
    /// The last feature level that this node takes part in.
    pub feature_level_max: FeatureLevel,
    /// Form of the log lines on standard error.
    pub log_format: LogFormat,
    /// Which log lines are written: `tracing` directives, such as `info,banyan_node::consensus=debug`.
    pub log_filter: String,
}

/// A kind of listener for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientListener {
    /// `mqtt`
    Mqtt,
    /// `mqtts`
    Mqtts,
    /// `http`
    Http,
    /// `https`
    Https,
}

impl ClientListener {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Mqtt, Self::Mqtts, Self::Http, Self::Https];

    /// Its key in the settings file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// How listeners speak TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// `tls_certificate`, `tls_key`, and `tls_client_ca` if clients are asked for certificates.
    pub files: TlsFiles,
    /// `tls_client_certificates`
    pub client_certificates: ClientCertificates,
}

/// How a node enters a cluster at its first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It belongs to a cluster already, or will refuse its first start.
    None,
    /// It starts a new cluster together with these members, itself among them. Every member is given the same list.
    Bootstrap(Vec<Member>),
    /// It asks these members to be let in, with a token.
    Join(Vec<Address>, JoinToken),
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Valid settings of a node whose id may still have to be looked up or drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    settings: Settings,
    node_id: Option<u64>,
}

impl Draft {
    /// Where everything the node keeps is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.settings.data_dir
    }

    /// The node id that was given, by itself or as the member with this node's address.
    #[must_use]
    pub fn node_id(&self) -> Option<u64> {
        self.node_id
    }

    /// Form of the log lines.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        self.settings.log_format
    }

    /// Which log lines are written.
    #[must_use]
    pub fn log_filter(&self) -> &str {
        &self.settings.log_filter
    }

    /// The settings with the id that the data directory holds.
    #[must_use]
    pub fn with_node_id(self, node_id: u64) -> Settings {
        Settings {
            node_id,
            ..self.settings
        }
    }
}

impl Settings {
    /// The defaults: loopback listeners, no way into a cluster.
    ///
    /// # Panics
    /// If the defaults contradict each other, which a test excludes.
    #[must_use]
    pub fn defaults(node_id: u64, data_dir: impl Into<PathBuf>) -> Self {
        let mut values = Values::default();
        let data_dir = data_dir.into();
        values.put(
            &keys::DATA_DIR,
            Value::Text(data_dir.to_string_lossy().into_owned()),
            Source::Default,
        );
        let mut settings = validate::validate(&values)
            .expect("the defaults are valid")
            .with_node_id(node_id);
        settings.data_dir = data_dir; // whatever its encoding
        settings
    }
}

/// Reads and checks the settings of a node.
///
/// `file` is the settings file, if there is one; `environment` all variables of the process (those that do not begin with
/// `BANYAN_` are passed over); `matches` the parsed command line, built with [`flags::arguments`].
///
/// # Errors
/// Every problem found, each with its place.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    matches: &clap::ArgMatches,
) -> Result<Draft, SettingsError> {
    let mut problems = Vec::new();
    let mut values = Values::default();
    if let Some(path) = file {
        file::read(path, &mut values, &mut problems);
    }
    environment::read(environment, &mut values, &mut problems);
    flags::read(matches, &mut values, &mut problems);
    validated(values, problems)
}

/// Checks a settings file alone, as `banyan config check` does: what the environment or flags would add is not known, so
/// what is missing is no problem.
///
/// # Errors
/// Every problem found, each with its line.
pub fn check_file(path: &Path) -> Result<(), SettingsError> {
    let mut problems = Vec::new();
    let mut values = Values::default();
    file::read(path, &mut values, &mut problems);
    values.put_if_absent(&keys::DATA_DIR, Value::Text("data".to_owned()), Source::Default);
    validated(values, problems).map(drop)
}

/// Judges `values` together, after `problems` were found in reading them one by one.
fn validated(mut values: Values, mut problems: Vec<Problem>) -> Result<Draft, SettingsError> {
    if problems.is_empty() {
        return validate::validate(&values);
    }
    // What could not be read may be what would be missing.
    values.put_if_absent(&keys::DATA_DIR, Value::Text("data".to_owned()), Source::Default);
    problems.extend(
        validate::validate(&values)
            .err()
            .into_iter()
            .flat_map(|error| error.problems),
    );
    Err(SettingsError { problems })
}

#[cfg(test)]
#[path = "settings/settings_test.rs"]
mod settings_test;
