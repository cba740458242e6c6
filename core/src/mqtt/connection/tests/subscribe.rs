//! SUBSCRIBE.

use super::*;
use crate::mqtt::packet::SubAck;

use ProtocolVersion::V5;
use ReasonCode::{GrantedQoS1, GrantedQoS2, QuotaExceeded, Success};

pub(super) fn suback(packet_id: u16, reasons: &[ReasonCode]) -> Effect {
    send(Packet::SubAck(SubAck {
        packet_id,
        reasons: reasons.to_vec(),
        ..SubAck::default()
    }))
}

pub(super) fn ok(revision: u64) -> SubscribeResult {
    SubscribeResult::Subscribed { revision }
}

/// The codes of the SUBACK that is the only effect.
#[track_caller]
fn suback_reasons(effects: &[Effect]) -> Vec<ReasonCode> {
    match effects {
        [Effect::Send(Packet::SubAck(suback))] => suback.reasons.clone(),
        other => panic!("expected SUBACK, got {other:?}"),
    }
}

impl Harness {
    /// Subscribes successfully.
    pub(super) fn hold(&mut self, filters: &[&'static str]) {
        let request = requested(&self.subscribe(subscribe(1, filters)));
        self.subscribed(request.token, ok(1));
    }
}

/// [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-6]: SUBACK when the driver has R, with a code for each filter.
/// Shows [MQTT-2.2.1-6].
#[test]
fn all_options_reach_the_driver() {
    let mut harness = Harness::connected(V5);
    let options = SubscribeFilter {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
        ..subscribe_filter("a/+")
    };
    let packet = Subscribe {
        packet_id: 7,
        subscription_id: Some(42),
        user_properties: vec![
            user_property("since", "5"),
            user_property("marker", "on"),
            user_property("consistency", "local"),
            user_property("deliver", "latest"),
        ],
        filters: vec![
            options,
            SubscribeFilter {
                qos: QoS::AtMostOnce,
                ..subscribe_filter("#")
            },
        ],
    };
    let request = requested(&harness.subscribe(packet));
    let subscription = |qos, no_local, retain_as_published| Subscription {
        options: SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
        },
        subscription_id: Some(42),
        latest: true,
    };
    let first = subscription(QoS::ExactlyOnce, true, true);
    let second = subscription(QoS::AtMostOnce, false, false);
    let expected = SubscribeRequest {
        token: request.token,
        subscriptions: vec![
            NewSubscription {
                index: 0,
                filter: filter("a/+"),
                subscription: first,
                retain_handling: RetainHandling::SendIfNew,
                is_new: true,
            },
            NewSubscription {
                index: 1,
                filter: filter("#"),
                subscription: second,
                retain_handling: RetainHandling::Send,
                is_new: true,
            },
        ],
        consistency_local: true,
        since: Some(5),
        marker: true,
    };
    assert_eq!(request, expected);
    assert_eq!(harness.connection.subscriptions().count(), 0);
    assert_eq!(
        harness.subscribed(request.token, ok(9)),
        [suback(7, &[GrantedQoS2, Success])]
    );
    assert_eq!(harness.subscribed(request.token, ok(9)), []);
    let held: Vec<_> = harness
        .connection
        .subscriptions()
        .map(|(filter, held)| (filter.as_str().to_owned(), *held))
        .collect();
    assert_eq!(held, [("#".to_owned(), second), ("a/+".to_owned(), first)]);
}

/// Contract: with `annotate=on` SUBACK carries `revision`.
#[test]
fn annotated_suback() {
    let mut harness = Harness::annotated();
    let request = requested(&harness.subscribe(subscribe(1, &["a"])));
    let user_properties = vec![user_property("revision", "77")];
    let suback = SubAck {
        packet_id: 1,
        user_properties,
        reasons: vec![GrantedQoS1],
        ..SubAck::default()
    };
    assert_eq!(
        harness.subscribed(request.token, ok(77)),
        [send(Packet::SubAck(suback))]
    );
}

/// [MQTT-3.8.4-3]: the same filter replaces its subscription; [MQTT-3.3.1-10]: it is not new then.
#[test]
fn resubscribing_replaces() {
    let mut harness = Harness::connected(V5);
    harness.hold(&["a"]);
    let request = requested(&harness.subscribe(Subscribe {
        subscription_id: Some(5),
        ..subscribe(2, &["a"])
    }));
    assert!(!request.subscriptions[0].is_new);
    harness.subscribed(request.token, ok(2));
    let held: Vec<_> = harness
        .connection
        .subscriptions()
        .map(|(_, held)| held.subscription_id)
        .collect();
    assert_eq!(held, [Some(5)]);
}

/// [MQTT-3.8.4-5]: a filter twice in a packet is as in two packets.
#[test]
fn the_same_filter_twice_in_a_packet() {
    let mut harness = Harness::connected(V5);
    let request = requested(&harness.subscribe(subscribe(1, &["a", "a"])));
    let is_new: Vec<_> = request.subscriptions.iter().map(|new| new.is_new).collect();
    assert_eq!(is_new, [true, false]);
    assert_eq!(
        suback_reasons(&harness.subscribed(request.token, ok(1))),
        [GrantedQoS1; 2]
    );
    assert_eq!(harness.connection.subscriptions().count(), 1);
}

/// [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
#[test]
fn retain_handling() {
    let new = |text, retain_handling, is_new| NewSubscription {
        index: 0,
        filter: filter(text),
        subscription: Subscription {
            options: SubscriptionOptions {
                qos: QoS::AtMostOnce,
                no_local: false,
                retain_as_published: false,
            },
            subscription_id: None,
            latest: false,
        },
        retain_handling,
        is_new,
    };
    for (retain_handling, if_new, if_not) in [
        (RetainHandling::Send, true, true),
        (RetainHandling::SendIfNew, true, false),
        (RetainHandling::DoNotSend, false, false),
    ] {
        assert_eq!(new("a", retain_handling, true).sends_retained(), if_new);
        assert_eq!(new("a", retain_handling, false).sends_retained(), if_not);
        assert!(!new("$share/g/a", retain_handling, true).sends_retained()); // §4.8.2
    }
}

/// [MQTT-3.8.4-7]: each filter is refused on its own. [MQTT-3.9.3-1]: in the order of the filters. [MQTT-4.8.2-1],
/// [MQTT-4.8.2-2]: a shared subscription has a name and a filter.
#[test]
fn filters_are_refused_one_by_one() {
    let mut harness = Harness::connected(V5);
    let request = requested(&harness.subscribe(subscribe(1, &["a/#/b", "ok", "$share/g", "$share/+/a"])));
    assert_eq!((request.subscriptions.len(), request.subscriptions[0].index), (1, 1));
    match &harness.subscribed(request.token, ok(1))[..] {
        [Effect::Send(Packet::SubAck(suback))] => {
            let invalid = ReasonCode::TopicFilterInvalid;
            assert_eq!(suback.reasons, [invalid, GrantedQoS1, invalid, invalid]);
            assert!(
                suback
                    .reason_string
                    .as_deref()
                    .unwrap()
                    .starts_with("filter 1: `#` must be the last")
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(harness.connection.counters().filters_refused, 3);
}

/// Nothing acceptable is answered at once.
#[test]
fn all_filters_refused() {
    let mut harness = Harness::connected(V5);
    let reasons = suback_reasons(&harness.subscribe(subscribe(1, &["$share//x"])));
    assert_eq!(reasons, [ReasonCode::TopicFilterInvalid]);
}

/// [MQTT-3.8.3-4]: No Local on a shared subscription is a protocol error.
#[test]
fn no_local_on_a_shared_subscription() {
    let mut harness = Harness::connected(V5);
    let shared = SubscribeFilter {
        no_local: true,
        ..subscribe_filter("$share/g/x")
    };
    let packet = Subscribe {
        filters: vec![subscribe_filter("a"), shared],
        ..subscribe(1, &[])
    };
    assert_disconnects(&harness.subscribe(packet), ReasonCode::ProtocolError);
}

/// §4.8.2: a shared subscription is one beside the filter alone, with the QoS that is granted [MQTT-4.8.2-3].
#[test]
fn shared_subscriptions() {
    let mut harness = Harness::connected(V5);
    let request = requested(&harness.subscribe(subscribe(1, &["a/#", "$share/g/a/#", "$share/h/a/#"])));
    let filters: Vec<_> = request.subscriptions.iter().map(|new| new.filter.as_str()).collect();
    assert_eq!(filters, ["a/#", "$share/g/a/#", "$share/h/a/#"]);
    assert_eq!(harness.subscribed(request.token, ok(1)), [suback(1, &[GrantedQoS1; 3])]);
    assert_eq!(harness.connection.subscriptions().count(), 3);
}

/// `deliver=latest` is about what one session has missed, not a group.
#[test]
fn latest_of_a_shared_subscription_is_refused() {
    let mut harness = Harness::connected(V5);
    let packet = Subscribe {
        user_properties: vec![user_property("deliver", "latest")],
        ..subscribe(1, &["$share/g/a", "a"])
    };
    let request = requested(&harness.subscribe(packet));
    assert!(request.subscriptions[0].subscription.latest);
    assert_eq!(
        suback_reasons(&harness.subscribed(request.token, ok(1))),
        [ReasonCode::ImplementationSpecificError, GrantedQoS1]
    );
}

/// Contract: 64 filters per SUBSCRIBE, 1,000 subscriptions; 0x97 for each beyond.
#[test]
fn limits() {
    let settings = ConnectionSettings {
        filters_per_packet_max: 2,
        subscriptions_max: 3,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    let request = requested(&harness.subscribe(subscribe(1, &["a", "b", "c"])));
    assert_eq!(
        suback_reasons(&harness.subscribed(request.token, ok(1))),
        [GrantedQoS1, GrantedQoS1, QuotaExceeded]
    );

    // Those on their way count too, until they turn out not to be.
    let pending = requested(&harness.subscribe(subscribe(2, &["c"])));
    assert_eq!(
        suback_reasons(&harness.subscribe(subscribe(3, &["d"]))),
        [QuotaExceeded]
    );
    let replacing = requested(&harness.subscribe(subscribe(4, &["a"])));
    harness.subscribed(replacing.token, ok(1));
    harness.subscribed(pending.token, SubscribeResult::Unavailable("no quorum".to_owned()));
    harness.hold(&["d"]);
    assert_eq!(harness.connection.subscriptions().count(), 3);
}

/// Contract: without a quorum SUBSCRIBE is 0x83 with a reason that names `consistency=local`.
#[test]
fn no_quorum() {
    let mut harness = Harness::connected(V5);
    let request = requested(&harness.subscribe(subscribe(1, &["a", "a+"])));
    match &harness.subscribed(request.token, SubscribeResult::Unavailable("no quorum".to_owned()))[..] {
        [Effect::Send(Packet::SubAck(suback))] => {
            assert_eq!(
                suback.reasons,
                [ReasonCode::ImplementationSpecificError, ReasonCode::TopicFilterInvalid]
            );
            assert!(suback.reason_string.as_deref().unwrap().contains("consistency=local"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(harness.connection.subscriptions().count(), 0);
    assert!(harness.connection.is_connected());
}

#[test]
fn malformed_user_properties() {
    let mut harness = Harness::connected(V5);
    let packet = Subscribe {
        user_properties: vec![user_property("since", "yesterday")],
        ..subscribe(1, &["a", "b"])
    };
    match &harness.subscribe(packet)[..] {
        [Effect::Send(Packet::SubAck(suback))] => {
            assert_eq!(suback.reasons, [ReasonCode::ImplementationSpecificError; 2]);
            assert!(
                suback
                    .reason_string
                    .as_deref()
                    .unwrap()
                    .starts_with("since-invalid: write since=N")
            );
        }
        other => panic!("{other:?}"),
    }
}

/// Two SUBSCRIBEs of the same filter are handled one after the other, others side by side.
#[test]
fn subscribing_waits_for_the_same_filter() {
    let mut harness = Harness::connected(V5);
    let first = requested(&harness.subscribe(subscribe(1, &["a"])));
    let other = requested(&harness.subscribe(subscribe(2, &["b"])));
    assert_eq!(harness.subscribe(subscribe(3, &["c", "a"])), []);
    assert!(!harness.connection.wants_read());
    // What is held still waits for the first.
    assert_eq!(harness.subscribed(other.token, ok(1)), [suback(2, &[GrantedQoS1])]);
    assert!(!harness.connection.wants_read());
    match &harness.subscribed(first.token, ok(1))[..] {
        [effect, Effect::Subscribe(request)] => {
            assert_eq!(*effect, suback(1, &[GrantedQoS1]));
            let is_new: Vec<_> = request.subscriptions.iter().map(|new| new.is_new).collect();
            assert_eq!(is_new, [true, false]);
        }
        other => panic!("{other:?}"),
    }
}

/// [MQTT-3.9.2-1]: the reason string yields to the client's Maximum Packet Size.
#[test]
fn suback_fits_into_the_packet_size_of_the_client() {
    let small = Connect {
        maximum_packet_size: Some(40),
        ..connect(V5)
    };
    let mut harness = Harness::connected_with(ConnectionSettings::default(), small);
    let expected = [suback(1, &[ReasonCode::TopicFilterInvalid])];
    assert_eq!(harness.subscribe(subscribe(1, &["a+"])), expected);
    // A SUBACK without all its codes would be a lie: what cannot be said ends the connection.
    let filters: Vec<_> = std::iter::repeat_n("a+", 50).collect();
    assert_eq!(harness.subscribe(subscribe(2, &filters)), [lost()]);
}

/// What is turned off is refused filter by filter, and CONNACK says so (§3.2.2.3.11, §3.2.2.3.13). 3.1.1 [MQTT-3.8.3-2]: a server
/// without wildcards refuses filters with some.
#[test]
fn wildcards_and_shared_subscriptions_can_be_turned_off() {
    let settings = ConnectionSettings {
        refuse_wildcards: true,
        refuse_shared: true,
        ..ConnectionSettings::default()
    };
    for version in [ProtocolVersion::V5, ProtocolVersion::V3] {
        let mut harness = Harness::accepted(settings.clone());
        harness.packet(Packet::Connect(Box::new(connect(version))));
        let Effect::Send(Packet::ConnAck(connack)) = &harness.register(registered())[0] else {
            panic!()
        };
        let told = (version == ProtocolVersion::V5).then_some(false);
        assert_eq!(
            (
                connack.wildcard_subscription_available,
                connack.shared_subscription_available
            ),
            (told, told)
        );
        let filters = ["a", "a/+", "#", "$share/g/a", "$share/g/#"];
        let request = requested(&harness.subscribe(subscribe(1, &filters)));
        assert_eq!(request.subscriptions.len(), 1);
        let effects = harness.subscribed(request.token, SubscribeResult::Subscribed { revision: 1 });
        let [Effect::Send(Packet::SubAck(suback))] = &effects[..] else {
            panic!("{effects:?}")
        };
        let codes: Vec<_> = suback.reasons.iter().map(|reason| *reason as u8).collect();
        assert_eq!(codes, [1, 0xA2, 0xA2, 0x9E, 0x9E], "on the wire 0x80 to 3.1.1");
    }
}

/// Filters with wildcards may have a limit of their own, shared ones and those on their way among them; and `#` may be refused alone.
#[test]
fn wildcards_may_be_limited() {
    let settings = ConnectionSettings {
        wildcards_max: 2,
        refuse_root_wildcard: true,
        ..ConnectionSettings::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    let filters = ["#", "$share/g/#", "a/#", "b", "$share/g/+", "c/+", "c"];
    let request = requested(&harness.subscribe(subscribe(1, &filters)));
    let nobody = ReasonCode::NotAuthorized;
    let other = requested(&harness.subscribe(subscribe(2, &["d", "d/+"])));
    assert_eq!(
        suback_reasons(&harness.subscribed(request.token, ok(1))),
        [
            nobody,
            nobody,
            GrantedQoS1,
            GrantedQoS1,
            GrantedQoS1,
            QuotaExceeded,
            GrantedQoS1
        ]
    );
    assert_eq!(
        suback_reasons(&harness.subscribed(other.token, ok(1))),
        [GrantedQoS1, QuotaExceeded]
    );
    let again = requested(&harness.subscribe(subscribe(3, &["a/#"])));
    assert_eq!(
        suback_reasons(&harness.subscribed(again.token, ok(1))),
        [GrantedQoS1],
        "what is held may be replaced"
    );
}
