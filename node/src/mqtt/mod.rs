//! MQTT listeners, and the task of each connection: it drives `banyan_core::mqtt::connection` with a socket, the service
//! and the broker.
//!
//! | module | responsibility |
//! |---|---|
//! | `admission` | how many connections there may be, and how fast they may come |
//! | `task` | one connection: socket, timers, what is waited for |
//! | `ask` | what it asks of the cluster, from CONNECT to its end |
//! | `subscribe` | SUBSCRIBE and UNSUBSCRIBE |
//! | `buffers` | what is read into and written from, while there is something |
//! | [`alarm_topics`] | the topics beneath `$SYS/broker/alarms` |
//! | `attached`, `live` | what sends to the client: `live`, or for a persistent session [`crate::session::Driver`] |
//! | `replay` | the retained messages after a SUBSCRIBE, streamed in constant memory |
//! | [`status`] | the topics beneath `$SYS/broker` |
//! | [`cluster_status`] | those beneath `$SYS/broker/cluster` |

mod admission;
pub mod alarm_topics;
mod ask;
mod attached;
mod buffers;
pub mod cluster_status;
mod live;
mod replay;
pub mod status;
mod subscribe;
mod task;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::limits;
use banyan_core::mqtt::connection::settings::ConnectionSettings;
use banyan_core::mqtt::reason::ReasonCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::{Admission, AdmissionLimits, Refused};
use crate::net::{BoxStream, Listener};
use crate::service::Service;
use crate::service::drain::Reached;
use crate::settings::Settings;

/// Settings of the MQTT listeners.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// What each connection respects.
    pub connection: Arc<ConnectionSettings>,
    /// Counts the connections of all listeners.
    admission: Admission,
    /// How clients reach the listener, for when they are sent elsewhere.
    pub reached: Reached,
    /// Messages that may wait for one connection, bytes.
    pub outbox_bytes_max: usize,
    /// Retained messages sent to one client, bytes a second; 0: as fast as it takes them.
    pub replay_rate_max: u64,
    /// How long a view may go unread before a stream of retained messages starts again at a newer one.
    pub view_lease: Duration,
}

impl MqttSettings {
    /// The same for clients that come by `reached`.
    #[must_use]
    pub fn reached_by(&self, reached: Reached) -> Self {
        Self {
            reached,
            ..self.clone()
        }
    }

    /// Takes what concerns MQTT out of the node's settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let connection = ConnectionSettings {
            packet_bytes_max: settings.packet_bytes_max,
            receive_maximum: settings.receive_maximum,
            inflight_count_max: limits::RECEIVE_MAXIMUM,
            topic_alias_maximum: settings.topic_alias_maximum,
            filters_per_packet_max: settings.filters_per_subscribe_max,
            subscriptions_max: settings.subscriptions_per_session_max,
            keep_alive_max_s: settings.keep_alive_max_s,
            session_expiry_max_s: settings.session_expiry_max_s,
            connect_timeout_ms: settings.connect_timeout_ms,
            // The node does not start with a listener that would have to refuse everyone.
            allow_anonymous: true,
            publish_rate_max: settings.publish_rate_max,
            refuse_wildcards: settings.refuse_wildcard_subscriptions,
            refuse_shared: settings.refuse_shared_subscriptions,
            wildcards_max: settings.wildcard_subscriptions_per_session_max,
            refuse_root_wildcard: settings.refuse_root_wildcard,
            response_information: settings.response_information.clone(),
            server_reference: settings.server_reference.clone(),
            ..ConnectionSettings::default()
        };
        Self {
            connection: Arc::new(connection),
            admission: Admission::new(AdmissionLimits {
                connections_max: settings.connections_max,
                connections_per_address_max: settings.connections_per_address_max,
                connection_rate_per_address_max: settings.connection_rate_per_address_max,
            }),
            reached: Reached::Mqtt,
            outbox_bytes_max: settings.outbound_bytes_max,
            replay_rate_max: settings.replay_rate_max,
            view_lease: Duration::from_secs(settings.view_lease_s),
        }
    }
}

/// Serves MQTT on `listener` until `stop`, then lets every client finish what it has sent, tells it, and returns.
pub async fn serve(mut listener: Box<dyn Listener>, service: Service, settings: MqttSettings, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (service, settings, stop) = (service.clone(), settings.clone(), stop.clone());
                connections.spawn(serve_stream(stream, peer, service, settings, stop));
            }
            Err(error) => {
                // Out of file descriptors, or a connection reset before it was accepted: neither ends the listener.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

/// Serves MQTT on one connection until it ends, or until `stop` as [`serve`] does.
pub async fn serve_stream(
    stream: BoxStream,
    peer: SocketAddr,
    service: Service,
    mut settings: MqttSettings,
    stop: CancellationToken,
) {
    let _place = match settings.admission.enter(peer, Instant::now()) {
        Ok(place) => place,
        Err((refused, place)) => {
            let (reason, detail) = match refused {
                Refused::Node => (
                    ReasonCode::ServerBusy,
                    "this node has no room for more connections; try another",
                ),
                Refused::Address => (ReasonCode::QuotaExceeded, "too many connections from this address"),
                Refused::Rate => (
                    ReasonCode::ConnectionRateExceeded,
                    "this address connects too often; wait before the next attempt",
                ),
                Refused::Unanswered => return,
            };
            settings.connection = Arc::new(ConnectionSettings {
                refuse_all: Some((reason, detail)),
                ..(*settings.connection).clone()
            });
            let Some(place) = place else { return };
            place
        }
    };
    if let Err(error) = task::run(stream, service, settings, stop).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
