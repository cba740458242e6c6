//! `GET /v1/cluster/snapshot`: a backup of the state at one revision, streamed from a frozen view in constant memory.
//!
//! The view has no lease: it lives as long as the client goes on reading. The stream is paced, so that those who write
//! notice little of it. A backup that cannot be completed is broken off, and then has no trailer.

use axum::extract::{RawQuery, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use banyan_api::problem::ProblemKind;
use banyan_core::state::StateView;
use tokio::time::{Duration, Instant};

use super::Http;
use super::consistency;
use super::problem::{Answer, Failure};
use super::query::Query;
use super::stream::{self, Writer};
use crate::backup;

const BANYAN_REVISION: HeaderName = HeaderName::from_static("banyan-revision");
/// Digest of the state, hexadecimal.
const BANYAN_DIGEST: HeaderName = HeaderName::from_static("banyan-digest");
/// Digest of topics and tombstones alone.
const BANYAN_DATA_DIGEST: HeaderName = HeaderName::from_static("banyan-data-digest");

/// Bytes per second unless the request says otherwise.
const RATE_DEFAULT: u64 = 32 * 1024 * 1024;

/// Streams a backup.
pub(super) async fn get(State(http): State<Http>, RawQuery(query): RawQuery) -> Answer {
    let query = Query::parse(query.as_deref(), &["consistency", "at_least", "rate"])?;
    let rate = query.number::<u64>("rate")?.unwrap_or(RATE_DEFAULT);
    let Ok(slot) = http.snapshots.clone().try_acquire_owned() else {
        return Err(Failure::new(
            ProblemKind::TooManyRequests,
            "This node is writing as many snapshots as it may at a time. Try again when one of them is done, or use another \
             node.",
        ));
    };
    let read = consistency::read(&http, &query).await?;
    let mut headers = HeaderMap::new();
    describe(&read.view, &mut headers);
    read.annotate(&mut headers);
    let service = &http.service;
    let backup = backup::Writer::new(read.view, service.cluster_id(), service.node_id(), service.now_us());
    let (writer, body) = stream::body(http.settings.stall_timeout);
    let shutdown = http.shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => writer.abort("the node is stopping").await,
            // A client that waits for a slow piece and goes away is noticed with the next one.
            reason = write(backup, rate, &writer) => if let Some(reason) = reason {
                writer.abort(reason).await;
            },
        }
        drop(slot);
    });
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    Ok(response)
}

fn describe(view: &StateView, headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(backup::MEDIA_TYPE));
    headers.insert(BANYAN_REVISION, view.revision.into());
    let texts = [
        (BANYAN_DIGEST, view.digest.to_string()),
        (BANYAN_DATA_DIGEST, view.data_digest().to_string()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"banyan-{}.snapshot\"", view.revision),
        ),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

/// Writes the whole backup at `rate` bytes a second at most (0: as fast as it goes); returns why it cannot be completed.
async fn write(mut backup: backup::Writer, rate: u64, writer: &Writer) -> Option<&'static str> {
    let started = Instant::now();
    let mut written = 0_u64;
    loop {
        let (returned, piece) = crate::blocking::run_in_background(move || {
            let piece = backup.next_piece();
            (backup, piece)
        })
        .await;
        backup = returned;
        let piece = match piece {
            Ok(Some(piece)) => piece,
            Ok(None) => return None,
            Err(error) => {
                tracing::error!(%error, "a snapshot was broken off");
                return Some("the state of this node cannot be read");
            }
        };
        written += piece.len() as u64;
        // Whoever does not read any more is gone.
        if writer.write(piece).await.is_err() {
            tracing::info!("a snapshot was broken off by its reader");
            return None;
        }
        if rate > 0 {
            let due = Duration::from_secs_f64(written as f64 / rate as f64);
            tokio::time::sleep_until(started + due).await;
        }
    }
}
