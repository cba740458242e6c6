//! CONNECT to CONNACK.

use super::*;
use crate::mqtt::codec::encode;

use ProtocolVersion::{V3, V5};

fn first(connect: Connect) -> (Harness, Vec<Effect>) {
    let mut harness = Harness::accepted(ConnectionSettings::default());
    let effects = harness.packet(Packet::Connect(Box::new(connect)));
    (harness, effects)
}

/// Asserts that CONNECT is answered with this code and closed.
#[track_caller]
fn assert_refused(connect: Connect, reason: ReasonCode) {
    let (harness, effects) = first(connect);
    assert_connack_and_close(&effects, reason);
    assert!(harness.connection.is_closed());
}

#[track_caller]
fn assert_connack_and_close(effects: &[Effect], reason: ReasonCode) {
    match effects {
        [Effect::Send(Packet::ConnAck(connack)), Effect::Close(_)] => {
            assert_eq!((connack.reason, connack.session_present), (reason, false)); // [MQTT-3.2.2-6]
        }
        other => panic!("expected CONNACK {reason} and close, got {other:?}"),
    }
}

/// [MQTT-3.1.4-5]: CONNACK says what is limited here. QoS 2 and shared subscriptions are not.
#[test]
fn connack_advertises_the_limits() {
    let (mut harness, effects) = first(connect(V5));
    let authenticated = Authenticated {
        client_id: Bytes::from("client"),
        assigned: false,
        version: V5,
        clean_start: true,
        session_expiry_s: 0,
        will: None,
        annotate: false,
    };
    assert_eq!(effects, [Effect::Authenticated(Box::new(authenticated))]);
    assert!(!harness.connection.wants_read());
    let connack = ConnAck {
        receive_maximum: Some(1024),
        maximum_packet_size: Some(1024 * 1024),
        topic_alias_maximum: Some(16),
        ..ConnAck::default()
    };
    assert_eq!(
        harness.register(registered()),
        [send(Packet::ConnAck(Box::new(connack)))]
    );
    assert!(harness.connection.wants_read());
}

/// [MQTT-3.1.0-1]: the first packet is CONNECT. No DISCONNECT before CONNACK [MQTT-3.14.0-1].
#[test]
fn first_packet_is_connect() {
    let mut harness = Harness::accepted(ConnectionSettings::default());
    assert_eq!(harness.packet(Packet::PingReq), [lost()]);
    let mut harness = Harness::accepted(ConnectionSettings::default());
    let mut out = Vec::new();
    harness
        .connection
        .on_bytes(&mut BytesMut::from(&[0xC0, 0][..]), 0, &mut out);
    assert_eq!(out, [lost()]);
}

/// [MQTT-3.1.0-2]: a second CONNECT is a protocol error.
/// Shows [MQTT-3.2.0-2].
#[test]
fn second_connect() {
    let mut harness = Harness::connected(V5);
    assert_disconnects(
        &harness.packet(Packet::Connect(Box::new(connect(V5)))),
        ReasonCode::ProtocolError,
    );
    let mut harness = Harness::connected(V3);
    assert_eq!(harness.packet(Packet::Connect(Box::new(connect(V3)))), [lost()]);
}

/// [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16]: who has no identifier gets one, and is told.
#[test]
fn an_identifier_is_assigned() {
    for version in [V5, V3] {
        let (mut harness, effects) = first(Connect {
            client_id: Bytes::new(),
            ..connect(version)
        });
        let Effect::Authenticated(authenticated) = &effects[0] else {
            panic!("{effects:?}")
        };
        assert_eq!(
            (&authenticated.client_id[..], authenticated.assigned),
            (&b"banyan-000000000000abcd"[..], true)
        );
        let Effect::Send(Packet::ConnAck(connack)) = &harness.register(registered())[0] else {
            panic!()
        };
        let told = connack.assigned_client_id.as_deref();
        assert_eq!(told, (version == V5).then_some(&b"banyan-000000000000abcd"[..]));
    }
}

/// 3.1.1 [MQTT-3.1.3-8]: no identifier with clean session 0 is return code 2. In 5.0 it is legal.
/// Shows 3.1.1 [MQTT-3.1.3-7], [MQTT-3.1.3-9].
#[test]
fn no_identifier_for_a_session() {
    assert_refused(
        Connect {
            client_id: Bytes::new(),
            clean_start: false,
            ..connect(V3)
        },
        ReasonCode::ClientIdentifierNotValid,
    );
    let (_, effects) = first(Connect {
        client_id: Bytes::new(),
        clean_start: false,
        ..connect(V5)
    });
    assert!(matches!(effects[..], [Effect::Authenticated(_)]));
}

/// [MQTT-3.1.3-8]
#[test]
fn identifiers_that_are_refused() {
    for client_id in [
        "a\u{1}",
        "a\nb",
        "\u{7F}",
        "\u{9F}",
        "\u{FDD0}",
        "\u{1FFFE}",
        &"x".repeat(257),
    ] {
        let client_id = Bytes::from(client_id.to_owned());
        assert_refused(
            Connect {
                client_id: client_id.clone(),
                ..connect(V5)
            },
            ReasonCode::ClientIdentifierNotValid,
        );
        assert_refused(
            Connect {
                client_id,
                ..connect(V3)
            },
            ReasonCode::ClientIdentifierNotValid,
        );
    }
}

/// [MQTT-3.1.3-5], and more than it asks for.
/// Shows 3.1.1 [MQTT-3.1.3-5].
#[test]
fn identifiers_that_are_taken() {
    for client_id in ["0123456789abcdefABCDEFZ", "Zürich/+#$", &"x".repeat(256)] {
        let (_, effects) = first(Connect {
            client_id: Bytes::from(client_id.to_owned()),
            ..connect(V5)
        });
        assert!(matches!(effects[..], [Effect::Authenticated(_)]), "{client_id}");
    }
}

/// [MQTT-4.12.0-1]
/// Shows [MQTT-4.12.0-4].
#[test]
fn authentication_methods_are_refused() {
    let connect = Connect {
        authentication_method: Some(Bytes::from("SCRAM-SHA-256")),
        ..connect(V5)
    };
    assert_refused(connect, ReasonCode::BadAuthenticationMethod);
}

/// User names are taken and ignored as long as anonymous clients are allowed.
/// Shows [MQTT-3.1.4-2].
#[test]
fn credentials() {
    let named = Connect {
        user_name: Some(Bytes::from("u")),
        password: Some(Bytes::from("p")),
        ..connect(V5)
    };
    assert!(matches!(first(named.clone()).1[..], [Effect::Authenticated(_)]));
    for (connect, reason) in [
        (named, ReasonCode::BadUserNameOrPassword),
        (connect(V5), ReasonCode::NotAuthorized),
    ] {
        let mut harness = Harness::accepted(ConnectionSettings {
            allow_anonymous: false,
            ..Default::default()
        });
        assert_connack_and_close(&harness.packet(Packet::Connect(Box::new(connect))), reason);
    }
}

/// Contract: without a quorum CONNECT is answered 0x88 (3.1.1: 3).
#[test]
fn no_quorum() {
    for version in [V5, V3] {
        let (mut harness, _) = first(connect(version));
        let effects = harness.register(RegisterResult::Unavailable("no quorum".to_owned()));
        assert_connack_and_close(&effects, ReasonCode::ServerUnavailable);
        assert_eq!(harness.register(registered()), []);
    }
    assert_eq!(ReasonCode::ServerUnavailable.to_connect_return_code(), 3);
}

#[test]
fn annotations_are_asked_for() {
    let user_properties = vec![user_property("annotate", "on")];
    let (harness, effects) = first(Connect {
        user_properties,
        ..connect(V5)
    });
    assert!(matches!(&effects[..], [Effect::Authenticated(authenticated)] if authenticated.annotate));
    assert!(harness.connection.annotates());
}

/// [MQTT-3.1.4-6] and §3.1.4: what comes before CONNACK waits for it.
/// Shows [MQTT-3.2.0-1], [MQTT-3.12.4-1].
#[test]
fn packets_behind_connect_wait_for_connack() {
    let mut harness = Harness::accepted(ConnectionSettings::default());
    let mut bytes = BytesMut::new();
    encode(&Packet::Connect(Box::new(connect(V5))), V5, &mut bytes);
    encode(&Packet::PingReq, V5, &mut bytes);
    let mut out = Vec::new();
    harness.connection.on_bytes(&mut bytes, 0, &mut out);
    assert!(matches!(out[..], [Effect::Authenticated(_)]));
    assert_eq!(&bytes[..], [0xC0, 0]);
    harness.register(registered());
    out.clear();
    harness.connection.on_bytes(&mut bytes, 0, &mut out);
    assert_eq!(out, [send(Packet::PingResp)]);
    assert!(bytes.is_empty());
}

/// [MQTT-3.1.2-1], [MQTT-3.1.2-2]: another version gets the CONNACK that every version understands.
#[test]
fn other_versions() {
    let mut harness = Harness::accepted(ConnectionSettings::default());
    let mut bytes = BytesMut::from(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 60, 0, 1, b'x'][..]);
    let mut out = Vec::new();
    harness.connection.on_bytes(&mut bytes, 0, &mut out);
    assert_connack_and_close(&out, ReasonCode::UnsupportedProtocolVersion);
}

/// [MQTT-3.2.2-19]: the reason string yields to the client's Maximum Packet Size.
#[test]
fn connack_fits_into_the_packet_size_of_the_client() {
    let method = Some(Bytes::from("x"));
    let tiny = Connect {
        authentication_method: method.clone(),
        maximum_packet_size: Some(10),
        ..connect(V5)
    };
    let (_, effects) = first(tiny);
    let connack = ConnAck {
        reason: ReasonCode::BadAuthenticationMethod,
        ..ConnAck::default()
    };
    assert_eq!(effects, [send(Packet::ConnAck(Box::new(connack))), lost()]);
    // Not even the shortest CONNACK fits: nothing is sent.
    let (_, effects) = first(Connect {
        authentication_method: method,
        maximum_packet_size: Some(1),
        ..connect(V5)
    });
    assert_eq!(effects, [lost()]);
}

/// [MQTT-3.1.2-21], [MQTT-3.2.2-22]: a Server Keep Alive is told to 5.0 alone, and holds.
#[test]
fn server_keep_alive() {
    let settings = ConnectionSettings {
        keep_alive_max_s: 100,
        ..Default::default()
    };
    for (version, keep_alive_s, told, deadline_ms) in [
        (V5, 60, None, Some(90_000)),
        (V5, 101, Some(100), Some(150_000)),
        (V5, 0, Some(100), Some(150_000)),
        (V3, 101, None, Some(151_500)),
        (V3, 0, None, None),
    ] {
        let mut harness = Harness::accepted(settings.clone());
        harness.packet(Packet::Connect(Box::new(Connect {
            keep_alive_s,
            ..connect(version)
        })));
        let Effect::Send(Packet::ConnAck(connack)) = &harness.register(registered())[0] else {
            panic!()
        };
        assert_eq!(
            (connack.server_keep_alive_s, harness.connection.deadline_ms()),
            (told, deadline_ms)
        );
    }
}

/// [MQTT-3.1.2-28]: Response Information is for those who ask, and there only if it is set up.
#[test]
fn response_information_only_for_those_who_ask() {
    for (setting, asks, told) in [
        (Some("responses"), true, Some("responses")),
        (Some("responses"), false, None),
        (None, true, None),
    ] {
        let mut harness = Harness::accepted(ConnectionSettings {
            response_information: setting.map(str::to_owned),
            ..Default::default()
        });
        harness.packet(Packet::Connect(Box::new(Connect {
            request_response_information: asks,
            ..connect(V5)
        })));
        let Effect::Send(Packet::ConnAck(connack)) = &harness.register(registered())[0] else {
            panic!()
        };
        assert_eq!(connack.response_information.as_deref(), told);
    }
}

/// MQTT 3.1 is served as 3.1.1, but must name itself: return code 2.
#[test]
fn mqtt_3_1() {
    for (id, refused) in [(&b"x"[..], false), (b"", true)] {
        let mut harness = Harness::accepted(ConnectionSettings::default());
        let mut bytes = BytesMut::from(&b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00"[..]);
        bytes.extend_from_slice(&[id.len() as u8]);
        bytes.extend_from_slice(id);
        bytes[1] += id.len() as u8;
        let mut out = Vec::new();
        harness.connection.on_bytes(&mut bytes, 0, &mut out);
        if refused {
            assert_connack_and_close(&out, ReasonCode::ClientIdentifierNotValid);
            assert_eq!(ReasonCode::ClientIdentifierNotValid.to_connect_return_code(), 2);
        } else {
            assert!(matches!(&out[..], [Effect::Authenticated(accepted)] if accepted.version == V3));
        }
    }
}
