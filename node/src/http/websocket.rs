//! MQTT over WebSocket: the upgrade at `/mqtt`.
//!
//! The client offers the subprotocol `mqtt`, and gets it [MQTT-6.0.0-3, -4]. From then on the connection belongs to whoever
//! serves MQTT, as a stream of bytes like any other.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use banyan_api::problem::ProblemKind;

use super::Http;
use super::byte_stream::{ByteStream, MESSAGE_BYTES};
use super::problem::{Answer, Failure};
use crate::net::BoxStream;

/// The one subprotocol.
const SUBPROTOCOL: &str = "mqtt";
/// Read at once. Each connection holds as much for as long as it is open.
const READ_BYTES: usize = 4 * 1024;
/// What a message may hold beside one packet of the largest size: more packets.
const MESSAGE_EXTRA_BYTES: usize = 64 * 1024;

/// Takes connections that became MQTT, with the address of their client.
#[derive(Clone)]
pub struct ServeMqtt(Arc<dyn Fn(BoxStream, SocketAddr) + Send + Sync>);

impl ServeMqtt {
    /// Hands connections to `serve`, which must not block.
    pub fn new(serve: impl Fn(BoxStream, SocketAddr) + Send + Sync + 'static) -> Self {
        Self(Arc::new(serve))
    }
}

impl fmt::Debug for ServeMqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServeMqtt")
    }
}

/// `GET /mqtt`
pub(super) async fn upgrade(
    State(http): State<Http>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    let Some(ServeMqtt(serve)) = http.settings.mqtt.clone() else {
        return Err(Failure::new(
            ProblemKind::RouteNotFound,
            "MQTT over WebSocket is not served here.",
        ));
    };
    if !may_connect(&headers, &http.settings.websocket_origins) {
        return Err(Failure::new(
            ProblemKind::OriginNotAllowed,
            "Pages of this origin may not connect here; the setting websocket_origins names those that may.",
        ));
    }
    let upgrade = upgrade.map_err(|rejection| {
        Failure::header(
            "Upgrade",
            format!("MQTT over WebSocket is served here. {}", rejection.body_text()),
        )
    })?;
    if !upgrade.requested_protocols().any(|offered| offered == SUBPROTOCOL) {
        return Err(Failure::header(
            "Sec-WebSocket-Protocol",
            format!("offer the subprotocol {SUBPROTOCOL}"),
        ));
    }
    let message_bytes_max = http.settings.packet_bytes_max as usize + MESSAGE_EXTRA_BYTES;
    let response = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BYTES)
        .max_frame_size(message_bytes_max)
        .max_message_size(message_bytes_max)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MESSAGE_BYTES)
        .on_failed_upgrade(move |error| tracing::debug!(%peer, %error, "a WebSocket was not established"))
        .on_upgrade(async move |socket| serve(Box::new(ByteStream::new(socket)), peer));
    Ok(response)
}

/// Whether the page that asks, if it is one, is of one of these origins (RFC 6455 §10.2). Programs send no Origin, and could send
/// any: the header protects those who use a browser from pages that are not the operator's.
fn may_connect(headers: &HeaderMap, origins: &[String]) -> bool {
    let is_allowed = |origin: &[u8]| {
        origins
            .iter()
            .any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
    };
    origins.is_empty()
        || headers
            .get_all(ORIGIN)
            .iter()
            .all(|origin| is_allowed(origin.as_bytes()))
}
