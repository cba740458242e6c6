//! Connections: HTTP/1.1 on our own listeners, with bounds on count, header size and time, and an ordered end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{BoxStream, Listener};
use crate::simulation;

/// Most connections at a time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 10_000;

/// Most headers of a request.
const HEADERS_MAX: usize = 100;

/// Most bytes of a request's line and headers; also what is read ahead of a body.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Time for a request's headers to arrive, counted from the end of the request before: also the longest idle time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after a connection could not be accepted, since the cause (no file descriptors) does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for requests under way when the node stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Serves `app` on `listener` until `shutdown` is cancelled; then takes no more connections, lets requests under way end
/// within 3 s, and returns. The peer's address is in each request's extensions as [`ConnectInfo<SocketAddr>`].
pub async fn serve(mut listener: Box<dyn Listener>, app: Router, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = async {
                // Never closed, so that this fails never.
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                listener.accept().await.map(|(stream, peer)| (stream, peer, slot))
            } => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let (app, shutdown) = (app.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(stream, peer, app, shutdown).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(SHUTDOWN_GRACE, connections.wait()).await.is_err() {
        tracing::info!(
            connections = connections.len(),
            "HTTP connections did not end in time and are dropped"
        );
    }
}

/// Serves one connection to its end.
async fn connection(stream: BoxStream, peer: SocketAddr, app: Router, shutdown: CancellationToken) {
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        app.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .auto_date_header(!simulation::is_active())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "HTTP connection ended early");
    }
}
