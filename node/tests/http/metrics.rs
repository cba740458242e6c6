//! `/metrics`: that it can be read, is named by convention, counts what happens, and has what dashboard and alert rules ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::client::{Client, ConnectOptions, message};
use crate::common::wait;
use crate::support::Node;
use banyan_core::mqtt::packet::QoS;

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";

/// Labels that a sample may have, `le` aside. All have few values, however much a cluster holds.
const LABELS: &[&str] = &[
    "about",
    "alarm",
    "cluster",
    "consistency",
    "direction",
    "listener",
    "node",
    "outcome",
    "part",
    "peer",
    "position",
    "role",
    "service",
    "session",
    "status",
    "type",
    "version",
];

/// What was scraped, read strictly.
#[derive(Debug, Default)]
struct Scrape {
    /// Kind of each family.
    kinds: BTreeMap<String, String>,
    /// Value of each sample, by its name and labels as they stand.
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    fn of(node: &Node) -> Self {
        let answer = node.get("/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        Self::parse(answer.text())
    }

    fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a name and its help");
                assert!(helped.insert(name.to_owned()), "{name} is there twice");
                assert!(help.ends_with('.'), "{name}: {help}");
                assert!(!help.ends_with(".."), "{name}: {help}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and its kind");
                assert!(helped.contains(name), "{name} has no help");
                family = name.to_owned();
                assert!(scrape.kinds.insert(family.clone(), kind.to_owned()).is_none(), "{name}");
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
                let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
                let name = sample.split('{').next().unwrap();
                let suffixes: &[&str] = match scrape.kinds[&family].as_str() {
                    "histogram" => &["_sum", "_count", "_bucket"],
                    _ => &[""],
                };
                assert!(
                    suffixes.iter().any(|suffix| name == format!("{family}{suffix}")),
                    "{line} is not of {family}"
                );
                assert!(scrape.samples.insert(sample.to_owned(), value).is_none(), "{line}");
            }
        }
        scrape
    }

    fn value(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample}"))
    }

    /// Names as PromQL uses them.
    fn names(&self) -> BTreeSet<&str> {
        self.samples
            .keys()
            .map(|sample| sample.split('{').next().unwrap())
            .collect()
    }
}

/// Label names of a sample.
fn labels(sample: &str) -> Vec<&str> {
    let Some((_, labels)) = sample.split_once('{') else {
        return Vec::new();
    };
    labels
        .trim_end_matches('}')
        .split("\",")
        .map(|label| label.split('=').next().unwrap())
        .collect()
}

#[test]
fn names_follow_the_conventions() {
    let node = Node::start();
    let scrape = Scrape::of(&node);
    for (name, kind) in &scrape.kinds {
        assert!(name.starts_with("banyan_") || name.starts_with("process_"), "{name}");
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(is_plain) && !name.contains("__"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        // Base units only.
        for unit in ["_ms", "_us", "_microseconds", "_milliseconds", "_kib", "_percent"] {
            assert!(!name.trim_end_matches("_total").ends_with(unit), "{name}");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
    }
    for sample in scrape.samples.keys() {
        for label in labels(sample).into_iter().filter(|label| *label != "le") {
            assert!(LABELS.contains(&label), "{sample}");
        }
    }
    assert!(
        scrape.samples.len() < 1_000,
        "{} samples of an idle node",
        scrape.samples.len()
    );
    // Buckets are cumulative and end with all there are.
    for (sample, count) in scrape.samples.iter().filter(|(sample, _)| sample.contains("_count")) {
        let all = match sample.split_once("_count{") {
            Some((name, labels)) => format!("{name}_bucket{{{},le=\"+Inf\"}}", labels.trim_end_matches('}')),
            None => format!("{}_bucket{{le=\"+Inf\"}}", sample.trim_end_matches("_count")),
        };
        let other_order = |sample: &&String| {
            sample.contains("le=\"+Inf\"") && {
                let mut sorted = labels_and_values(sample);
                sorted.retain(|label| !label.starts_with("le="));
                sample.split('{').next() == all.split('{').next()
                    && sorted == labels_and_values(&all.replace("le=\"+Inf\"", ""))
            }
        };
        let found = scrape
            .samples
            .keys()
            .find(other_order)
            .unwrap_or_else(|| panic!("{all}"));
        assert_eq!(scrape.value(found), *count, "{found}");
    }
}

fn labels_and_values(sample: &str) -> BTreeSet<String> {
    let labels = sample
        .split_once('{')
        .map_or("", |(_, labels)| labels.trim_end_matches('}'));
    labels
        .split(',')
        .filter(|label| !label.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn open_metrics_is_there_for_who_asks() {
    let node = Node::start();
    let answer = node.call("GET", "/metrics", &[("Accept", OPEN_METRICS)], b"");
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(answer.text().ends_with("# EOF\n"));
    assert!(answer.text().contains("# UNIT banyan_write_seconds seconds\n"));
}

#[test]
fn what_happens_is_counted() {
    let nodes: [Node; 3] = Node::cluster();
    let before = Scrape::of(&nodes[0]);
    for value in 0..20 {
        nodes[0].put("a/b", &value.to_string());
    }
    let refused = nodes[0].call("PUT", "/v1/topics/a/b", &[("If-None-Match", "*")], b"x");
    assert_eq!(refused.status, 412);
    assert_eq!(nodes[0].get("/v1/topics/a/b").status, 200);
    let mut client = Client::connect_soon(nodes[0].mqtt(), &ConnectOptions::v5("counted"));
    for value in 0..10 {
        client
            .publish(message("a/c", value.to_string(), QoS::AtLeastOnce, true))
            .unwrap();
    }
    // What is told to a client is counted right after.
    let packets = "banyan_mqtt_packets_total{direction=\"received\",type=\"publish\"}";
    let published = "banyan_writes_total{service=\"mqtt\",outcome=\"applied\"}";
    let after = wait::until("counts of all that was published", Duration::from_secs(30), || {
        let scrape = Scrape::of(&nodes[0]);
        let is_counted = |sample| scrape.value(sample) - before.value(sample) >= 10.0;
        (is_counted(packets) && is_counted(published)).then_some(scrape)
    });
    let grown = |sample: &str| after.value(sample) - before.value(sample);
    for (sample, by) in [
        ("banyan_writes_total{service=\"http\",outcome=\"applied\"}", 20.0),
        ("banyan_writes_total{service=\"http\",outcome=\"refused\"}", 1.0),
        ("banyan_writes_total{service=\"mqtt\",outcome=\"applied\"}", 10.0),
        ("banyan_write_seconds_count{service=\"http\"}", 21.0),
        ("banyan_write_seconds_count{service=\"mqtt\"}", 10.0),
        ("banyan_read_seconds_count{consistency=\"linearizable\"}", 1.0),
        ("banyan_http_requests_total{about=\"write\",status=\"2xx\"}", 20.0),
        ("banyan_http_requests_total{about=\"write\",status=\"4xx\"}", 1.0),
        ("banyan_http_request_seconds_count{about=\"read\"}", 1.0),
        ("banyan_mqtt_connects_total", 1.0),
        ("banyan_mqtt_clients{session=\"clean\"}", 1.0),
        ("banyan_connections{listener=\"mqtt\"}", 1.0),
        (
            "banyan_mqtt_packets_total{direction=\"received\",type=\"publish\"}",
            10.0,
        ),
        ("banyan_topics", 2.0),
    ] {
        assert_eq!(grown(sample), by, "{sample}");
    }
    for sample in [
        "banyan_log_fsync_seconds_count",
        "banyan_log_append_seconds_count",
        "banyan_apply_seconds_count",
        "banyan_log_written_bytes_total",
        "banyan_raft_log_index{position=\"applied\"}",
    ] {
        assert!(grown(sample) >= 20.0, "{sample}: {}", grown(sample));
    }
    assert!(after.value("banyan_raft_elections_total") >= 1.0);
    assert_eq!(after.value("banyan_raft_members{role=\"voter\"}"), 3.0);
    calm(&nodes);
    client.disconnect();
}

/// What the nodes tell once all are ready, one of them leads, and it tells of the others: a node that was held up for a
/// moment may elect anew.
fn calm(nodes: &[Node; 3]) -> [Scrape; 3] {
    wait::until("calm cluster", Duration::from_secs(60), || {
        let scrapes = nodes.each_ref().map(Scrape::of);
        let sum = |sample| scrapes.iter().map(|scrape| scrape.value(sample)).sum::<f64>();
        let told_of = scrapes.iter().flat_map(|scrape| scrape.samples.keys());
        let followers = told_of.filter(|sample| sample.starts_with("banyan_raft_follower_lag_entries"));
        let is_calm = sum("banyan_ready") == 3.0
            && sum("banyan_alarm{alarm=\"no-quorum\"}") == 0.0
            && sum("banyan_raft_is_leader") == 1.0
            && followers.count() == 2;
        is_calm.then_some(scrapes)
    })
}

/// Names of our metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.split(|character: char| !is_name(character))
        .filter(|word| word.starts_with("banyan_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// A dashboard or a rule that asks for what no node tells would be silent for ever.
#[test]
fn dashboard_and_rules_ask_for_what_there_is() {
    let nodes: [Node; 3] = Node::cluster();
    nodes[0].put("a/b", "1");
    let scrapes = calm(&nodes);
    let names: BTreeSet<_> = scrapes.iter().flat_map(Scrape::names).collect();
    let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops");
    for file in ["grafana/banyan.json", "prometheus/rules.yml"] {
        let text = fs::read_to_string(ops.join(file)).unwrap();
        let asked = named(&text);
        assert!(asked.len() > 10, "{file} asks for {asked:?}");
        for name in asked {
            assert!(names.contains(name.as_str()), "{file} asks for {name}");
        }
    }
    // And the other way round: what is told is shown.
    let dashboard = fs::read_to_string(ops.join("grafana/banyan.json")).unwrap();
    for name in names {
        let mut parts = ["_bucket", "_sum", "_count"].into_iter();
        let family = parts.find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(
            dashboard.contains(family) || NOT_SHOWN.contains(&name),
            "{name} is not on the dashboard"
        );
    }
}

/// What rules ask for, and the dashboard need not show.
const NOT_SHOWN: &[&str] = &["banyan_raft_has_leader", "banyan_raft_members"];
