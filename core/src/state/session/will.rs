//! Wills are published through the same code as any other message (§3.1.2.5).

use bytes::Bytes;

use crate::command::{Condition, Delete, Event, Operation, Put, Will};
use crate::keyspace::FormatError;
use crate::keyspace::will::{encode_will, parse_will, will_key};
use crate::state::{Applied, ApplyError, State};

impl State {
    /// The will of a session that has one.
    pub(super) fn will(&self, client_id: &[u8]) -> Result<Will, ApplyError> {
        Ok(parse_will(&self.will_row(client_id)?)?)
    }

    /// As [`will`](Self::will); it is not there any more.
    pub(super) fn take_will(&mut self, client_id: &[u8]) -> Result<Will, ApplyError> {
        let row = self.will_row(client_id)?;
        let will = parse_will(&row)?;
        self.replace_row(will_key(client_id), Some(row), None);
        Ok(will)
    }

    /// Gives a session that has no will one.
    pub(super) fn put_will(&mut self, client_id: &[u8], will: &Will) {
        self.replace_row(will_key(client_id), None, Some(encode_will(will)));
    }

    fn will_row(&self, client_id: &[u8]) -> Result<Bytes, ApplyError> {
        let row = self.layer.get(&will_key(client_id))?;
        Ok(row.ok_or(FormatError::new("will", "is missing"))?)
    }

    /// Publishes a will that was taken from its session: the client itself is the publisher. With retain it is a write, or
    /// with an empty payload a delete.
    pub(super) fn publish_will(
        &mut self,
        client_id: Bytes,
        will: Will,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        let Will {
            topic,
            payload,
            metadata,
            qos,
            retain,
            delay_s: _,
            expiry_s,
        } = will;
        let publisher = client_id;
        let operation = match (retain, payload.is_empty()) {
            (false, _) => Operation::Event(Event {
                topic,
                payload,
                metadata,
                publisher,
                qos,
                expiry_s,
            }),
            (true, true) => Operation::Delete(Delete {
                topic,
                publisher,
                timestamp_us: None,
                condition: Condition::None,
                metadata,
                qos,
            }),
            (true, false) => Operation::Put(Put {
                topic,
                payload,
                metadata,
                publisher,
                timestamp_us: None,
                expiry_s,
                condition: Condition::None,
                qos,
            }),
        };
        self.write(operation, applied).map(drop)
    }
}
