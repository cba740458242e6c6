//! The two clocks of a connection: time to finish CONNECT, and keep alive.

/// What has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elapsed {
    /// No CONNECT came in time.
    Connect,
    /// No control packet came for 1.5 times the Keep Alive [MQTT-3.1.2-22].
    KeepAlive,
}

/// Deadlines in milliseconds of the driver's monotonic clock.
#[derive(Debug)]
pub(super) struct Timers {
    /// When CONNECT must have come; `None` once it has.
    connect_deadline_ms: Option<u64>,
    /// 1.5 times the Keep Alive; `None` before CONNACK and if it is off.
    keep_alive_ms: Option<u64>,
    /// When the last control packet came.
    last_packet_ms: u64,
    /// The connection has not been reading, so that silence says nothing about the client.
    stalled: bool,
}

impl Timers {
    pub(super) fn new(now_ms: u64, connect_timeout_ms: u64) -> Self {
        Self {
            connect_deadline_ms: Some(now_ms.saturating_add(connect_timeout_ms)),
            keep_alive_ms: None,
            last_packet_ms: now_ms,
            stalled: false,
        }
    }

    /// A whole control packet came. The bytes of an unfinished one do not count: the standard speaks of packets.
    pub(super) fn packet_received(&mut self, now_ms: u64) {
        self.last_packet_ms = now_ms;
        self.stalled = false;
    }

    /// CONNECT came: it is the cluster that takes time now, not the client.
    pub(super) fn connect_received(&mut self) {
        self.connect_deadline_ms = None;
    }

    /// CONNACK leaves: keep alive begins, unless it is 0.
    pub(super) fn connected(&mut self, keep_alive_s: u16, now_ms: u64) {
        self.last_packet_ms = now_ms;
        self.stalled = false; // it was, while the client was registered
        self.keep_alive_ms = (keep_alive_s > 0).then(|| u64::from(keep_alive_s) * 1_500);
    }

    /// The connection does not read at present: the clock starts anew once it does.
    pub(super) fn stall(&mut self) {
        self.stalled = true;
    }

    /// When [`Self::elapsed`] may next say something.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.connect_deadline_ms.or_else(|| {
            self.keep_alive_ms
                .map(|period_ms| self.last_packet_ms.saturating_add(period_ms))
        })
    }

    /// What has run out at `now_ms`. `reading` tells whether the connection reads again, if it had stalled.
    pub(super) fn elapsed(&mut self, now_ms: u64, reading: bool) -> Option<Elapsed> {
        if self
            .connect_deadline_ms
            .is_some_and(|deadline_ms| now_ms >= deadline_ms)
        {
            return Some(Elapsed::Connect);
        }
        if self.stalled || !reading {
            self.last_packet_ms = self.last_packet_ms.max(now_ms);
            self.stalled = !reading;
            return None;
        }
        let keep_alive_ms = self.keep_alive_ms?;
        (now_ms.saturating_sub(self.last_packet_ms) >= keep_alive_ms).then_some(Elapsed::KeepAlive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-3.1.2-22]: one and a half times the Keep Alive, counted from the last packet.
    /// Shows 3.1.1 [MQTT-3.1.2-24].
    #[test]
    fn keep_alive_is_one_and_a_half_times() {
        let mut timers = Timers::new(0, 5_000);
        timers.connect_received();
        timers.connected(10, 1_000);
        assert_eq!(timers.deadline_ms(), Some(16_000));
        assert_eq!(timers.elapsed(15_999, true), None);
        timers.packet_received(2_000);
        assert_eq!(timers.elapsed(16_999, true), None);
        assert_eq!(timers.elapsed(17_000, true), Some(Elapsed::KeepAlive));
    }

    /// Between CONNECT and CONNACK nothing is read; that is over with CONNACK.
    #[test]
    fn keep_alive_begins_with_connack() {
        let mut timers = Timers::new(0, 5_000);
        timers.connect_received();
        timers.stall();
        timers.connected(10, 1_000);
        assert_eq!(timers.elapsed(16_000, true), Some(Elapsed::KeepAlive));
    }

    #[test]
    fn keep_alive_0_is_off() {
        let mut timers = Timers::new(0, 5_000);
        timers.connect_received();
        timers.connected(0, 0);
        assert_eq!(timers.deadline_ms(), None);
        assert_eq!(timers.elapsed(u64::MAX, true), None);
    }

    #[test]
    fn connect_timeout() {
        let mut timers = Timers::new(100, 5_000);
        assert_eq!(timers.deadline_ms(), Some(5_100));
        assert_eq!(timers.elapsed(5_099, true), None);
        assert_eq!(timers.elapsed(5_100, true), Some(Elapsed::Connect));
    }

    /// Silence while the connection itself does not read is not the client's.
    #[test]
    fn a_stall_stops_the_clock() {
        let mut timers = Timers::new(0, 5_000);
        timers.connect_received();
        timers.connected(10, 0);
        timers.stall();
        assert_eq!(timers.elapsed(60_000, false), None);
        assert_eq!(timers.deadline_ms(), Some(75_000));
        assert_eq!(timers.elapsed(80_000, true), None);
        assert_eq!(timers.elapsed(95_000, true), Some(Elapsed::KeepAlive));
    }
}
