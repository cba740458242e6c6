//! MQTT listeners, and the task of each connection: it drives `banyan_core::mqtt::connection` with a socket, the service
//! and the broker.
//!
//! | module | responsibility |
//! |---|---|
//! | `task` | one connection: socket, timers, what is waited for |
//! | `ask` | what it asks of the cluster, from CONNECT to its end |
//! | `subscribe` | SUBSCRIBE and UNSUBSCRIBE |
//! | `attached`, `live` | what sends to the client: `live`, or for a persistent session [`crate::session::Driver`] |
//! | `replay` | the retained messages after a SUBSCRIBE, streamed in constant memory |

mod ask;
mod attached;
mod live;
mod replay;
mod subscribe;
mod task;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::limits;
use banyan_core::mqtt::connection::settings::ConnectionSettings;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{BoxStream, Listener};
use crate::service::Service;
use crate::settings::Settings;

/// Settings of the MQTT listeners.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// What each connection respects.
    pub connection: Arc<ConnectionSettings>,
    /// Messages that may wait for one connection, bytes.
    pub outbox_bytes_max: usize,
    /// How long a view may go unread before a stream of retained messages starts again at a newer one.
    pub view_lease: Duration,
}

impl MqttSettings {
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
            ..ConnectionSettings::default()
        };
        Self {
            connection: Arc::new(connection),
            outbox_bytes_max: settings.outbound_bytes_max,
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
    settings: MqttSettings,
    stop: CancellationToken,
) {
    if let Err(error) = task::run(stream, service, settings, stop).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
