//! Messages on their way to the client (§4.3, §4.4).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::subscribe::copied;
use crate::command::{CaughtUp, Progress, Sent};
use crate::keyspace::{InFlight, MessagePosition, Session};
use crate::planted::{Bug, planted};
use crate::state::{ApplyError, Outcome, State};

impl State {
    /// Takes over what a connection has done with messages, and what it is about to send.
    ///
    /// A shared message that is not assigned to the session is not put in flight: only the session's own commands, and the
    /// end of its connection, take an assigned message away, so its node knows.
    pub(in crate::state) fn progress(&mut self, client_id: &Bytes, progress: &Progress) -> Result<Outcome, ApplyError> {
        let end = MessagePosition::end_of(self.position.revision);
        self.change_session(client_id, Outcome::SessionChanged, |session| {
            let done: BTreeSet<u16> = progress.done.iter().copied().collect();
            let received: BTreeSet<u16> = progress.received.iter().copied().collect();
            session.in_flight.retain(|message| !done.contains(&message.packet_id));
            for message in &mut session.in_flight {
                message.received |= message.qos == 2 && received.contains(&message.packet_id);
            }
            for position in &progress.settled {
                take_assigned(session, *position);
            }
            if !planted(Bug::P12) {
                progress.sent.iter().for_each(|sent| put_in_flight(session, sent));
            }
            if let Some(cursor) = progress.cursor {
                session.cursor = session.cursor.max(cursor.min(end));
            }
            for (filter, replay) in &progress.replayed {
                let filter = filter.as_str().as_bytes();
                if let Some(row) = session.subscriptions.get(filter) {
                    let mut row = row.clone();
                    row.subscription.replay.clone_from(replay);
                    let row = copied(&row)?;
                    if let Some(place) = session.subscriptions.get_mut(filter) {
                        *place = row;
                    }
                }
            }
            Ok(())
        })
    }

    /// Moves the cursors of sessions for which nothing waits.
    pub(in crate::state) fn caught_up(&mut self, caught_up: &CaughtUp) -> Result<Outcome, ApplyError> {
        let cursor = caught_up.cursor.min(MessagePosition::end_of(self.position.revision));
        for fence in &caught_up.fences {
            let session = self.sessions.client_of(*fence).and_then(|id| self.sessions.get(id));
            if let Some(old) = session
                && old.cursor < cursor
            {
                let session = Session::clone(&old);
                self.replace_session(Some(&old), Some(Session { cursor, ..session }))?;
            }
        }
        Ok(Outcome::SessionChanged)
    }
}

fn put_in_flight(session: &mut Session, sent: &Sent) {
    let Sent {
        position,
        packet_id,
        qos,
        shared,
    } = *sent;
    let text = if shared { take_assigned(session, position) } else { None };
    if shared && text.is_none() {
        return;
    }
    // An identifier is used again only when it is free; that it never stands for two messages is certain here.
    session.in_flight.retain(|message| message.packet_id != packet_id);
    session.in_flight.push(InFlight {
        position,
        packet_id,
        qos,
        shared: text,
        received: false,
    });
}

/// Takes the message at `position` from those assigned; of several, the one of the first filter. Returns the filter.
fn take_assigned(session: &mut Session, position: MessagePosition) -> Option<Bytes> {
    let from = (position, Bytes::new());
    let (found, text) = session.assigned.range(from..).next().map(|(key, _)| key.clone())?;
    if found != position {
        return None;
    }
    session.assigned.remove(&(position, text.clone()));
    Some(text)
}
