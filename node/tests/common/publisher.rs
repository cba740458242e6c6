//! Many QoS 1 publishes in flight on one connection.

use std::collections::VecDeque;
use std::time::Duration;

use banyan_core::mqtt::packet::{Ack, Packet, Publish};

use super::client::{Client, ClientError};

/// A connection that publishes without waiting for each PUBACK. `T` is what the test knows each message by.
///
/// It also checks what every server must keep: PUBACKs come in the order of the PUBLISHes [MQTT-4.6.0-2], and for nothing
/// that was not sent.
#[derive(Debug)]
pub struct Publisher<T> {
    client: Client,
    window: usize,
    in_flight: VecDeque<(u16, T)>,
}

impl<T> Publisher<T> {
    /// At most `window` messages are unacknowledged at any time; the node's Receive Maximum may make it fewer.
    pub fn new(client: Client, window: usize) -> Self {
        let granted = client
            .connack()
            .receive_maximum
            .map_or(usize::from(u16::MAX), usize::from);
        Self {
            client,
            window: window.min(granted),
            in_flight: VecDeque::new(),
        }
    }

    /// Whether another message may be sent now.
    pub fn has_room(&self) -> bool {
        self.in_flight.len() < self.window
    }

    /// Messages sent and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Queues a message; it leaves with the next [`acknowledged`](Self::acknowledged).
    ///
    /// # Panics
    /// If there is no room.
    pub fn publish(&mut self, mut publish: Publish, tag: T) {
        assert!(self.has_room(), "the window is full");
        let packet_id = self.client.next_packet_id();
        publish.packet_id = Some(packet_id);
        self.client.queue(&Packet::Publish(Box::new(publish)));
        self.in_flight.push_back((packet_id, tag));
    }

    /// Sends what is queued, waits up to `timeout` for the first PUBACK, and gives all that are here then, oldest first.
    ///
    /// # Errors
    /// As [`Client::receive`], and [`ClientError::Disconnected`]. PUBACKs that came before it are given first.
    pub fn acknowledged(&mut self, timeout: Duration) -> Result<Vec<(T, Ack)>, ClientError> {
        self.client.flush()?;
        let mut acknowledged = Vec::new();
        let mut packet = Some(self.client.receive(timeout)?);
        loop {
            match packet {
                Some(Packet::PubAck(ack)) => {
                    let (packet_id, tag) = self.in_flight.pop_front().expect("PUBACK for nothing");
                    assert_eq!(ack.packet_id, packet_id, "PUBACK out of order");
                    acknowledged.push((tag, ack));
                }
                Some(Packet::Disconnect(disconnect)) => {
                    let error = ClientError::Disconnected(Box::new(disconnect.clone()));
                    if acknowledged.is_empty() {
                        return Err(error);
                    }
                    self.client.put_back(Packet::Disconnect(disconnect));
                    return Ok(acknowledged);
                }
                Some(other) => panic!("a publisher received {other:?}"),
                None => return Ok(acknowledged),
            }
            packet = self.client.receive_buffered()?;
        }
    }

    /// What was sent and never acknowledged, oldest first: nobody knows what became of it.
    pub fn into_unacknowledged(self) -> impl Iterator<Item = T> {
        self.in_flight.into_iter().map(|(_, tag)| tag)
    }
}
