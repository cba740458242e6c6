//! QoS 1 messages on their way to the client: which packet identifiers are taken, and whether there is room for more.

use std::collections::BTreeSet;

/// The send quota and the packet identifiers of §4.9 and §2.2.1.
#[derive(Debug)]
pub(super) struct Inflight {
    packet_ids: BTreeSet<u16>,
    /// Send quota: Receive Maximum of the client or our own bound, 1 to 65,535 [MQTT-4.9.0-1].
    count_max: u16,
    /// Last packet identifier given.
    last_packet_id: u16,
}

impl Inflight {
    /// Room for `count_max` messages; 0 counts as 1.
    pub(super) fn new(count_max: u16) -> Self {
        Self {
            packet_ids: BTreeSet::new(),
            count_max: count_max.max(1),
            last_packet_id: 0,
        }
    }

    /// Whether one more may be sent [MQTT-3.3.4-9], [MQTT-4.9.0-2].
    pub(super) fn has_room(&self) -> bool {
        self.packet_ids.len() < usize::from(self.count_max)
    }

    /// The packet identifier that [`Self::take`] will take: ascending, from 65,535 on to 1, skipping those in flight
    /// [MQTT-2.2.1-4]. `None` without room.
    pub(super) fn next_packet_id(&self) -> Option<u16> {
        if !self.has_room() {
            return None;
        }
        let next = self.last_packet_id.checked_add(1).unwrap_or(1);
        (next..=u16::MAX)
            .chain(1..next)
            .find(|packet_id| !self.packet_ids.contains(packet_id))
    }

    /// Sends a message under this packet identifier.
    pub(super) fn take(&mut self, packet_id: u16) {
        self.last_packet_id = packet_id;
        self.packet_ids.insert(packet_id);
    }

    /// The client acknowledged. False if nothing is in flight under this packet identifier.
    pub(super) fn release(&mut self, packet_id: u16) -> bool {
        self.packet_ids.remove(&packet_id)
    }

    /// Messages in flight.
    pub(super) fn len(&self) -> usize {
        self.packet_ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(inflight: &mut Inflight) -> Option<u16> {
        let packet_id = inflight.next_packet_id()?;
        inflight.take(packet_id);
        Some(packet_id)
    }

    /// [MQTT-3.3.4-9]: no more than Receive Maximum.
    #[test]
    fn never_more_than_the_window() {
        let mut inflight = Inflight::new(2);
        assert_eq!(take(&mut inflight), Some(1));
        assert_eq!(take(&mut inflight), Some(2));
        assert_eq!(take(&mut inflight), None);
        assert!(inflight.release(1));
        assert!(!inflight.release(1));
        assert_eq!(take(&mut inflight), Some(3));
        assert_eq!(inflight.len(), 2);
    }

    /// [MQTT-2.2.1-4]: never 0, never one in flight, also past 65,535.
    #[test]
    fn identifiers_wrap_and_skip() {
        let mut inflight = Inflight::new(3);
        assert_eq!(take(&mut inflight), Some(1));
        for expected in 2..=u16::MAX {
            assert_eq!(take(&mut inflight), Some(expected));
            assert!(inflight.release(expected));
        }
        assert_eq!(take(&mut inflight), Some(2));
        assert_eq!(take(&mut inflight), Some(3));
        assert_eq!(take(&mut inflight), None);
    }

    #[test]
    fn all_identifiers_can_be_in_flight() {
        let mut inflight = Inflight::new(u16::MAX);
        for _ in 0..u16::MAX {
            assert!(take(&mut inflight).is_some());
        }
        assert_eq!(take(&mut inflight), None);
        assert!(inflight.release(40_000));
        assert_eq!(take(&mut inflight), Some(40_000));
    }
}
