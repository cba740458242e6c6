//! A span, and it as OTLP writes it in JSON: ids in hexadecimal, times as decimal strings of nanoseconds.

use serde_json::{Value, json};

use super::context::SpanContext;

/// Which side of a request a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Within this node.
    Internal = 1,
    /// A client's request, as this node has served it.
    Server = 2,
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its ids.
    pub context: SpanContext,
    /// What was done.
    pub name: String,
    /// For whom.
    pub kind: SpanKind,
    /// When it began, microseconds since the Unix epoch.
    pub start_us: u64,
    /// When it ended.
    pub end_us: u64,
    /// What else there is to say.
    pub attributes: Vec<(&'static str, String)>,
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

impl Span {
    fn to_json(&self) -> Value {
        let nanoseconds = |us: u64| (u128::from(us) * 1_000).to_string();
        let attributes: Vec<_> = self
            .attributes
            .iter()
            .map(|(key, value)| attribute(key, value))
            .collect();
        let mut span = json!({
            "traceId": format!("{:032x}", self.context.trace_id),
            "spanId": format!("{:016x}", self.context.span_id),
            "name": self.name,
            "kind": self.kind as u8,
            "startTimeUnixNano": nanoseconds(self.start_us),
            "endTimeUnixNano": nanoseconds(self.end_us.max(self.start_us)),
            "attributes": attributes,
        });
        if let Some(parent) = self.context.parent
            && let Some(fields) = span.as_object_mut()
        {
            fields.insert("parentSpanId".to_owned(), format!("{parent:016x}").into());
        }
        span
    }
}

/// The body of a request that exports `spans` of node `node_id`.
#[must_use]
pub fn export_request(spans: &[Span], node_id: u64) -> Value {
    let resource = [
        attribute("service.name", "banyan"),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
        attribute("service.instance.id", &node_id.to_string()),
    ];
    let spans: Vec<_> = spans.iter().map(Span::to_json).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{
            "scope": {"name": "banyan", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans,
        }],
    }]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_as_the_protocol_writes_it() {
        let span = Span {
            context: SpanContext {
                trace_id: 0xab,
                span_id: 0xcd,
                parent: Some(0xef),
            },
            name: "mqtt put".to_owned(),
            kind: SpanKind::Server,
            start_us: 1_700_000_000_000_001,
            end_us: 1_700_000_000_000_003,
            attributes: vec![("banyan.subject", "a/b".to_owned())],
        };
        let request = export_request(std::slice::from_ref(&span), 7);
        let resource = &request["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"][2],
            json!({"key": "service.instance.id", "value": {"stringValue": "7"}})
        );
        assert_eq!(
            resource["scopeSpans"][0]["spans"][0],
            json!({
                "traceId": "000000000000000000000000000000ab",
                "spanId": "00000000000000cd",
                "parentSpanId": "00000000000000ef",
                "name": "mqtt put",
                "kind": 2,
                "startTimeUnixNano": "1700000000000001000",
                "endTimeUnixNano": "1700000000000003000",
                "attributes": [{"key": "banyan.subject", "value": {"stringValue": "a/b"}}],
            })
        );
    }
}
