//! The will of a CONNECT (§3.1.2.5, §3.1.3.2): refused now if it could not be published later.
//!
//! Its user properties are the publisher's own, also those that would mean something in a retained PUBLISH: a will is written
//! without conditions, with the time at which it is published.

use bytes::Bytes;

use super::connect::Refusal;
use crate::command;
use crate::mqtt::packet::Will;
use crate::mqtt::reason::ReasonCode;
use crate::topic::TopicName;

/// The will to keep, with bytes of its own.
pub(super) fn check(will: &Will) -> Result<command::Will, Refusal> {
    let topic = TopicName::from_utf8(will.topic.clone()).map_err(|error| {
        let detail = format!("the will topic: {error}");
        Refusal::new(ReasonCode::TopicNameInvalid, detail)
    })?;
    if topic.is_reserved() {
        let detail = "will topics that begin with $ are written by the server alone";
        return Err(Refusal::new(ReasonCode::NotAuthorized, detail));
    }
    if will.metadata.payload_format() == 1 && std::str::from_utf8(&will.payload).is_err() {
        // §3.1.3.2.3
        let detail = "payload format indicator 1, but the payload of the will is not UTF-8";
        return Err(Refusal::new(ReasonCode::PayloadFormatInvalid, detail));
    }
    Ok(command::Will {
        topic: topic.detach(),
        payload: Bytes::copy_from_slice(&will.payload),
        metadata: will.metadata.detach(),
        qos: will.qos as u8,
        retain: will.retain,
        delay_s: will.delay_s,
        expiry_s: will.message_expiry_s,
    })
}
