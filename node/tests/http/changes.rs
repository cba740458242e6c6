//! The change feed: by page, waiting, as lines and as events.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use crate::support::Node;

/// The lines of a feed that is open.
fn lines(node: &Node, path: &str, headers: &[(&str, &str)]) -> impl Iterator<Item = String> + use<> {
    let response = node.send("GET", path, headers, b"");
    assert_eq!(response.status(), 200);
    BufReader::new(response.into_body().into_reader())
        .lines()
        .map(Result::unwrap)
}

#[test]
fn pages_follow_each_other_and_conflate() {
    let node = Node::start();
    for (topic, payload) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
        node.put(topic, payload);
    }
    node.call("DELETE", "/v1/topics/b", &[], b"");
    let first = node.get("/v1/changes?limit=2").json();
    assert_eq!((&first["more"], &first["revision"]), (&true.into(), &5.into()));
    assert_eq!(
        (&first["items"][0]["topic"], &first["items"][0]["payload"]),
        (&"a".into(), &"2".into())
    );
    assert_eq!(first["items"][1]["topic"], "c");
    let second = node
        .get(&format!("/v1/changes?since={}", first["next"].as_str().unwrap()))
        .json();
    assert_eq!(second["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&second["items"][0]["topic"], &second["items"][0]["deleted"]),
        (&"b".into(), &true.into())
    );
    assert_eq!(second["more"], false);
    let third = node
        .get(&format!("/v1/changes?since={}", second["next"].as_str().unwrap()))
        .json();
    assert_eq!(third["items"].as_array().unwrap().len(), 0);
    assert_eq!(
        node.get("/v1/changes?since=3&filter=c").json()["items"][0]["revision"],
        4
    );
    assert_eq!(node.get("/v1/changes?since=now").json()["items"], serde_json::json!([]));
    for query in ["since=x", "feed=fast", "limit=0", "timeout=5", "since=1.2"] {
        node.get(&format!("/v1/changes?{query}"))
            .is_problem(400, "invalid-parameter");
    }
}

#[test]
fn one_revision_can_be_paged() {
    let node = Node::start();
    for number in 0..10 {
        node.put(&format!("t/{number}"), "x");
    }
    node.call("DELETE", "/v1/topics?filter=t/%23", &[], b"");
    let (mut since, mut seen) = ("10".to_owned(), Vec::new());
    loop {
        let page = node.get(&format!("/v1/changes?since={since}&limit=3")).json();
        since = page["next"].as_str().unwrap().to_owned();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["topic"].as_str().unwrap().to_owned()),
        );
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, (0..10).map(|number| format!("t/{number}")).collect::<Vec<_>>());
}

#[test]
fn a_long_poll_waits_for_a_match() {
    let node = Node::start();
    node.put("other", "x");
    let page = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            node.get("/v1/changes?since=now&feed=longpoll&filter=t&timeout=60")
                .json()
        });
        node.put("other", "y");
        // Before or after the poll has begun: `since=now` sees it only if after, so write until it is seen.
        while !waiting.is_finished() {
            node.put("t", "x");
        }
        waiting.join().unwrap()
    });
    assert_eq!(page["items"][0]["topic"], "t");
    let empty = node.get("/v1/changes?since=now&feed=longpoll&timeout=0").json();
    assert_eq!(empty["items"], serde_json::json!([]));
}

#[test]
fn a_continuous_feed_goes_on() {
    let node = Node::start();
    node.put("a", "1");
    let mut feed = lines(&node, "/v1/changes?feed=continuous&filter=%23", &[])
        .map(|line| serde_json::from_str::<Value>(&line).unwrap());
    assert_eq!(feed.next().unwrap()["topic"], "a");
    assert_eq!(
        feed.next().unwrap(),
        serde_json::json!({"revision": 1, "cursor": "0.1", "progress": true})
    );
    node.put("b", "2");
    node.call("DELETE", "/v1/topics/a", &[], b"");
    let written = feed.next().unwrap();
    assert_eq!((&written["topic"], &written["payload"]), (&"b".into(), &"2".into()));
    let deleted = feed.next().unwrap();
    assert_eq!(
        (&deleted["topic"], &deleted["deleted"], &deleted["revision"]),
        (&"a".into(), &true.into(), &3.into())
    );
    let since = written["cursor"].as_str().unwrap();
    let resumed = node.get(&format!("/v1/changes?since={since}")).json();
    assert_eq!(resumed["items"][0]["topic"], "a");
}

#[test]
fn events_carry_ids_and_resume_by_the_last() {
    let node = Node::start();
    node.put("a", "1");
    node.put("b", "2");
    let events: Vec<String> = lines(&node, "/v1/changes?feed=eventsource&limit=1", &[]).collect();
    assert_eq!(events[0], "retry: 1000");
    assert_eq!(events[2], "id: 0.1.0");
    assert!(
        events[3].starts_with("data: {\"cursor\":\"0.1.0\",\"topic\":\"a\""),
        "{events:?}"
    );
    assert_eq!(events[4], "");
    let resumed: Vec<String> = lines(
        &node,
        "/v1/changes?feed=eventsource&limit=1",
        &[("Last-Event-ID", "0.1.0")],
    )
    .collect();
    assert_eq!(resumed[2], "id: 0.2.0");
}
