//! Spans on their way to the collector: OTLP over HTTP, as JSON (OTLP 1.x §OTLP/HTTP).
//!
//! A thread of its own sends them, many by one request, so that a collector that is slow or gone holds up nobody: what does not
//! fit into the queue meanwhile is dropped, and what could not be sent is not sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ureq::Agent;

use super::span::{Span, export_request};
use crate::log_limit::LogLimit;

/// Operations whose spans may wait.
const QUEUE_MAX: usize = 4_096;
/// Spans in one request, about.
const BATCH_SPANS: usize = 512;
/// How long the first span of a request may wait for others.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// How long the collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Takes spans to be sent. The thread that sends them ends, having sent what is left, when this is dropped.
pub(super) struct Exporter {
    queue: SyncSender<Vec<Span>>,
    dropped: Arc<AtomicU64>,
}

impl Exporter {
    /// Sends to the collector at `endpoint`, as node `node_id`.
    pub(super) fn start(endpoint: &str, node_id: u64) -> std::io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let sender = Sender {
            url: format!("{}/v1/traces", endpoint.trim_end_matches('/')),
            node_id,
            agent: Agent::config_builder()
                .timeout_global(Some(TIMEOUT))
                .max_redirects(0)
                .build()
                .into(),
            failures: LogLimit::default(),
            dropped: Arc::clone(&dropped),
        };
        std::thread::Builder::new()
            .name("otlp".to_owned())
            .spawn(move || sender.run(&waiting))?;
        Ok(Self { queue, dropped })
    }

    /// Takes the spans of one operation; never blocks.
    pub(super) fn send(&self, spans: Vec<Span>) {
        if self.queue.try_send(spans).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Sender {
    url: String,
    node_id: u64,
    agent: Agent,
    failures: LogLimit,
    dropped: Arc<AtomicU64>,
}

impl Sender {
    fn run(&self, waiting: &Receiver<Vec<Span>>) {
        while let Ok(mut spans) = waiting.recv() {
            let is_open = gather(waiting, &mut spans);
            self.send(&spans);
            if !is_open {
                return;
            }
        }
    }

    fn send(&self, spans: &[Span]) {
        let request = export_request(spans, self.node_id);
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        match self.agent.post(&self.url).send_json(&request) {
            Ok(_) if dropped == 0 => self.failures.reset(),
            Ok(_) => tracing::warn!(dropped, "traces were dropped: the collector does not keep up"),
            Err(error) => {
                if self.failures.pass().is_some() {
                    let (url, spans) = (&self.url, spans.len());
                    tracing::warn!(%url, spans, dropped, %error, "spans could not be sent and are dropped");
                }
            }
        }
    }
}

/// Takes what comes soon; returns whether more may come later.
fn gather(waiting: &Receiver<Vec<Span>>, spans: &mut Vec<Span>) -> bool {
    let until = tokio::time::Instant::now() + BATCH_WAIT;
    while spans.len() < BATCH_SPANS {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        match waiting.recv_timeout(left) {
            Ok(more) => spans.extend(more),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}
