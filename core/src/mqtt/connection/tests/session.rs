//! How long a session lives, and what a connection takes up of it.

use super::*;

use ProtocolVersion::{V3, V5};

const WEEK_S: u32 = 7 * 24 * 3600;

/// What CONNECT asks the driver for.
fn asked(connect: Connect) -> (Harness, Authenticated) {
    let mut harness = Harness::accepted(ConnectionSettings::default());
    match &harness.packet(Packet::Connect(Box::new(connect)))[..] {
        [Effect::Authenticated(authenticated)] => (harness, Authenticated::clone(authenticated)),
        other => panic!("{other:?}"),
    }
}

/// CONNACK, and what follows it.
fn connack(harness: &mut Harness, result: RegisterResult) -> (ConnAck, Vec<Effect>) {
    let mut effects = harness.register(result);
    match effects.remove(0) {
        Effect::Send(Packet::ConnAck(connack)) => (*connack, effects),
        other => panic!("{other:?}"),
    }
}

/// [MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.1.2-23]: the driver is told what the client wants of its session; §3.2.2.3.2: the
/// client is told if it gets something else.
#[test]
fn session_expiry() {
    for (version, clean_start, asked_s, granted_s, told_s) in [
        (V5, true, None, 0, None),
        (V5, false, None, 0, None),
        (V5, true, Some(0), 0, None),
        (V5, false, Some(60), 60, None),
        (V5, true, Some(60), 60, None),
        (V5, false, Some(WEEK_S), WEEK_S, None),
        (V5, false, Some(WEEK_S + 1), WEEK_S, Some(WEEK_S)),
        (V5, false, Some(u32::MAX), WEEK_S, Some(WEEK_S)),
        (V3, true, None, 0, None),
        (V3, false, None, WEEK_S, None), // 3.1.1 §3.1.2.4
    ] {
        let (mut harness, authenticated) = asked(Connect {
            clean_start,
            session_expiry_s: asked_s,
            ..connect(version)
        });
        assert_eq!(
            (authenticated.clean_start, authenticated.session_expiry_s),
            (clean_start, granted_s)
        );
        let (connack, _) = connack(&mut harness, registered());
        assert_eq!((connack.session_expiry_s, connack.session_present), (told_s, false));
    }
}

/// Without a limit "never" stays never.
#[test]
fn sessions_without_end() {
    let settings = ConnectionSettings {
        session_expiry_max_s: u32::MAX,
        ..Default::default()
    };
    let mut harness = Harness::accepted(settings);
    match &harness.packet(Packet::Connect(Box::new(persistent(V3))))[..] {
        [Effect::Authenticated(authenticated)] => assert_eq!(authenticated.session_expiry_s, u32::MAX),
        other => panic!("{other:?}"),
    }
}

/// [MQTT-3.2.2-2], [MQTT-3.2.2-3]: Session Present tells whether there was one; 3.1.1 §3.2.2.2 alike.
/// Shows [MQTT-3.1.2-6]; 3.1.1 [MQTT-3.2.2-1], [MQTT-3.2.2-2], [MQTT-3.2.2-3].
#[test]
fn session_present() {
    for version in [V5, V3] {
        for (resumed, session_present) in [(None, false), (Some(Resumed::default()), true)] {
            let (mut harness, _) = asked(persistent(version));
            let (connack, rest) = connack(&mut harness, replicated(resumed));
            assert_eq!((connack.session_present, rest), (session_present, vec![]));
        }
    }
}

/// [MQTT-3.1.2-5]: the subscriptions go on, and count; Retain Handling 1 finds them [MQTT-3.3.1-10].
#[test]
fn subscriptions_are_restored() {
    let subscription = Subscription {
        options: SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
        },
        subscription_id: Some(5),
        latest: true,
    };
    let resumed = Resumed {
        subscriptions: vec![(filter("a/#"), subscription), (filter("$share/g/a"), subscription)],
        ..Resumed::default()
    };
    let (mut harness, _) = Harness::resumed(V5, resumed);
    let held: Vec<_> = harness
        .connection
        .subscriptions()
        .map(|(filter, held)| (filter.clone(), *held))
        .collect();
    assert_eq!(
        held,
        [(filter("a/#"), subscription), (filter("$share/g/a"), subscription)]
    );
    let request = requested(&harness.subscribe(subscribe(1, &["a/#", "b"])));
    let is_new: Vec<_> = request.subscriptions.iter().map(|new| new.is_new).collect();
    assert_eq!(is_new, [false, true]);
}

/// §3.14.2.2.2: DISCONNECT may change the expiry, within the limit, but not make a session of what is none.
#[test]
fn session_expiry_in_disconnect() {
    let disconnect = |seconds| {
        Packet::Disconnect(Disconnect {
            session_expiry_s: Some(seconds),
            ..Disconnect::default()
        })
    };
    assert_disconnects(
        &Harness::connected(V5).packet(disconnect(10)),
        ReasonCode::ProtocolError,
    );
    assert!(matches!(
        Harness::connected(V5).packet(disconnect(0))[..],
        [Effect::Close(_)]
    ));
    for (seconds, expiry_s) in [(0, 0), (10, 10), (u32::MAX, WEEK_S)] {
        let end = command::Disconnect {
            expiry_s: Some(expiry_s),
            publishes_will: false,
        };
        assert_eq!(
            Harness::replicated(V5).packet(disconnect(seconds)),
            [Effect::Close(end)]
        );
    }
    let plain = Packet::Disconnect(Disconnect::default());
    assert_eq!(Harness::replicated(V3).packet(plain), [left()]);
}

/// [MQTT-3.1.4-3]: taken over.
#[test]
fn taken_over() {
    let mut out = Vec::new();
    let mut harness = Harness::replicated(V5);
    let connection = &mut harness.connection;
    connection.on_shutdown(ReasonCode::SessionTakenOver, "", &mut out);
    assert_disconnects(&out, ReasonCode::SessionTakenOver);
}

/// [MQTT-3.1.3-6], [MQTT-3.1.3-7]: an assigned identifier may have a session as any other.
#[test]
fn a_session_of_an_assigned_identifier() {
    let (mut harness, authenticated) = asked(Connect {
        client_id: Bytes::new(),
        ..persistent(V5)
    });
    assert!(authenticated.assigned);
    let (connack, _) = connack(&mut harness, replicated(None));
    assert_eq!(connack.assigned_client_id, Some(authenticated.client_id));
}

/// [MQTT-3.1.2-24]: where not even CONNACK fits, nothing follows it.
#[test]
fn nothing_behind_a_connack_that_does_not_fit() {
    let (mut harness, _) = asked(Connect {
        maximum_packet_size: Some(4),
        ..persistent(V5)
    });
    let resumed = Resumed {
        in_flight: vec![InFlight {
            packet_id: 1,
            qos: QoS::ExactlyOnce,
            received: true,
        }],
        ..Resumed::default()
    };
    assert_eq!(harness.register(replicated(Some(resumed))), [lost()]);
}
