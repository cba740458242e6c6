//! Writing and deleting: outcomes, conditions, limits.

use crate::support::Node;

#[test]
fn created_then_replaced_then_resent() {
    let node = Node::start();
    let first = node.call("PUT", "/v1/topics/t", &[("Banyan-Timestamp", "100")], b"a");
    assert_eq!(first.status, 201);
    let second = node.call("PUT", "/v1/topics/t", &[("Banyan-Timestamp", "101")], b"b");
    assert_eq!(second.status, 200);
    let again = node.call("PUT", "/v1/topics/t", &[("Banyan-Timestamp", "101")], b"b");
    assert_eq!((again.status, again.json()), (200, second.json()));
    assert_eq!(again.header("etag"), node.get("/v1/topics/t").header("etag"));
    let older = node.call("PUT", "/v1/topics/t", &[("Banyan-Timestamp", "100.5")], b"z");
    assert_eq!(older.status, 200);
    assert_eq!(
        older.json(),
        serde_json::json!({"applied": false, "superseded_by": second.json()["revision"]})
    );
    assert_eq!(node.get("/v1/topics/t").text(), "b");
    let delete = node.call("DELETE", "/v1/topics/t", &[("Banyan-Timestamp", "99")], b"");
    assert_eq!(
        delete.json(),
        serde_json::json!({"deleted": false, "superseded_by": second.json()["revision"]})
    );
}

#[test]
fn conditions_decide_at_commit() {
    let node = Node::start();
    let put = |headers: &[(&str, &str)], body: &str| node.call("PUT", "/v1/topics/t", headers, body.as_bytes());
    let missing = put(&[("If-Match", "*")], "a");
    missing.is_problem(412, "condition-failed");
    assert_eq!(missing.json()["current_revision"], 0);
    assert_eq!(put(&[("If-None-Match", "*")], "a").status, 201);
    put(&[("If-None-Match", "*")], "b").is_problem(412, "condition-failed");
    let tag = node.get("/v1/topics/t?view=record").header("etag").unwrap().to_owned();
    assert_eq!(
        put(&[("If-Match", &tag)], "c").status,
        200,
        "the record's tag names the revision too"
    );
    let stale = put(&[("If-Match", &tag)], "d");
    stale.is_problem(412, "condition-failed");
    assert_eq!(stale.json()["current_revision"], 2);
    put(&[("If-Match", "\"no tag of ours\"")], "d").is_problem(412, "condition-failed");
    put(&[("If-Match", "\"1\""), ("If-None-Match", "*")], "d").is_problem(400, "invalid-header");
    node.call("DELETE", "/v1/topics/t", &[("If-Match", "\"1\"")], b"")
        .is_problem(412, "condition-failed");
    let deleted = node.call("DELETE", "/v1/topics/t", &[("If-Match", "\"2\"")], b"");
    assert_eq!(
        (deleted.status, deleted.json()),
        (200, serde_json::json!({"revision": 3, "deleted": true}))
    );
    node.call("DELETE", "/v1/topics/t", &[], b"")
        .is_problem(404, "topic-not-found");
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let node = Node::start();
    let put = |path: &str, headers: &[(&str, &str)], body: &[u8]| node.call("PUT", path, headers, body);
    put("/v1/topics/t", &[], b"").is_problem(400, "empty-payload");
    put("/v1/topics/$SYS/x", &[], b"x").is_problem(403, "reserved-topic");
    put("/v1/topics/t", &[("Banyan-Timestamp", "soon")], b"x").is_problem(400, "invalid-header");
    put("/v1/topics/t", &[("Banyan-Expiry", "1.5")], b"x").is_problem(400, "invalid-header");
    put("/v1/topics/t", &[("Banyan-User-Property", "no equals sign")], b"x").is_problem(400, "invalid-header");
    put("/v1/topics/t", &[("Banyan-Timestamp", "99999999999")], b"x").is_problem(422, "timestamp-ahead");
    put("/v1/topics/t", &[("Content-Encoding", "gzip")], b"x").is_problem(415, "unsupported-media-type");
    put("/v1/topics/t", &[("Idempotency-Key", "1")], b"x").is_problem(501, "not-implemented");
    put("/v1/topics/t?dry_run=true", &[], b"x").is_problem(400, "invalid-parameter");
    put("/v1/topics", &[], b"x").is_problem(400, "invalid-parameter");
    let long = "x".repeat(17 * 1024);
    put("/v1/topics/t", &[("Banyan-User-Property", &format!("a={long}"))], b"x").is_problem(400, "invalid-header");
    node.get("/v1/topics/t").is_problem(404, "topic-not-found");
}

#[test]
fn bodies_are_bounded_by_the_packet() {
    let node = Node::start();
    let fits = vec![b'x'; 1024 * 1024 - 200];
    assert_eq!(node.call("PUT", "/v1/topics/t", &[], &fits).status, 201);
    assert_eq!(node.get("/v1/topics/t").body, fits);
    node.call("PUT", "/v1/topics/t", &[], &vec![b'x'; 1024 * 1024 - 100])
        .is_problem(413, "payload-too-large");
    node.call("PUT", "/v1/topics/t", &[], &vec![b'x'; 1024 * 1024 + 1])
        .is_problem(413, "payload-too-large");
    let too_many = vec![0u8; 2 * 1024 * 1024];
    let answer = node.call("PUT", "/v1/topics/t", &[("Transfer-Encoding", "chunked")], &too_many);
    answer.is_problem(413, "payload-too-large");
}

#[test]
fn deletes_by_filter_take_one_revision() {
    let node = Node::start();
    for number in 0..5 {
        node.put(&format!("a/{number}"), "x");
    }
    node.put("b/0", "x");
    let delete = |query: &str| node.call("DELETE", &format!("/v1/topics{query}"), &[], b"");
    let dry = delete("?filter=a/%23&dry_run=true");
    assert_eq!(
        dry.json(),
        serde_json::json!({"revision": 6, "deleted": 5, "more": false})
    );
    assert_eq!(delete("?filter=a/%23&dry_run=true&limit=4").json()["more"], true);
    assert_eq!(
        delete("?filter=a/+&limit=2").json(),
        serde_json::json!({"revision": 7, "deleted": 2, "more": true})
    );
    assert_eq!(
        delete("?filter=a/+").json(),
        serde_json::json!({"revision": 8, "deleted": 3, "more": false})
    );
    assert_eq!(node.get("/v1/topics").topics(), ["b/0"]);
    delete("").is_problem(400, "invalid-parameter");
    delete("?filter=%23&limit=0").is_problem(400, "invalid-parameter");
    delete("?filter=%23&limit=100001").is_problem(400, "invalid-parameter");
    delete("?filter=b%23").is_problem(400, "invalid-filter");
    assert_eq!(delete("?topic=b/0").json()["deleted"], true);
}

#[test]
fn messages_are_published_in_order() {
    let node = Node::start();
    let post = |body: &str| node.call("POST", "/v1/publish", &[], body.as_bytes());
    let event = post(r#"{"topic":"e","payload":"hello"}"#);
    assert_eq!((event.status, event.json()), (200, serde_json::json!({"revision": 1})));
    assert_eq!(
        post(r#"{"topic":"e","payload":"hello","qos":0}"#).json(),
        serde_json::json!({"revision": null})
    );
    let several = post(
        r#"[{"topic":"s","json":{"a":1},"retain":true,"properties":{"content_type":"application/json"}},
            {"topic":"a/#","payload":""},
            {"topic":"s","payload_base64":"//8=","retain":true}]"#,
    );
    let several = several.json();
    assert_eq!(several[0], serde_json::json!({"revision": 2}));
    assert_eq!(several[1]["type"], "/problems/invalid-topic");
    assert_eq!(several[2], serde_json::json!({"revision": 3}));
    assert_eq!(node.get("/v1/topics/s").body, b"\xff\xff");
    assert_eq!(
        post(r#"{"topic":"s","payload":"","retain":true}"#).json(),
        serde_json::json!({"revision": 4})
    );
    node.get("/v1/topics/s").is_problem(404, "topic-not-found");
    for body in [
        "",
        "{}",
        "[1]",
        r#"{"topic":"t"}"#,
        r#"{"topic":"t","payload":"a","json":1}"#,
        r#"{"topic":"t","payload":"a","qos":2}"#,
        r#"{"topic":"t","payload":"a","properties":{"unknown":1}}"#,
        r#"{"topic":"t","payload":"a","properties":{"payload_format":2}}"#,
        &"[".repeat(100),
    ] {
        post(body).is_problem(400, "invalid-body");
    }
}

#[test]
fn a_connection_outlives_refused_bodies() {
    let node = Node::start();
    let body = vec![b'x'; 900 * 1024];
    for _ in 0..10 {
        node.call("POST", "/v1/topics/t", &[], &body)
            .is_problem(405, "method-not-allowed");
        node.call("PUT", "/v1/nowhere", &[], &body)
            .is_problem(404, "route-not-found");
        node.call("PUT", "/v1/topics/%00", &[], &body)
            .is_problem(400, "invalid-topic");
        node.call("PATCH", "/v1/topics/t", &[], &body)
            .is_problem(501, "not-implemented");
        node.call("PUT", "/v1/topics/t", &[("Expect", "100-continue")], b"x");
    }
}
