//! Shared groups: every message to exactly one member, whatever becomes of members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::command::{
    Command, Connect, Delete, Disconnect, Event, Item, Kick, Operation, Progress, Put, Sent, SessionSubscription,
    Subscribe, SubscriptionOptions, Unsubscribe,
};
use crate::limits::{GROUP_SERVE_REVISIONS, GROUP_SERVE_ROWS_MAX, GROUP_UNACKNOWLEDGED_MAX};
use crate::topic::{SubscriptionFilter, TopicName};

mod random;

const FOREVER: Retention = Retention {
    keep_bytes: u64::MAX,
    keep_us: u64::MAX,
};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Which message, which group, to whom, with which QoS.
type Told = (MessagePosition, String, u8);

/// A state with members of groups, driven by their commands.
struct World {
    h: Harness,
    /// What members were told to send, by the client identifiers of their fences.
    told: Vec<Told>,
    clients: BTreeMap<u64, String>,
}

impl World {
    fn new() -> Self {
        Self {
            h: Harness::new(),
            told: Vec::new(),
            clients: BTreeMap::new(),
        }
    }

    /// The session of `client`, if it has one.
    fn session(&self, client: &str) -> Option<Arc<Session>> {
        self.h.state.sessions.get(client.as_bytes())
    }

    /// Commands that leave no choice.
    fn run(&mut self, command: impl Into<Command>) -> Outcome {
        let (mut outcomes, applied) = self.h.commands(&[command.into()]);
        let outcome = outcomes.remove(0);
        if let Outcome::Connected { fence, .. } = outcome {
            let sessions = self.h.state.view().sessions_after(None, usize::MAX);
            let session = sessions.iter().find(|session| {
                let connection = session.connection;
                connection.is_some_and(|connection| connection.fence == fence)
            });
            let client = String::from_utf8(session.unwrap().client_id.to_vec()).unwrap();
            self.clients.insert(fence, client);
        }
        self.tell(applied.assigned);
        self.check();
        outcome
    }

    /// As [`run`](Self::run), from the connection of `client`.
    fn send_command(&mut self, client: &str, operation: impl Into<Operation>) {
        let connection = self.session(client).unwrap().connection.unwrap();
        let outcome = self.run(Command::of(connection.fence, operation));
        assert_ne!(outcome, Outcome::Fenced);
    }

    fn tell(&mut self, assigned: Vec<Assigned>) {
        for Assigned {
            node_id,
            fence,
            change,
            qos,
            ..
        } in assigned
        {
            assert_eq!(node_id, NODE);
            let client = self.clients[&fence].clone();
            assert_eq!(self.session(&client).unwrap().connection.unwrap().fence, fence);
            self.told.push((change.position(), client, qos));
        }
    }

    fn connect(&mut self, client: &str) {
        let connect = Connect {
            client_id: bytes(client),
            clean_start: false,
            expiry_s: u32::MAX,
            will: None,
        };
        self.run(Operation::from(connect));
    }

    fn subscribe(&mut self, client: &str, text: &str, qos: u8) {
        let subscription = SessionSubscription {
            filter: SubscriptionFilter::parse(text).unwrap(),
            options: SubscriptionOptions {
                qos,
                no_local: false,
                retain_as_published: false,
            },
            latest: false,
            subscription_id: None,
            replay: None,
        };
        let subscriptions = vec![subscription];
        self.send_command(client, Subscribe { subscriptions });
    }

    fn join(&mut self, client: &str, text: &str, qos: u8) {
        self.connect(client);
        self.subscribe(client, text, qos);
    }

    fn unsubscribe(&mut self, client: &str, text: &str) {
        let filters = vec![SubscriptionFilter::parse(text).unwrap()];
        self.send_command(client, Unsubscribe { filters });
    }

    fn disconnect(&mut self, client: &str) {
        let disconnect = Disconnect {
            expiry_s: None,
            publishes_will: true,
        };
        self.send_command(client, disconnect);
    }

    /// The session ends, after its connection.
    fn end(&mut self, client: &str) -> Vec<MessagePosition> {
        let session = self.session(client).unwrap();
        let client_id = bytes(client);
        self.run(Operation::from(Kick { client_id }));
        session.in_flight.iter().map(|message| message.position).collect()
    }

    /// The first message that is assigned goes out.
    fn send(&mut self, client: &str) {
        let session = self.session(client).unwrap();
        let Some(((position, _), qos)) = session.assigned.first_key_value() else {
            return;
        };
        let is_free = |packet_id: &u16| session.in_flight.iter().all(|message| message.packet_id != *packet_id);
        let sent = Sent {
            position: *position,
            packet_id: (1..).find(is_free).unwrap(),
            qos: *qos,
            shared: true,
        };
        self.send_command(
            client,
            Progress {
                sent: vec![sent],
                ..Progress::default()
            },
        );
    }

    /// PUBREC for the first that is in flight with QoS 2.
    fn received(&mut self, client: &str) {
        let session = self.session(client).unwrap();
        let mut in_flight = session.in_flight.iter();
        if let Some(message) = in_flight.find(|message| message.qos == 2 && !message.received) {
            let received = vec![message.packet_id];
            self.send_command(
                client,
                Progress {
                    received,
                    ..Progress::default()
                },
            );
        }
    }

    /// PUBACK or PUBCOMP for the first in flight.
    fn done(&mut self, client: &str) -> Option<MessagePosition> {
        let session = self.session(client).unwrap();
        let message = session.in_flight.first()?;
        let done = vec![message.packet_id];
        self.send_command(
            client,
            Progress {
                done,
                ..Progress::default()
            },
        );
        Some(message.position)
    }

    fn publish(&mut self, operation: impl Into<Operation>) -> Vec<Change> {
        let (_, applied) = self.h.batch(&[operation.into()]);
        self.tell(applied.assigned);
        self.check();
        applied.changes
    }

    fn event(&mut self, text: &str, qos: u8) -> Vec<Change> {
        let Operation::Event(event) = event(text) else {
            unreachable!()
        };
        self.publish(Operation::Event(Event { qos, ..event }))
    }

    /// Who was told what since the last time.
    fn told(&mut self) -> Vec<(u64, String, u8)> {
        let told = std::mem::take(&mut self.told);
        told.into_iter()
            .map(|(position, client, qos)| (position.revision, client, qos))
            .collect()
    }

    /// The state, built again from sessions and rows, is the same.
    fn check(&mut self) {
        verify(&mut self.h.state);
        let view = self.h.state.view();
        verify_interest(&mut self.h.state);
        for session in view.sessions_after(None, usize::MAX) {
            let in_flight = session.in_flight.iter().filter(|message| !message.received);
            let positions = in_flight.map(|message| message.position);
            for position in positions.chain(session.assigned.keys().map(|(position, _)| *position)) {
                assert!(view.message_at(position).unwrap().is_some(), "{position:?} is gone");
            }
            for text in session.subscriptions.keys() {
                let group = self.h.state.groups.get(text).unwrap();
                assert!(session.unacknowledged_of(text) <= GROUP_UNACKNOWLEDGED_MAX);
                assert_eq!(
                    group.unacknowledged(&session.client_id),
                    session.unacknowledged_of(text)
                );
            }
        }
    }

    fn group(&self, text: &str) -> &Group {
        self.h.state.groups.get(text.as_bytes()).unwrap()
    }
}

fn told(expected: &[(u64, &str, u8)]) -> Vec<(u64, String, u8)> {
    expected
        .iter()
        .map(|(revision, client, qos)| (*revision, (*client).to_owned(), *qos))
        .collect()
}

#[test]
fn turns_go_round_and_each_group_has_its_own() {
    let mut w = World::new();
    for client in ["b", "a"] {
        w.join(client, "$share/g/#", 2);
    }
    w.join("c", "$share/h/x", 1);
    for topic in ["x", "y", "x"] {
        w.event(topic, 2);
    }
    assert_eq!(
        w.told(),
        told(&[(1, "a", 2), (1, "c", 1), (2, "b", 2), (3, "a", 2), (3, "c", 1)])
    );
}

#[test]
fn the_subscriptions_options_are_told() {
    let mut w = World::new();
    w.join("a", "$share/g/#", 0);
    w.event("x", 2);
    w.event("x", 0);
    assert_eq!(w.told(), told(&[(1, "a", 0), (2, "a", 0)]));
    assert_eq!(w.h.state.message_count(), 0);
    w.disconnect("a");
    w.event("x", 2);
    w.connect("a");
    assert_eq!(w.told(), []);
}

#[test]
fn a_slow_member_is_passed_over_and_a_full_group_waits() {
    let mut w = World::new();
    w.join("a", "$share/g/#", 1);
    w.join("b", "$share/g/#", 1);
    for _ in 0..2 * GROUP_UNACKNOWLEDGED_MAX + 3 {
        w.event("x", 1);
        w.send("b");
        w.done("b");
    }
    let slow = w.told().iter().filter(|(_, client, _)| client == "a").count();
    assert_eq!(slow, GROUP_UNACKNOWLEDGED_MAX as usize);
    w.disconnect("b");
    for _ in 0..3 {
        w.event("x", 1);
    }
    assert_eq!(w.told(), []);
    assert!(w.group("$share/g/#").is_behind() && !w.h.state.assign_due());
    w.send("a");
    w.done("a");
    assert_eq!(w.told().len(), 1);
    w.connect("b");
    assert_eq!(w.told().len(), 2);
    assert!(!w.group("$share/g/#").is_behind());
}

/// Between two checkpoints a topic that is written again and again leaves a trail of stale rows, and a checkpoint removes them.
#[test]
fn a_group_is_served_alike_wherever_checkpoints_fell() {
    let serve = |has_checkpoint: bool| {
        let mut w = World::new();
        w.join("a", "$share/g/work", 1);
        w.disconnect("a");
        w.event("work", 1);
        let again = vec![Operation::from(put("hot", "x")); 3 * GROUP_SERVE_ROWS_MAX];
        w.h.batch(&again);
        w.event("work", 1);
        if has_checkpoint {
            w.h.checkpoint();
        }
        w.connect("a");
        (w.told(), w.h.state.digest())
    };
    let served = serve(false);
    assert_eq!(served.0.len(), 2, "{served:?}");
    assert_eq!(serve(true), served);
}

/// A group that is far behind gets on by as much as one command may look at, though nothing of it is kept.
#[test]
fn a_group_far_behind_is_served_step_by_step() {
    let mut w = World::new();
    w.join("a", "$share/g/work", 1);
    w.disconnect("a");
    w.event("work", 1);
    let revisions = GROUP_SERVE_ROWS_MAX as u64 * GROUP_SERVE_REVISIONS;
    for _ in 0..=revisions / 256 {
        w.h.batch(&vec![event("nobody"); 256]);
    }
    w.event("work", 1);
    w.connect("a");
    assert_eq!(w.told().len(), 1);
    assert!(w.group("$share/g/work").is_behind() && w.h.state.assign_due());
    let applied = w.h.items(&[Item::Assign { limit: u32::MAX }]);
    w.tell(applied.assigned);
    assert_eq!(w.told().len(), 1);
    assert!(!w.group("$share/g/work").is_behind());
}

#[test]
fn what_waits_is_kept_once_and_served_in_order() {
    let mut w = World::new();
    w.join("a", "$share/g/#", 1);
    w.disconnect("a");
    w.publish(put("x", "1"));
    w.publish(put("x", "2"));
    w.publish(Put {
        qos: 0,
        ..put("y", "3")
    });
    w.publish(delete("x"));
    w.event("z", 2);
    assert_eq!(w.h.state.message_count(), 4);
    w.connect("a");
    assert_eq!(w.told(), told(&[(1, "a", 1), (2, "a", 1), (4, "a", 1), (5, "a", 1)]));
    for _ in 0..4 {
        w.send("a");
        w.done("a");
    }
    w.h.state.trim(u32::MAX, FOREVER).unwrap();
    assert_eq!(w.h.state.message_count(), 0);
}

#[test]
fn a_command_serves_so_many_and_assign_the_rest() {
    let mut w = World::new();
    w.join("a", "$share/g/#", 1);
    w.disconnect("a");
    for _ in 0..GROUP_SERVE_ROWS_MAX + 6 {
        w.event("x", 1);
    }
    w.connect("a");
    assert_eq!(w.told().len(), GROUP_SERVE_ROWS_MAX);
    assert!(w.h.state.assign_due());
    let applied = w.h.items(&[crate::command::Item::Assign { limit: 4 }]);
    assert_eq!(applied.assigned.len(), 4);
    let applied = w.h.items(&[crate::command::Item::Assign { limit: 4 }]);
    assert_eq!(applied.assigned.len(), 2);
    assert!(!w.h.state.assign_due());
}

/// [MQTT-4.8.2-4] [MQTT-4.8.2-5]
#[test]
fn a_lost_members_messages_go_to_another_but_not_qos_2_in_flight() {
    let mut w = World::new();
    w.join("a", "$share/g/#", 2);
    for qos in [1, 2, 1, 2, 2] {
        w.event("x", qos);
    }
    for _ in 0..4 {
        w.send("a");
    }
    w.received("a");
    w.told();
    w.disconnect("a");
    w.join("b", "$share/g/#", 2);
    assert_eq!(w.told(), told(&[(1, "b", 1), (3, "b", 1), (5, "b", 2)]));
    let in_flight = |w: &World| -> Vec<u64> {
        let session = w.session("a").unwrap();
        session
            .in_flight
            .iter()
            .map(|message| message.position.revision)
            .collect()
    };
    assert_eq!(in_flight(&w), [2, 4]);
    w.connect("a");
    assert_eq!(in_flight(&w), [2, 4]);
    w.disconnect("a");
    assert_eq!(w.end("a").len(), 2);
    assert_eq!(w.told(), []);
    assert!(
        w.h.state
            .view()
            .message_at(MessagePosition::first_of(5))
            .unwrap()
            .is_some()
    );
    w.disconnect("b");
    w.end("b");
    w.h.state.trim(u32::MAX, FOREVER).unwrap();
    assert_eq!(w.h.state.message_count(), 0);
}

#[test]
fn a_delivery_that_has_begun_is_completed_after_unsubscribing() {
    let mut w = World::new();
    w.join("a", "$share/g/#", 1);
    w.join("b", "$share/g/#", 1);
    w.event("x", 1);
    w.event("x", 1);
    w.event("x", 1);
    w.send("a");
    w.told();
    w.unsubscribe("a", "$share/g/#");
    // What was not sent goes to the other, what was stays.
    assert_eq!(w.told(), told(&[(3, "b", 1)]));
    assert_eq!(w.done("a").unwrap().revision, 1);
    assert_eq!(w.told(), []);
}

#[test]
fn what_has_expired_is_not_served() {
    let mut w = World::new();
    w.join("a", "$share/g/#", 1);
    w.disconnect("a");
    for expiry_s in [Some(1), None] {
        let Operation::Event(event) = event("x") else {
            unreachable!()
        };
        w.publish(Operation::Event(Event { expiry_s, ..event }));
    }
    w.h.now_us += 1_000_000;
    w.h.items(&[]);
    w.connect("a");
    assert_eq!(w.told(), told(&[(2, "a", 1)]));
}

#[test]
fn qos_0_beside_the_log_goes_round_in_a_view() {
    let mut w = World::new();
    for client in ["a", "b"] {
        w.join(client, "$share/g/#", 1);
    }
    w.join("c", "$share/h/x", 1);
    w.join("d", "$share/g/#", 1);
    w.disconnect("d");
    let view = w.h.state.view();
    let mut latest = BTreeMap::new();
    let mut fences = |topic: &str| -> Vec<u64> {
        let receivers = view.shared_receivers(&topic_of(topic), &mut latest);
        receivers.iter().map(|receiver| receiver.fence).collect()
    };
    assert_eq!(fences("x"), [1, 3]);
    assert_eq!(fences("y"), [2]);
    assert_eq!(fences("x"), [1, 3]);
    assert_eq!(view.group("$share/g/#").unwrap().len(), 3);
}

fn topic_of(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}
