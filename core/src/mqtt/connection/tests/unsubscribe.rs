//! UNSUBSCRIBE.

use super::subscribe::{ok, suback};
use super::*;
use crate::mqtt::packet::{UnsubAck, Unsubscribe};

use ProtocolVersion::{V3, V5};
use ReasonCode::{GrantedQoS1, Success};
use UnsubscribeResult::Unsubscribed;

fn unsubscribe(packet_id: u16, filters: &[&'static str]) -> Packet {
    let filters = filters.iter().map(|filter| Bytes::from(*filter)).collect();
    Packet::Unsubscribe(Unsubscribe {
        packet_id,
        user_properties: Vec::new(),
        filters,
    })
}

fn unsuback(packet_id: u16, reasons: &[ReasonCode]) -> Effect {
    send(Packet::UnsubAck(UnsubAck {
        packet_id,
        reasons: reasons.to_vec(),
        ..UnsubAck::default()
    }))
}

/// The token and filters of the one effect there is.
#[track_caller]
fn leaving(effects: &[Effect]) -> (Token, Vec<SubscriptionFilter>) {
    match effects {
        [Effect::Unsubscribe { token, filters }] => (*token, filters.clone()),
        other => panic!("expected one unsubscribe request, got {other:?}"),
    }
}

/// [MQTT-3.10.4-1], [MQTT-3.10.4-5], [MQTT-3.11.3-1]: removed before UNSUBACK [MQTT-3.10.4-2].
/// Shows [MQTT-2.2.1-6], [MQTT-3.10.4-4], [MQTT-3.10.4-6].
#[test]
fn unsubscribing() {
    for version in [V5, V3] {
        let mut harness = Harness::connected(version);
        harness.hold(&["a", "b/#", "$share/g/a"]);
        let effects = harness.packet(unsubscribe(2, &["b/#", "x", "$share/g/a", "a+", "b/#", "$share/h/a"]));
        let (token, filters) = leaving(&effects);
        assert_eq!(filters, [filter("b/#"), filter("$share/g/a")]);
        assert_eq!(harness.connection.subscriptions().count(), 3);
        let none = ReasonCode::NoSubscriptionExisted;
        let reasons = [Success, none, Success, ReasonCode::TopicFilterInvalid, none, none];
        assert_eq!(harness.unsubscribed(token, Unsubscribed), [unsuback(2, &reasons)]);
        assert_eq!(harness.unsubscribed(token, Unsubscribed), []);
        assert_eq!(harness.packet(unsubscribe(3, &["b/#"])), [unsuback(3, &[none])]);
        assert_eq!(harness.connection.subscriptions().count(), 1);
    }
}

#[test]
fn too_many_filters_to_unsubscribe() {
    let settings = ConnectionSettings {
        filters_per_packet_max: 1,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    harness.hold(&["a"]);
    match &harness.packet(unsubscribe(2, &["x", "a"]))[..] {
        [Effect::Send(Packet::UnsubAck(unsuback))] => {
            let expected = [
                ReasonCode::NoSubscriptionExisted,
                ReasonCode::ImplementationSpecificError,
            ];
            assert_eq!(unsuback.reasons, expected);
        }
        other => panic!("{other:?}"),
    }
}

/// UNSUBSCRIBE of what is on its way waits for it, and reading with it: UNSUBACK means that it is gone.
#[test]
fn unsubscribing_waits_for_subscribing() {
    let mut harness = Harness::connected(V5);
    let request = requested(&harness.subscribe(subscribe(1, &["a"])));
    assert_eq!(harness.packet(unsubscribe(2, &["a"])), []);
    assert!(!harness.connection.wants_read());
    match &harness.subscribed(request.token, ok(1))[..] {
        [effect, rest @ ..] => {
            assert_eq!(*effect, suback(1, &[GrantedQoS1]));
            let (token, _) = leaving(rest);
            assert_eq!(harness.unsubscribed(token, Unsubscribed), [unsuback(2, &[Success])]);
        }
        other => panic!("{other:?}"),
    }
    assert!(harness.connection.wants_read());
}

/// And SUBSCRIBE of what is about to go: it is a new subscription. Others go on side by side.
#[test]
fn subscribing_waits_for_unsubscribing() {
    let mut harness = Harness::connected(V5);
    harness.hold(&["a", "b"]);
    let (first, _) = leaving(&harness.packet(unsubscribe(2, &["a"])));
    let (second, _) = leaving(&harness.packet(unsubscribe(3, &["b"])));
    assert_eq!(harness.subscribe(subscribe(4, &["a"])), []);
    assert!(!harness.connection.wants_read());
    assert_eq!(harness.unsubscribed(second, Unsubscribed), [unsuback(3, &[Success])]);
    match &harness.unsubscribed(first, Unsubscribed)[..] {
        [effect, Effect::Subscribe(request)] => {
            assert_eq!(*effect, unsuback(2, &[Success]));
            assert!(request.subscriptions[0].is_new);
        }
        other => panic!("{other:?}"),
    }
}

/// What the cluster may still know is not acknowledged as gone; 3.1.1 has no codes, so that it is closed.
#[test]
fn no_quorum() {
    let unavailable = || UnsubscribeResult::Unavailable("no quorum".to_owned());
    let mut harness = Harness::connected(V5);
    harness.hold(&["a"]);
    let (token, _) = leaving(&harness.packet(unsubscribe(2, &["a", "x"])));
    match &harness.unsubscribed(token, unavailable())[..] {
        [Effect::Send(Packet::UnsubAck(unsuback))] => {
            let expected = [
                ReasonCode::ImplementationSpecificError,
                ReasonCode::NoSubscriptionExisted,
            ];
            assert_eq!(unsuback.reasons, expected);
            assert_eq!(unsuback.reason_string.as_deref(), Some("no quorum"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(harness.connection.subscriptions().count(), 1);

    let mut harness = Harness::connected(V3);
    harness.hold(&["a"]);
    let (token, _) = leaving(&harness.packet(unsubscribe(2, &["a"])));
    assert_eq!(harness.unsubscribed(token, unavailable()), [lost()]);
}
