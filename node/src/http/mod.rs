//! HTTP: routes, bodies and errors over the [`Service`].
//!
//! | file | responsibility |
//! |---|---|
//! | `serve` | connections: limits, time limits, ordered end |
//! | `topics` | one topic: GET, HEAD, PUT, DELETE |
//! | `list` | lists by filter, prefix and range; counting; delete by filter in `delete_filter` |
//! | `ndjson` | lists as a stream in constant memory |
//! | `cursor`, `views`, `page` | cursors, the views they read, and pages asked for by another node |
//! | `changes`, `feed` | the change feed, by page and as a stream |
//! | `publish` | events and retained messages |
//! | `sessions` | MQTT sessions: looked at and ended |
//! | `snapshot` | a backup as a stream |
//! | `drain` | a member is emptied before it stops |
//! | `metrics` | what Prometheus reads |
//! | `cluster`, `members`, `health` | who is there; who enters and leaves; is this node alive, can it serve |
//! | `query`, `headers`, `body`, `consistency` | what a request says |
//! | `websocket`, `byte_stream` | MQTT over WebSocket: the upgrade, and the byte stream that it leads to |
//! | `render`, `problem` | what an answer says |
//! | `not_implemented` | routes that are promised but not built |
//!
//! Nothing here panics on what a client sends: unwrapping and indexing are denied.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod body;
mod byte_stream;
mod changes;
mod cluster;
mod consistency;
mod cursor;
mod delete_filter;
mod drain;
mod feed;
mod headers;
mod health;
mod list;
mod members;
mod metrics;
mod ndjson;
mod not_implemented;
mod page;
mod problem;
mod publish;
mod query;
mod render;
mod serve;
mod sessions;
mod snapshot;
mod stream;
mod topics;
mod views;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, delete, get, post};
use banyan_core::limits;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::serve::serve;
pub use self::views::ListViews;
pub use self::websocket::ServeMqtt;
use crate::service::Service;

/// What may be set about HTTP.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Largest record as an MQTT packet, bytes, and so the largest body.
    pub packet_bytes_max: u32,
    /// Time for a request's body to arrive.
    pub body_timeout: Duration,
    /// How long a stream may wait for a client that reads nothing.
    pub stall_timeout: Duration,
    /// How often a feed without changes says that it is alive.
    pub heartbeat: Duration,
    /// Most lists streamed at a time. Each holds a view of the state.
    pub list_streams_max: usize,
    /// Most backups streamed at a time. Each holds a view of the state.
    pub snapshots_max: usize,
    /// Most change feeds open at a time.
    pub feeds_max: usize,
    /// Who takes the connections that begin as a WebSocket at `/mqtt`; without, there are none.
    pub mqtt: Option<ServeMqtt>,
    /// Pages of which origins may open such a connection; empty: of any.
    pub websocket_origins: Arc<[String]>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            packet_bytes_max: limits::PACKET_BYTES_MAX,
            body_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            heartbeat: Duration::from_secs(15),
            list_streams_max: 256,
            snapshots_max: 2,
            feeds_max: 10_000,
            mqtt: None,
            websocket_origins: Arc::default(),
        }
    }
}

/// What every handler has at hand. Cheap to clone.
#[derive(Clone)]
struct Http {
    service: Service,
    views: ListViews,
    settings: Arc<HttpSettings>,
    list_streams: Arc<Semaphore>,
    snapshots: Arc<Semaphore>,
    feeds: Arc<Semaphore>,
    counts: Arc<metrics::HttpCounts>,
    shutdown: CancellationToken,
}

/// All routes over `service`.
///
/// `views` are the views that cursors read; give the same ones to whatever answers the pages that other nodes ask this one
/// for ([`ListViews::answer`]). When `shutdown` is cancelled, streams and feeds end; without that they would hold up the end
/// of their connections.
pub fn router(service: Service, views: ListViews, settings: HttpSettings, shutdown: CancellationToken) -> Router {
    let http = Http {
        service,
        views,
        list_streams: Arc::new(Semaphore::new(settings.list_streams_max)),
        snapshots: Arc::new(Semaphore::new(settings.snapshots_max)),
        feeds: Arc::new(Semaphore::new(settings.feeds_max)),
        settings: Arc::new(settings),
        counts: Arc::default(),
        shutdown,
    };
    let one_topic = get(topics::get_by_path)
        .put(topics::put_by_path)
        .delete(topics::delete_by_path)
        .patch(not_implemented::patch);
    Router::new()
        .route(
            "/v1/topics",
            get(list::get_root)
                .put(topics::put_by_query)
                .delete(delete_filter::delete_root),
        )
        .route("/v1/topics/", one_topic.clone())
        .route("/v1/topics/{*topic}", one_topic)
        .route("/v1/changes", get(changes::get))
        .route("/v1/publish", post(publish::post))
        .route("/v1/cluster", get(cluster::get_status))
        .route("/v1/cluster/snapshot", get(snapshot::get))
        .route(
            "/v1/cluster/members/{id}/drain",
            get(drain::tell).post(drain::begin).delete(drain::undo),
        )
        .route("/v1/cluster/members", get(cluster::get_members).post(members::add))
        .route("/v1/cluster/members/{id}", delete(members::remove))
        .route("/v1/cluster/members/{id}/{action}", post(members::act))
        .route("/v1/cluster/leader", post(members::lead))
        .route("/v1/cluster/{*rest}", any(not_implemented::route))
        .route("/v1/children", any(not_implemented::route))
        .route("/v1/children/{*topic}", any(not_implemented::route))
        .route("/v1/transactions", post(not_implemented::route))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{*client_id}", get(sessions::show).delete(sessions::kick))
        .route("/metrics", get(metrics::get))
        .route("/openapi.json", get(not_implemented::route))
        .route("/docs", get(not_implemented::route))
        .route("/mqtt", get(websocket::upgrade))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(problem::route_not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(axum::middleware::from_fn(body::drain_rest))
        .layer(axum::middleware::from_fn_with_state(http.clone(), metrics::count))
        .with_state(http)
}
