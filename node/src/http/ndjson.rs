//! Lists as a stream: one record per line, read and written in chunks as the client takes them, so that a list of any length
//! takes constant memory. The last line is [`ListEnd`]; a stream without it was cut off.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use banyan_api::NDJSON;
use banyan_api::list::ListEnd;
use banyan_api::problem::ProblemKind;

use super::list::List;
use super::problem::Failure;
use super::stream::{self, CHUNK_BYTES, CHUNK_ROWS, Closed, Writer};
use super::{Http, render};

/// Why a stream ended before its last line.
enum Broken {
    /// The client is gone.
    Closed,
    /// The rows cannot be read any more.
    Source,
}

impl From<Closed> for Broken {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

/// Streams `list`, at most `limit` items of it.
pub(super) fn respond(http: &Http, list: List, limit: Option<usize>) -> Result<Response, Failure> {
    let Ok(slot) = http.list_streams.clone().try_acquire_owned() else {
        return Err(Failure::new(
            ProblemKind::TooManyRequests,
            "Too many lists are being streamed by this node. Try again soon, use another node, or read pages.",
        ));
    };
    let (writer, body) = stream::body(http.settings.stall_timeout);
    let http = http.clone();
    let streaming = http.service.drain().streaming();
    tokio::spawn(async move {
        let written = tokio::select! {
            biased;
            () = http.shutdown.cancelled() => Err(Broken::Source),
            written = write_lines(&http, list, limit, &writer) => written,
        };
        if let Err(Broken::Source) = written {
            writer.abort("the node cannot continue this list").await;
        }
        drop((slot, streaming));
    });
    Ok(response(body))
}

/// Writes every line.
async fn write_lines(http: &Http, mut list: List, limit: Option<usize>, writer: &Writer) -> Result<(), Broken> {
    let mut remaining = limit.unwrap_or(usize::MAX);
    let mut end = ListEnd {
        revision: list.revision,
        end: true,
        ..ListEnd::default()
    };
    loop {
        let page = list
            .source
            .next(http, remaining.min(CHUNK_ROWS), CHUNK_BYTES)
            .await
            .map_err(|_| Broken::Source)?;
        remaining -= page.rows.len();
        let mut chunk = Vec::new();
        for (topic, record) in &page.rows {
            line(&render::item(topic, record, list.listing.values), &mut chunk)?;
        }
        // A node that drains gives up a list that takes long; it goes on with the cursor.
        let last = !page.more || remaining == 0 || http.service.drain().ends_lists();
        if last {
            end.next = page
                .rows
                .last()
                .filter(|_| page.more)
                .map(|row| list.cursor_after(http, row));
            line(&end, &mut chunk)?;
        }
        drop(page);
        writer.write(chunk).await?;
        if last {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

fn line<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), Broken> {
    render::json_line(value, out).map_err(|_| Broken::Source)
}

/// A stream of nothing but the last line, with a count.
pub(super) fn end_only(revision: u64, count: u64) -> Response {
    let mut bytes = Vec::new();
    let end = ListEnd {
        revision,
        end: true,
        count: Some(count),
        next: None,
    };
    // Numbers and nothing else: this cannot fail.
    let _ = render::json_line(&end, &mut bytes);
    response(Body::from(bytes))
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}
