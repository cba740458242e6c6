//! Giving an event its place in the order.

use super::{Change, ChangeKind, Outcome, State};
use crate::command::Event;

impl State {
    pub(super) fn event(&mut self, event: Event, changes: &mut Vec<Change>) -> Outcome {
        let revision = self.next_revision();
        let topic = event.topic.clone();
        let kind = ChangeKind::Event {
            event: Box::new(event),
            received_at_us: self.position.log_time_us,
        };
        changes.push(Change {
            revision,
            ordinal: 0,
            topic,
            kind,
        });
        Outcome::Published { revision }
    }
}
