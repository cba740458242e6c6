//! What is told of single operations: spans for OpenTelemetry, and a log line for one that was slow.
//!
//! Whether an operation is told of is decided when it is over, since all that has to be known of it is known then: one that is
//! not costs a comparison. Spans of requests that came with a `traceparent` of a sampled trace are always told, beneath it.
//!
//! | module | responsibility |
//! |---|---|
//! | [`context`] | whose span an operation belongs beneath |
//! | [`export`] | spans on their way to the collector, as OTLP over HTTP |
//! | [`span`] | a span, and it as JSON |
//! | this one | which operations are told of |

pub mod context;
pub mod export;
pub mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

pub use context::SpanContext;
use export::Exporter;
use span::{Span, SpanKind};

use crate::components::{Clock, Components, Random};
use crate::log_limit::LogLimit;

/// Longest topic in a log line or span, characters.
const TOPIC_CHARACTERS_MAX: usize = 256;

/// What is told of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSettings {
    /// An operation that takes longer is logged; `None`: none is.
    pub slow: Option<Duration>,
    /// Where spans go, if anywhere.
    pub otlp_endpoint: Option<String>,
    /// One request in so many is traced.
    pub trace_one_in: u64,
    /// Name of this node in its spans.
    pub node_id: u64,
}

/// Decides what is told of operations, and tells it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<Inner>>);

struct Inner {
    slow: Option<Duration>,
    limit: LogLimit,
    tracer: Option<Tracer>,
}

struct Tracer {
    exporter: Exporter,
    one_in: u64,
    requests: AtomicU64,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// An operation that is over.
#[derive(Debug)]
pub struct Told<'a> {
    /// What was done: `mqtt put`, `http read`.
    pub kind: &'a str,
    /// What it was done to: a topic, a filter, a path.
    pub subject: &'a str,
    /// What became of it.
    pub outcome: &'a str,
    /// When it began.
    pub begun: Instant,
    /// When it was over.
    pub ended: Instant,
    /// What it consists of, one after the other from its beginning.
    pub parts: &'a [(&'static str, Duration)],
}

impl Watch {
    /// Starts to tell what `settings` ask for.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn start(settings: &WatchSettings, components: &Components) -> std::io::Result<Self> {
        let tracer = match &settings.otlp_endpoint {
            None => None,
            Some(endpoint) => Some(Tracer {
                exporter: Exporter::start(endpoint, settings.node_id)?,
                one_in: settings.trace_one_in.max(1),
                requests: AtomicU64::new(0),
                clock: Arc::clone(&components.clock),
                random: Arc::clone(&components.random),
            }),
        };
        if settings.slow.is_none() && tracer.is_none() {
            return Ok(Self::default());
        }
        Ok(Self(Some(Arc::new(Inner {
            slow: settings.slow,
            limit: LogLimit::default(),
            tracer,
        }))))
    }

    /// Whether an operation that took so long, within `parent`, is told of.
    #[must_use]
    pub fn is_told(&self, took: Duration, parent: Option<SpanContext>) -> Option<Reasons> {
        let inner = self.0.as_ref()?;
        let slow = inner.slow.is_some_and(|slow| took >= slow);
        let traced = inner.tracer.as_ref().is_some_and(|tracer| match parent {
            Some(_) => true,
            None => tracer.samples(),
        });
        (slow || traced).then_some(Reasons { slow, traced })
    }

    /// Tells of an operation, for these reasons.
    pub fn tell(&self, told: &Told<'_>, reasons: Reasons, parent: Option<SpanContext>) {
        let Some(inner) = &self.0 else {
            return;
        };
        if reasons.slow {
            inner.log(told);
        }
        if let Some(tracer) = inner.tracer.as_ref().filter(|_| reasons.traced) {
            tracer.export(told, parent, None);
        }
    }

    /// Tells of a part of what is done within `parent`.
    pub fn tell_part(&self, kind: &str, outcome: &str, (begun, ended): (Instant, Instant), parent: SpanContext) {
        if let Some(tracer) = self.0.as_ref().and_then(|inner| inner.tracer.as_ref()) {
            let told = Told {
                kind,
                subject: "",
                outcome,
                begun,
                ended,
                parts: &[],
            };
            tracer.export(&told, Some(parent), None);
        }
    }

    /// The context in which a request is served that came with `traceparent`: what happens for it is told beneath it. `None` if
    /// nothing is.
    #[must_use]
    pub fn enter(&self, traceparent: Option<&str>) -> Option<SpanContext> {
        let tracer = self.0.as_ref()?.tracer.as_ref()?;
        let (trace_id, parent) = match traceparent.map(context::parse) {
            // Who began the trace has decided.
            Some(Some(given)) if !given.sampled => return None,
            Some(Some(given)) => (given.trace_id, Some(given.span_id)),
            _ if !tracer.samples() => return None,
            _ => (tracer.trace_id(), None),
        };
        Some(SpanContext {
            trace_id,
            span_id: tracer.span_id(),
            parent,
        })
    }

    /// Tells of a request that was served in a context, or was slow.
    pub fn leave(&self, told: &Told<'_>, context: Option<SpanContext>) {
        let Some(inner) = &self.0 else {
            return;
        };
        let took = told.ended.saturating_duration_since(told.begun);
        if inner.slow.is_some_and(|slow| took >= slow) {
            inner.log(told);
        }
        self.leave_fast(told, context);
    }

    /// As [`leave`](Self::leave), of a request whose work logs by itself if it is slow, or that is slow on purpose.
    pub fn leave_fast(&self, told: &Told<'_>, context: Option<SpanContext>) {
        if let Some(tracer) = self.0.as_ref().and_then(|inner| inner.tracer.as_ref())
            && let Some(context) = context
        {
            tracer.export(told, None, Some(context));
        }
    }
}

/// Why an operation is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reasons {
    slow: bool,
    traced: bool,
}

impl Inner {
    fn log(&self, told: &Told<'_>) {
        let Some(suppressed) = self.limit.pass() else {
            return;
        };
        let took = told.ended.saturating_duration_since(told.begun);
        let parts: Vec<_> = told
            .parts
            .iter()
            .map(|(name, part)| format!("{name} {}", part.as_millis()))
            .collect();
        tracing::warn!(
            kind = told.kind,
            subject = %shortened(told.subject),
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            parts_ms = %parts.join(", "),
            outcome = told.outcome,
            more = suppressed,
            "slow operation"
        );
    }
}

/// `text` as it may stand in a log line: control characters escaped, and not endless.
fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters
        .by_ref()
        .take(TOPIC_CHARACTERS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

impl Tracer {
    fn samples(&self) -> bool {
        self.requests
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(self.one_in)
    }

    fn trace_id(&self) -> u128 {
        (u128::from(self.span_id()) << 64) | u128::from(self.random.next_u64())
    }

    /// Never 0, which is no id.
    fn span_id(&self) -> u64 {
        self.random.next_u64().max(1)
    }

    /// Sends the spans of an operation: its own, in `context` if it has been given one, and those of its parts.
    fn export(&self, told: &Told<'_>, parent: Option<SpanContext>, context: Option<SpanContext>) {
        let now = Instant::now();
        let now_us = self.clock.now_us();
        let wall_us = |at: Instant| {
            let ago = u64::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(u64::MAX);
            now_us.saturating_sub(ago)
        };
        let context = context.unwrap_or_else(|| SpanContext {
            trace_id: parent.map_or_else(|| self.trace_id(), |parent| parent.trace_id),
            span_id: self.span_id(),
            parent: parent.map(|parent| parent.span_id),
        });
        let start_us = wall_us(told.begun);
        let mut spans = vec![Span {
            context,
            name: told.kind.to_owned(),
            kind: if parent.is_some() {
                SpanKind::Internal
            } else {
                SpanKind::Server
            },
            start_us,
            end_us: wall_us(told.ended),
            attributes: [
                ("banyan.subject", shortened(told.subject)),
                ("banyan.outcome", told.outcome.to_owned()),
            ]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        }];
        let mut from_us = start_us;
        for (name, took) in told.parts {
            let until_us = from_us.saturating_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            spans.push(Span {
                context: SpanContext {
                    trace_id: context.trace_id,
                    span_id: self.span_id(),
                    parent: Some(context.span_id),
                },
                name: (*name).to_owned(),
                kind: SpanKind::Internal,
                start_us: from_us,
                end_us: until_us,
                attributes: Vec::new(),
            });
            from_us = until_us;
        }
        self.exporter.send(spans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_stays_on_its_line() {
        assert_eq!(shortened("a/b\nc\u{1b}[2J"), "a/b\\nc\\u{1b}[2J");
        let long = shortened(&"x".repeat(TOPIC_CHARACTERS_MAX + 1));
        assert_eq!(long.chars().count(), TOPIC_CHARACTERS_MAX + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn nothing_is_told_without_being_asked_for() {
        let watch = Watch::default();
        assert_eq!(watch.is_told(Duration::from_secs(3600), None), None);
        assert!(watch.enter(None).is_none());
    }

    #[test]
    fn slow_is_what_takes_as_long_as_is_set() {
        let watch = Watch(Some(Arc::new(Inner {
            slow: Some(Duration::from_millis(500)),
            limit: LogLimit::default(),
            tracer: None,
        })));
        assert_eq!(watch.is_told(Duration::from_millis(499), None), None);
        let reasons = Reasons {
            slow: true,
            traced: false,
        };
        assert_eq!(watch.is_told(Duration::from_millis(500), None), Some(reasons));
    }
}
