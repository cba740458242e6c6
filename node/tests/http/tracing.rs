//! What is told of single operations: spans that reach a collector, and the log line of a slow one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use banyan_core::mqtt::packet::QoS;
use serde_json::Value;

use crate::common::client::{Client, ConnectOptions, SubscribeOptions, message};
use crate::common::cluster::Cluster;
use crate::common::wait;
use crate::support::Node;

/// Takes what is exported, and accepts it. Bodies come out of the channel.
fn collector() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (bodies, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            // A connection may carry several requests.
            while let Some((head, body)) = read_request(&mut reader) {
                assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                assert!(
                    head.to_ascii_lowercase().contains("content-type: application/json"),
                    "{head}"
                );
                if bodies.send(serde_json::from_slice(&body).unwrap()).is_err() {
                    return;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                reader.get_mut().write_all(answer).unwrap();
            }
        }
    });
    (endpoint, received)
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// Spans by name; all those received until each of `names` is among them.
fn spans_named(received: &Receiver<Value>, names: &[&str]) -> BTreeMap<String, Vec<Value>> {
    let mut spans: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    while !names.iter().all(|name| spans.contains_key(*name)) {
        let body = received.recv_timeout(Duration::from_secs(60));
        let body = body.unwrap_or_else(|error| panic!("{error}: {names:?} in {:?}", spans.keys()));
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "banyan");
        for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
            let name = span["name"].as_str().unwrap().to_owned();
            spans.entry(name).or_default().push(span.clone());
        }
    }
    spans
}

fn is_beneath(child: &Value, parent: &Value) -> bool {
    child["traceId"] == parent["traceId"] && child["parentSpanId"] == parent["spanId"]
}

#[test]
fn spans_reach_the_collector() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";
    let (endpoint, received) = collector();
    let node = Node::start_with(|settings| {
        settings.otlp_endpoint = Some(endpoint);
        settings.trace_one_in = 1;
    });
    let traceparent = format!("00-{TRACE}-{SPAN}-01");
    let put = node.call("PUT", "/v1/topics/a/b", &[("traceparent", &traceparent)], b"1");
    assert!(put.status < 300, "{put:?}");
    assert_eq!(node.get("/v1/topics/a/b").status, 200);
    let mut client = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("traced"));
    client.subscribe(&SubscribeOptions::new("a/+")).unwrap();
    client.publish(message("a/c", "2", QoS::AtLeastOnce, true)).unwrap();
    client.disconnect();

    let names = [
        "http write",
        "http put",
        "http read",
        "mqtt subscribe",
        "mqtt put",
        "queue",
        "replicate",
        "wait until fresh",
    ];
    let spans = spans_named(&received, &names);
    // The request of the client who has a trace of its own is part of it, down to where its time went.
    let request = spans["http write"]
        .iter()
        .find(|span| span["traceId"] == TRACE)
        .unwrap();
    assert_eq!(request["parentSpanId"], SPAN);
    assert_eq!(request["kind"], 2);
    assert_eq!(request["attributes"][0]["value"]["stringValue"], "/v1/topics/a/b");
    let command = spans["http put"].iter().find(|span| is_beneath(span, request)).unwrap();
    for part in ["queue", "replicate"] {
        assert!(spans[part].iter().any(|span| is_beneath(span, command)), "{part}");
    }
    let read = &spans["http read"][0];
    assert!(spans["wait until fresh"].iter().any(|span| is_beneath(span, read)));
    let published = &spans["mqtt put"][0];
    assert!(published["parentSpanId"].is_null(), "{published}");
    assert_eq!(published["attributes"][0]["value"]["stringValue"], "a/c");
    for span in spans.values().flatten() {
        let nanoseconds = |name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
        assert!(
            nanoseconds("startTimeUnixNano") <= nanoseconds("endTimeUnixNano"),
            "{span}"
        );
        assert_ne!(span["spanId"], "0000000000000000");
    }
}

/// Who began a trace has decided whether it is recorded.
#[test]
fn what_its_client_does_not_record_is_not_sent() {
    let (endpoint, received) = collector();
    let node = Node::start_with(|settings| {
        settings.otlp_endpoint = Some(endpoint);
        settings.trace_one_in = 1;
    });
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    assert_eq!(
        node.call("GET", "/v1/topics/a", &[("traceparent", unsampled)], b"")
            .status,
        404
    );
    assert_eq!(node.get("/v1/topics/b").status, 404);
    let reads = &spans_named(&received, &["http read"])["http read"];
    let subjects: Vec<_> = reads
        .iter()
        .map(|span| span["attributes"][0]["value"]["stringValue"].as_str().unwrap())
        .collect();
    assert_eq!(subjects, ["/v1/topics/b"]);
}

/// Without a collector, or with one that is gone, requests are served as ever.
#[test]
fn a_collector_that_is_gone_holds_up_nobody() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Node::start_with(|settings| {
        settings.otlp_endpoint = Some(format!("http://{nobody}"));
        settings.trace_one_in = 1;
    });
    for value in 0..100 {
        node.put("a", &value.to_string());
    }
    assert_eq!(node.get("/v1/topics/a").text(), "99");
}

#[test]
fn a_slow_operation_is_logged() {
    let cluster = Cluster::start(1, &[("slow_operation_ms", "1")]);
    let mut client = Client::connect_soon(cluster.mqtt(0), &ConnectOptions::v5("slow"));
    let logged = |kind: &str| {
        let log = fs::read_to_string(cluster.log_file(0)).unwrap();
        let line = log
            .lines()
            .find(|line| line.contains("slow operation") && line.contains(kind) && line.contains("took_ms"));
        line.map(str::to_owned)
    };
    let topic = "plant/1";
    let line = wait::until("slow write in the log", Duration::from_secs(60), || {
        client.publish(message(topic, "1", QoS::AtLeastOnce, true)).unwrap();
        logged("mqtt put")
    });
    assert!(line.contains("subject=plant/1 "), "{line}");
    assert!(line.contains("queue ") && line.contains("replicate "), "{line}");
    assert!(line.contains("applied"), "{line}");
}
