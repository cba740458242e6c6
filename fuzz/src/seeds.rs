//! Inputs to begin with, so that the search starts behind the first checks. They are made by code, not kept as files: a
//! changed format changes them too.

use std::path::Path;
use std::{env, fs};

use banyan_core::command::{
    BatchBuilder, BatchId, Condition, Delete, DeleteFilter, EntryBuilder, Event, Item, Operation, Put,
};
use banyan_core::keyspace::meta::Position;
use banyan_core::keyspace::{OriginRow, RecordFields, Tombstone};
use banyan_core::metadata::{Metadata, MetadataBuilder};
use banyan_core::mqtt::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Publish, RetainHandling, SubAck, Subscribe, SubscribeFilter, UnsubAck,
    Unsubscribe, Will,
};
use banyan_core::mqtt::{Packet, ProtocolVersion, QoS, ReasonCode, encode};
use banyan_core::state::AppliedId;
use banyan_core::topic::{TopicFilter, TopicName};
use bytes::{Bytes, BytesMut};

/// Name of the variable with the folder that [`write`] writes to.
const FOLDER: &str = "BANYAN_FUZZ_SEEDS";

/// Writes the seeds of `target` to the folder that `fuzz/run` names, if it names one.
pub fn write(target: &str) {
    let Some(folder) = env::var_os(FOLDER) else { return };
    for (number, seed) in of(target).into_iter().enumerate() {
        let path = Path::new(&folder).join(format!("seed-{number:02}"));
        fs::write(&path, seed).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
}

/// The seeds of `target`.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "packet_decode" => packet_decode(),
        "codec_diff" => codec_diff(),
        "connection" => connection(),
        "topic_filter" => topic_filter(),
        "topic_name" => topic_name(),
        "record_decode" => record_decode(),
        "command_decode" => command_decode(),
        "apply" => apply(),
        "backup" => backup(),
        "log_record" => log_record(),
        other => panic!("no target {other}"),
    }
}

fn metadata() -> Metadata {
    let mut builder = MetadataBuilder::new();
    builder
        .payload_format(1)
        .content_type("t/p")
        .response_topic("r")
        .correlation_data(b"c");
    builder.user_property("timestamp", "12.5").build().expect("legal")
}

fn user_properties() -> Vec<(Bytes, Bytes)> {
    vec![(Bytes::from_static(b"annotate"), Bytes::from_static(b"on"))]
}

fn connect(version: ProtocolVersion, all: bool) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: Bytes::from_static(b"c"),
        session_expiry_s: all.then_some(1),
        receive_maximum: all.then_some(2),
        maximum_packet_size: all.then_some(256),
        topic_alias_maximum: all.then_some(3),
        request_response_information: all,
        request_problem_information: true,
        user_properties: if all { user_properties() } else { Vec::new() },
        authentication_method: all.then_some(Bytes::from_static(b"m")),
        authentication_data: all.then_some(Bytes::from_static(b"d")),
        will: all.then(|| Will {
            topic: Bytes::from_static(b"w"),
            payload: Bytes::from_static(b"gone"),
            qos: QoS::AtLeastOnce,
            retain: true,
            delay_s: 5,
            message_expiry_s: Some(6),
            metadata: metadata(),
        }),
        user_name: all.then_some(Bytes::from_static(b"u")),
        password: all.then_some(Bytes::from_static(b"p")),
    }
}

fn publish(qos: QoS) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: true,
        topic: Bytes::from_static(b"a/b"),
        packet_id: (qos != QoS::AtMostOnce).then_some(1),
        message_expiry_s: Some(60),
        topic_alias: Some(1),
        subscription_ids: Vec::new(),
        metadata: metadata(),
        payload: Bytes::from_static(b"21.5"),
    }
}

fn subscribe(filter: &'static str) -> Subscribe {
    Subscribe {
        packet_id: 2,
        subscription_id: Some(300),
        user_properties: vec![(Bytes::from_static(b"marker"), Bytes::from_static(b"on"))],
        filters: vec![SubscribeFilter {
            filter: Bytes::from_static(filter.as_bytes()),
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
        }],
    }
}

fn ack() -> Ack {
    Ack {
        packet_id: 1,
        reason: ReasonCode::QuotaExceeded,
        reason_string: Some("why".to_owned()),
        user_properties: user_properties(),
    }
}

/// What a client sends after CONNECT.
fn client_packets() -> Vec<Packet> {
    vec![
        Packet::Publish(Box::new(publish(QoS::AtLeastOnce))),
        Packet::Publish(Box::new(publish(QoS::AtMostOnce))),
        Packet::Subscribe(Box::new(subscribe("a/#"))),
        Packet::Unsubscribe(Unsubscribe {
            packet_id: 3,
            user_properties: user_properties(),
            filters: vec![Bytes::from_static(b"a/#")],
        }),
        Packet::PubAck(ack()),
        Packet::PubRel(Ack {
            packet_id: 9,
            ..Ack::default()
        }),
        Packet::PingReq,
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::DisconnectWithWill,
            session_expiry_s: Some(1),
            reason_string: Some("bye".to_owned()),
            user_properties: user_properties(),
            server_reference: None,
        }),
    ]
}

fn server_packets() -> Vec<Packet> {
    let reason_string = Some("why".to_owned());
    vec![
        Packet::ConnAck(Box::new(ConnAck {
            session_expiry_s: Some(0),
            receive_maximum: Some(2),
            maximum_qos: Some(1),
            retain_available: Some(true),
            maximum_packet_size: Some(9),
            assigned_client_id: Some(Bytes::from_static(b"id")),
            topic_alias_maximum: Some(3),
            reason_string: reason_string.clone(),
            user_properties: user_properties(),
            wildcard_subscription_available: Some(true),
            subscription_identifiers_available: Some(true),
            shared_subscription_available: Some(false),
            server_keep_alive_s: Some(4),
            response_information: Some("r".to_owned()),
            server_reference: Some("s".to_owned()),
            ..ConnAck::default()
        })),
        Packet::Publish(Box::new(Publish {
            subscription_ids: vec![1, 268_435_455],
            ..publish(QoS::ExactlyOnce)
        })),
        Packet::PubRec(ack()),
        Packet::PubComp(Ack {
            reason: ReasonCode::PacketIdentifierNotFound,
            ..ack()
        }),
        Packet::SubAck(SubAck {
            packet_id: 2,
            reason_string: reason_string.clone(),
            user_properties: user_properties(),
            reasons: vec![ReasonCode::Success, ReasonCode::NotAuthorized],
        }),
        Packet::UnsubAck(UnsubAck {
            packet_id: 3,
            reason_string: reason_string.clone(),
            user_properties: user_properties(),
            reasons: vec![ReasonCode::NoSubscriptionExisted],
        }),
        Packet::PingResp,
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::ServerShuttingDown,
            session_expiry_s: None,
            reason_string: reason_string.clone(),
            user_properties: user_properties(),
            server_reference: Some("s".to_owned()),
        }),
        Packet::Auth(Auth {
            reason: ReasonCode::ContinueAuthentication,
            authentication_method: Some(Bytes::from_static(b"m")),
            authentication_data: Some(Bytes::from_static(b"d")),
            reason_string,
            user_properties: user_properties(),
        }),
    ]
}

fn stream(head: &[u8], packets: &[Packet], version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = BytesMut::from(head);
    packets.iter().for_each(|packet| encode(packet, version, &mut bytes));
    bytes.to_vec()
}

/// The sides are those of `packet_decode`: 0 server before CONNECT, 1 and 2 server, 3 and 4 client, each 5.0 then 3.1.1.
fn packet_decode() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (at, version) in [ProtocolVersion::V5, ProtocolVersion::V3].into_iter().enumerate() {
        for all in [true, false] {
            let connect = Packet::Connect(Box::new(connect(version, all)));
            let rest = client_packets().swap_remove(0);
            seeds.push(stream(&[0, 0x13], &[connect, rest], version));
        }
        let each = |side: u8, packets: Vec<Packet>| {
            let one = move |packet| stream(&[side + at as u8, 0x21], &[packet], version);
            packets.into_iter().map(one).collect::<Vec<_>>()
        };
        seeds.extend(each(1, client_packets()));
        // Lengths of two bytes, nothing that is optional.
        let long = Publish {
            dup: true,
            topic: Bytes::from_static(b"regions/eu/sites/7/devices/12"),
            message_expiry_s: None,
            topic_alias: None,
            metadata: Metadata::empty(),
            payload: Bytes::from(vec![b'x'; 200]),
            ..publish(QoS::AtLeastOnce)
        };
        seeds.extend(each(1, vec![Packet::Publish(Box::new(long))]));
        seeds.extend(each(3, server_packets()));
    }
    seeds
}

/// The first byte and the body of every packet, then packets to be built, one of each type. The bits of the form are those of
/// `codec_diff::frames`: 1 for 3.1.1, 2 for packets of a server, 4 for packets to be built.
fn codec_diff() -> Vec<Vec<u8>> {
    // A PUBLISH of 5.0 that ends behind its topic.
    let mut seeds = vec![vec![0, 0x30, 0, 1, b'a']];
    for (at, version) in [ProtocolVersion::V5, ProtocolVersion::V3].into_iter().enumerate() {
        let connects = [true, false].map(|all| Packet::Connect(Box::new(connect(version, all))));
        let mut add = |side: u8, packets: Vec<Packet>| {
            for packet in packets {
                let mut bytes = stream(&[], &[packet], version);
                // The length goes; none is longer than 127 or shorter than 2 bytes.
                if let Some(length) = bytes.get(1) {
                    bytes.drain(1..if length & 0x80 == 0 { 2 } else { 3 });
                    seeds.push([&[at as u8 | side << 1], &bytes[..]].concat());
                }
            }
        };
        add(0, connects.into());
        add(0, client_packets());
        add(1, server_packets());
        for side in 0..2 {
            for packet_type in 0..15_u16 {
                let choices: Vec<u8> = (1..=60_u16)
                    .map(|step| (step * 7 % 61 * packet_type % 200) as u8)
                    .collect();
                seeds.push([&[4 | at as u8 | side << 1, packet_type as u8], &choices[..]].concat());
            }
        }
    }
    seeds
}

fn connection() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (at, version) in [ProtocolVersion::V5, ProtocolVersion::V3].into_iter().enumerate() {
        // A legal CONNECT without properties, and one laid in full.
        seeds.push(stream(&[0, 0x32, at as u8, at as u8, 0xFF], &client_packets(), version));
        let all = stream(&[], &[Packet::Connect(Box::new(connect(version, true)))], version);
        let head = [&[0, 0x77, 2, 0xC0, all.len() as u8], &all[..]].concat();
        seeds.push(stream(&head, &client_packets(), version));
        // CONNECT, registered with a session of each kind; PUBLISH, its outcome; SUBSCRIBE, its answer; a delivery and its
        // PUBACK; a tick.
        let steps: [&[u8]; 6] = [
            &[2, 0, 1, 2, 0, 1, b'x'],
            &[7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[4, 0xFF, 2, 0, 1, 0, 1],
            &[8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
            &[9, 1, 0, 4, 0],
            &[6, 0, 1, 10, 0, 99],
        ];
        // QoS 2: PUBLISH, its outcome, PUBREL, its outcome; an identifier reserved, the delivery, PUBREC, that it is
        // replicated, PUBCOMP.
        let qos_2: [&[u8]; 8] = [
            &[2, 5, 0xFF, 2, 0, 1, b'x'],
            &[7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[12, 0, 2],
            &[7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[14, 2],
            &[9, 0, 2, 0x40, 0],
            &[6, 0, 0, 15, 0],
            &[6, 0, 0],
        ];
        for session in 0..3 {
            let connected = [1, at as u8, 0xFF, 1, session];
            seeds.push([&connected[..], &steps.concat()].concat());
            seeds.push([&connected[..], &qos_2.concat()].concat());
        }
    }
    seeds
}

fn topic_filter() -> Vec<Vec<u8>> {
    let texts = [
        "a/b/c\u{FE}a/+/c\u{FE}a/#\u{FE}#\u{FE}+/b/c",
        "$SYS/x\u{FE}+/x\u{FE}$SYS/#\u{FE}#",
        "$share/g/a/#\u{FE}$share/g+/a\u{FE}$share//a\u{FE}a//b\u{FE}/\u{FE}//",
        "a#\u{FE}a/#/b\u{FE}+a\u{FE}é/🌳\u{FE}\u{85}\u{FE}\u{FDD0}\u{FE}\u{FFFE}",
    ];
    texts.map(separated).to_vec()
}

fn topic_name() -> Vec<Vec<u8>> {
    let texts = [
        "a/b\u{FE}a/b/c\u{FE}a!\u{FE}a",
        "/\u{FE}//\u{FE}$SYS/x\u{FE}é/🌳",
        "a/+\u{FE}a\u{7F}\u{FE}a\0b",
        "\u{9F}\u{FE}\u{A0}\u{FE}\u{FDCF}\u{FE}\u{FDD0}\u{FE}\u{FDEF}\u{FE}\u{FDF0}\u{FE}\u{FFFE}\u{FE}\u{10FFFF}",
    ];
    texts.map(separated).to_vec()
}

/// U+00FE, which is not used otherwise, stands for the byte 0xFE between texts.
fn separated(text: &str) -> Vec<u8> {
    let texts: Vec<&[u8]> = text.split('\u{FE}').map(str::as_bytes).collect();
    texts.join(&0xFE)
}

fn record_decode() -> Vec<Vec<u8>> {
    let metadata = metadata();
    let record = RecordFields {
        revision: 9,
        ordinal: 1,
        created_revision: 8,
        timestamp_us: 7,
        expires_at_us: Some(10),
        qos: 1,
        publisher: b"p",
        metadata: &metadata,
        payload: b"21.5",
    };
    let tombstone = Tombstone {
        revision: 9,
        ordinal: 1,
        timestamp_us: 7,
        deleted_at_us: 8,
    };
    let origin = OriginRow {
        incarnation: 1,
        nonce: 2,
        next_sequence: 3,
    };
    let position = Position {
        applied: Some(AppliedId {
            term: 1,
            node_id: 2,
            index: 3,
        }),
        ..Position::default()
    };
    let formats = [
        record.encode().as_bytes().clone(),
        tombstone.encode(),
        origin.encode(),
        position.encode(),
        metadata.as_bytes().clone(),
    ];
    let mut seeds: Vec<Vec<u8>> = formats
        .iter()
        .enumerate()
        .map(|(format, bytes)| [&[format as u8], &bytes[..]].concat())
        .collect();
    for key in [
        &b"\x10a\0b"[..],
        b"\x12\0\0\0\0\0\0\0\x01\0\0\0\x02",
        b"\x13\0\0\0\0\0\0\0\x01a\0b",
        b"\x02\0\0\0\0\0\0\0\x01",
    ] {
        seeds.push([&[5], key].concat());
    }
    seeds
}

/// One operation of each kind.
pub(crate) fn operations() -> Vec<Operation> {
    let topic = TopicName::parse("a/b").expect("legal");
    let publisher = Bytes::from_static(b"p");
    let (metadata, payload) = (metadata(), Bytes::from_static(b"21.5"));
    vec![
        Operation::Put(Put {
            topic: topic.clone(),
            payload: payload.clone(),
            metadata: metadata.clone(),
            publisher: publisher.clone(),
            timestamp_us: Some(3),
            expiry_s: Some(4),
            condition: Condition::Revision(5),
            qos: 1,
        }),
        Operation::Delete(Delete {
            topic: topic.clone(),
            publisher: publisher.clone(),
            timestamp_us: None,
            condition: Condition::Present,
            metadata: metadata.clone(),
            qos: 2,
        }),
        Operation::DeleteFilter(DeleteFilter {
            filter: TopicFilter::parse("a/#").expect("legal"),
            limit: 3,
            publisher: publisher.clone(),
        }),
        Operation::Event(Event {
            topic,
            payload,
            metadata,
            publisher,
            qos: 0,
            expiry_s: None,
        }),
    ]
}

fn command_decode() -> Vec<Vec<u8>> {
    let id = BatchId {
        node_id: 1,
        incarnation: 1,
        sequence: 1,
    };
    let mut seeds = Vec::new();
    let mut all = BatchBuilder::new();
    for operation in operations() {
        all.push(&operation.clone().into());
        let mut one = BatchBuilder::new();
        one.push(&operation.into());
        // The operation alone: behind the batch's head and its length.
        let bytes = one.finish(id, u64::MAX).slice(41..);
        seeds.push([&[2, bytes.len() as u8], &bytes[..]].concat());
    }
    let batch = all.finish(id, u64::MAX);
    let mut entry = EntryBuilder::new();
    entry.push_item(&Item::OpenOrigin { node_id: 1, nonce: 2 });
    entry.push_batch(batch.clone());
    entry.push_item(&Item::Expire { limit: 3 });
    entry.push_item(&Item::Compact { limit: 4 });
    seeds.push([&[1], &batch[..]].concat());
    seeds.push([&[0], &entry.finish(1_000_000)[..]].concat());
    seeds
}

/// Decisions of `apply`: two origins, then writes of each, with checkpoints between.
fn apply() -> Vec<Vec<u8>> {
    let open = [0, 1, 1, 0, 7, 1, 7, 1];
    let put = [0, 1, 0, 0xFE, 0x20, 1, 0, 4, 0, 9, 9, 9, 1, 1];
    let mut mixed = open.to_vec();
    for (step, kind) in [0_u8, 1, 4, 5, 6, 7, 0, 4].into_iter().enumerate() {
        mixed.extend([0, 50, 0, 0xFE, 0x20, 1, kind, step as u8, kind, 0, 9, 0, 1, 1]);
        mixed.extend([0xA0, 0xE8, 0xC0, 0xF0]);
    }
    vec![
        open.to_vec(),
        [&open[..], &put, &[0xA0], &put, &[0xA0, 0xD0]].concat(),
        mixed,
        vec![0xF8, 0xF8, 0, 1, 0, 40, 5, 1],
        sessions(&open),
    ]
}

/// Decisions of `apply`: two clients connect, subscribe, and are sent what is published; then all that ends a session.
fn sessions(open: &[u8]) -> Vec<u8> {
    // An entry with a batch of one command, and what follows of the command.
    let entry = |command: &[u8]| [&[0, 50, 0, 0xFE, 0x20, 1][..], command, &[1]].concat();
    let event = entry(&[7, 4, 0, 0, 8, 9, 1, b'x']);
    let mut seed = open.to_vec();
    for client in 0..2 {
        // With a will and a delay, for ever; one filter that is its own, one that is shared.
        seed.extend(entry(&[0x80, client, 0xC6, 1, b'w', 1]));
        seed.extend(entry(&[0x87, client, 1, 1, 0, 1, 5, 1]));
    }
    for form in [0x03, 0x47, 0x08, 0x1B] {
        seed.extend(&event);
        seed.extend(entry(&[0x8A, 0, 1, form, 0, 1, 1, 0, 2, 1, 0, 1]));
        seed.extend([0xA0, 0xE8, 0xC0]);
    }
    // QoS 2 twice and its release; leave taken, back again, kicked.
    let publish = [0x8D, 1, 1, 7, 8, 0, 0, 0, 8, 9, 1, b'x', 1, 2];
    for command in [
        &publish[..],
        &publish,
        &[0x89, 1, 1, 2],
        &[0x86, 1, 1, 1],
        &[0x80, 1, 0xC0],
        &[0x84, 1],
    ] {
        seed.extend(entry(command));
        seed.extend([0xA0, 0xC0]);
    }
    // All that the leader does.
    for kind in 0..5 {
        seed.extend([0, 250, 0, 56, kind, 7, 0, 0, 1, 0xE8]);
    }
    seed
}

/// Decisions of `backup`, a few for each form.
fn backup() -> Vec<Vec<u8>> {
    vec![
        vec![0, 0, 60, 0, 1],
        vec![0, 0, 200, 1],
        [&[1, 1, 1, 0, 2, 9][..], &[1, 0, 0, 0, 0, 0, 0, 0, 1], &[2, 1, 2], &[1, 1], &[4, 1, 0]].concat(),
        vec![1, 1, 1, 1, 9, 0, 0, 0, 1, 0, 0, 0, 0, 2],
        [&[1, 0][..], &[0, 1, 40], &[0; 40]].concat(),
        b"\x02banyan\0S".to_vec(),
    ]
}

/// Decisions of `log_record`, a few for each form.
fn log_record() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for form in [0, 1] {
        for file in 0..4 {
            seeds.push(vec![form, file, 0x10, 0x08, 1, 0xFF]);
            seeds.push(vec![form, file, 0x11, 0x00, 0]);
        }
    }
    seeds.push(vec![2, 0, 0, 0, 2, 0, 1, 3, 1, 2, b'h', b'i', 0, 2, 3, 1, 0, 5, 1, 0]);
    seeds.push(vec![
        2, 0, 0, 1, 0, 1, 0, 1, 3, 1, 1, b'x', 0, 0, 1, 0, 1, 3, 1, 1, b'y', 1, 0, 1,
    ]);
    seeds.push([&[3, 12][..], &[0; 40]].concat());
    seeds.push(vec![3, 3]);
    seeds
}
