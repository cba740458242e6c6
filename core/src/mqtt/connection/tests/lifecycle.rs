//! Time, DISCONNECT, shutdown, and packets out of place.

use super::*;
use crate::mqtt::packet::{Auth, SubAck};

use ProtocolVersion::{V3, V5};

/// Contract: 5 s to finish CONNECT. No packet may be sent before CONNACK, so none is.
#[test]
fn connect_timeout() {
    let mut harness = Harness::accepted(ConnectionSettings::default());
    assert_eq!(harness.connection.deadline_ms(), Some(5_000));
    assert_eq!(harness.tick(4_999), []);
    assert_eq!(harness.tick(5_000), [lost()]);
    assert_eq!(harness.tick(5_001), []);
    assert_eq!(harness.connection.deadline_ms(), None);
}

/// While the cluster registers the client no clock runs against the client.
#[test]
fn registering_is_not_the_clients_time() {
    let mut harness = Harness::accepted(ConnectionSettings::default());
    harness.packet(Packet::Connect(Box::new(connect(V5))));
    assert_eq!(harness.connection.deadline_ms(), None);
    assert_eq!(harness.tick(1_000_000), []);
    harness.register(registered());
    assert_eq!(harness.connection.deadline_ms(), Some(1_090_000));
}

/// [MQTT-3.1.2-22]: silence of 1.5 times the Keep Alive ends the connection; any packet breaks it.
#[test]
fn keep_alive() {
    for (version, effects) in [(V5, 2), (V3, 1)] {
        let mut harness = Harness::connected(version);
        assert_eq!(harness.tick(89_999), []);
        assert_eq!(harness.packet(Packet::PingReq), [send(Packet::PingResp)]); // [MQTT-3.12.4-1]
        assert_eq!(harness.tick(179_998), []);
        let closed = harness.tick(179_999);
        assert_eq!(closed.len(), effects);
        if version == V5 {
            assert_disconnects(&closed, ReasonCode::KeepAliveTimeout);
        }
        assert!(harness.connection.is_closed());
    }
}

/// [MQTT-3.1.2-22] speaks of packets: who announces one and sends a byte of it now and then is closed like one who says nothing.
#[test]
fn keep_alive_counts_whole_packets() {
    let mut harness = Harness::connected(V5);
    let mut received = BytesMut::from(&[0x30, 200, 1, 0, 1][..]);
    for now_ms in (0..90_000).step_by(1_000) {
        let mut out = Vec::new();
        received.extend_from_slice(b"t");
        harness.connection.on_bytes(&mut received, now_ms, &mut out);
        assert_eq!((out, harness.tick(now_ms)), (vec![], vec![]));
    }
    assert_disconnects(&harness.tick(90_000), ReasonCode::KeepAliveTimeout);
}

/// §3.14.4: DISCONNECT is not answered; nothing comes after it.
#[test]
fn client_disconnects() {
    for version in [V5, V3] {
        let mut harness = Harness::connected(version);
        let (token, _) = proposed(&harness.publish(put("a", 1)));
        assert_eq!(harness.packet(Packet::Disconnect(Disconnect::default())), [left()]);
        assert_eq!(harness.outcome(token, applied(1)), []);
        assert_eq!(harness.packet(Packet::PingReq), []);
        assert_eq!(harness.tick(1_000_000), []);
    }
}

#[test]
fn server_ends_the_connection() {
    let mut out = Vec::new();
    let mut harness = Harness::connected(V5);
    harness
        .connection
        .on_shutdown(ReasonCode::SessionTakenOver, "", &mut out);
    let disconnect = Disconnect {
        reason: ReasonCode::SessionTakenOver,
        ..Disconnect::default()
    };
    assert_eq!(out, [send(Packet::Disconnect(disconnect)), lost()]);
    harness
        .connection
        .on_shutdown(ReasonCode::ServerShuttingDown, "", &mut out);
    assert_eq!(out.len(), 2);

    out.clear();
    Harness::connected(V3)
        .connection
        .on_shutdown(ReasonCode::ServerShuttingDown, "", &mut out);
    assert_eq!(out, [lost()]);

    out.clear();
    let mut harness = Harness::accepted(ConnectionSettings::default());
    harness.packet(Packet::Connect(Box::new(connect(V5))));
    harness
        .connection
        .on_shutdown(ReasonCode::ServerShuttingDown, "shutting down", &mut out);
    match &out[..] {
        [Effect::Send(Packet::ConnAck(connack)), Effect::Close(_)] => {
            assert_eq!(connack.reason, ReasonCode::ServerUnavailable); // [MQTT-3.14.0-1]
        }
        other => panic!("{other:?}"),
    }
}

/// §2.1.2: packets that only a server sends, or only with authentication.
/// Shows [MQTT-4.12.0-7].
#[test]
fn packets_out_of_place() {
    for packet in [
        Packet::ConnAck(Box::default()),
        Packet::SubAck(SubAck::default()),
        Packet::PingResp,
        Packet::Auth(Auth::default()),
    ] {
        assert_disconnects(
            &Harness::connected(V5).packet(packet.clone()),
            ReasonCode::ProtocolError,
        );
        assert_eq!(Harness::connected(V3).packet(packet), [lost()]);
    }
}

/// [MQTT-4.13.1-1]: malformed bytes end the connection with the code of the codec.
#[test]
fn malformed_bytes() {
    let mut harness = Harness::connected(V5);
    let mut out = Vec::new();
    harness
        .connection
        .on_bytes(&mut BytesMut::from(&[0xC1, 0][..]), 0, &mut out);
    assert_disconnects(&out, ReasonCode::MalformedPacket);
}

/// 0x95 for what is larger than the Maximum Packet Size that was advertised, before its bytes are there.
/// Shows [MQTT-3.2.2-15].
#[test]
fn packets_too_large() {
    let settings = ConnectionSettings {
        packet_bytes_max: 100,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    let mut out = Vec::new();
    harness
        .connection
        .on_bytes(&mut BytesMut::from(&[0x30, 99][..]), 0, &mut out);
    assert_disconnects(&out, ReasonCode::PacketTooLarge);
}

/// [MQTT-3.1.2-24], [MQTT-3.14.2-3]: DISCONNECT without its text if the client takes no more.
#[test]
fn disconnect_fits_into_the_packet_size_of_the_client() {
    let small = Connect {
        maximum_packet_size: Some(40),
        ..connect(V5)
    };
    let mut harness = Harness::connected_with(ConnectionSettings::default(), small);
    let disconnect = Disconnect {
        reason: ReasonCode::ProtocolError,
        ..Disconnect::default()
    };
    let expected = [send(Packet::Disconnect(disconnect)), lost()];
    assert_eq!(harness.packet(Packet::Auth(Auth::default())), expected);
}

/// Who is sent to another server is told which, if that is set up.
#[test]
fn a_server_reference() {
    for (reason, told) in [
        (ReasonCode::UseAnotherServer, Some("other:1883")),
        (ReasonCode::ServerShuttingDown, None),
    ] {
        let settings = ConnectionSettings {
            server_reference: Some("other:1883".to_owned()),
            ..ConnectionSettings::default()
        };
        let mut harness = Harness::connected_with(settings, connect(V5));
        let mut out = Vec::new();
        harness.connection.on_shutdown(reason, "", &mut out);
        let Effect::Send(Packet::Disconnect(disconnect)) = &out[0] else {
            panic!()
        };
        assert_eq!(
            (disconnect.reason, disconnect.server_reference.as_deref()),
            (reason, told)
        );
    }
}

/// A client that publishes faster than it may is read at the pace it may have; its silence meanwhile is not its own.
#[test]
fn publishing_too_fast() {
    let settings = ConnectionSettings {
        publish_rate_max: 2,
        ..ConnectionSettings::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    for _ in 0..2 {
        assert_eq!(harness.publish(put_qos_0("t")).len(), 1);
    }
    assert!(harness.connection.wants_read());
    harness.publish(put_qos_0("t"));
    assert!(!harness.connection.wants_read());
    assert_eq!(harness.connection.deadline_ms(), Some(500));
    assert_eq!(harness.tick(499), []);
    assert!(!harness.connection.wants_read());
    assert_eq!(harness.tick(500), []);
    assert!(harness.connection.wants_read());
    assert_eq!(harness.packet(Packet::PingReq), [send(Packet::PingResp)]);
}
