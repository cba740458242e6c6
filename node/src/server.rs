//! A node put together: opened from the bottom up, stopped from the top down.
//!
//! Start: log and state are opened and replayed, the peer port answers, then clients are let in. Stop: no new clients; those
//! connected are told (DISCONNECT 0x8B) once what they had sent is acknowledged, and the cluster hears of it; leadership is handed over; Raft stops; a last
//! checkpoint is written and the log is closed cleanly.

mod enter;
mod listeners;
mod membership;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::mqtt::reason::ReasonCode;
use banyan_core::state::Retention;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alarms::space::SpaceSettings;
use crate::alarms::{AlarmSettings, Alarms, Watched, diverged};
use crate::broker::Broker;
use crate::components::Components;
use crate::consensus::network::RaftServer;
use crate::consensus::replica::ReplicaOpenError;
use crate::consensus::{Replica, ReplicaSettings};
use crate::fatal::{Fatal, FatalError};
use crate::http::{HttpSettings, ListViews, ServeMqtt};
use crate::net::counted::counted;
use crate::origin::{Origin, message};
use crate::peer::{self, Lane, Peers};
use crate::service::drain::Reached;
use crate::service::peer_requests::PeerRequests;
use crate::service::{Identity, Service, ServiceSettings};
use crate::session::observer::Observer;
use crate::session::{Registry, TakeView, backlog, housekeeping};
use crate::settings::{Address, Entry, Settings};
use crate::storage::disk::Disk;
use crate::storage::log::LogSettings;
use crate::trace::{Watch, WatchSettings};
use crate::{http, mqtt};

use self::listeners::{Addresses, Listeners};

/// How long clients may take to go when the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the cluster may take to hear that the clients have gone when the node stops.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the hand-over of leadership may take when the node stops.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// Block cache of the state store.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Views that cursors of lists may hold at a time.
const LIST_VIEWS_MAX: usize = 64;
/// How long a linearizable read may wait.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a node did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener could not be opened.
    #[error("cannot listen on {address} for {service}: {error}; is another node running there?")]
    Listen {
        /// What for.
        service: &'static str,
        /// Where.
        address: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The system has no thread to send spans with.
    #[error("spans cannot be sent: {0}")]
    Tracing(std::io::Error),
    /// Log or state.
    #[error(transparent)]
    Open(#[from] ReplicaOpenError),
    /// The data directory cannot be used.
    #[error("{0}")]
    DataDirectory(String),
    /// The settings do not say how the node enters a cluster.
    #[error("{0}")]
    Settings(String),
    /// The cluster did not let the node in, or could not be reached.
    #[error("{0}")]
    Refused(String),
    /// The node was removed from its cluster.
    #[error(
        "node {node_id} was removed from its cluster and never comes back; to bring this machine in again, give it an empty \
         `data_dir` instead of {} and a join token (`banyanctl member add`)", data_dir.display()
    )]
    Removed {
        /// The node.
        node_id: u64,
        /// Its data directory.
        data_dir: PathBuf,
    },
    /// It had to stop.
    #[error(transparent)]
    Fatal(#[from] FatalError),
}

impl RunError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => 2,
            Self::Refused(_) | Self::Removed { .. } | Self::Fatal(FatalError::DataGone(_)) => 4,
            Self::Open(ReplicaOpenError::Consensus(_))
            | Self::Listen { .. }
            | Self::Tracing(_)
            | Self::Fatal(FatalError::Consensus(_)) => 1,
            Self::Open(_)
            | Self::DataDirectory(_)
            | Self::Fatal(FatalError::Storage(_) | FatalError::Diverged(_) | FatalError::Level(_)) => 3,
        }
    }
}

/// Runs a node until `shutdown` is cancelled and everything is stopped in order. Meanwhile `reload` has its certificates read
/// again.
///
/// # Errors
/// It did not start, or had to stop by itself.
pub async fn run(
    settings: Settings,
    components: Components,
    mut reload: watch::Receiver<()>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let entered = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        entered = enter::enter(&settings, &components) => entered,
    };
    entered?;
    let server = Server::start(settings, components).await?;
    let reloading = async {
        while reload.changed().await.is_ok() {
            server.reload_certificates();
        }
        // Nobody can ask any more.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = reloading => Ok(()),
        () = shutdown.cancelled() => {
            let fatal = server.fatal.clone();
            server.stop().await;
            match fatal.error() {
                Some(error) => Err(error.into()),
                None => Ok(()),
            }
        }
        error = server.fatal.wait() => Err(error.into()),
        () = server.removed() => {
            let removed = server.mark_removed();
            server.stop().await;
            Err(removed)
        }
    }
}

/// A running node.
pub struct Server {
    service: Service,
    settings: Settings,
    disk: Arc<dyn Disk>,
    peers: Peers,
    replica: Arc<Replica>,
    origin: Origin,
    registry: Registry,
    broker: Arc<Broker>,
    fatal: Fatal,
    addresses: Addresses,
    reload: watch::Sender<()>,
    clients: TaskTracker,
    stop_clients: CancellationToken,
    stop_peers: CancellationToken,
}

impl Server {
    /// Starts a node.
    ///
    /// # Errors
    /// A listener, the log or the state could not be opened.
    pub async fn start(settings: Settings, components: Components) -> Result<Self, RunError> {
        refuse_diverged(&settings, &*components.disk)?;
        let cluster_id = enter::enter(&settings, &components).await?;
        let listeners = Listeners::open(&settings, &components).await?;
        let addresses = listeners.addresses();
        let connections = listeners.connections.clone();

        let fatal = Fatal::default();
        let node_id = settings.node_id;
        let peers = Peers::new(
            node_id,
            cluster_id,
            Arc::clone(&listeners.peer_net),
            Arc::clone(&components.random),
        );
        let watch = Watch::start(&watch_settings(&settings), &components).map_err(RunError::Tracing)?;
        let write_timeout = Duration::from_millis(settings.write_timeout_ms);
        let (origin, pending) = Origin::new(node_id, write_timeout, watch);
        let reject: crate::consensus::intake::Reject = {
            let (origin, peers) = (origin.clone(), peers.clone());
            Arc::new(move |from| {
                if from == node_id {
                    origin.on_rejected();
                } else {
                    // Not connected: the origin resends when it is again.
                    let _ = peers.send(from, Lane::Origin, message::REJECT, Bytes::new());
                }
            })
        };
        let alarms = Alarms::new(node_id, alarm_settings(&settings), Arc::clone(&components.clock));
        let broker = Arc::new(Broker::new());
        let registry = Registry::new(node_id, Arc::clone(&broker));
        let observer = Observer {
            origin: origin.clone(),
            registry: registry.clone(),
        };
        let replica = Replica::open(
            replica_settings(&settings, components.random.next_u64()),
            &settings.data_dir,
            &components,
            peers.clone(),
            Arc::new(observer),
            reject,
            fatal.clone(),
        )
        .await?;
        broker.start_after(replica.opened_revision());
        tokio::spawn(Arc::clone(&broker).dispatch(Arc::clone(replica.ring())));
        let take_view: TakeView = {
            let replica = Arc::clone(&replica);
            Arc::new(move || replica.view())
        };
        registry.start(origin.clone(), Arc::clone(&take_view));
        tokio::spawn(backlog::run(Arc::clone(&broker), take_view, fatal.clone()));
        tokio::spawn(housekeeping::run(Arc::clone(&broker), origin.clone()));

        let stop_peers = CancellationToken::new();
        let raft_server = RaftServer::new(replica.raft().clone(), replica.store(), settings.catch_up_rate_max);
        let requests = PeerRequests::new(
            raft_server,
            Arc::clone(&replica),
            origin.clone(),
            Arc::clone(&broker),
            alarms.clone(),
        );
        let handler = Arc::clone(&requests);
        let reload = watch::Sender::new(());
        listeners.follow_certificates(&reload, &stop_peers);
        tokio::spawn(peer::serve(
            listeners.peer,
            node_id,
            cluster_id,
            handler,
            stop_peers.clone(),
        ));
        tokio::spawn(membership::follow_members(Arc::clone(&replica), peers.clone()));
        tokio::spawn(Arc::clone(&replica).keep_members(stop_peers.clone()));
        if settings.peer_advertise.port() != 0 {
            let address = settings.peer_advertise.to_string();
            tokio::spawn(membership::announce_address(
                Arc::clone(&replica),
                peers.clone(),
                address,
            ));
        }
        if let Entry::Bootstrap(members) = &settings.entry {
            let members: BTreeMap<_, _> = members
                .iter()
                .map(|member| (member.node_id, member.address.to_string()))
                .collect();
            members
                .iter()
                .for_each(|(id, address)| peers.set_address(*id, address.clone()));
            replica.bootstrap(members).await?;
        }
        pending.start(Arc::clone(&replica), peers.clone(), &components.random);

        let first = |plain: &[SocketAddr], encrypted: &[SocketAddr]| {
            let address = plain.first().or(encrypted.first());
            address.map(ToString::to_string).unwrap_or_default()
        };
        let identity = Identity {
            cluster_id,
            mqtt_address: advertised(settings.mqtt_advertise.as_ref(), &addresses.mqtt, &settings),
            mqtts_address: advertised(settings.mqtts_advertise.as_ref(), &addresses.mqtts, &settings),
            http_address: first(&addresses.http, &addresses.https),
        };
        alarms.start(Watched {
            replica: Arc::clone(&replica),
            peers: peers.clone(),
            disk: Arc::clone(&components.disk),
            fatal: fatal.clone(),
            stop: stop_peers.clone(),
        });
        let service_settings = ServiceSettings {
            read_timeout: READ_TIMEOUT,
            write_timeout,
            drain_rate: settings.drain_rate,
            identity,
            data_dir: settings.data_dir.clone(),
            connections: connections.clone(),
        };
        let disk = Arc::clone(&components.disk);
        let service = Service::new(
            service_settings,
            components,
            Arc::clone(&replica),
            origin.clone(),
            registry.clone(),
            Arc::clone(&broker),
            peers.clone(),
            alarms,
        );
        let list_views = ListViews::new(Duration::from_secs(settings.view_lease_s), LIST_VIEWS_MAX);
        let answer_page = {
            let list_views = list_views.clone();
            Box::new(move |request: Bytes| {
                let list_views = list_views.clone();
                Box::pin(async move { list_views.answer(request).await }) as BoxFuture<'static, Bytes>
            })
        };
        requests.set_service(service.clone(), answer_page);

        let stop_clients = CancellationToken::new();
        let clients = TaskTracker::new();
        let (raising, stop) = (service.clone().raise_level(), stop_clients.clone());
        clients.spawn(async move { stop.run_until_cancelled(raising).await });
        if settings.sys_interval_s > 0 {
            let interval = Duration::from_secs(settings.sys_interval_s);
            clients.spawn(mqtt::alarm_topics::run(service.clone(), stop_clients.clone()));
            clients.spawn(mqtt::status::run(service.clone(), interval, stop_clients.clone()));
            clients.spawn(mqtt::cluster_status::run(service.clone(), stop_clients.clone()));
        }
        let mqtt_settings = mqtt::MqttSettings::new(&settings);
        let serve_mqtt = {
            let settings = mqtt_settings.reached_by(Reached::WebSocket);
            let (service, stop) = (service.clone(), stop_clients.clone());
            let clients = clients.clone();
            ServeMqtt::new(move |stream, peer| {
                clients.spawn(mqtt::serve_stream(
                    counted(stream, &connections.websocket),
                    peer,
                    service.clone(),
                    settings.clone(),
                    stop.clone(),
                ));
            })
        };
        let http_settings = HttpSettings {
            packet_bytes_max: settings.packet_bytes_max,
            mqtt: Some(serve_mqtt),
            websocket_origins: settings.websocket_origins.clone().into(),
            ..HttpSettings::default()
        };
        let routes = http::router(service.clone(), list_views, http_settings, stop_clients.clone());
        let mqtt = listeners.mqtt.into_iter().map(|listener| (listener, Reached::Mqtt));
        let mqtts = listeners.mqtts.into_iter().map(|listener| (listener, Reached::Mqtts));
        for (listener, reached) in mqtt.chain(mqtts) {
            let (service, settings) = (service.clone(), mqtt_settings.reached_by(reached));
            clients.spawn(mqtt::serve(listener, service, settings, stop_clients.clone()));
        }
        for listener in listeners.http.into_iter().chain(listeners.https) {
            clients.spawn(http::serve(listener, routes.clone(), stop_clients.clone()));
        }
        clients.close();
        Ok(Self {
            service,
            settings,
            disk,
            peers,
            replica,
            origin,
            registry,
            broker,
            fatal,
            addresses,
            reload,
            clients,
            stop_clients,
            stop_peers,
        })
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// This node's replica of the shard.
    #[must_use]
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Where MQTT clients connect.
    #[must_use]
    pub fn mqtt_addresses(&self) -> &[SocketAddr] {
        &self.addresses.mqtt
    }

    /// Where MQTT clients connect with TLS.
    #[must_use]
    pub fn mqtts_addresses(&self) -> &[SocketAddr] {
        &self.addresses.mqtts
    }

    /// Where HTTP clients connect.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.addresses.http
    }

    /// Where HTTP clients connect with TLS.
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.addresses.https
    }

    /// Has the certificates read again now, rather than when their files are next looked at.
    pub fn reload_certificates(&self) {
        self.reload.send_replace(());
    }

    /// What may stop the node by itself.
    #[must_use]
    pub fn fatal(&self) -> &Fatal {
        &self.fatal
    }

    /// Waits until this node is no member any more. Before that, once it is to leave, it lets its clients go.
    pub async fn removed(&self) {
        membership::leaving(&self.replica, &self.peers).await;
        tracing::info!(node = self.replica.node_id(), "leaving the cluster: clients are told");
        self.part_with_clients().await;
        membership::removed(&self.replica, &self.peers).await;
    }

    /// Notes in the data directory that this node was removed; the error to end with.
    #[must_use]
    pub fn mark_removed(&self) -> RunError {
        let removed = enter::removed(&self.settings);
        tracing::warn!(node = self.settings.node_id, "removed from the cluster; the node stops");
        match enter::mark_removed(&self.settings, &*self.disk) {
            Ok(()) => removed,
            Err(error) => error,
        }
    }

    /// Lets clients go, and the cluster hear of it.
    async fn part_with_clients(&self) {
        self.stop_clients.cancel();
        self.service.drain().stop();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.clients.wait()).await.is_err() {
            tracing::warn!("some clients did not go in time");
            self.broker.close_all(ReasonCode::ServerShuttingDown);
        }
        // Otherwise their wills and sessions would wait until the node is given up for lost.
        if tokio::time::timeout(FAREWELL_TIMEOUT, self.registry.settled())
            .await
            .is_err()
        {
            tracing::warn!("the cluster has not heard of all clients that have gone");
        }
    }

    /// Stops the node in order: no acknowledged write is lost, clients are told.
    pub async fn stop(self) {
        tracing::info!("stopping: clients are told, the leadership is handed over");
        self.part_with_clients().await;
        self.origin.close();
        if tokio::time::timeout(HAND_OVER_TIMEOUT, self.replica.transfer_leadership())
            .await
            .is_err()
        {
            tracing::warn!("the leadership was not handed over in time");
        }
        self.replica.shutdown().await;
        self.stop_peers.cancel();
        tracing::info!("stopped");
    }
}

/// Where clients can be sent to this node: as the settings say, or to its first listener. One on every interface is told by the
/// host that other nodes reach this one by. Empty without a listener.
fn advertised(given: Option<&Address>, listeners: &[SocketAddr], settings: &Settings) -> String {
    match (given, listeners.first()) {
        (Some(given), _) => given.to_string(),
        (None, None) => String::new(),
        (None, Some(listener)) if listener.ip().is_unspecified() => settings.peer_advertise.with_port(listener.port()),
        (None, Some(listener)) => listener.to_string(),
    }
}

fn alarm_settings(settings: &Settings) -> AlarmSettings {
    // Two segments, of which one is being prefilled, and two checkpoints, of which one is being compacted.
    let working_bytes = 2 * settings.log_segment_bytes + 2 * settings.checkpoint_bytes as u64;
    AlarmSettings {
        data_dir: settings.data_dir.clone(),
        space: SpaceSettings {
            free_min_bytes: settings.disk_free_min_bytes,
            free_min_percent: settings.disk_free_min_percent,
            reserve_bytes: settings.disk_reserve_bytes,
            working_bytes,
        },
        disk_slow: Duration::from_millis(settings.disk_slow_ms),
    }
}

/// A data directory whose state has diverged is not served from again.
fn refuse_diverged(settings: &Settings, disk: &dyn Disk) -> Result<(), RunError> {
    let mark = diverged::read(disk, &settings.data_dir);
    match mark.map_err(|error| enter::damaged(&settings.data_dir, &error))? {
        None => Ok(()),
        Some(reason) => Err(RunError::DataDirectory(format!(
            "{} must not be used any more: {reason}; {}",
            settings.data_dir.display(),
            crate::fatal::NEVER_AGAIN
        ))),
    }
}

fn watch_settings(settings: &Settings) -> WatchSettings {
    WatchSettings {
        slow: (settings.slow_operation_ms > 0).then(|| Duration::from_millis(settings.slow_operation_ms)),
        otlp_endpoint: settings.otlp_endpoint.clone(),
        trace_one_in: settings.trace_one_in,
        node_id: settings.node_id,
    }
}

fn replica_settings(settings: &Settings, random: u64) -> ReplicaSettings {
    ReplicaSettings {
        node_id: settings.node_id,
        log: LogSettings {
            segment_bytes: settings.log_segment_bytes,
            salt: random as u32,
            ..LogSettings::default()
        },
        log_keep_bytes: settings.log_keep_bytes,
        checkpoint_bytes: settings.checkpoint_bytes,
        change_ring_bytes: settings.change_ring_bytes,
        cache_bytes: CACHE_BYTES,
        election_timeout_ms: (settings.election_timeout_min_ms, settings.election_timeout_max_ms),
        heartbeat_ms: settings.heartbeat_ms,
        retention: Retention {
            keep_bytes: settings.message_keep_bytes,
            keep_us: settings.message_keep_s.saturating_mul(1_000_000),
        },
        node_lost: Duration::from_secs(settings.node_lost_s),
        feature_level_max: settings.feature_level_max,
    }
}
