//! The topics beneath `$SYS/broker`, under the names that Mosquitto gives them. Each node tells of itself; what sessions and
//! retained messages there are is the cluster's.
//!
//! A value is published when it has changed since the last time. Whoever subscribes gets the values of the last time at once,
//! as retained messages.

use std::time::Duration;

use banyan_core::topic::TopicName;
use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::broker::TrafficCounts;
use crate::service::Service;

/// Loads are averages over so many minutes.
const LOAD_MINUTES: [u8; 3] = [1, 5, 15];

/// Brings the topics up to date each `interval` until `stop`.
pub async fn run(service: Service, interval: Duration, stop: CancellationToken) {
    let mut status = Status::new(&service, interval);
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => status.publish(),
            () = stop.cancelled() => return,
        }
    }
}

struct Status<'a> {
    service: &'a Service,
    interval: Duration,
    start: Instant,
    clients_maximum: usize,
    memory_maximum: u64,
    last: [u64; LOADS.len()],
    /// By load, then by [`LOAD_MINUTES`]: what comes in a minute.
    loads: [[f64; LOAD_MINUTES.len()]; LOADS.len()],
    is_first: bool,
}

/// What loads are told of; the number is that of dropped messages.
type Load = (&'static str, fn(&TrafficCounts, u64) -> u64);

const LOADS: [Load; 8] = [
    ("messages/received", |counts, _| counts.packets_received),
    ("messages/sent", |counts, _| counts.packets_sent),
    ("publish/received", |counts, _| counts.publishes_received),
    ("publish/sent", |counts, _| counts.publishes_sent),
    ("publish/dropped", |_, dropped| dropped),
    ("bytes/received", |counts, _| counts.bytes_received),
    ("bytes/sent", |counts, _| counts.bytes_sent),
    ("connections", |counts, _| counts.connections),
];

impl<'a> Status<'a> {
    fn new(service: &'a Service, interval: Duration) -> Self {
        Self {
            service,
            interval,
            start: Instant::now(),
            clients_maximum: 0,
            memory_maximum: 0,
            last: [0; LOADS.len()],
            loads: [[0.0; LOAD_MINUTES.len()]; LOADS.len()],
            is_first: true,
        }
    }

    fn publish(&mut self) {
        let broker = self.service.broker();
        let counts = broker.traffic().counts();
        let dropped = broker.dropped_count();
        let view = self.service.local_view();
        let connected = broker.client_count();
        self.clients_maximum = self.clients_maximum.max(connected);
        let memory = self.service.memory_bytes().unwrap_or_default();
        self.memory_maximum = self.memory_maximum.max(memory);
        let disconnected = view.session_count().saturating_sub(view.connection_count);
        if self.is_first {
            say(
                self.service,
                "version",
                concat!("banyan version ", env!("CARGO_PKG_VERSION")),
            );
        }
        say(
            self.service,
            "uptime",
            format!("{} seconds", self.start.elapsed().as_secs()),
        );
        for (name, count) in [
            ("clients/connected", connected as u64),
            ("clients/active", connected as u64),
            ("clients/maximum", self.clients_maximum as u64),
            ("clients/disconnected", disconnected as u64),
            ("clients/inactive", disconnected as u64),
            ("clients/total", (connected + disconnected) as u64),
            ("heap/current", memory),
            ("heap/maximum", self.memory_maximum),
            ("subscriptions/count", broker.subscription_count() as u64),
            ("retained messages/count", view.topic_count),
            ("store/messages/count", view.message_count),
            ("store/messages/bytes", view.message_bytes),
            ("messages/stored", view.message_count),
            ("messages/received", counts.packets_received),
            ("messages/sent", counts.packets_sent),
            ("publish/messages/received", counts.publishes_received),
            ("publish/messages/sent", counts.publishes_sent),
            ("publish/messages/dropped", dropped),
            ("bytes/received", counts.bytes_received),
            ("bytes/sent", counts.bytes_sent),
        ] {
            say(self.service, name, count.to_string());
        }
        self.publish_loads(&counts, dropped);
        self.is_first = false;
    }

    fn publish_loads(&mut self, counts: &TrafficCounts, dropped: u64) {
        let of_a_minute = self.interval.as_secs_f64() / 60.0;
        for (((name, count), last), averages) in LOADS.iter().zip(&mut self.last).zip(&mut self.loads) {
            let now = count(counts, dropped);
            let in_a_minute = now.saturating_sub(std::mem::replace(last, now)) as f64 / of_a_minute;
            for (average, minutes) in averages.iter_mut().zip(LOAD_MINUTES) {
                // As the load averages of Unix: what was counts for less as time goes on.
                let keep = (-of_a_minute / f64::from(minutes)).exp();
                *average = in_a_minute + (*average - in_a_minute) * keep;
                let name = format!("load/{name}/{minutes}min");
                say(self.service, &name, format!("{average:.2}"));
            }
        }
    }
}

pub(super) fn say(service: &Service, name: &str, value: impl Into<Bytes>) {
    if let Ok(topic) = TopicName::parse(&format!("$SYS/broker/{name}")) {
        service.broker().publish_status(&topic, value.into());
    }
}
