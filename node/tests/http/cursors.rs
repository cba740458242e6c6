//! Cursors: all pages are of one revision, at every node, for as long as the view is kept.

use crate::support::Node;

fn filled(count: usize) -> Node {
    let node = Node::start();
    for number in 0..count {
        node.put(&format!("t/{number:03}"), "old");
    }
    node
}

/// Follows `next` from `first`, asking the nodes in turn.
fn follow(nodes: &[&Node], first: &str) -> Vec<(String, String)> {
    let mut items = Vec::new();
    let mut path = first.to_owned();
    let mut turn = nodes.iter().cycle();
    loop {
        let answer = turn.next().unwrap().get(&path);
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        for item in page["items"].as_array().unwrap() {
            items.push((
                item["topic"].as_str().unwrap().to_owned(),
                item["payload"].as_str().unwrap().to_owned(),
            ));
        }
        let Some(next) = page["next"].as_str() else {
            return items;
        };
        path = format!("/v1/topics?limit=7&cursor={next}");
    }
}

#[test]
fn pages_do_not_see_writes_in_between() {
    let node = filled(50);
    let first = node.get("/v1/topics?limit=20");
    let page = first.json();
    node.put("t/030", "new");
    node.put("t/0300", "new");
    node.call("DELETE", "/v1/topics/t/040", &[], b"");
    let next = page["next"].as_str().unwrap();
    let rest = follow(&[&node], &format!("/v1/topics?limit=7&cursor={next}"));
    assert_eq!(rest.len(), 30);
    assert!(rest.iter().all(|(_, payload)| payload == "old"));
    let again = follow(&[&node], &format!("/v1/topics?cursor={next}"));
    assert_eq!(again, rest, "a page can be asked for again");
    assert_eq!(node.get(&format!("/v1/topics?cursor={next}")).json()["revision"], 50);
}

#[test]
fn a_cursor_keeps_what_the_list_was_asked_for() {
    let node = filled(20);
    let page = node.get("/v1/topics?filter=t/+&order=desc&values=false&limit=3").json();
    let next = page["next"].as_str().unwrap();
    let second = node.get(&format!("/v1/topics?cursor={next}&limit=2"));
    assert_eq!(second.topics(), ["t/016", "t/015"]);
    assert!(second.json()["items"][0].get("payload").is_none());
    let agreeing = node.get(&format!(
        "/v1/topics?cursor={next}&filter=t/+&order=desc&values=false&limit=2"
    ));
    assert_eq!(agreeing.topics(), second.topics());
    for contradiction in ["filter=t/%23", "order=asc", "values=true", "prefix=t"] {
        node.get(&format!("/v1/topics?cursor={next}&{contradiction}"))
            .is_problem(400, "invalid-parameter");
    }
}

#[test]
fn cursors_work_at_every_node_until_their_own_is_gone() {
    let [first, second, third] = Node::cluster();
    for number in 0..50 {
        second.put(&format!("t/{number:03}"), "old");
    }
    let page = first.get("/v1/topics?limit=5").json();
    second.put("t/030", "new");
    let next = page["next"].as_str().unwrap().to_owned();
    let path = format!("/v1/topics?limit=7&cursor={next}");
    let rest = follow(&[&second, &first, &third], &path);
    assert_eq!(rest.len(), 45);
    assert!(rest.iter().all(|(_, payload)| payload == "old"));
    let ndjson = [("Accept", "application/x-ndjson")];
    let stream = third.call("GET", &format!("/v1/topics?cursor={next}"), &ndjson, b"");
    assert_eq!(stream.text().lines().count(), 46);
    assert!(stream.text().ends_with("\"end\":true}\n"));
    drop(first);
    second.get(&path).is_problem(410, "cursor-expired");
}

#[test]
fn a_cursor_that_no_node_made_is_refused() {
    let node = filled(10);
    let next = node.get("/v1/topics?limit=2").json()["next"]
        .as_str()
        .unwrap()
        .to_owned();
    for broken in ["x", "AAAA", &next[..next.len() - 1], "%20"] {
        node.get(&format!("/v1/topics?cursor={broken}"))
            .is_problem(400, "invalid-cursor");
    }
}
