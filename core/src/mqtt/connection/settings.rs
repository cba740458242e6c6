//! What a connection may be asked to respect: limits, most of which CONNACK advertises.

use crate::limits;
use crate::mqtt::reason::ReasonCode;

/// Limits of one connection, the same for all connections of a listener.
///
/// The node validates them when it starts; a connection treats a `receive_maximum` or `inflight_count_max` of 0, which the
/// standard does not know, as 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Largest packet taken from the client, bytes with fixed header. Advertised as Maximum Packet Size.
    pub packet_bytes_max: u32,
    /// Most QoS 1 and 2 PUBLISHes of the client that wait for their PUBACK or PUBCOMP. Advertised as Receive Maximum; a 3.1.1
    /// client, which cannot be told, is read no further instead while as many wait for the cluster.
    pub receive_maximum: u16,
    /// Most QoS 1 and 2 PUBLISHes towards the client that wait for its PUBACK or PUBCOMP; the client's own Receive Maximum if
    /// that is less.
    pub inflight_count_max: u16,
    /// Most topic aliases in either direction. Advertised as Topic Alias Maximum.
    pub topic_alias_maximum: u16,
    /// Most topic filters of one SUBSCRIBE or UNSUBSCRIBE; each one beyond is refused.
    pub filters_per_packet_max: usize,
    /// Most subscriptions of the session.
    pub subscriptions_max: usize,
    /// Longest Session Expiry Interval, seconds; `u32::MAX`, which never ends, counts as the longest there is. A 5.0 client that
    /// asks for more is told this value.
    pub session_expiry_max_s: u32,
    /// Longest Keep Alive, seconds. 65,535 leaves the choice to the client, 0 (off) included; below that a 5.0 client is
    /// told this value as Server Keep Alive when it asks for more or for none.
    pub keep_alive_max_s: u16,
    /// Time to finish CONNECT, milliseconds.
    pub connect_timeout_ms: u64,
    /// Whether a client without known credentials may connect. Nobody has any until users exist.
    pub allow_anonymous: bool,
    /// The client is read no further while this many bytes of its writes wait for their outcome.
    pub pending_bytes_max: usize,
    /// How assigned client identifiers begin; 16 hexadecimal digits follow.
    pub assigned_client_id_prefix: String,
    /// Most PUBLISHes a second, those of a second at once; the client is read no faster. 0: no limit.
    pub publish_rate_max: u32,
    /// Filters with wildcards are refused; CONNACK says so.
    pub refuse_wildcards: bool,
    /// Most subscriptions of the session whose filters have wildcards. 0: no limit of their own.
    pub wildcards_max: usize,
    /// The filter `#`, alone or shared, is refused.
    pub refuse_root_wildcard: bool,
    /// Shared subscriptions are refused; CONNACK says so.
    pub refuse_shared: bool,
    /// Every CONNECT is refused with this code and reason string: the node has too many connections.
    pub refuse_all: Option<(ReasonCode, &'static str)>,
    /// Response Information for 5.0 clients that ask for it.
    pub response_information: Option<String>,
    /// Server Reference for 5.0 clients that are sent to another server.
    pub server_reference: Option<String>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            packet_bytes_max: limits::PACKET_BYTES_MAX,
            receive_maximum: limits::RECEIVE_MAXIMUM,
            inflight_count_max: limits::RECEIVE_MAXIMUM,
            topic_alias_maximum: limits::TOPIC_ALIAS_MAXIMUM,
            filters_per_packet_max: limits::FILTERS_PER_PACKET_MAX,
            subscriptions_max: limits::SUBSCRIPTIONS_PER_SESSION_MAX,
            session_expiry_max_s: limits::SESSION_EXPIRY_MAX_S,
            keep_alive_max_s: u16::MAX,
            connect_timeout_ms: limits::CONNECT_TIMEOUT_MS,
            allow_anonymous: true,
            pending_bytes_max: 4 * limits::PACKET_BYTES_MAX as usize,
            assigned_client_id_prefix: "banyan-".to_owned(),
            publish_rate_max: 0,
            refuse_wildcards: false,
            wildcards_max: 0,
            refuse_root_wildcard: false,
            refuse_shared: false,
            refuse_all: None,
            response_information: None,
            server_reference: None,
        }
    }
}
