//! The rules that concern a setting's meaning, or several settings together.

mod listeners;

use std::path::PathBuf;

use banyan_core::feature::FeatureLevel;
use tracing_subscriber::EnvFilter;

use super::address::{Address, Member};
use super::error::{Problem, SettingsError};
use super::join_token::JoinToken;
use super::keys::{self, Key};
use super::value::Values;
use super::{Draft, Entry, LogFormat, Settings};

/// Turns values that are right one by one into settings that are right together.
///
/// # Errors
/// Every problem found.
pub(super) fn validate(values: &Values) -> Result<Draft, SettingsError> {
    Validation {
        values,
        problems: Vec::new(),
    }
    .run()
}

struct Validation<'a> {
    values: &'a Values,
    problems: Vec<Problem>,
}

impl Validation<'_> {
    fn run(mut self) -> Result<Draft, SettingsError> {
        let data_dir = self.data_dir();
        let listeners = self.client_listeners();
        let tls = self.tls(&listeners);
        let proxy_protocol = self.proxy_protocol();
        let websocket_origins = self.websocket_origins();
        let peer = self.address(&keys::PEER);
        self.distinct_listeners(listeners.iter().flat_map(|(_, addresses)| addresses).chain(&peer));
        let peer_tls = self.peer_tls();
        let peer_advertise = peer.as_ref().and_then(|peer| self.peer_advertise(peer));
        let mqtt_advertise = self.client_advertise(&keys::MQTT_ADVERTISE);
        let mqtts_advertise = self.client_advertise(&keys::MQTTS_ADVERTISE);
        let [mqtt, mqtts, http, https] = listeners.map(|(_, addresses)| addresses);
        let (entry, node_id) = self.entry(peer_advertise.as_ref());
        let (heartbeat_ms, election_timeout_min_ms, election_timeout_max_ms) = self.election();
        let otlp_endpoint = self.otlp_endpoint();
        let log_filter = self.log_filter();

        let draft = match (data_dir, peer, peer_advertise) {
            (Some(data_dir), Some(peer), Some(peer_advertise)) if self.problems.is_empty() => Draft {
                node_id,
                settings: Settings {
                    data_dir,
                    node_id: 0, // set by `Draft::with_node_id`, the only way out of a draft
                    mqtt,
                    mqtts,
                    http,
                    https,
                    tls,
                    proxy_protocol,
                    websocket_origins,
                    peer,
                    peer_advertise,
                    mqtt_advertise,
                    mqtts_advertise,
                    drain_rate: self.number(&keys::DRAIN_RATE) as u32,
                    peer_tls,
                    entry,
                    allow_anonymous: self.values.switch(&keys::ALLOW_ANONYMOUS),
                    insecure_peers: self.values.switch(&keys::INSECURE_PEERS),
                    write_timeout_ms: self.number(&keys::WRITE_TIMEOUT_MS),
                    heartbeat_ms,
                    election_timeout_min_ms,
                    election_timeout_max_ms,
                    packet_bytes_max: self.number(&keys::PACKET_BYTES_MAX) as u32,
                    receive_maximum: self.number(&keys::RECEIVE_MAXIMUM) as u16,
                    topic_alias_maximum: self.number(&keys::TOPIC_ALIAS_MAXIMUM) as u16,
                    filters_per_subscribe_max: self.number(&keys::FILTERS_PER_SUBSCRIBE_MAX) as usize,
                    subscriptions_per_session_max: self.number(&keys::SUBSCRIPTIONS_PER_SESSION_MAX) as usize,
                    keep_alive_max_s: self.number(&keys::KEEP_ALIVE_MAX_S) as u16,
                    connect_timeout_ms: self.number(&keys::CONNECT_TIMEOUT_MS),
                    connections_max: self.number(&keys::CONNECTIONS_MAX) as usize,
                    connections_per_address_max: self.number(&keys::CONNECTIONS_PER_ADDRESS_MAX) as usize,
                    connection_rate_per_address_max: self.number(&keys::CONNECTION_RATE_PER_ADDRESS_MAX) as u32,
                    publish_rate_max: self.number(&keys::PUBLISH_RATE_MAX) as u32,
                    refuse_wildcard_subscriptions: self.values.switch(&keys::REFUSE_WILDCARD_SUBSCRIPTIONS),
                    wildcard_subscriptions_per_session_max: self.number(&keys::WILDCARD_SUBSCRIPTIONS_PER_SESSION_MAX)
                        as usize,
                    refuse_root_wildcard: self.values.switch(&keys::REFUSE_ROOT_WILDCARD),
                    refuse_shared_subscriptions: self.values.switch(&keys::REFUSE_SHARED_SUBSCRIPTIONS),
                    replay_rate_max: self.number(&keys::REPLAY_RATE_MAX),
                    response_information: self.values.text(&keys::RESPONSE_INFORMATION).map(str::to_owned),
                    server_reference: self.values.text(&keys::SERVER_REFERENCE).map(str::to_owned),
                    sys_interval_s: self.number(&keys::SYS_INTERVAL_S),
                    slow_operation_ms: self.number(&keys::SLOW_OPERATION_MS),
                    otlp_endpoint,
                    trace_one_in: self.number(&keys::TRACE_ONE_IN),
                    outbound_bytes_max: self.number(&keys::OUTBOUND_BYTES_MAX) as usize,
                    session_expiry_max_s: self.number(&keys::SESSION_EXPIRY_MAX_S) as u32,
                    message_keep_bytes: self.number(&keys::MESSAGE_KEEP_BYTES),
                    message_keep_s: self.number(&keys::MESSAGE_KEEP_S),
                    node_lost_s: self.number(&keys::NODE_LOST_S),
                    view_lease_s: self.number(&keys::VIEW_LEASE_S),
                    log_segment_bytes: self.number(&keys::LOG_SEGMENT_BYTES),
                    log_keep_bytes: self.number(&keys::LOG_KEEP_BYTES),
                    checkpoint_bytes: self.number(&keys::CHECKPOINT_BYTES) as usize,
                    change_ring_bytes: self.number(&keys::CHANGE_RING_BYTES) as usize,
                    catch_up_rate_max: self.number(&keys::CATCH_UP_RATE_MAX),
                    disk_free_min_bytes: self.number(&keys::DISK_FREE_MIN_BYTES),
                    disk_free_min_percent: self.number(&keys::DISK_FREE_MIN_PERCENT),
                    disk_reserve_bytes: self.number(&keys::DISK_RESERVE_BYTES),
                    disk_slow_ms: self.number(&keys::DISK_SLOW_MS),
                    feature_level_max: FeatureLevel::new(self.number(&keys::FEATURE_LEVEL_MAX) as u16)
                        .unwrap_or_default(),
                    log_format: match self.values.text(&keys::LOG_FORMAT) {
                        Some("json") => LogFormat::Json,
                        _ => LogFormat::Text,
                    },
                    log_filter,
                },
            },
            _ => {
                return Err(SettingsError {
                    problems: self.problems,
                });
            }
        };
        Ok(draft)
    }

    fn problem(&mut self, key: &Key, message: String) {
        self.problems.push(Problem {
            place: self.values.place(key),
            message,
        });
    }

    /// A number whose range the table bounds to the type it is cast to (a test checks the table).
    fn number(&self, key: &Key) -> u64 {
        self.values.number(key).unwrap_or_default()
    }

    fn otlp_endpoint(&mut self) -> Option<String> {
        let endpoint = self.values.text(&keys::OTLP_ENDPOINT)?.to_owned();
        let host = endpoint.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        if host.is_none_or(|host| host.is_empty() || host.contains(char::is_whitespace)) {
            let message = format!(
                "`otlp_endpoint` is `{endpoint}`; write where a collector takes OTLP over HTTP, without TLS: {}",
                keys::OTLP_ENDPOINT.example
            );
            self.problem(&keys::OTLP_ENDPOINT, message);
        }
        Some(endpoint)
    }

    fn data_dir(&mut self) -> Option<PathBuf> {
        let data_dir = self.values.text(&keys::DATA_DIR).map(PathBuf::from);
        if data_dir.is_none() {
            let message = format!("`data_dir` is missing; for example: {}", keys::DATA_DIR.example);
            self.problem(&keys::DATA_DIR, message);
        }
        data_dir
    }

    fn address(&mut self, key: &'static Key) -> Option<Address> {
        let parsed = Address::parse(self.values.text(key)?);
        parsed
            .map_err(|error| self.problem(key, format!("`{}`: {error}", key.name)))
            .ok()
    }

    fn listeners(&mut self, key: &'static Key) -> Vec<Address> {
        let parsed: Vec<_> = self.values.list(key).iter().map(|text| Address::parse(text)).collect();
        let mut addresses = Vec::with_capacity(parsed.len());
        for address in parsed {
            match address {
                Ok(address) => addresses.push(address),
                Err(error) => self.problem(key, format!("`{}`: {error}", key.name)),
            }
        }
        addresses
    }

    fn peer_advertise(&mut self, peer: &Address) -> Option<Address> {
        self.peers_prove_themselves(peer);
        if self.values.is_given(&keys::PEER_ADVERTISE) {
            let advertised = self.address(&keys::PEER_ADVERTISE)?;
            if advertised.is_unspecified() || advertised.port() == 0 {
                let message = format!(
                    "`peer_advertise` is `{advertised}`, which nobody can connect to; write the host and port that other \
                     nodes reach this one by"
                );
                self.problem(&keys::PEER_ADVERTISE, message);
            }
            return Some(advertised);
        }
        if peer.is_unspecified() {
            let message = format!(
                "`peer` is `{peer}`, every interface, so others must be told where to connect; for example: {}",
                keys::PEER_ADVERTISE.example
            );
            self.problem(&keys::PEER, message);
        }
        Some(peer.clone())
    }

    /// How the node enters a cluster, and its id as far as the settings tell it.
    fn entry(&mut self, own_address: Option<&Address>) -> (Entry, Option<u64>) {
        let node_id = self.values.number(&keys::NODE_ID);
        let bootstrap = self.values.switch(&keys::BOOTSTRAP);
        let members = self.members();
        let join = self.listeners(&keys::JOIN);
        let join_token = self.join_token();
        if join.is_empty() && self.values.is_given(&keys::JOIN_TOKEN) && !bootstrap {
            let message = format!(
                "`join_token` needs the members to show it to; for example: {}",
                keys::JOIN.example
            );
            self.problem(&keys::JOIN_TOKEN, message);
        }
        match (bootstrap, !join.is_empty()) {
            (true, true) => {
                let message = "`join` contradicts `bootstrap = true`: a node either begins a new cluster or enters one; \
                               remove one of both";
                self.problem(&keys::JOIN, message.to_owned());
                (Entry::None, node_id)
            }
            (false, true) => match join_token {
                Some(token) => (Entry::Join(join, token), node_id),
                None => {
                    if !self.values.is_given(&keys::JOIN_TOKEN) {
                        let message =
                            "`join` needs `join_token`: run `banyanctl member add` on a member, which prints both";
                        self.problem(&keys::JOIN, message.to_owned());
                    }
                    (Entry::None, node_id)
                }
            },
            (true, false) => {
                let node_id = self.own_member(&members, node_id, own_address);
                (Entry::Bootstrap(members), node_id)
            }
            (false, false) => {
                if !members.is_empty() {
                    let message =
                        "`members` is used only to begin a cluster: write `bootstrap = true` too, or remove it";
                    self.problem(&keys::MEMBERS, message.to_owned());
                }
                (Entry::None, node_id)
            }
        }
    }

    fn join_token(&mut self) -> Option<JoinToken> {
        let parsed = JoinToken::parse(self.values.text(&keys::JOIN_TOKEN)?);
        parsed
            .map_err(|error| self.problem(&keys::JOIN_TOKEN, format!("`join_token`: {error}")))
            .ok()
    }

    fn members(&mut self) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::new();
        for text in self.values.list(&keys::MEMBERS) {
            match Member::parse(&text) {
                Ok(member)
                    if members
                        .iter()
                        .any(|other| other.node_id == member.node_id || other.address == member.address) =>
                {
                    let message = format!("`members`: `{member}` has the id or the address of another member");
                    self.problem(&keys::MEMBERS, message);
                }
                Ok(member) => members.push(member),
                Err(error) => self.problem(&keys::MEMBERS, format!("`members`: {error}")),
            }
        }
        members
    }

    /// Finds this node among the members of the new cluster, by its id or, without one, by its address.
    fn own_member(&mut self, members: &[Member], node_id: Option<u64>, own_address: Option<&Address>) -> Option<u64> {
        let own_address = own_address?; // reported already
        if !self.values.is_given(&keys::MEMBERS) || members.is_empty() {
            let message = format!(
                "`bootstrap = true` needs the members of the new cluster; for this node alone: members = [\"{}@{own_address}\"]",
                node_id.unwrap_or(1)
            );
            self.problem(&keys::BOOTSTRAP, message);
            return node_id;
        }
        let by_address = members.iter().find(|member| member.address == *own_address);
        let own = match node_id {
            Some(id) => members.iter().find(|member| member.node_id == id),
            None => by_address,
        };
        match (own, node_id) {
            (Some(member), _) if member.address == *own_address => Some(member.node_id),
            (Some(member), _) => {
                let message = format!(
                    "`members` says `{member}`, but this node {} advertises `{own_address}`; make both the same with \
                     `peer_advertise`",
                    member.node_id
                );
                self.problem(&keys::MEMBERS, message);
                node_id
            }
            (None, Some(id)) => {
                let message = format!("`members` does not name this node; add \"{id}@{own_address}\"");
                self.problem(&keys::MEMBERS, message);
                node_id
            }
            (None, None) => {
                let message = format!(
                    "`members` does not name this node: none has its address `{own_address}`; add it, and give it an id here \
                     with `node_id`"
                );
                self.problem(&keys::MEMBERS, message);
                None
            }
        }
    }

    fn election(&mut self) -> (u64, u64, u64) {
        let heartbeat = self.number(&keys::HEARTBEAT_MS);
        let min = self.number(&keys::ELECTION_TIMEOUT_MIN_MS);
        let max = self.number(&keys::ELECTION_TIMEOUT_MAX_MS);
        if min < 2 * heartbeat {
            let message = format!(
                "`election_timeout_min_ms` is {min}, but must be at least twice `heartbeat_ms` ({heartbeat}), or one late \
                 heartbeat starts an election"
            );
            self.problem(&keys::ELECTION_TIMEOUT_MIN_MS, message);
        }
        if max <= min {
            let message = format!(
                "`election_timeout_max_ms` is {max}, but must be greater than `election_timeout_min_ms` ({min}), or nodes \
                 stand for election at the same time again and again"
            );
            self.problem(&keys::ELECTION_TIMEOUT_MAX_MS, message);
        }
        (heartbeat, min, max)
    }

    fn log_filter(&mut self) -> String {
        let filter = self.values.text(&keys::LOG_FILTER).unwrap_or_default().to_owned();
        if let Err(error) = EnvFilter::try_new(&filter) {
            let message =
                format!("`log_filter` is no list of tracing directives ({error}); for example: info,banyan_node=debug");
            self.problem(&keys::LOG_FILTER, message);
        }
        filter
    }
}
