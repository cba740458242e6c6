//! MQTT codec: what one message costs on its way in and on its way out.

use std::hint::black_box;

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::packet::{Ack, Packet, ProtocolVersion, Publish, QoS};
use banyan_core::mqtt::{DecodeLimits, PublishTemplate, decode, encode};
use banyan_core::topic::TopicName;
use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const TOPIC: &str = "regions/12/sites/7/devices/123";
const PACKETS: usize = 64;

fn publish() -> Publish {
    Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: Bytes::from_static(TOPIC.as_bytes()),
        packet_id: Some(17),
        message_expiry_s: None,
        topic_alias: None,
        subscription_ids: Vec::new(),
        metadata: Metadata::empty(),
        payload: Bytes::from(vec![b'x'; 128]),
    }
}

/// `PACKETS` times `packet`, as a client sends them.
fn wire(packet: &Packet, version: ProtocolVersion) -> BytesMut {
    let mut out = BytesMut::new();
    for _ in 0..PACKETS {
        encode(packet, version, &mut out);
    }
    out
}

fn decode_all(mut buf: BytesMut, version: ProtocolVersion) -> usize {
    let mut count = 0;
    while let Ok(Some(packet)) = decode(&mut buf, Some(version), &DecodeLimits::default()) {
        black_box(packet);
        count += 1;
    }
    count
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(PACKETS as u64));
    let publish = Packet::Publish(Box::new(publish()));
    let ack = Packet::PubAck(Ack {
        packet_id: 17,
        ..Ack::default()
    });
    for (name, packet, version) in [
        ("publish_128_bytes/v5", &publish, ProtocolVersion::V5),
        ("publish_128_bytes/v3.1.1", &publish, ProtocolVersion::V3),
        ("puback/v5", &ack, ProtocolVersion::V5),
    ] {
        let bytes = wire(packet, version);
        assert_eq!(decode_all(bytes.clone(), version), PACKETS);
        // The copy stands for the read from the socket.
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode_all(BytesMut::from(&bytes[..]), version));
        });
    }
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(PACKETS as u64));
    let mut out = BytesMut::with_capacity(64 * 1024);
    let packet = Packet::Publish(Box::new(publish()));
    group.bench_function("publish_128_bytes/v5", |bencher| {
        bencher.iter(|| {
            out.clear();
            for _ in 0..PACKETS {
                encode(&packet, ProtocolVersion::V5, &mut out);
            }
            out.len()
        });
    });
    let topic = TopicName::parse(TOPIC).expect("a topic name");
    let message = publish();
    let template = PublishTemplate::new(
        ProtocolVersion::V5,
        QoS::AtLeastOnce,
        false,
        &topic,
        &message.metadata,
        &[],
        None,
        &message.payload,
    );
    for (name, subscription_ids) in [
        ("template", &[][..]),
        ("template_with_subscription_identifier", &[7][..]),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                for packet_id in 1..=PACKETS as u16 {
                    template.write(Some(packet_id), false, subscription_ids, None, &mut out);
                }
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding, encoding);
criterion_main!(benches);
