//! Lists: what is selected, in which order and form; counting; NDJSON.

use crate::support::Node;

fn filled() -> Node {
    let node = Node::start();
    for topic in ["a", "a/b", "a/b/c", "a/d", "b", "b/b", "B", "a%21"] {
        node.put(topic, topic);
    }
    node
}

#[test]
fn filters_prefixes_and_ranges() {
    let node = filled();
    for (query, expected) in [
        // The order is that of keys: `/` comes before every other character.
        ("", vec!["B", "a", "a/b", "a/b/c", "a/d", "a!", "b", "b/b"]),
        ("?filter=%23", vec!["B", "a", "a/b", "a/b/c", "a/d", "a!", "b", "b/b"]),
        ("?filter=a/%23", vec!["a", "a/b", "a/b/c", "a/d"]),
        ("?filter=a/+", vec!["a/b", "a/d"]),
        ("?filter=%2B/b", vec!["a/b", "b/b"]),
        ("?filter=+/b&order=desc", vec!["b/b", "a/b"]),
        ("?filter=nothing", vec![]),
        ("?prefix=a", vec!["a", "a/b", "a/b/c", "a/d"]),
        ("?prefix=a/b", vec!["a/b", "a/b/c"]),
        ("?start=a/b/c&end=b", vec!["a/b/c", "a/d", "a!"]),
        ("?prefix=a&start=a/b&end=a/d&order=desc", vec!["a/b/c", "a/b"]),
        ("?start=b&end=a", vec![]),
        ("?filter=a/%23&limit=2", vec!["a", "a/b"]),
    ] {
        assert_eq!(node.get(&format!("/v1/topics{query}")).topics(), expected, "{query}");
    }
    for query in [
        "?filter=a&prefix=b",
        "?limit=0",
        "?limit=10001",
        "?order=up",
        "?values=maybe",
        "?count=true&limit=1",
    ] {
        node.get(&format!("/v1/topics{query}"))
            .is_problem(400, "invalid-parameter");
    }
}

#[test]
fn items_have_the_promised_shape() {
    let node = Node::start();
    node.call(
        "PUT",
        "/v1/topics/json",
        &[("Content-Type", "application/json")],
        b"[1.50]",
    );
    node.call("PUT", "/v1/topics/raw", &[("Banyan-Expiry", "60")], b"\xff");
    node.call(
        "PUT",
        "/v1/topics/text",
        &[("Content-Type", "text/plain")],
        "ß".as_bytes(),
    );
    let page = node.get("/v1/topics").json();
    assert_eq!(
        (&page["revision"], &page["next"]),
        (&3.into(), &serde_json::Value::Null)
    );
    let item = |at: usize| page["items"][at].as_object().unwrap();
    let keys = |at: usize| item(at).keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(0),
        ["content_type", "expires_at", "json", "revision", "timestamp", "topic"]
    );
    assert_eq!(item(1)["payload_base64"], "/w==");
    assert!(item(1)["expires_at"].is_u64() && item(1)["content_type"].is_null());
    assert_eq!(
        (&item(2)["payload"], &item(2)["content_type"]),
        (&"ß".into(), &"text/plain".into())
    );
    assert!(
        node.get("/v1/topics").text().contains("\"json\":[1.50]"),
        "JSON payloads are shown as they were written"
    );
    let bare = node.get("/v1/topics?values=false").json();
    assert!(bare["items"][2].get("payload").is_none());
}

#[test]
fn counting_reads_everything_and_lists_nothing() {
    let node = filled();
    let page = node.get("/v1/topics?count=true&filter=a/%23").json();
    assert_eq!(
        page,
        serde_json::json!({"revision": 8, "count": 4, "items": [], "next": null})
    );
    let lines = node.call(
        "GET",
        "/v1/topics?count=true",
        &[("Accept", "application/x-ndjson")],
        b"",
    );
    assert_eq!(lines.text(), "{\"revision\":8,\"end\":true,\"count\":8}\n");
}

#[test]
fn ndjson_has_one_item_per_line_and_an_end() {
    let node = Node::start();
    for number in 0..700 {
        node.put(&format!("n/{number:04}"), "{\n}");
    }
    let ndjson = [("Accept", "application/x-ndjson")];
    let answer = node.call("GET", "/v1/topics?filter=n/%23", &ndjson, b"");
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(answer.header("vary"), Some("Accept"));
    let lines: Vec<serde_json::Value> = answer
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 701);
    assert_eq!(lines[699]["topic"], "n/0699");
    assert_eq!(lines[700], serde_json::json!({"revision": 700, "end": true}));
    assert!(answer.body.ends_with(b"}\n"));

    let limited = node.call("GET", "/v1/topics?limit=600", &ndjson, b"");
    let last: serde_json::Value = serde_json::from_str(limited.text().lines().last().unwrap()).unwrap();
    assert_eq!(limited.text().lines().count(), 601);
    let rest = node.call(
        "GET",
        &format!("/v1/topics?cursor={}", last["next"].as_str().unwrap()),
        &ndjson,
        b"",
    );
    assert_eq!(rest.text().lines().count(), 101);
    assert!(rest.text().starts_with("{\"topic\":\"n/0600\""));
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let node = Node::start();
    let payload = "x".repeat(1024 * 1024 - 200);
    for number in 0..6 {
        node.put(&format!("big/{number}"), &payload);
    }
    let first = node.get("/v1/topics").json();
    assert_eq!(first["items"].as_array().unwrap().len(), 5);
    let rest = node.get(&format!("/v1/topics?cursor={}", first["next"].as_str().unwrap()));
    assert_eq!(rest.topics(), ["big/5"]);
    let stream = node.call("GET", "/v1/topics", &[("Accept", "application/x-ndjson")], b"");
    assert_eq!(stream.text().lines().count(), 7);
}
