//! What is known of sessions without looking.

use super::*;

/// What is known of a session without looking.
#[derive(Debug, Clone)]
struct Known {
    expiry_s: u32,
    /// Fence and node.
    connection: Option<(u64, u64)>,
    disconnected_at_us: u64,
    inbound: BTreeSet<u16>,
}

/// What has become of a will.
#[derive(Debug, Default)]
struct WillStory {
    client: usize,
    fence: u64,
    delay_s: u32,
    published: bool,
    withdrawn: bool,
    resumed: bool,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) now_us: u64,
    sessions: BTreeMap<usize, Known>,
    /// Of each client, all that there have been.
    pub(super) fences: [Vec<u64>; CLIENTS.len()],
    /// By payload.
    wills: BTreeMap<Bytes, WillStory>,
    /// Messages in flight that could be read: client, packet identifier, position.
    readable: BTreeSet<(Bytes, u16, MessagePosition)>,
    /// Fences of connections of which something came too late.
    late: BTreeSet<u64>,
}

impl Model {
    pub(super) fn sender(&self, client: usize, connections_back: usize) -> u64 {
        let fences = self.fences[client].iter().rev();
        // One that was never given, if there are not as many.
        fences.copied().nth(connections_back).unwrap_or(u64::MAX)
    }

    fn is_in_force(&self, fence: u64) -> Option<usize> {
        let mut sessions = self.sessions.iter();
        let is_it = |known: &Known| known.connection.is_some_and(|(other, _)| other == fence);
        sessions.find(|(_, known)| is_it(known)).map(|(client, _)| *client)
    }

    fn disconnect(&mut self, client: usize, expiry_s: Option<u32>) {
        let known = self.sessions.get_mut(&client).unwrap();
        if let Some(expiry_s) = expiry_s.filter(|_| known.expiry_s > 0) {
            known.expiry_s = expiry_s;
        }
        (known.connection, known.disconnected_at_us) = (None, self.now_us);
        if known.expiry_s == 0 {
            self.sessions.remove(&client);
        }
    }

    fn connected(&mut self, client: usize, connect: &Connect, node_id: u64, outcome: Outcome) {
        let Outcome::Connected { fence, session_present } = outcome else {
            panic!("{outcome:?}")
        };
        let newest = self.fences.iter().flatten().max().copied().unwrap_or(0);
        assert!(fence > newest, "{fence} after {newest}");
        self.fences[client].push(fence);
        let resumable = self.sessions.get(&client).cloned().filter(|known| {
            let ends_us = known.disconnected_at_us + u64::from(known.expiry_s) * 1_000_000;
            let lasts = known.connection.is_some() || known.expiry_s == NEVER_EXPIRES || ends_us > self.now_us;
            !connect.clean_start && known.expiry_s > 0 && lasts
        });
        assert_eq!(session_present, resumable.is_some());
        if resumable.is_some() {
            let stories = self.wills.values_mut().filter(|story| story.client == client);
            stories.for_each(|story| story.resumed = true);
        }
        let known = Known {
            expiry_s: connect.expiry_s,
            connection: Some((fence, node_id)),
            disconnected_at_us: 0,
            inbound: resumable.map(|known| known.inbound).unwrap_or_default(),
        };
        self.sessions.insert(client, known);
        if let Some(will) = &connect.will {
            let story = WillStory {
                client,
                fence,
                delay_s: will.delay_s,
                ..WillStory::default()
            };
            self.wills.insert(will.payload.clone(), story);
        }
    }

    /// Takes note of a command and its outcome.
    pub(super) fn heard(&mut self, command: &Command, node_id: u64, outcome: Outcome) {
        let client_at = |client_id: &[u8]| CLIENTS.iter().position(|id| id.as_bytes() == client_id).unwrap();
        let is_late = command.sender.is_some_and(|sender| self.late.contains(&sender.fence));
        if outcome == Outcome::TooLate {
            let is_in_force = command
                .sender
                .is_some_and(|sender| self.is_in_force(sender.fence).is_some());
            assert!(is_late || !is_in_force, "{command:?}");
            return;
        }
        assert!(
            !is_late || outcome == Outcome::Fenced || matches!(command.operation, Operation::Disconnect(_)),
            "taken from a connection that was too late: {command:?}"
        );
        let Some(Sender { fence, packet_id }) = command.sender else {
            match &command.operation {
                Operation::Connect(connect) => {
                    self.connected(client_at(&connect.client_id), connect, node_id, outcome);
                }
                Operation::Kick(kick) if outcome == Outcome::SessionChanged => {
                    self.sessions.remove(&client_at(&kick.client_id));
                }
                _ => {}
            }
            return;
        };
        let client = self.is_in_force(fence);
        assert_eq!(client.is_none(), outcome == Outcome::Fenced, "{command:?}");
        let Some(client) = client else { return };
        let inbound = &mut self.sessions.get_mut(&client).unwrap().inbound;
        match (&command.operation, packet_id) {
            (Operation::Disconnect(disconnect), _) => {
                let stories = self.wills.values_mut().filter(|story| story.fence == fence);
                stories.for_each(|story| story.withdrawn |= !disconnect.publishes_will);
                self.disconnect(client, disconnect.expiry_s);
            }
            (Operation::Release(release), _) => {
                let known = inbound.remove(&release.packet_id);
                assert_eq!(outcome, Outcome::Released { known });
            }
            (_, Some(packet_id)) => {
                assert_eq!(outcome == Outcome::Duplicate, inbound.contains(&packet_id));
                if !matches!(outcome, Outcome::TimestampAhead { .. }) {
                    inbound.insert(packet_id);
                }
            }
            _ => {}
        }
    }

    /// Takes note of connections that nobody asked to end.
    pub(super) fn closed(&mut self, closed: &[Closed]) {
        for closed in closed {
            match closed.reason {
                CloseReason::NodeLost => {}
                CloseReason::TooLate => {
                    assert!(self.is_in_force(closed.fence).is_some());
                    assert!(self.late.insert(closed.fence), "told twice");
                    continue;
                }
                CloseReason::TakenOver | CloseReason::Kicked => continue,
            }
            let client = self.is_in_force(closed.fence).expect("it was in force");
            assert_eq!(self.sessions[&client].connection, Some((closed.fence, closed.node_id)));
            self.disconnect(client, None);
        }
    }

    pub(super) fn published(&mut self, changes: &[Change]) {
        for change in changes {
            let payload = match &change.kind {
                ChangeKind::Put { record, .. } => record.payload(),
                ChangeKind::Event { event, .. } => event.payload.clone(),
                ChangeKind::Delete(_) => continue,
            };
            if let Some(story) = self.wills.get_mut(&payload) {
                assert!(!story.published, "published twice: {story:?}");
                story.published = true;
            }
        }
    }

    pub(super) fn check(&mut self, view: &StateView) {
        let sessions = view.sessions_after(None, usize::MAX);
        let in_force = sessions.iter().filter_map(|session| {
            let LiveConnection { fence, node_id, .. } = session.connection?;
            Some((session.client_id.clone(), (fence, node_id)))
        });
        let known = self.sessions.iter();
        let known = known.filter_map(|(client, known)| Some((Bytes::from(CLIENTS[*client]), known.connection?)));
        assert_eq!(in_force.collect::<Vec<_>>(), known.collect::<Vec<_>>());
        for story in self.wills.values() {
            assert!(!(story.published && story.withdrawn), "{story:?}");
            let is_latest = self.fences[story.client].last() == Some(&story.fence);
            let session = view.session(CLIENTS[story.client].as_bytes());
            let waits = is_latest && session.is_some_and(|session| session.has_will);
            assert!(!waits || !(story.published || story.withdrawn), "{story:?}");
            let is_forgotten = !story.published && !story.withdrawn && !waits;
            assert!(!is_forgotten || (story.delay_s > 0 && story.resumed), "{story:?}");
        }
        let (mut shared, mut readable) = (BTreeSet::new(), BTreeSet::new());
        for session in &sessions {
            let in_flight = session.in_flight.iter();
            let in_flight = in_flight.filter_map(|message| Some((message.position, message.shared.clone()?)));
            for message in session.assigned.keys().cloned().chain(in_flight) {
                assert!(shared.insert(message.clone()), "twice on its way: {message:?}");
            }
            let ids: BTreeSet<u16> = session.in_flight.iter().map(|message| message.packet_id).collect();
            assert_eq!(ids.len(), session.in_flight.len());
            for message in session.in_flight.iter().filter(|message| !message.received) {
                if view.message_at(message.position).unwrap().is_some() {
                    readable.insert((session.client_id.clone(), message.packet_id, message.position));
                }
            }
            let was_readable = |message: &&InFlight| {
                let key = (session.client_id.clone(), message.packet_id, message.position);
                !message.received && self.readable.contains(&key) && !readable.contains(&key)
            };
            assert_eq!(
                session.in_flight.iter().find(was_readable),
                None,
                "dropped while in flight"
            );
        }
        self.readable = readable;
    }
}
