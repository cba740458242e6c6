//! Commands of sessions, and the housekeeping that belongs to them.

use std::sync::Arc;

use banyan_core::command::{
    CaughtUp, Command, Connect, Disconnect, Item, Kick, Operation, Progress, Release, ReplayFrom, Sender, Sent,
    SessionSubscription, Subscribe, SubscriptionOptions, Unsubscribe, Will,
};
use banyan_core::keyspace::{MessagePosition, Session};
use banyan_core::metadata::Metadata;
use banyan_core::state::State;
use banyan_core::topic::SubscriptionFilter;
use bytes::Bytes;

use super::{NAMES, Run, name};
use crate::choices::Choices;

pub(super) const CLIENTS: [&str; 3] = ["x", "y", "é"];
const FILTERS: [&str; 9] = [
    "#",
    "a/#",
    "+/b",
    "a",
    "$a",
    "$share/g/#",
    "$share/g/a/#",
    "$share/h/#",
    "$share/h/+",
];
const EXPIRIES_S: [u32; 4] = [0, 1, 100, u32::MAX];

/// What there is of sessions beside their rows: the sessions in memory, nodes that hold connections, and when something is
/// due.
pub(super) type Sessions = (Vec<Arc<Session>>, Vec<(u64, u64)>, Option<u64>);

/// The sessions of `state`.
pub(super) fn of(state: &mut State) -> Sessions {
    let sessions = state.view().sessions_after(None, usize::MAX);
    (sessions, state.holders(), state.next_due_us())
}

impl Run {
    /// Remembers the connections in force, so that commands come from them, and from those that were before.
    pub(super) fn note_connections(&mut self) {
        let view = self.plain.state.view();
        for (fences, client) in self.fences.iter_mut().zip(CLIENTS) {
            let connection = view.session(client.as_bytes()).and_then(|session| session.connection);
            if let Some(connection) = connection.filter(|connection| connection.fence != fences[0]) {
                *fences = [connection.fence, fences[0]];
            }
        }
    }

    /// Housekeeping of sessions.
    pub(super) fn session_item(&self, node_id: u64, choices: &mut Choices<'_>) -> Item {
        let kind = choices.below(5);
        let limit = u32::from(choices.u8() & 7);
        match kind {
            0 | 1 => Item::EndDue { limit },
            2 => Item::LoseNode {
                node_id,
                through_fence: self.plain.state.fence().saturating_sub(u64::from(choices.u8() & 3)),
                limit,
            },
            3 => Item::Trim {
                limit,
                keep_bytes: u64::from(choices.u8()) * 8,
                keep_us: u64::from(choices.u8()) * 1_000_000,
            },
            _ => Item::Assign { limit },
        }
    }

    /// A command, of a connection or not.
    pub(super) fn command(&mut self, choices: &mut Choices<'_>) -> Command {
        let kind = choices.u8();
        if kind < 0x80 {
            return self.operation(kind, choices).into();
        }
        let client = choices.below(CLIENTS.len());
        let client_id = Bytes::from(CLIENTS[client]);
        match kind & 0xF {
            0..4 => Operation::from(connect(client_id, choices)).into(),
            4 => Operation::from(Kick { client_id }).into(),
            5 => {
                let cursor = self.position(choices);
                let fences = self.fences.iter().map(|fences| fences[0]).filter(|fence| *fence > 0);
                let fences = fences.collect();
                Operation::from(CaughtUp { cursor, fences }).into()
            }
            kind => self.sent(kind, client, choices),
        }
    }

    /// A command of a connection of a client: the last one, or the one before.
    fn sent(&mut self, kind: u8, client: usize, choices: &mut Choices<'_>) -> Command {
        let fence = self.fences[client][usize::from(choices.below(8) == 0)].max(1);
        let operation: Operation = match kind {
            6 => disconnect(choices).into(),
            7 => {
                let count = 1 + choices.below(2);
                let subscriptions = (0..count).map(|_| self.subscription(choices)).collect();
                Subscribe { subscriptions }.into()
            }
            8 => Unsubscribe {
                filters: vec![filter(choices)],
            }
            .into(),
            9 => Release {
                packet_id: packet_id(choices),
            }
            .into(),
            10..13 => self.progress(client, choices).into(),
            _ => {
                // A write of one topic, or an event.
                let operation = match choices.u8() & 7 {
                    6 => self.operation(7, choices),
                    kind => self.operation(kind, choices),
                };
                let packet_id = choices.bool().then(|| packet_id(choices));
                return Command {
                    sender: Some(Sender { fence, packet_id }),
                    operation,
                };
            }
        };
        Command::of(fence, operation)
    }

    fn position(&self, choices: &mut Choices<'_>) -> MessagePosition {
        let revision = self.plain.state.revision().saturating_sub(u64::from(choices.u8() & 7));
        MessagePosition::end_of(revision)
    }

    fn subscription(&self, choices: &mut Choices<'_>) -> SessionSubscription {
        let (filter, form) = (filter(choices), choices.u8());
        let is_plain = matches!(filter, SubscriptionFilter::Plain(_));
        let replay = match form >> 6 {
            1 => Some(ReplayFrom::Topics { after: None }),
            2 => Some(ReplayFrom::Topics {
                after: Some(name(choices.one_of(&NAMES))),
            }),
            3 => Some(ReplayFrom::Changes {
                after: self.position(choices),
            }),
            _ => None,
        };
        SessionSubscription {
            filter,
            options: SubscriptionOptions {
                qos: (form & 3).min(2),
                no_local: is_plain && form & 4 != 0,
                retain_as_published: form & 8 != 0,
            },
            latest: is_plain && form & 16 != 0,
            subscription_id: (form & 32 != 0).then_some(7),
            replay: replay.filter(|_| is_plain),
        }
    }

    /// What a node might say of messages for its client, among them some that are assigned to it, or wait.
    fn progress(&mut self, client: usize, choices: &mut Choices<'_>) -> Progress {
        let form = choices.u8();
        let view = self.plain.state.view();
        let session = view.session(CLIENTS[client].as_bytes());
        let assigned: Vec<_> = session
            .iter()
            .flat_map(|session| session.assigned.keys())
            .map(|(position, _)| (*position, true))
            .collect();
        let cursor = session.map_or(MessagePosition::first_of(0), |session| session.cursor);
        let waiting = view.waiting_after(cursor, 4, usize::MAX).expect("memory");
        let waiting = waiting.rows.iter().map(|row| (row.change.position(), false));
        let messages: Vec<_> = assigned.into_iter().chain(waiting).collect();
        let mut sent: Vec<Sent> = Vec::new();
        let mut settled = Vec::new();
        for (position, shared) in messages.into_iter().take(usize::from(form & 3)) {
            if shared && form & 4 != 0 {
                settled.push(position);
                continue;
            }
            sent.push(Sent {
                position,
                packet_id: packet_id(choices),
                qos: 1 + (choices.u8() & 1),
                shared,
            });
        }
        let ids = |is_there: bool, choices: &mut Choices<'_>| -> Vec<u16> {
            is_there.then(|| packet_id(choices)).into_iter().collect()
        };
        let replayed = (form & 32 != 0).then(|| (filter(choices), None));
        Progress {
            cursor: (form & 64 != 0).then(|| self.position(choices)),
            done: ids(form & 8 != 0, choices),
            received: ids(form & 16 != 0, choices),
            settled,
            sent,
            replayed: replayed.into_iter().collect(),
        }
    }
}

fn packet_id(choices: &mut Choices<'_>) -> u16 {
    1 + u16::from(choices.u8() & 3)
}

fn filter(choices: &mut Choices<'_>) -> SubscriptionFilter {
    SubscriptionFilter::parse(choices.one_of(&FILTERS)).expect("a filter")
}

fn connect(client_id: Bytes, choices: &mut Choices<'_>) -> Connect {
    let form = choices.u8();
    let will = (form & 2 != 0).then(|| Will {
        topic: name(choices.one_of(&NAMES)),
        payload: Bytes::copy_from_slice(choices.take(1)),
        metadata: Metadata::empty(),
        qos: (form >> 2 & 3).min(2),
        retain: form & 16 != 0,
        delay_s: u32::from(choices.u8() & 3),
        expiry_s: (form & 32 != 0).then_some(1),
    });
    Connect {
        client_id,
        clean_start: form & 1 != 0,
        expiry_s: EXPIRIES_S[usize::from(form >> 6)],
        will,
    }
}

fn disconnect(choices: &mut Choices<'_>) -> Disconnect {
    let form = choices.u8();
    Disconnect {
        expiry_s: (form & 2 != 0).then(|| EXPIRIES_S[usize::from(form >> 6)]),
        publishes_will: form & 1 != 0,
    }
}
