//! One connection's loop: keeps the window full, measures, and goes on at the next address when the connection fails.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use banyan_core::mqtt::Packet;
use banyan_core::mqtt::packet::{Ack, ProtocolVersion};

use crate::client::{Client, ClientError};
use crate::message::Message;
use crate::record::Record;

/// Time between two attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// How often phases and silence are looked at.
const TICK: Duration = Duration::from_millis(100);

/// What all publishers share. They run on one thread.
pub(crate) struct Shared {
    pub(crate) addresses: Vec<String>,
    pub(crate) version: ProtocolVersion,
    pub(crate) message: Message,
    pub(crate) connections: u32,
    pub(crate) topics: u32,
    pub(crate) inflight: u16,
    /// From one message of a connection to the next, if they do not follow as fast as they are acknowledged.
    pub(crate) interval: Option<Duration>,
    /// A connection without an acknowledgement for this long is given up.
    pub(crate) stall_timeout: Duration,
    pub(crate) record: RefCell<Record>,
    /// Messages still to be sent; each publisher takes from it.
    pub(crate) remaining: Cell<u64>,
    /// Whether sending is over.
    pub(crate) stopping: Cell<bool>,
    /// Distinguishes the client identifiers and serial numbers of this run.
    pub(crate) run_id: u32,
}

/// One connection.
pub(crate) struct Publisher {
    shared: Rc<Shared>,
    index: u32,
    /// Number of the address in use.
    address: usize,
    /// Messages sent so far.
    sent: u64,
    /// When the next message is due, if there is an interval.
    due: Instant,
    window: Window,
}

impl Publisher {
    pub(crate) fn new(shared: Rc<Shared>, index: u32) -> Self {
        let address = index as usize % shared.addresses.len();
        // Not all at the same time.
        let first = shared.interval.unwrap_or_default() * index / shared.connections.max(1);
        Self {
            shared,
            index,
            address,
            sent: 0,
            due: Instant::now() + first,
            window: Window::default(),
        }
    }

    /// Publishes until told to stop or nothing remains to be sent, and what is in flight is answered.
    pub(crate) async fn run(mut self) {
        let mut is_first = true;
        while !self.is_done() {
            match self.connect().await {
                Ok(client) => {
                    if !std::mem::take(&mut is_first) {
                        self.shared.record.borrow_mut().reconnects += 1;
                    }
                    match self.publish(client).await {
                        Ok(()) => return,
                        Err(error) => self.failed(&error),
                    }
                }
                Err(error) => self.failed(&error),
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn connect(&self) -> Result<Client, ClientError> {
        let client_id = format!("banyan-bench-{:08x}-{}", self.shared.run_id, self.index);
        Client::connect(&self.shared.addresses[self.address], self.shared.version, &client_id).await
    }

    fn failed(&mut self, error: &ClientError) {
        let mut record = self.shared.record.borrow_mut();
        record.connection_error(&format!("{}: {error}", self.shared.addresses[self.address]));
        self.window.drain().for_each(|sent| record.give_up(sent));
        self.address = (self.address + 1) % self.shared.addresses.len();
    }

    /// Uses one connection until nothing more is to be done, or it fails.
    async fn publish(&mut self, mut client: Client) -> Result<(), ClientError> {
        self.window = Window::new(self.shared.inflight.min(client.receive_maximum));
        let mut tick = tokio::time::interval(TICK);
        let mut last_answer = Instant::now();
        loop {
            self.fill(&mut client);
            if self.window.is_empty() && self.is_done() {
                client.disconnect();
                return Ok(());
            }
            client.flush()?;
            let waits_until_due = self.shared.interval.is_some() && !self.window.is_full();
            tokio::select! {
                biased;
                received = client.wait() => {
                    received?;
                    last_answer = Instant::now();
                    self.take_answers(&mut client, last_answer)?;
                }
                () = tokio::time::sleep_until(self.due.into()), if waits_until_due => {}
                _ = tick.tick() => {
                    if self.window.is_empty() {
                        last_answer = Instant::now();
                    } else if last_answer.elapsed() > self.shared.stall_timeout {
                        return Err(ClientError::Stalled(self.shared.stall_timeout.as_secs()));
                    }
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.shared.stopping.get() || self.shared.remaining.get() == 0
    }

    /// Puts as many messages into flight as the window takes.
    fn fill(&mut self, client: &mut Client) {
        if self.window.is_full() {
            return;
        }
        let now = Instant::now();
        let shared = &self.shared;
        while !shared.stopping.get() && shared.remaining.get() > 0 {
            let due = match shared.interval {
                Some(_) if self.due > now => return,
                Some(_) => self.due,
                None => now,
            };
            let Some(packet_id) = self.window.take(due) else { return };
            self.due += shared.interval.unwrap_or_default();
            // Each connection has topics of its own as long as there are enough.
            let topic = (u64::from(self.index) + self.sent * u64::from(shared.connections)) % u64::from(shared.topics);
            let serial = u64::from(self.index) * 1_000_000_000_000 + self.sent;
            shared.message.write(topic as u32, packet_id, serial, client.unsent());
            self.sent += 1;
            if now >= shared.record.borrow().begin {
                shared.remaining.set(shared.remaining.get() - 1);
            }
        }
    }

    fn take_answers(&mut self, client: &mut Client, now: Instant) -> Result<(), ClientError> {
        let shared = Rc::clone(&self.shared);
        let mut record = shared.record.borrow_mut();
        while let Some(packet) = client.next_packet()? {
            match packet {
                Packet::PubAck(Ack { packet_id, reason, .. }) => {
                    let sent = self.window.give_back(packet_id).ok_or(ClientError::Unexpected)?;
                    if reason.is_failure() {
                        record.refuse(sent, reason.name());
                    } else {
                        record.acknowledge(sent, now, self.address);
                    }
                }
                Packet::Disconnect(disconnect) => return Err(ClientError::Disconnected(disconnect.reason)),
                _ => return Err(ClientError::Unexpected),
            }
        }
        Ok(())
    }
}

impl Drop for Publisher {
    /// What is still in flight when the run ends is not known to be done.
    fn drop(&mut self) {
        let mut record = self.shared.record.borrow_mut();
        self.window.drain().for_each(|sent| record.give_up(sent));
    }
}

/// Packet identifiers 1 to N, and when those in flight were sent.
#[derive(Debug, Default)]
struct Window {
    free: Vec<u16>,
    sent: Vec<Option<Instant>>,
}

impl Window {
    fn new(size: u16) -> Self {
        Self {
            free: (1..=size).rev().collect(),
            sent: vec![None; usize::from(size)],
        }
    }

    fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.sent.len()
    }

    fn take(&mut self, now: Instant) -> Option<u16> {
        let packet_id = self.free.pop()?;
        self.sent[usize::from(packet_id) - 1] = Some(now);
        Some(packet_id)
    }

    /// When it was sent; `None` if it is not in flight.
    fn give_back(&mut self, packet_id: u16) -> Option<Instant> {
        let sent = self.sent.get_mut(usize::from(packet_id).checked_sub(1)?)?.take()?;
        self.free.push(packet_id);
        Some(sent)
    }

    /// Empties the window: when each message in flight was sent.
    fn drain(&mut self) -> impl Iterator<Item = Instant> {
        std::mem::take(self).sent.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_identifiers_come_back_once() {
        let mut window = Window::new(2);
        let now = Instant::now();
        assert_eq!(
            (window.take(now), window.take(now), window.take(now)),
            (Some(1), Some(2), None)
        );
        assert!(window.is_full() && !window.is_empty());
        assert_eq!(window.give_back(2), Some(now));
        assert_eq!(window.give_back(2), None);
        assert_eq!((window.give_back(0), window.give_back(3)), (None, None));
        assert_eq!(window.take(now), Some(2));
        assert_eq!(window.drain().count(), 2);
        assert!(window.is_empty());
    }
}
