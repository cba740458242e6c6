//! What the kept data directories hold: written through the interfaces of a node, and looked for in the same way.
//!
//! Everything here is there for ever, however late somebody looks: sessions that never expire, timestamps of the past.

use std::net::SocketAddr;
use std::time::Duration;

use banyan_api::changes::ChangesPage;
use banyan_api::list::ListPage;
use banyan_core::metadata::MetadataBuilder;
use banyan_core::mqtt::packet::{Ack, Packet, Publish, QoS, Will};
use bytes::Bytes;

use crate::common::client::{
    ANSWER_TIMEOUT, Client, ClientError, ConnectOptions, SubscribeOptions, message, user_properties,
};
use crate::common::cluster::Cluster;

/// Long enough for a message that must not come.
const SILENCE: Duration = Duration::from_millis(700);
const PLAIN: usize = 300;
const REWRITTEN: usize = 50;
const DELETED: usize = 60;
const STAMPED: usize = 20;
const QUEUED: usize = 20;
const WAITING: usize = 10;
/// Messages that a client has got and not acknowledged.
const UNANSWERED: u16 = 5;
/// Packet identifier of the message that is received and not released.
const RECEIVED: u16 = 9;

const LONG_AGO: &str = "1500000000.000001";
const LATER: &str = "1550000000";
const LATEST: &str = "1600000000";

/// A session that never expires.
fn session(client_id: &str) -> ConnectOptions {
    let mut options = ConnectOptions::v5(client_id);
    options.connect.clean_start = false;
    options.connect.session_expiry_s = Some(u32::MAX);
    options
}

fn session_3(client_id: &str) -> ConnectOptions {
    let mut options = ConnectOptions::v3(client_id);
    options.connect.clean_start = false;
    options
}

fn will(topic: &str, delay_s: u32) -> Option<Will> {
    Some(Will {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        payload: Bytes::from_static(b"gone"),
        qos: QoS::AtLeastOnce,
        retain: true,
        delay_s,
        message_expiry_s: None,
        metadata: user_properties(&[("left", "behind")]),
    })
}

fn subscribe(filter: &str, qos: QoS) -> SubscribeOptions {
    SubscribeOptions::new(filter).each_filter(|filter| filter.qos = qos)
}

fn retained(topic: &str, payload: &str) -> Publish {
    message(topic, payload, QoS::AtLeastOnce, true)
}

fn stamped(topic: &str, payload: &str, timestamp: &str) -> Publish {
    Publish {
        metadata: user_properties(&[("timestamp", timestamp)]),
        ..retained(topic, payload)
    }
}

fn put(client: &mut Client, publish: Publish) {
    let ack = client.publish(publish).expect("a PUBACK");
    assert!(!ack.reason.is_failure(), "{ack:?}");
}

/// What must stay connected until the node is stopped or killed.
pub struct Written(#[allow(dead_code, reason = "its connection is what counts")] Client);

/// Fills a node at `address`.
pub fn write(address: SocketAddr) -> Written {
    let mut writer = Client::connect_soon(address, &ConnectOptions::v5("writer"));
    for number in 0..PLAIN {
        put(
            &mut writer,
            retained(&format!("old/plain/{number:03}"), &format!("value {number}")),
        );
    }
    for round in ["first", "second", "third"] {
        for number in 0..REWRITTEN {
            put(&mut writer, retained(&format!("old/rewritten/{number:03}"), round));
        }
    }
    for payload in ["x", ""] {
        for number in 0..DELETED {
            put(&mut writer, retained(&format!("old/deleted/{number:03}"), payload));
        }
    }
    for number in 0..STAMPED {
        let topic = format!("old/stamped/{number:03}");
        put(&mut writer, stamped(&topic, "true once", LONG_AGO));
        put(&mut writer, stamped(&topic, "", LATEST));
    }
    put(&mut writer, with_properties());
    let expiring = |topic: &str, seconds| Publish {
        message_expiry_s: Some(seconds),
        ..retained(topic, "not for ever")
    };
    put(&mut writer, expiring("old/expiry/soon", 1));
    put(&mut writer, expiring("old/expiry/late", u32::MAX));
    write_sessions(address, &mut writer);
    let mut doomed = session("will-now");
    doomed.connect.will = will("old/will/now", 0);
    Written(Client::connect_soon(address, &doomed))
}

fn with_properties() -> Publish {
    let mut metadata = MetadataBuilder::new();
    metadata.payload_format(1);
    metadata.content_type("text/plain");
    metadata.response_topic("old/answers");
    metadata.correlation_data(b"\x00\xFF7");
    metadata.user_property("unit", "°C");
    metadata.user_property("unit", "again");
    Publish {
        metadata: metadata.build().expect("legal metadata"),
        ..retained("old/properties", "21.5")
    }
}

fn write_sessions(address: SocketAddr, writer: &mut Client) {
    for (options, filter, qos) in [
        (session("queue-5"), "old/queue/#", QoS::AtLeastOnce),
        (session_3("queue-3"), "old/queue/+", QoS::ExactlyOnce),
        (session("shared-a"), "$share/workers/old/shared/#", QoS::AtLeastOnce),
        (session("shared-b"), "$share/workers/old/shared/#", QoS::AtLeastOnce),
    ] {
        let mut client = Client::connect_soon(address, &options);
        client.subscribe(&subscribe(filter, qos)).expect("a SUBACK");
        client.disconnect();
    }
    let mut dying = session("will-late");
    dying.connect.will = will("old/will/late", u32::MAX - 1);
    drop(Client::connect_soon(address, &dying));
    let unanswered = session("unanswered").receive_maximum(UNANSWERED);
    let mut unanswered = Client::connect_soon(address, &unanswered);
    let filter = subscribe("old/unanswered/#", QoS::AtLeastOnce);
    unanswered.subscribe(&filter).expect("a SUBACK");

    for number in 0..QUEUED {
        // Events and state in turn; the state is overwritten, and what was before it still waits.
        let topic = format!("old/queue/{}", number % 4);
        let retain = number % 2 == 0;
        put(writer, message(&topic, number.to_string(), QoS::AtLeastOnce, retain));
    }
    for number in 0..WAITING {
        put(
            writer,
            message("old/shared/work", number.to_string(), QoS::AtLeastOnce, false),
        );
        put(
            writer,
            message("old/unanswered/x", number.to_string(), QoS::AtLeastOnce, false),
        );
    }
    for number in 0..UNANSWERED {
        let publish = published(&mut unanswered);
        assert_eq!(publish.payload, number.to_string());
    }
    drop(unanswered);

    let mut receiving = Client::connect_soon(address, &session("receiving"));
    let mut publish = message("old/received", "once", QoS::ExactlyOnce, true);
    publish.packet_id = Some(RECEIVED);
    receiving.send(&Packet::Publish(Box::new(publish))).expect("a socket");
    await_ack(&mut receiving, |packet| matches!(packet, Packet::PubRec(_)));
    receiving.disconnect();
}

fn await_ack(client: &mut Client, is_it: impl Fn(&Packet) -> bool) {
    let picked = client.await_packet(|packet| is_it(packet).then_some(()));
    picked.expect("an acknowledgement");
}

/// The next PUBLISH, unanswered.
fn published(client: &mut Client) -> Publish {
    client
        .await_packet(|packet| match packet {
            Packet::Publish(publish) => Some((**publish).clone()),
            _ => None,
        })
        .expect("a message")
}

/// Looks for everything in a cluster whose node 0 was started on what was [written](write). Uses it up.
pub fn check(cluster: &Cluster) {
    let address = cluster.mqtt(0);
    check_topics(cluster);
    check_properties(address);
    let mut writer = Client::connect_soon(address, &ConnectOptions::v5("checker"));
    // Tombstones remember: what is older than the deletion stays superseded.
    for number in 0..STAMPED {
        put(
            &mut writer,
            stamped(&format!("old/stamped/{number:03}"), "too late", LATER),
        );
    }
    assert_eq!(topics(cluster, "old/stamped/#"), []);
    check_sessions(cluster);
}

/// Topics that match `filter`, with their payloads.
fn topics(cluster: &Cluster, filter: &str) -> Vec<(String, String)> {
    let path = format!("/v1/topics?filter={}&limit=10000", filter.replace('#', "%23"));
    let (status, body) = cluster.get(0, &path).expect("an answer");
    assert_eq!(status, 200, "{body}");
    let page: ListPage = serde_json::from_str(&body).expect("a list");
    let payload = |record: banyan_api::record::Record| {
        let payload = record.payload;
        let json = payload.json.map(|json| json.as_str().to_owned());
        (record.topic, payload.payload.or(json).unwrap_or_default())
    };
    page.items.into_iter().map(payload).collect()
}

fn check_topics(cluster: &Cluster) {
    let plain: Vec<_> = (0..PLAIN)
        .map(|number| (format!("old/plain/{number:03}"), format!("value {number}")))
        .collect();
    assert_eq!(topics(cluster, "old/plain/#"), plain);
    let rewritten: Vec<_> = (0..REWRITTEN)
        .map(|number| (format!("old/rewritten/{number:03}"), "third".to_owned()))
        .collect();
    assert_eq!(topics(cluster, "old/rewritten/#"), rewritten);
    assert_eq!(topics(cluster, "old/deleted/#"), []);
    let late = [("old/expiry/late".to_owned(), "not for ever".to_owned())];
    crate::common::wait::until("end of what has expired", ANSWER_TIMEOUT, || {
        (topics(cluster, "old/expiry/#") == late).then_some(())
    });
    // A feed from the very beginning has the deletions too.
    let (status, body) = cluster
        .get(0, "/v1/changes?filter=old/deleted/%23&since=0.0")
        .expect("an answer");
    assert_eq!(status, 200, "{body}");
    let changes: ChangesPage = serde_json::from_str(&body).expect("changes");
    assert_eq!(changes.items.iter().filter(|item| item.deleted).count(), DELETED);
    crate::common::wait::until("will of who was connected", ANSWER_TIMEOUT, || {
        (topics(cluster, "old/will/#") == [("old/will/now".to_owned(), "gone".to_owned())]).then_some(())
    });
}

fn check_properties(address: SocketAddr) {
    let mut reader = Client::connect_soon(address, &ConnectOptions::v5("reader"));
    reader
        .subscribe(&SubscribeOptions::new("old/properties"))
        .expect("a SUBACK");
    let publish = reader.next_message(ANSWER_TIMEOUT).expect("the record");
    assert_eq!(
        (publish.payload, publish.metadata),
        ("21.5".into(), with_properties().metadata)
    );
}

/// Connects to a session that must be there.
fn resume(address: SocketAddr, options: &ConnectOptions) -> Client {
    let client = Client::connect_soon(address, options);
    assert!(client.connack().session_present, "{:?}", options.connect.client_id);
    client
}

/// `count` messages, and whatever comes after them.
fn drain(client: &mut Client, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    loop {
        let patience = if payloads.len() < count {
            ANSWER_TIMEOUT
        } else {
            SILENCE
        };
        match client.receive(patience) {
            Ok(Packet::Publish(publish)) => {
                let ack = Ack {
                    packet_id: publish.packet_id.expect("QoS 1 or 2"),
                    ..Ack::default()
                };
                client.queue(&match publish.qos {
                    QoS::ExactlyOnce => Packet::PubRec(ack),
                    _ => Packet::PubAck(ack),
                });
                payloads.push(String::from_utf8(publish.payload.to_vec()).expect("text"));
            }
            Ok(Packet::PubRel(ack)) => client.queue(&Packet::PubComp(ack)),
            Ok(_) => {}
            Err(ClientError::Timeout) => return payloads,
            Err(error) => panic!("{error}"),
        }
    }
}

fn check_sessions(cluster: &Cluster) {
    let address = cluster.mqtt(0);
    let numbers = |count: usize| -> Vec<String> { (0..count).map(|number| number.to_string()).collect() };
    for options in [session("queue-5"), session_3("queue-3")] {
        assert_eq!(drain(&mut resume(address, &options), QUEUED), numbers(QUEUED));
    }
    let mut unanswered = resume(address, &session("unanswered"));
    for number in 0..UNANSWERED {
        let publish = published(&mut unanswered);
        assert!(publish.dup, "it was sent before");
        assert_eq!(publish.payload, number.to_string());
        unanswered.put_back(Packet::Publish(Box::new(publish)));
    }
    assert_eq!(drain(&mut unanswered, WAITING).len(), WAITING);
    // What waited for a group goes to whoever of it comes first.
    assert_eq!(
        drain(&mut resume(address, &session("shared-b")), WAITING),
        numbers(WAITING)
    );

    let mut receiving = resume(address, &session("receiving"));
    let mut again = message("old/received", "twice", QoS::ExactlyOnce, true);
    (again.packet_id, again.dup) = (Some(RECEIVED), true);
    receiving.send(&Packet::Publish(Box::new(again))).expect("a socket");
    await_ack(&mut receiving, |packet| matches!(packet, Packet::PubRec(_)));
    let released = Ack {
        packet_id: RECEIVED,
        ..Ack::default()
    };
    receiving.send(&Packet::PubRel(released)).expect("a socket");
    await_ack(&mut receiving, |packet| matches!(packet, Packet::PubComp(_)));
    assert_eq!(
        topics(cluster, "old/received"),
        [("old/received".to_owned(), "once".to_owned())]
    );

    // A will that waits goes out when its session ends.
    let kicked = ureq::delete(cluster.url(0, "/v1/sessions/will-late")).call();
    assert!(kicked.is_ok(), "{kicked:?}");
    crate::common::wait::until("the will that waited", ANSWER_TIMEOUT, || {
        let found = topics(cluster, "old/will/late");
        (found == [("old/will/late".to_owned(), "gone".to_owned())]).then_some(())
    });
}
