use super::*;

use QoS::{AtLeastOnce, ExactlyOnce};

fn send(inflight: &mut Inflight, qos: QoS) -> Option<u16> {
    let packet_id = inflight.reserve(qos)?;
    assert_eq!(inflight.due(packet_id), Ok(Due { qos, dup: false }));
    inflight.published(packet_id);
    Some(packet_id)
}

fn in_flight(packet_id: u16, qos: QoS, received: bool) -> InFlight {
    InFlight {
        packet_id,
        qos,
        received,
    }
}

/// [MQTT-3.3.4-9]: no more than Receive Maximum, whether sent or about to be.
#[test]
fn never_more_than_the_window() {
    let mut inflight = Inflight::new(2);
    assert_eq!(send(&mut inflight, AtLeastOnce), Some(1));
    assert_eq!(inflight.reserve(AtLeastOnce), Some(2));
    assert_eq!(inflight.reserve(AtLeastOnce), None);
    assert_eq!(inflight.puback(1), Ok(()));
    assert_eq!(inflight.puback(1), Err(AckError::Unknown));
    assert_eq!(send(&mut inflight, AtLeastOnce), Some(3));
    assert_eq!(inflight.len(), 2);
    inflight.cancel(2);
    inflight.cancel(3); // under way
    assert_eq!(inflight.len(), 1);
}

/// [MQTT-2.2.1-4]: never 0, never one in flight, also past 65,535.
/// Shows [MQTT-4.3.2-1]; 3.1.1 [MQTT-2.3.1-4].
#[test]
fn identifiers_wrap_and_skip() {
    let mut inflight = Inflight::new(3);
    assert_eq!(send(&mut inflight, AtLeastOnce), Some(1));
    for expected in 2..=u16::MAX {
        assert_eq!(send(&mut inflight, AtLeastOnce), Some(expected));
        assert_eq!(inflight.puback(expected), Ok(()));
    }
    assert_eq!(send(&mut inflight, AtLeastOnce), Some(2));
    assert_eq!(send(&mut inflight, AtLeastOnce), Some(3));
    assert_eq!(send(&mut inflight, AtLeastOnce), None);
}

/// Sends as much as there is room for; returns the identifiers.
fn fill(inflight: &mut Inflight) -> Vec<u16> {
    std::iter::from_fn(|| send(inflight, AtLeastOnce)).collect()
}

/// Who acknowledges nothing is sent little; who acknowledges is sent twice as much each time, until the quota is reached.
#[test]
fn the_window_opens_with_acknowledgements() {
    let mut inflight = Inflight::new(200);
    let mut counts = Vec::new();
    for _ in 0..4 {
        let sent = fill(&mut inflight);
        counts.push(sent.len());
        sent.iter().for_each(|packet_id| inflight.puback(*packet_id).unwrap());
    }
    assert_eq!(counts, [64, 128, 200, 200]);
}

#[test]
fn all_identifiers_can_be_in_flight() {
    let mut inflight = Inflight::new(u16::MAX);
    let mut sent = fill(&mut inflight);
    while sent.len() < usize::from(u16::MAX) {
        sent.iter().for_each(|packet_id| inflight.puback(*packet_id).unwrap());
        sent = fill(&mut inflight);
    }
    assert_eq!(inflight.puback(40_000), Ok(()));
    assert_eq!(send(&mut inflight, AtLeastOnce), Some(40_000));
}

/// [MQTT-4.3.3-3], [MQTT-4.3.3-5]: the identifier is taken until PUBCOMP, or PUBREC with a failure.
#[test]
fn qos_2_takes_its_identifier_until_the_end() {
    let mut inflight = Inflight::new(2);
    let packet_id = send(&mut inflight, ExactlyOnce).unwrap();
    assert_eq!(inflight.puback(packet_id), Err(AckError::Unexpected));
    assert_eq!(inflight.pubcomp(packet_id), Err(AckError::Unexpected));
    assert!(!inflight.release(packet_id));
    assert_eq!(inflight.pubrec(packet_id, false), Ok(PubRec::First));
    assert_eq!(inflight.pubrec(packet_id, false), Ok(PubRec::Repeated));
    assert_eq!(inflight.pubcomp(packet_id), Err(AckError::Unexpected));
    assert!(inflight.release(packet_id) && !inflight.release(packet_id));
    assert_eq!(inflight.pubrec(packet_id, false), Ok(PubRec::AfterPubRel));
    assert_eq!(inflight.len(), 1);
    assert_eq!(inflight.pubcomp(packet_id), Ok(()));
    assert_eq!(inflight.len(), 0);

    let packet_id = send(&mut inflight, ExactlyOnce).unwrap();
    assert_eq!(inflight.pubrec(packet_id, true), Ok(PubRec::First));
    assert_eq!(inflight.pubrec(packet_id, true), Err(AckError::Unknown));
    assert_eq!((inflight.len(), inflight.sent_count), (0, 0));
}

/// What is reserved is not sent, so that nothing can acknowledge it.
#[test]
fn nothing_acknowledges_what_was_not_sent() {
    let mut inflight = Inflight::new(2);
    let packet_id = inflight.reserve(ExactlyOnce).unwrap();
    assert_eq!(inflight.puback(packet_id), Err(AckError::Unknown));
    assert_eq!(inflight.pubrec(packet_id, false), Err(AckError::Unknown));
    assert_eq!(inflight.pubcomp(packet_id), Err(AckError::Unknown));
    assert_eq!(inflight.due(packet_id + 1), Err(NotDue::Unknown));
}

/// [MQTT-4.4.0-1]: with the same identifiers; the window of this connection holds all the same (§4.9).
#[test]
fn restored_messages_are_due_within_the_window() {
    let mut inflight = Inflight::new(2);
    let restored = [
        in_flight(7, AtLeastOnce, false),
        in_flight(9, ExactlyOnce, true),
        in_flight(8, ExactlyOnce, false),
        in_flight(0, ExactlyOnce, false),
        in_flight(5, QoS::AtMostOnce, false),
    ];
    inflight.restore(&restored);
    assert_eq!(inflight.reserve(AtLeastOnce), None);
    assert_eq!(
        inflight.due(7),
        Ok(Due {
            qos: AtLeastOnce,
            dup: true
        })
    );
    inflight.published(7);
    assert_eq!(inflight.due(9), Err(NotDue::Unknown)); // PUBREL is for that one.
    assert_eq!(inflight.due(8), Err(NotDue::WindowFull));
    assert_eq!(inflight.pubcomp(9), Ok(()));
    assert_eq!(
        inflight.due(8),
        Ok(Due {
            qos: ExactlyOnce,
            dup: true
        })
    );
    // A client may still acknowledge what it got on the former connection.
    assert_eq!(inflight.pubrec(8, false), Ok(PubRec::First));
    assert_eq!(inflight.due(8), Err(NotDue::Unknown));
    assert_eq!(inflight.puback(7), Ok(()));
    assert_eq!((inflight.len(), inflight.sent_count), (1, 1));
    assert_eq!(inflight.reserve(AtLeastOnce), Some(9));
}
