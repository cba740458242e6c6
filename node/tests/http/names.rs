//! Topics in paths: percent-decoded exactly once, then judged by MQTT's rules.

use crate::support::Node;

/// Sends a request line as it is, since client libraries normalise paths, and returns the status.
fn raw_status(node: &Node, target: &str) -> u16 {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(node.url.trim_start_matches("http://")).unwrap();
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: banyan\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn encoded_names_reach_the_topic_they_spell() {
    let node = Node::start();
    let long = "l".repeat(1024);
    let levels = vec!["l"; 32].join("/");
    for (path, topic) in [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("%C3%9F", "ß"),
        ("a%20b", "a b"),
        ("..", ".."),
        ("a/../b", "a/../b"),
        ("a/./b", "a/./b"),
        ("/a", "/a"),
        ("a//b", "a//b"),
        ("a/", "a/"),
        ("%3Fx=1", "?x=1"),
        ("a;b=c,d", "a;b=c,d"),
        (&long, &long),
        (&levels, &levels),
    ] {
        let encoded: String = topic.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let put = node.call("PUT", &format!("/v1/topics?topic={encoded}"), &[], b"x");
        assert_eq!(put.status, 201, "{topic}");
        assert_eq!(node.get("/v1/topics?filter=%23").topics(), [topic]);
        assert_eq!(raw_status(&node, &format!("/v1/topics/{path}")), 200, "{path}");
        node.call("DELETE", "/v1/topics?filter=%23", &[], b"");
    }
}

#[test]
fn names_that_are_none_are_refused() {
    let node = Node::start();
    let long = "l".repeat(1025);
    let levels = vec!["l"; 33].join("/");
    for path in [
        "+",
        "a/%2B",
        "a+b",
        "%23",
        "a/%23",
        "%00",
        "a%00b",
        "%",
        "%2",
        "%zz",
        "a%",
        "%FF",
        "%C0%AF",
        "%ED%A0%80",
        "",
        "%01",
        "%C2%85",
        "%EF%BF%BF",
        &long,
        &levels,
    ] {
        assert_eq!(raw_status(&node, &format!("/v1/topics/{path}")), 400, "{path}");
        assert_eq!(
            node.call("PUT", &format!("/v1/topics/{path}"), &[], b"x").status,
            400,
            "{path}"
        );
    }
    node.get("/v1/topics/a%00b").is_problem(400, "invalid-topic");
    node.get("/v1/topics?topic=a%00b").is_problem(400, "invalid-topic");
    node.get("/v1/topics?filter=a%23").is_problem(400, "invalid-filter");
    node.get("/v1/topics?prefix=a/%23").is_problem(400, "invalid-parameter");
}
