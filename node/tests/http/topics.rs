//! Reading one topic: payload, record view, entity tags, consistency.

use std::time::Duration;

use banyan_core::command::MemberChange;

use crate::common::wait;
use crate::support::Node;

#[test]
fn a_payload_comes_back_with_its_headers() {
    let node = Node::start();
    let put = node.call(
        "PUT",
        "/v1/topics/site/temp",
        &[
            ("Content-Type", "text/plain"),
            ("Banyan-User-Property", "unit=C"),
            ("Banyan-Timestamp", "1490347944.893743"),
        ],
        b"21.5",
    );
    assert_eq!(put.status, 201);
    let revision = put.json()["revision"].as_u64().unwrap();
    assert_eq!(put.json(), serde_json::json!({"revision": revision, "applied": true}));

    let get = node.get("/v1/topics/site/temp");
    assert_eq!((get.status, get.text()), (200, "21.5"));
    assert_eq!(get.header("content-type"), Some("text/plain"));
    assert_eq!(get.header("etag"), Some(format!("\"{revision}\"").as_str()));
    assert_eq!(get.header("vary"), Some("Accept"));
    assert_eq!(get.header("banyan-revision"), Some(revision.to_string().as_str()));
    assert_eq!(get.header("banyan-timestamp"), Some("1490347944.893743"));
    assert_eq!(get.header("banyan-user-property"), Some("unit=C"));
    assert_eq!(get.header("banyan-expires"), None);
    assert_eq!(get.header("x-content-type-options"), Some("nosniff"));

    let head = node.call("HEAD", "/v1/topics/site/temp", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("4"));
    assert_eq!(head.header("etag"), get.header("etag"));
}

#[test]
fn the_record_view_has_every_field() {
    let node = Node::start();
    let headers = [
        ("Content-Type", "application/json"),
        ("Banyan-User-Property", "a=b"),
        ("Banyan-Expiry", "600"),
    ];
    node.call("PUT", "/v1/topics/t", &headers, b"{\"n\":\n 1}");
    for (path, headers) in [
        ("/v1/topics/t?view=record", vec![]),
        ("/v1/topics/t", vec![("Accept", banyan_api::RECORD_JSON)]),
    ] {
        let answer = node.call("GET", path, &headers, b"");
        let json = answer.json();
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(json["topic"], "t");
        assert_eq!(json["json"], serde_json::json!({"n": 1}));
        assert_eq!(json["user_properties"], serde_json::json!([["a", "b"]]));
        assert_eq!(json["publisher"], "anonymous");
        assert_eq!(json["created_revision"], json["revision"]);
        let (timestamp, expires) = (
            json["timestamp"].as_u64().unwrap(),
            json["expires_at"].as_u64().unwrap(),
        );
        assert_eq!(expires - timestamp, 600_000_000);
        let revision = json["revision"].as_u64().unwrap();
        assert_eq!(answer.header("etag"), Some(format!("\"{revision}.record\"").as_str()));
    }
    assert_eq!(
        node.get("/v1/topics/t").header("etag"),
        Some("\"1\""),
        "another tag than the record's"
    );
}

#[test]
fn what_the_reader_has_is_not_sent_again() {
    let node = Node::start();
    let revision = node.put("t", "x");
    for (tag, path, status) in [
        (format!("\"{revision}\""), "/v1/topics/t", 304),
        (format!("\"0\", W/\"{revision}\""), "/v1/topics/t", 304),
        ("*".to_owned(), "/v1/topics/t", 304),
        (format!("\"{revision}.record\""), "/v1/topics/t", 200),
        (format!("\"{revision}.record\""), "/v1/topics/t?view=record", 304),
        ("\"0\"".to_owned(), "/v1/topics/t", 200),
    ] {
        let answer = node.call("GET", path, &[("If-None-Match", &tag)], b"");
        assert_eq!(answer.status, status, "{tag} {path}");
        assert_eq!(answer.body.is_empty(), status == 304);
        assert!(answer.header("etag").is_some());
    }
    node.call("GET", "/v1/topics/t", &[("If-None-Match", "7")], b"")
        .is_problem(400, "invalid-header");
}

#[test]
fn missing_topics_and_paths_are_told_apart() {
    let node = Node::start();
    node.put("a/b", "x");
    node.get("/v1/topics/a").is_problem(404, "topic-not-found");
    node.get("/v1/topics/a/b/c").is_problem(404, "topic-not-found");
    node.get("/v2/topics/a").is_problem(404, "route-not-found");
    node.get("/").is_problem(404, "route-not-found");
    node.call("POST", "/v1/topics/a", &[], b"x")
        .is_problem(405, "method-not-allowed");
    node.call("PATCH", "/v1/topics/a/b", &[], b"{}")
        .is_problem(501, "not-implemented");
    node.call("POST", "/v1/transactions", &[], b"{}")
        .is_problem(501, "not-implemented");
    for path in ["/v1/children/a", "/openapi.json", "/docs"] {
        node.get(path).is_problem(501, "not-implemented");
    }
}

#[test]
fn unknown_and_contradictory_parameters_are_refused() {
    let node = Node::start();
    for path in [
        "/v1/topics/a?vew=record",
        "/v1/topics/a?view=xml",
        "/v1/topics/a?consistency=eventual",
        "/v1/topics/a?consistency=local&at_least=1",
        "/v1/topics/a?at_least=-1",
        "/v1/topics?topic=a&filter=b",
        "/v1/topics?view=record",
    ] {
        node.get(path).is_problem(400, "invalid-parameter");
    }
}

#[test]
fn reads_say_how_fresh_they_are() {
    let node = Node::start();
    let revision = node.put("t", "x");
    let local = node.get("/v1/topics/t?consistency=local");
    assert_eq!(local.text(), "x");
    assert!(local.header("banyan-staleness").unwrap().parse::<f64>().unwrap() >= 0.0);
    assert_eq!(
        node.get(&format!("/v1/topics/t?consistency=at_least={revision}"))
            .text(),
        "x"
    );
    assert_eq!(node.get(&format!("/v1/topics/t?at_least={revision}")).text(), "x");
    assert_eq!(node.get("/v1/topics/t").header("banyan-staleness"), None);
}

#[test]
fn without_a_quorum_only_local_reads_are_served() {
    let node = Node::without_quorum();
    for path in ["/v1/topics/t", "/v1/topics", "/v1/changes", "/health/ready"] {
        let read = node.get(path);
        read.is_problem(503, "unavailable");
        assert_eq!(read.header("retry-after"), Some("1"));
    }
    assert!(
        node.get("/v1/topics/t")
            .is_problem(503, "unavailable")
            .contains("consistency=local")
    );
    for (method, path) in [
        ("PUT", "/v1/topics/t"),
        ("DELETE", "/v1/topics/t"),
        ("DELETE", "/v1/topics?filter=%23"),
    ] {
        let body: &[u8] = if method == "PUT" { b"x" } else { b"" };
        let write = node.call(method, path, &[], body);
        write.is_problem(503, "unavailable");
        assert_eq!(write.header("retry-after"), Some("1"));
    }
    node.get("/v1/topics/t?consistency=local")
        .is_problem(404, "topic-not-found");
    assert_eq!(node.get("/v1/topics?consistency=local").topics(), [""; 0]);
    assert_eq!(node.get("/health/live").status, 200);
    assert_eq!(node.get("/v1/cluster").json()["leader"], serde_json::Value::Null);
}

#[test]
fn the_cluster_tells_its_members() {
    let node = Node::start();
    let status: banyan_api::cluster::ClusterStatus = serde_json::from_slice(&node.get("/v1/cluster").body).unwrap();
    assert_eq!(status.leader, Some(1));
    assert!(
        status
            .members
            .iter()
            .any(|member| member.id == 1 && member.role == "leader" && member.reachable)
    );
    let members: banyan_api::cluster::Members = serde_json::from_slice(&node.get("/v1/cluster/members").body).unwrap();
    assert_eq!(members.items.len(), status.members.len());
}

/// What a cluster of one can show: tokens, and refusals. The rest is in `tests/membership.rs`.
#[test]
fn the_cluster_changes_its_members() {
    let node = Node::start();
    wait::until("feature level of goals", Duration::from_secs(60), || {
        let level = node.get("/v1/cluster").json()["members"][0]["feature_level"].as_u64();
        level.filter(|level| *level >= MemberChange::FEATURE_LEVEL.number().into())
    });
    let post = |path: &str| node.call("POST", path, &[], b"");
    let issued = post("/v1/cluster/members?expires_s=60").json();
    assert_eq!(issued["before"]["quorum"], 1);
    assert_eq!(issued["after"]["voters"], serde_json::json!([0, 1]));
    assert_eq!(issued["after"]["quorum"], 2);
    assert!(issued["token"]["token"].as_str().unwrap().starts_with("banyan-"));
    let dry = post("/v1/cluster/members?learner=true&dry_run=true").json();
    assert_eq!(
        (&dry["dry_run"], &dry["token"]),
        (&true.into(), &serde_json::Value::Null)
    );
    let members = node.get("/v1/cluster/members").json();
    assert_eq!(members["tokens"].as_array().unwrap().len(), 1);
    assert_eq!((&members["quorum"], &members["voters"]), (&1.into(), &1.into()));
    assert_eq!(post("/v1/cluster/members/1/promote").json()["unchanged"], true);
    post("/v1/cluster/members/1/demote").is_problem(409, "unsafe-change");
    post("/v1/cluster/leader").is_problem(409, "unsafe-change");
    node.call("DELETE", "/v1/cluster/members/1", &[], b"")
        .is_problem(409, "unsafe-change");
    node.call("DELETE", "/v1/cluster/members/9", &[], b"")
        .is_problem(404, "member-not-found");
    post("/v1/cluster/members/x/promote").is_problem(404, "member-not-found");
    post("/v1/cluster/members/1/dance").is_problem(404, "route-not-found");
    post("/v1/cluster/members/1/replace").is_problem(400, "invalid-parameter");
    post("/v1/cluster/members?expires_s=0").is_problem(400, "invalid-parameter");
    post("/v1/cluster/members?learner=true&replaces=1").is_problem(400, "invalid-parameter");
}
