//! What a connection counts, because nobody is told or because an operator wants to know.

/// Events of one connection since it began, or since [`Connection::take_counters`](super::Connection::take_counters).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Control packets received, of every kind.
    pub packets_received: u64,
    /// Control packets sent, but for messages to the client.
    pub packets_sent: u64,
    /// PUBLISHes received.
    pub publishes_received: u64,
    /// QoS 0 PUBLISHes that were refused (topic, limit, condition): a client is not told (§4.3.1).
    pub qos0_refused: u64,
    /// QoS 0 retained PUBLISHes whose outcome was a refusal, unavailable or unknown.
    pub qos0_failed: u64,
    /// QoS 1 and 2 PUBLISHes that were answered with a reason code of 0x80 or greater; towards 3.1.1 with a plain
    /// acknowledgement, since it has no codes.
    pub publishes_refused: u64,
    /// QoS 2 PUBLISHes of a message that was received already.
    pub publishes_repeated: u64,
    /// Writes that were acknowledged as successful but lost against a newer timestamp.
    pub publishes_superseded: u64,
    /// Acknowledgements from the client that no message waits for: of packet identifiers not in flight, or before their turn.
    pub unknown_acks: u64,
    /// Acknowledgements from the client with a reason code of 0x80 or greater.
    pub deliveries_refused: u64,
    /// Messages sent to the client, those sent again included.
    pub deliveries: u64,
    /// Messages not sent since they are larger than the client's Maximum Packet Size [MQTT-3.1.2-25].
    pub deliveries_too_large: u64,
    /// Filters refused in SUBACK.
    pub filters_refused: u64,
}
