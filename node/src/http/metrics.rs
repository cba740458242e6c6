//! `GET /metrics`, and what is counted of HTTP itself.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::Http;
use crate::blocking;
use crate::metrics::exposition::{self, Format};
use crate::metrics::families::Unit;
use crate::metrics::{Families, Histogram};
use crate::trace::Told;
use crate::trace::context::within;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// One topic or a list is read.
    Read,
    /// A topic is written or deleted, or messages are published.
    Write,
    /// The feed of changes.
    Changes,
    /// The cluster and its sessions.
    Cluster,
    /// Health and metrics.
    Watch,
    /// Anything else.
    Other,
}

const ABOUT: [(About, &str); 6] = [
    (About::Read, "read"),
    (About::Write, "write"),
    (About::Changes, "changes"),
    (About::Cluster, "cluster"),
    (About::Watch, "watch"),
    (About::Other, "other"),
];

/// Classes of status codes, from 1xx on.
const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl About {
    fn of(method: &Method, path: &str) -> Self {
        let begins = |prefix: &str| path.starts_with(prefix);
        if begins("/v1/topics") || begins("/v1/children") {
            return match *method {
                Method::GET | Method::HEAD => Self::Read,
                _ => Self::Write,
            };
        }
        if begins("/v1/publish") || begins("/v1/transactions") {
            Self::Write
        } else if begins("/v1/changes") {
            Self::Changes
        } else if begins("/v1/cluster") || begins("/v1/sessions") {
            Self::Cluster
        } else if begins("/health") || path == "/metrics" {
            Self::Watch
        } else {
            Self::Other
        }
    }
}

/// Requests that were answered.
#[derive(Debug, Default)]
pub(super) struct HttpCounts {
    times: [Histogram; ABOUT.len()],
    answers: [[AtomicU64; STATUSES.len()]; ABOUT.len()],
}

/// Counts each request when its answer begins.
pub(super) async fn count(State(http): State<Http>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let about = About::of(request.method(), request.uri().path());
    let watch = http.service.watch();
    let context = match about {
        About::Read | About::Write => {
            let header = request.headers().get("traceparent");
            watch.enter(header.and_then(|header| header.to_str().ok()))
        }
        _ => None,
    };
    // What was asked for is told of few, and gone by then.
    let subject = (about == About::Read || context.is_some()).then(|| request.uri().to_string());
    let response = match context {
        Some(context) => within(context, next.run(request)).await,
        None => next.run(request).await,
    };
    let ended = Instant::now();
    let status = response.status();
    let told = Told {
        kind: if about == About::Read {
            "http read"
        } else {
            "http write"
        },
        subject: subject.as_deref().unwrap_or_default(),
        outcome: status.as_str(),
        begun,
        ended,
        parts: &[],
    };
    match about {
        About::Read => watch.leave(&told, context),
        // The write itself tells if it is slow, and of what its time consists.
        _ => watch.leave_fast(&told, context),
    }
    let about = about as usize;
    let class = usize::from(response.status().as_u16() / 100).saturating_sub(1);
    if let Some(times) = http.counts.times.get(about) {
        times.record(ended - begun);
    }
    if let Some(count) = http.counts.answers.get(about).and_then(|answers| answers.get(class)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    response
}

/// `GET /metrics`
pub(super) async fn get(State(http): State<Http>, headers: HeaderMap) -> Response {
    let format = Format::accepted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    let text = blocking::run(move || {
        let mut families = Families::default();
        http.service.gather(&mut families);
        http.gather(&mut families);
        exposition::render(families, format)
    })
    .await;
    let headers = [
        (CONTENT_TYPE, format.content_type()),
        (CACHE_CONTROL, "no-store"),
        (VARY, "Accept"),
    ];
    (headers, text).into_response()
}

impl Http {
    fn gather(&self, families: &mut Families) {
        for ((_, about), times) in ABOUT.iter().zip(&self.counts.times) {
            families.histogram(
                "banyan_http_request",
                "Time until the answer to an HTTP request began.",
                &[("about", about)],
                times.read(),
            );
        }
        for ((_, about), answers) in ABOUT.iter().zip(&self.counts.answers) {
            for (status, count) in STATUSES.iter().zip(answers) {
                families.counter_of(
                    "banyan_http_requests",
                    Unit::None,
                    "HTTP requests answered.",
                    &[("about", about), ("status", status)],
                    count.load(Ordering::Relaxed) as f64,
                );
            }
        }
        let feeds = self.settings.feeds_max.saturating_sub(self.feeds.available_permits());
        families.gauge("banyan_http_feeds", "Change feeds that are open.", feeds as u64);
        let streams = self
            .settings
            .list_streams_max
            .saturating_sub(self.list_streams.available_permits());
        families.gauge(
            "banyan_http_list_streams",
            "Lists that are being streamed.",
            streams as u64,
        );
        families.gauge(
            "banyan_http_list_views",
            "Moments of the state that are held for cursors of lists.",
            self.views.len() as u64,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_few_kinds() {
        for (method, path, about) in [
            (Method::GET, "/v1/topics/a/b", About::Read),
            (Method::HEAD, "/v1/topics", About::Read),
            (Method::PUT, "/v1/topics/a/b", About::Write),
            (Method::POST, "/v1/publish", About::Write),
            (Method::GET, "/v1/changes", About::Changes),
            (Method::GET, "/v1/cluster/members", About::Cluster),
            (Method::GET, "/health/live", About::Watch),
            (Method::GET, "/metrics", About::Watch),
            (Method::GET, "/nowhere", About::Other),
        ] {
            assert_eq!(About::of(&method, path), about, "{method} {path}");
        }
    }

    #[test]
    fn the_names_are_in_the_order_of_the_kinds() {
        for (at, (about, _)) in ABOUT.into_iter().enumerate() {
            assert_eq!(about as usize, at);
        }
    }
}
