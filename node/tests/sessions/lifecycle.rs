//! Taken over, begun anew, expired, kicked.

use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{Client, ConnectOptions};
use crate::support::{ClientExt, Node, event};
use crate::{expect_silence, go_away, leave, lose, resume, session, session_once, wait_until_gone};

/// [MQTT-3.1.4-3], over nodes: clean and persistent sessions alike.
#[test]
fn a_client_identifier_has_one_connection_in_the_cluster() {
    let nodes = Node::three();
    for (client_id, options) in [
        ("clean", ConnectOptions::v5("clean")),
        ("persistent", session("persistent")),
    ] {
        let mut first = Client::connect_soon(nodes[0].mqtt(), &options);
        let mut second = Client::connect_soon(nodes[1].mqtt(), &options);
        assert_eq!(second.connack().session_present, client_id == "persistent");
        assert_eq!(first.end_reason(), ReasonCode::SessionTakenOver, "{client_id}");
        let mut third = Client::connect_soon(nodes[1].mqtt(), &options);
        assert_eq!(second.end_reason(), ReasonCode::SessionTakenOver, "{client_id}");
        third.put(event("t", "still works"));
    }
}

/// Shows [MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-3.1.3-2], [MQTT-3.2.2-3].
#[test]
fn a_session_resumes_on_any_node_with_what_it_missed() {
    let nodes = Node::three();
    let mut subscriber = resume(nodes[0].mqtt(), &session("s"), false);
    subscriber.follow("a/#");
    subscriber.disconnect();
    let mut publisher = Client::connect_soon(nodes[2].mqtt(), &ConnectOptions::v5("p"));
    publisher.put(event("a/1", "event"));
    publisher.write("a/2", "state");
    publisher.put(event("b", "not for it"));
    let mut subscriber = resume(nodes[1].mqtt(), &session("s"), true);
    subscriber.expect("a/1", "event");
    subscriber.expect("a/2", "state");
    publisher.put(event("a/3", "live"));
    subscriber.expect("a/3", "live");
    subscriber.disconnect();
    // Acknowledgements that its node has yet to pass on would be asked for again.
    session_once(&nodes[2], "s", |session| {
        !session.connected && session.in_flight == 0 && session.lag_messages == 0
    });
    let mut subscriber = resume(nodes[2].mqtt(), &session("s"), true);
    publisher.put(event("a/4", "once"));
    subscriber.expect("a/4", "once");
    expect_silence(&mut subscriber);
}

/// [MQTT-3.1.2-4]
/// Shows [MQTT-3.1.4-4], [MQTT-3.2.2-2].
#[test]
fn clean_start_begins_anew() {
    let node = Node::start();
    let mut subscriber = resume(node.mqtt(), &session("s"), false);
    subscriber.follow("a");
    lose(subscriber);
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    publisher.put(event("a", "missed"));
    let mut anew = session("s");
    anew.connect.clean_start = true;
    let mut subscriber = resume(node.mqtt(), &anew, false);
    publisher.put(event("a", "not subscribed any more"));
    expect_silence(&mut subscriber);
}

/// Shows [MQTT-3.1.2-23], [MQTT-4.1.0-2].
#[test]
fn a_session_ends_when_its_time_is_over() {
    let node = Node::start();
    // An interval that DISCONNECT changes (§3.14.2.2.2), to less and to more.
    let (ended, kept) = (session("ended"), session("kept"));
    leave(resume(node.mqtt(), &ended, false), ReasonCode::Success, Some(0));
    wait_until_gone(&node, "ended");
    let mut one_second = kept.clone();
    one_second.connect.session_expiry_s = Some(1);
    leave(resume(node.mqtt(), &one_second, false), ReasonCode::Success, Some(600));
    session_once(&node, "kept", |session| !session.connected);
    // What had the same second and was left later is gone: the one that was kept has outlived it.
    let mut short = session("short");
    short.connect.session_expiry_s = Some(1);
    resume(node.mqtt(), &short, false).disconnect();
    wait_until_gone(&node, "short");
    resume(node.mqtt(), &ended, false);
    resume(node.mqtt(), &short, false);
    resume(node.mqtt(), &kept, true);
}

#[test]
fn a_session_is_listed_shown_and_kicked() {
    let nodes = Node::three();
    let mut client = resume(nodes[0].mqtt(), &session("device/1"), false);
    client.follow("a/+");
    let offline = resume(nodes[0].mqtt(), &session("offline"), false);
    go_away(offline, &nodes[1], "offline");
    let show = || nodes[1].get("/v1/sessions/device%2F1");
    let (status, shown) = show();
    let shown: banyan_api::session::Session = serde_json_from(&shown);
    assert_eq!((status, shown.connected, shown.node), (200, true, Some(1)));
    assert_eq!((shown.subscription_count, shown.expiry_s), (1, Some(3_600)));
    assert_eq!(shown.subscriptions[0].filter, "a/+");
    let page: banyan_api::session::Sessions = serde_json_from(&nodes[2].get("/v1/sessions?limit=1").1);
    assert_eq!(page.items[0].client_id, "device/1");
    let cursor = page.next.expect("a second page");
    let page: banyan_api::session::Sessions =
        serde_json_from(&nodes[2].get(&format!("/v1/sessions?limit=1&cursor={cursor}")).1);
    assert_eq!(
        (page.items[0].client_id.as_str(), page.items[0].connected),
        ("offline", false)
    );
    assert_eq!(page.next, None);

    assert_eq!(nodes[2].delete("/v1/sessions/device%2F1"), 200);
    assert_eq!(client.end_reason(), ReasonCode::AdministrativeAction);
    assert_eq!(show().0, 404);
    assert_eq!(nodes[2].delete("/v1/sessions/device%2F1"), 404);
    resume(nodes[0].mqtt(), &session("device/1"), false);
}

#[test]
fn what_a_session_waits_for_is_counted() {
    let node = Node::start();
    let mut client = resume(node.mqtt(), &session("s"), false);
    client.follow("a/#");
    go_away(client, &node, "s");
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    for count in 0..3 {
        publisher.put(event("a/b", count.to_string()));
        publisher.put(event("other", "not for it"));
    }
    let shown: banyan_api::session::Session = serde_json_from(&node.get("/v1/sessions/s").1);
    assert_eq!(
        (shown.lag_messages, shown.lag_is_partial, shown.in_flight),
        (3, false, 0)
    );
    assert_eq!((shown.connected, shown.node), (false, None));
}

fn serde_json_from<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
