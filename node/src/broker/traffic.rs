//! What all connections of this node have received and sent, since the process began.

use std::sync::atomic::{AtomicU64, Ordering};

use banyan_core::mqtt::connection::Counters;

use crate::metrics::Histogram;

/// Counters that only grow. Each connection adds to them once for what it has done in one go.
#[derive(Debug, Default)]
pub struct Traffic {
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    packets_received: AtomicU64,
    packets_sent: AtomicU64,
    publishes_received: AtomicU64,
    publishes_sent: AtomicU64,
    connections: AtomicU64,
    publishes_refused: AtomicU64,
    publishes_superseded: AtomicU64,
    publishes_repeated: AtomicU64,
    deliveries_too_large: AtomicU64,
    filters_refused: AtomicU64,
    subscribe_times: Histogram,
}

/// [`Traffic`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Bytes of MQTT received.
    pub bytes_received: u64,
    /// Bytes of MQTT sent.
    pub bytes_sent: u64,
    /// Control packets received.
    pub packets_received: u64,
    /// Control packets sent.
    pub packets_sent: u64,
    /// PUBLISHes received.
    pub publishes_received: u64,
    /// PUBLISHes sent.
    pub publishes_sent: u64,
    /// CONNECTs accepted.
    pub connections: u64,
    /// PUBLISHes received and refused, whether or not the client could be told.
    pub publishes_refused: u64,
    /// PUBLISHes received that lost against a newer timestamp.
    pub publishes_superseded: u64,
    /// QoS 2 PUBLISHes of a message that was received before.
    pub publishes_repeated: u64,
    /// Messages not sent, as they are larger than the client takes.
    pub deliveries_too_large: u64,
    /// Filters of SUBSCRIBEs that were refused.
    pub filters_refused: u64,
}

impl Traffic {
    /// Bytes came in.
    pub fn received(&self, bytes: usize) {
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes went out.
    pub fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A client is connected.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// From SUBSCRIBE to SUBACK.
    #[must_use]
    pub fn subscribe_times(&self) -> &Histogram {
        &self.subscribe_times
    }

    /// What one connection has counted since it was last asked.
    pub fn add(&self, counters: &Counters) {
        for (total, count) in [
            (&self.packets_received, counters.packets_received),
            (&self.packets_sent, counters.packets_sent + counters.deliveries),
            (&self.publishes_received, counters.publishes_received),
            (&self.publishes_sent, counters.deliveries),
            (
                &self.publishes_refused,
                counters.publishes_refused + counters.qos0_refused + counters.qos0_failed,
            ),
            (&self.publishes_superseded, counters.publishes_superseded),
            (&self.publishes_repeated, counters.publishes_repeated),
            (&self.deliveries_too_large, counters.deliveries_too_large),
            (&self.filters_refused, counters.filters_refused),
        ] {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// What it has come to.
    #[must_use]
    pub fn counts(&self) -> TrafficCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrafficCounts {
            bytes_received: count(&self.bytes_received),
            bytes_sent: count(&self.bytes_sent),
            packets_received: count(&self.packets_received),
            packets_sent: count(&self.packets_sent),
            publishes_received: count(&self.publishes_received),
            publishes_sent: count(&self.publishes_sent),
            connections: count(&self.connections),
            publishes_refused: count(&self.publishes_refused),
            publishes_superseded: count(&self.publishes_superseded),
            publishes_repeated: count(&self.publishes_repeated),
            deliveries_too_large: count(&self.deliveries_too_large),
            filters_refused: count(&self.filters_refused),
        }
    }
}
