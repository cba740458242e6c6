//! The change feed as a stream: one JSON object per line (`feed=continuous`) or server-sent events (`feed=eventsource`).
//!
//! The stream holds no view: it reads a chunk of a fresh one, writes it, and goes on from the position it reached. Once it has
//! caught up, and from time to time after, it writes [`Progress`], so that a reader knows how far it has come even if its
//! filter matches nothing.

use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use banyan_api::changes::Progress;
use banyan_api::{EVENT_STREAM, NDJSON};
use tokio::sync::OwnedSemaphorePermit;

use super::changes::ChangeReader;
use super::stream::{self, CHUNK_BYTES, CHUNK_ROWS, Closed, Writer};
use super::{Http, render};

/// How changes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// NDJSON.
    Lines,
    /// Server-sent events.
    EventStream,
}

/// Why a feed ended.
enum Ended {
    /// As was asked, or since the client is gone.
    Done,
    /// It cannot go on; connecting again at the last cursor tells why.
    Broken(&'static str),
}

impl From<Closed> for Ended {
    fn from(_: Closed) -> Self {
        Self::Done
    }
}

/// Streams changes until `limit` of them were written, the client goes, or the node drains or stops. Holds `slot` so long.
pub(super) fn respond(
    http: &Http,
    reader: ChangeReader,
    format: Format,
    limit: Option<usize>,
    slot: OwnedSemaphorePermit,
) -> Response {
    let (writer, body) = stream::body(http.settings.stall_timeout);
    let http = http.clone();
    let streaming = http.service.drain().streaming();
    tokio::spawn(async move {
        let ended = tokio::select! {
            biased;
            () = http.shutdown.cancelled() => Ended::Done,
            () = http.service.drain().begins() => Ended::Done,
            () = writer.closed() => Ended::Done,
            ended = run(&http, reader, format, limit, &writer) => ended,
        };
        if let Ended::Broken(reason) = ended {
            writer.abort(reason).await;
        }
        drop((slot, streaming));
    });
    let mut response = Response::new(body);
    let content_type = if format == Format::Lines { NDJSON } else { EVENT_STREAM };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Writes changes as they come.
async fn run(http: &Http, mut reader: ChangeReader, format: Format, limit: Option<usize>, writer: &Writer) -> Ended {
    let mut applied = http.service.applied_revision();
    let mut remaining = limit.unwrap_or(usize::MAX);
    let mut announced = false;
    if format == Format::EventStream
        && let Err(closed) = writer.write(b"retry: 1000\n\n".to_vec()).await
    {
        return closed.into();
    }
    loop {
        let mut seen = *applied.borrow_and_update();
        loop {
            let view = http.service.local_view();
            if !reader.position.is_complete_in(&view) {
                return Ended::Broken("the reader was overtaken by the forgetting of deletions");
            }
            seen = seen.max(view.revision);
            let mut items = Vec::new();
            let Ok(more) = reader
                .read(&view, remaining.min(CHUNK_ROWS), CHUNK_BYTES, &mut items)
                .await
            else {
                return Ended::Broken("the node cannot read its storage");
            };
            drop(view);
            remaining -= items.len();
            let mut chunk = Vec::new();
            for item in &items {
                if format.write(&item.cursor, None, item, &mut chunk).is_err() {
                    return Ended::Broken("a change cannot be written as JSON");
                }
            }
            if let Err(closed) = writer.write(chunk).await {
                return closed.into();
            }
            if remaining == 0 {
                return Ended::Done;
            }
            if !more {
                break;
            }
        }
        if !announced {
            announced = true;
            if let Err(ended) = write_progress(&reader, format, writer).await {
                return ended;
            }
        }
        // Something newer than what was read, or a sign of life.
        let newer = async { applied.wait_for(|applied| *applied > seen).await.is_ok() };
        match tokio::time::timeout(http.settings.heartbeat, newer).await {
            Ok(true) => {}
            Ok(false) => return Ended::Done,
            Err(_) => {
                if let Err(ended) = write_progress(&reader, format, writer).await {
                    return ended;
                }
            }
        }
    }
}

/// Tells how far the reader has come.
async fn write_progress(reader: &ChangeReader, format: Format, writer: &Writer) -> Result<(), Ended> {
    let cursor = reader.position.to_string();
    let progress = Progress {
        revision: reader.position.revision,
        cursor: cursor.clone(),
        progress: true,
    };
    let mut chunk = Vec::new();
    format
        .write(&cursor, Some("progress"), &progress, &mut chunk)
        .map_err(|_| Ended::Broken("progress cannot be written as JSON"))?;
    Ok(writer.write(chunk).await?)
}

impl Format {
    /// Appends one line or event. Changes have no event name, so that `onmessage` sees them.
    fn write<T: serde::Serialize>(
        self,
        cursor: &str,
        event: Option<&str>,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), serde_json::Error> {
        if self == Self::EventStream {
            out.extend_from_slice(format!("id: {cursor}\n").as_bytes());
            if let Some(event) = event {
                out.extend_from_slice(format!("event: {event}\n").as_bytes());
            }
            out.extend_from_slice(b"data: ");
        }
        // JSON as it is written here has no line ends within.
        render::json_line(value, out)?;
        if self == Self::EventStream {
            out.push(b'\n');
        }
        Ok(())
    }
}
