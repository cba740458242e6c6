//! Request bodies: bounded in size and time, never compressed, and never left unread.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use axum::middleware::Next;
use axum::response::Response;
use banyan_api::problem::ProblemKind;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use parking_lot::Mutex;

use super::Http;
use super::problem::Failure;

/// Most bytes of an unwanted body that are read and thrown away.
const DRAIN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Longest time for that.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the whole body, at most one packet long.
pub(super) async fn read(http: &Http, headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Failure::new(
            ProblemKind::UnsupportedMediaType,
            "Send the body without Content-Encoding.",
        ));
    }
    let bytes_max = http.settings.packet_bytes_max as usize;
    if announced(headers).is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    match tokio::time::timeout(http.settings.body_timeout, collect(body, bytes_max)).await {
        Ok(Ok(Some(whole))) => Ok(whole),
        Ok(Ok(None)) => Err(too_large(bytes_max)),
        Ok(Err(_)) => Err(Failure::new(
            ProblemKind::InvalidBody,
            "The body broke off. Send the request again.",
        )),
        Err(_) => Err(Failure::new(
            ProblemKind::RequestTimeout,
            "The body did not arrive in time. Send the request again.",
        )),
    }
}

/// The length of the body, if the client says it.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads to the end of the body, never holding more than `bytes_max`; `None` if it is longer.
async fn collect(body: Body, bytes_max: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await.transpose()? {
        if chunk.len() > bytes_max - whole.len() {
            return Ok(None);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Some(whole.freeze()))
}

/// Lets the routes answer, then throws away what they left of the body, within bounds. A client that is answered while it is
/// still sending would see a broken connection instead of the answer.
pub(super) async fn drain_rest(request: Request, next: Next) -> Response {
    // Who asks first has sent nothing yet.
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    if announced(request.headers()).is_some_and(|length| length > DRAIN_BYTES_MAX) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let shared = SharedBody(Arc::new(Mutex::new(body)));
    let rest = SharedBody(Arc::clone(&shared.0));
    let response = next.run(Request::from_parts(parts, Body::new(shared))).await;
    if !rest.is_end_stream() {
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain(Body::new(rest))).await;
    }
    response
}

/// Throws away a body.
async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        bytes += chunk.len() as u64;
        if bytes > DRAIN_BYTES_MAX {
            return;
        }
    }
}

/// A body that one reads and another may finish.
struct SharedBody(Arc<Mutex<Body>>);

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.lock().size_hint()
    }
}

/// A body, or a record made from it, that is too large.
pub(super) fn too_large(bytes_max: usize) -> Failure {
    Failure::new(
        ProblemKind::PayloadTooLarge,
        format!("Payload, topic and properties may take {bytes_max} bytes together."),
    )
}
