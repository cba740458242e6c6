//! MQTT 5.0 and 3.1.1: packets, their wire form, and the connection as a state machine without a socket.
//!
//! | module | responsibility |
//! |---|---|
//! | [`packet`] | control packets as values, both versions alike |
//! | [`reason`] | the reason codes of §2.4 |
//! | [`codec`] | wire bytes to packets and back; strict, without copies, without panics |
//! | [`connection`] | what one side of a connection does with packets and time |
//!
//! References `§3.1.2` and `[MQTT-3.1.2-1]` are to the OASIS standard MQTT Version 5.0 unless 3.1.1 is named.
//!
//! Bytes of unknown origin reach this module, so nothing in it may panic on them: the lints below hold for all of it.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod codec;
pub mod connection;
pub mod packet;
pub mod reason;

pub use codec::{
    DecodeError, DecodeLimits, PublishTemplate, TopicAlias, decode, decode_as_client, encode, encoded_len,
};
pub use packet::{Packet, ProtocolVersion, QoS};
pub use reason::ReasonCode;
