//! Random members.

use super::*;

const CLIENTS: [&str; 3] = ["a", "b", "c"];
const GROUPS: [&str; 2] = ["$share/g/#", "$share/h/+"];
const TOPICS: [&str; 3] = ["x", "x/y", "z"];

#[derive(Debug, Clone, Copy)]
enum Step {
    Connect(usize),
    Disconnect(usize),
    End(usize),
    Subscribe(usize, usize, u8),
    Unsubscribe(usize, usize),
    Put(usize, u8),
    Delete(usize, u8),
    Event(usize, u8),
    Send(usize),
    Received(usize),
    Done(usize),
    Trim(u32),
    Assign(u32),
    Checkpoint,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..CLIENTS.len();
    let topic = || 0..TOPICS.len();
    let step = prop_oneof![
        4 => client().prop_map(Step::Connect),
        2 => client().prop_map(Step::Disconnect),
        1 => client().prop_map(Step::End),
        4 => (client(), 0..GROUPS.len(), 0..3_u8).prop_map(|(client, group, qos)| Step::Subscribe(client, group, qos)),
        1 => (client(), 0..GROUPS.len()).prop_map(|(client, group)| Step::Unsubscribe(client, group)),
        5 => (topic(), 0..3_u8).prop_map(|(topic, qos)| Step::Put(topic, qos)),
        2 => (topic(), 0..3_u8).prop_map(|(topic, qos)| Step::Delete(topic, qos)),
        5 => (topic(), 0..3_u8).prop_map(|(topic, qos)| Step::Event(topic, qos)),
        8 => client().prop_map(Step::Send),
        3 => client().prop_map(Step::Received),
        6 => client().prop_map(Step::Done),
        2 => (0..5_u32).prop_map(Step::Trim),
        2 => (0..5_u32).prop_map(Step::Assign),
        1 => Just(Step::Checkpoint),
    ];
    prop::collection::vec(step, 1..100)
}

/// Where each message of each group is. Tells of two places, or of one that was finished and is there again.
#[derive(Debug, Default)]
struct Places(BTreeMap<(MessagePosition, Bytes), &'static str>);

impl Places {
    fn put(&mut self, position: MessagePosition, text: &Bytes, place: &'static str) {
        let other = self.0.insert((position, text.clone()), place);
        assert_eq!(other, None, "{position:?} of {text:?} is also {place}");
    }

    fn of(w: &World) -> Self {
        let mut places = Self::default();
        for (_, session) in w.h.state.sessions.by_client() {
            for (position, text) in session.assigned.keys() {
                places.put(*position, text, "assigned");
            }
            for message in &session.in_flight {
                places.put(message.position, message.shared.as_ref().unwrap(), "in flight");
            }
        }
        for text in GROUPS.map(bytes) {
            for position in w.h.state.groups.get(&text).iter().flat_map(|group| &group.returned) {
                places.put(*position, &text, "returned");
            }
        }
        places
    }
}

/// Runs steps and follows every message.
struct Follower {
    w: World,
    /// Messages of QoS 1 and 2 that a group with members who acknowledge has to deliver.
    due: BTreeMap<(MessagePosition, Bytes), u8>,
    /// In flight when their group ended.
    orphans: BTreeSet<(MessagePosition, Bytes)>,
}

impl Follower {
    fn is_connected(&self, client: &str) -> Option<bool> {
        let session = self.w.session(client)?;
        Some(session.connection.is_some())
    }

    fn published(&mut self, changes: &[Change]) {
        for change in changes.iter().filter(|change| change.qos() > 0) {
            for text in self.w.h.state.groups.matching(&change.topic) {
                let group = self.w.h.state.groups.get(&text).unwrap();
                if group.is_patient() || group.is_behind() {
                    self.due.insert((change.position(), text), change.qos());
                }
            }
        }
    }

    /// What is in no place any more must have been finished, told with QoS 0, or its group has ended.
    fn settle(&mut self, finished: &[MessagePosition]) {
        let places = Places::of(&self.w);
        let untracked: Vec<_> = self.w.told().into_iter().filter(|(_, _, qos)| *qos == 0).collect();
        let groups = &self.w.h.state.groups;
        self.due.retain(|(position, text), _| {
            let Some(group) = groups.get(text) else {
                return false;
            };
            let waits = group.cursor.is_some_and(|cursor| *position > cursor);
            let is_there = waits || places.0.contains_key(&(*position, text.clone()));
            let is_done =
                finished.contains(position) || untracked.iter().any(|(revision, ..)| *revision == position.revision);
            assert!(is_there || is_done, "{position:?} of {text:?} is lost");
            is_there
        });
        for (position, text) in places.0.keys() {
            // A delivery that had begun goes on when its group has ended.
            let was_due = self.due.contains_key(&(*position, text.clone()));
            assert!(
                was_due || self.orphans.contains(&(*position, text.clone())),
                "{position:?} came again"
            );
        }
    }

    fn step(&mut self, step: Step) {
        let mut finished = Vec::new();
        match step {
            Step::Connect(at) if self.is_connected(CLIENTS[at]) != Some(true) => self.w.connect(CLIENTS[at]),
            Step::Disconnect(at) if self.is_connected(CLIENTS[at]) == Some(true) => self.w.disconnect(CLIENTS[at]),
            Step::End(at) if self.is_connected(CLIENTS[at]) == Some(false) => finished.extend(self.w.end(CLIENTS[at])),
            Step::Subscribe(at, group, qos) if self.is_connected(CLIENTS[at]) == Some(true) => {
                self.w.subscribe(CLIENTS[at], GROUPS[group], qos);
            }
            Step::Unsubscribe(at, group) if self.is_connected(CLIENTS[at]) == Some(true) => {
                self.w.unsubscribe(CLIENTS[at], GROUPS[group]);
            }
            Step::Put(topic, qos) => {
                let changes = self.w.publish(Put {
                    qos,
                    ..put(TOPICS[topic], "v")
                });
                self.published(&changes);
            }
            Step::Delete(topic, qos) => {
                let changes = self.w.publish(Delete {
                    qos,
                    ..delete(TOPICS[topic])
                });
                self.published(&changes);
            }
            Step::Event(topic, qos) => {
                let changes = self.w.event(TOPICS[topic], qos);
                self.published(&changes);
            }
            Step::Send(at) if self.is_connected(CLIENTS[at]) == Some(true) => self.w.send(CLIENTS[at]),
            Step::Received(at) if self.is_connected(CLIENTS[at]) == Some(true) => self.w.received(CLIENTS[at]),
            Step::Done(at) if self.is_connected(CLIENTS[at]) == Some(true) => finished.extend(self.w.done(CLIENTS[at])),
            Step::Trim(limit) => self.w.h.state.trim(limit, FOREVER).unwrap(),
            Step::Assign(limit) => {
                let mut assigned = Vec::new();
                self.w.h.state.assign(limit, &mut assigned).unwrap();
                self.w.h.state.settle_groups().unwrap();
                self.w.h.state.settle_sessions();
                self.w.tell(assigned);
            }
            Step::Checkpoint => self.w.h.checkpoint(),
            _ => {}
        }
        self.w.check();
        let in_flight = Places::of(&self.w).0.into_keys();
        let ended = in_flight.filter(|(_, text)| self.w.h.state.groups.get(text).is_none());
        self.orphans.extend(ended);
        self.settle(&finished);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_message_is_in_one_place(steps in steps()) {
        let mut follower = Follower { w: World::new(), due: BTreeMap::new(), orphans: BTreeSet::new() };
        for step in steps {
            follower.step(step);
        }
        // Everybody comes and acknowledges: nothing is left to deliver.
        for client in CLIENTS {
            if follower.is_connected(client) != Some(true) {
                follower.w.connect(client);
            }
            for group in GROUPS {
                follower.w.subscribe(client, group, 2);
            }
        }
        follower.settle(&[]);
        while !Places::of(&follower.w).0.is_empty() {
            for client in CLIENTS {
                follower.w.send(client);
                follower.w.received(client);
                let finished = follower.w.done(client);
                follower.settle(finished.as_slice());
            }
        }
        prop_assert!(follower.due.is_empty(), "{:?}", follower.due);
        follower.w.h.state.trim(u32::MAX, FOREVER).unwrap();
        prop_assert_eq!(follower.w.h.state.message_count(), 0);
        follower.w.check();
    }
}
