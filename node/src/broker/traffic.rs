//! What all connections of this node have received and sent, since the process began.

use std::sync::atomic::{AtomicU64, Ordering};

use banyan_core::mqtt::connection::Counters;

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

    /// What one connection has counted since it was last asked.
    pub fn add(&self, counters: &Counters) {
        for (total, count) in [
            (&self.packets_received, counters.packets_received),
            (&self.packets_sent, counters.packets_sent + counters.deliveries),
            (&self.publishes_received, counters.publishes_received),
            (&self.publishes_sent, counters.deliveries),
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
        }
    }
}
