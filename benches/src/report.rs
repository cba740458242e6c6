//! The result, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::record::Record;
use crate::write::Options;

/// What a run showed. Latencies are µs.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) addresses: Vec<String>,
    pub(crate) mqtt_version: u8,
    pub(crate) connections: u32,
    pub(crate) inflight: u16,
    pub(crate) topics: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) seconds: f64,
    pub(crate) acknowledged: u64,
    pub(crate) acknowledged_per_s: f64,
    pub(crate) acknowledged_by_address: BTreeMap<String, u64>,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) unacknowledged: u64,
    pub(crate) connection_errors: BTreeMap<String, u64>,
    pub(crate) reconnects: u64,
    pub(crate) longest_gap_ms: f64,
    pub(crate) longest_gap_at_s: f64,
    /// From PUBLISH to PUBACK.
    pub(crate) latency_us: Latency,
    /// Whether everything in flight was answered, or its connection ended, before the run gave up waiting.
    pub(crate) drained: bool,
}

/// Percentiles of a time, µs.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) min: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
}

impl Latency {
    /// The percentiles of `us`.
    pub(crate) fn of(us: &Histogram<u64>) -> Self {
        Self {
            min: us.min(),
            mean: rounded(us.mean()),
            p50: us.value_at_quantile(0.5),
            p90: us.value_at_quantile(0.9),
            p99: us.value_at_quantile(0.99),
            p99_9: us.value_at_quantile(0.999),
            max: us.max(),
        }
    }
}

impl Report {
    pub(crate) fn new(options: &Options, record: &Record, measured: Duration, drained: bool) -> Self {
        let seconds = measured.as_secs_f64();
        let by_address = options
            .addresses
            .iter()
            .cloned()
            .zip(record.acknowledged_by_address.iter().copied());
        Self {
            addresses: options.addresses.clone(),
            mqtt_version: options.version,
            connections: options.connections,
            inflight: options.inflight,
            topics: options.topics,
            payload_bytes: options.payload,
            seconds: rounded(seconds),
            acknowledged: record.acknowledged,
            acknowledged_per_s: rounded(if seconds > 0.0 {
                record.acknowledged_in_time as f64 / seconds
            } else {
                0.0
            }),
            acknowledged_by_address: by_address.collect(),
            refused: record.refused.clone(),
            unacknowledged: record.unacknowledged,
            connection_errors: record.connection_errors.clone(),
            reconnects: record.reconnects,
            longest_gap_ms: rounded(record.longest_gap.as_secs_f64() * 1e3),
            longest_gap_at_s: rounded(record.longest_gap_at.as_secs_f64()),
            latency_us: Latency::of(&record.latency_us),
            drained,
        }
    }

    /// One JSON object on one line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(NOTHING);
        let mut row = |name: &str, value: String| {
            table.add_row([name, &value]);
        };
        row("addresses", self.addresses.join(", "));
        row(
            "load",
            format!(
                "{} connections x {} in flight, {} topics, {} byte payloads, MQTT {}, QoS 1, retained",
                self.connections, self.inflight, self.topics, self.payload_bytes, self.mqtt_version
            ),
        );
        row(
            "acknowledged",
            format!("{} in {:.2} s", self.acknowledged, self.seconds),
        );
        row("throughput", format!("{:.0} /s", self.acknowledged_per_s));
        row(
            "latency",
            format!(
                "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
                milliseconds(self.latency_us.p50),
                milliseconds(self.latency_us.p90),
                milliseconds(self.latency_us.p99),
                milliseconds(self.latency_us.p99_9),
                milliseconds(self.latency_us.max)
            ),
        );
        row(
            "longest silence",
            format!("{:.0} ms, from {:.2} s on", self.longest_gap_ms, self.longest_gap_at_s),
        );
        row("unacknowledged", self.unacknowledged.to_string());
        row("reconnects", self.reconnects.to_string());
        if self.addresses.len() > 1 {
            for (address, count) in &self.acknowledged_by_address {
                row(&format!("  at {address}"), count.to_string());
            }
        }
        for (reason, count) in &self.refused {
            row("refused", format!("{count} x {reason}"));
        }
        for (reason, count) in &self.connection_errors {
            row("connection", format!("{count} x {reason}"));
        }
        if !self.drained {
            row(
                "not all answered",
                "the last answers were not waited for any longer".to_owned(),
            );
        }
        if let Some(names) = table.column_mut(0) {
            names.set_cell_alignment(CellAlignment::Left);
        }
        table.trim_fmt()
    }
}

fn milliseconds(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1e3)
}

/// Three digits behind the point.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
