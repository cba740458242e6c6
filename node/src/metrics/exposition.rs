//! Gathered families as text: OpenMetrics, or the older format of Prometheus for those who do not ask for that.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit as TextUnit};

use super::families::{Families, Family, Unit, Value};

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// What a client that sends `accept` can read.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// `Content-Type` of the answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The text of `families`.
#[must_use]
pub fn render(families: Families, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Gathered(families.into_inner())));
    let mut text = String::new();
    // Writing to a string cannot fail, and the labels are text.
    if text::encode(&mut text, &registry).is_err() {
        text.clear();
    }
    match format {
        Format::OpenMetrics => text,
        Format::Prometheus => older(&text),
    }
}

#[derive(Debug)]
struct Gathered(Vec<Family>);

impl Collector for Gathered {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in &self.0 {
            let unit = match family.unit {
                Unit::None => None,
                Unit::Seconds => Some(&TextUnit::Seconds),
                Unit::Bytes => Some(&TextUnit::Bytes),
            };
            let kind = match family.samples.first() {
                Some((_, Value::Counter(_))) => MetricType::Counter,
                Some((_, Value::Gauge(_))) => MetricType::Gauge,
                Some((_, Value::Histogram(_))) => MetricType::Histogram,
                Some((_, Value::Info)) => MetricType::Info,
                None => continue,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, unit, kind)?;
            for (labels, value) in &family.samples {
                match value {
                    Value::Info => metric.encode_info(labels)?,
                    _ if labels.is_empty() => sample(&mut metric, value)?,
                    _ => sample(&mut metric.encode_family(labels)?, value)?,
                }
            }
        }
        Ok(())
    }
}

fn sample(metric: &mut MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Counter(value) => metric.encode_counter::<NoLabelSet, f64, f64>(value, None),
        Value::Gauge(value) => metric.encode_gauge(value),
        Value::Histogram(recorded) => {
            // The library makes them cumulative.
            let buckets: Vec<_> = recorded.buckets().collect();
            metric.encode_histogram::<NoLabelSet>(recorded.sum_s(), recorded.count(), &buckets, None)
        }
        Value::Info => Ok(()),
    }
}

/// OpenMetrics as the format before it: there a counter's family has the name of its samples, an info is a gauge, and neither
/// units nor an end are told.
fn older(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let Some((keyword @ ("HELP" | "TYPE"), rest)) = comment.split_once(' ') else {
            continue; // UNIT, EOF
        };
        let (name, said) = rest.split_once(' ').unwrap_or((rest, ""));
        // The kind stands in the line after the help.
        let kind = match keyword {
            "HELP" => lines
                .peek()
                .and_then(|next| next.rsplit(' ').next())
                .unwrap_or_default(),
            _ => said,
        };
        let (suffix, kind) = match kind {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            kind => ("", kind),
        };
        let said = if keyword == "TYPE" { kind } else { said };
        out.push_str(&format!("# {keyword} {name}{suffix} {said}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    fn families() -> Families {
        let mut families = Families::default();
        families.info("banyan_build", "The program.", &[("version", "1.2")]);
        families.counter("banyan_things", "Things.", 7);
        let help = "Bytes of a kind.";
        for (kind, bytes) in [("a", 1.0), ("b\"\n", 2.5)] {
            families.gauge_of("banyan_kept", Unit::Bytes, help, &[("kind", kind)], bytes);
        }
        let histogram = Histogram::default();
        histogram.record(std::time::Duration::from_millis(1));
        histogram.record(std::time::Duration::from_secs(60));
        families.histogram("banyan_wait", "Waits.", &[], histogram.read());
        families
    }

    #[test]
    fn open_metrics_has_units_and_an_end() {
        let text = render(families(), Format::OpenMetrics);
        for line in [
            "# TYPE banyan_build info",
            "banyan_build_info{version=\"1.2\"} 1",
            "# TYPE banyan_things counter",
            "banyan_things_total 7.0",
            "# UNIT banyan_kept_bytes bytes",
            "banyan_kept_bytes{kind=\"b\\\"\\n\"} 2.5",
            "banyan_wait_seconds_bucket{le=\"0.001\"} 1",
            "banyan_wait_seconds_bucket{le=\"10.0\"} 1",
            "banyan_wait_seconds_bucket{le=\"+Inf\"} 2",
            "banyan_wait_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_older_format_names_families_as_their_samples() {
        let text = render(families(), Format::Prometheus);
        for line in [
            "# HELP banyan_things_total Things.",
            "# TYPE banyan_things_total counter",
            "# TYPE banyan_build_info gauge",
            "# TYPE banyan_kept_bytes gauge",
            "# TYPE banyan_wait_seconds histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("UNIT") && !text.contains("EOF"));
    }

    #[test]
    fn who_asks_for_open_metrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("text/plain")), Format::Prometheus);
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}
