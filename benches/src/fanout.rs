//! `banyan-bench fanout`: few publish, many subscribe to all of it.
//!
//! A message is in flight until every subscriber has it, and at QoS 1 the publisher its PUBACK. So the window holds at QoS 0
//! too, where nothing is acknowledged, and the rate follows the broker. What does not come within `--patience` is dropped.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::packet::{Packet, ProtocolVersion, Publish, QoS};
use bytes::{BufMut, Bytes, BytesMut};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::client::{Client, ClientError, answer};
use crate::report::{Latency, rounded};

/// Longest latency that is told apart, µs.
const LATENCY_US_MAX: u64 = 60 * 1_000_000;
/// Bytes of each payload that say whose message it is and which.
const STAMP_BYTES: usize = 16;

/// Arguments of `banyan-bench fanout`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// MQTT addresses, as HOST:PORT separated by commas; publishers and subscribers are spread over them.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:1883")]
    addresses: Vec<String>,
    /// Number of publishers, each with a topic of its own.
    #[arg(long, default_value_t = 4)]
    publishers: u32,
    /// Number of subscribers.
    #[arg(long, default_value_t = 16)]
    subscribers: u32,
    /// What they subscribe to; it must match `bench-fanout/...`.
    #[arg(long, default_value = "#")]
    filter: String,
    /// Messages in flight of each publisher.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    inflight: u16,
    /// QoS of publishing and subscribing, 0 or 1.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Bytes of each payload, at least 16.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds of the same load before.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Seconds after which a delivery that has not come is counted as dropped.
    #[arg(long, default_value_t = 2.0)]
    patience: f64,
}

/// What a run showed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    publishers: u32,
    subscribers: u32,
    qos: u8,
    seconds: f64,
    published: u64,
    published_per_s: f64,
    pub(crate) delivered: u64,
    delivered_per_s: f64,
    /// Deliveries that did not come in time.
    dropped: u64,
    doubled: u64,
    /// From PUBLISH to each delivery.
    latency_us: Latency,
    errors: BTreeMap<String, u64>,
}

/// A message on its way.
struct Flight {
    sent_at: Instant,
    /// Who has not had it; the publisher, if it waits for PUBACK, is one of them.
    missing: Vec<bool>,
    left: usize,
}

/// The messages of one publisher that are on their way.
struct Window {
    flights: VecDeque<Flight>,
    /// Serial number of the first of them.
    first: u64,
    moved: Rc<Notify>,
}

impl Window {
    /// Takes note that `who` has the message `serial`; returns when it was sent, unless `who` had it before.
    fn arrived(&mut self, serial: u64, who: usize) -> Option<Instant> {
        let at = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        let flight = self.flights.get_mut(at)?;
        if !std::mem::take(flight.missing.get_mut(who)?) {
            return None;
        }
        flight.left -= 1;
        let sent_at = flight.sent_at;
        if flight.left == 0 {
            self.retire(|flight| flight.left == 0);
        }
        Some(sent_at)
    }

    /// Lets go of the oldest messages as long as `is_over`; returns how many deliveries were missing.
    fn retire(&mut self, is_over: impl Fn(&Flight) -> bool) -> u64 {
        let mut missing = 0;
        while let Some(flight) = self.flights.pop_front_if(|flight| is_over(flight)) {
            self.first += 1;
            missing += flight.left as u64;
            self.moved.notify_one();
        }
        missing
    }
}

struct Run {
    options: Options,
    begin: Instant,
    end: Instant,
    patience: Duration,
    windows: Vec<RefCell<Window>>,
    record: RefCell<Record>,
}

struct Record {
    latency_us: Histogram<u64>,
    published: u64,
    delivered: u64,
    dropped: u64,
    doubled: u64,
    errors: BTreeMap<String, u64>,
}

/// Runs the load.
pub(crate) async fn run(options: Options) -> Result<Report, String> {
    let span = |name: &str, seconds: f64| {
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("--{name} {seconds} is no time span"))
    };
    let (measured, warmup) = (span("seconds", options.seconds)?, span("warmup", options.warmup)?);
    let patience = span("patience", options.patience)?;
    if options.payload < STAMP_BYTES || options.publishers == 0 || options.subscribers == 0 {
        return Err("--payload of at least 16, and at least one publisher and subscriber".to_owned());
    }
    let mut subscribers = Vec::new();
    for index in 0..options.subscribers {
        let mut client = connect(&options, "subscriber", index).await?;
        let subscribed = client.subscribe(&options.filter, qos(&options), Vec::new()).await;
        subscribed.map_err(|error| format!("SUBSCRIBE: {error}"))?;
        subscribers.push(client);
    }
    let mut publishers = Vec::new();
    for index in 0..options.publishers {
        publishers.push(connect(&options, "publisher", index).await?);
    }
    let begin = Instant::now() + warmup;
    let window = |_| {
        RefCell::new(Window {
            flights: VecDeque::new(),
            first: 0,
            moved: Rc::default(),
        })
    };
    let run = Rc::new(Run {
        begin,
        end: begin + measured,
        patience,
        windows: (0..options.publishers).map(window).collect(),
        record: RefCell::new(Record {
            latency_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constants"),
            published: 0,
            delivered: 0,
            dropped: 0,
            doubled: 0,
            errors: BTreeMap::new(),
        }),
        options,
    });
    let mut tasks = JoinSet::new();
    for (index, client) in subscribers.into_iter().enumerate() {
        let run = Rc::clone(&run);
        tasks.spawn_local(async move { run.subscriber(client, index).await.err() });
    }
    for (index, client) in publishers.into_iter().enumerate() {
        let run = Rc::clone(&run);
        tasks.spawn_local(async move { run.publisher(client, index).await.err() });
    }
    let ended = async {
        while let Some(error) = tasks.join_next().await {
            if let Ok(Some(error)) = error {
                *run.record.borrow_mut().errors.entry(error.to_string()).or_default() += 1;
            }
        }
    };
    // All end by themselves, unless their broker is stuck.
    let _stuck = tokio::time::timeout_at((run.end + patience + patience).into(), ended).await;
    Ok(run.report())
}

fn qos(options: &Options) -> QoS {
    match options.qos {
        0 => QoS::AtMostOnce,
        _ => QoS::AtLeastOnce,
    }
}

async fn connect(options: &Options, role: &str, index: u32) -> Result<Client, String> {
    let address = &options.addresses[index as usize % options.addresses.len()];
    let client_id = format!("fanout-{}-{role}-{index}", std::process::id());
    let client = Client::connect(address, ProtocolVersion::V5, &client_id).await;
    client.map_err(|error| format!("{address}: {error}"))
}

impl Run {
    async fn publisher(&self, mut client: Client, index: usize) -> Result<(), ClientError> {
        let options = &self.options;
        let moved = Rc::clone(&self.windows[index].borrow().moved);
        let qos = qos(options);
        let in_flight_max = usize::from(options.inflight.min(client.receive_maximum));
        let topic = Bytes::from(format!("bench-fanout/{}/{index}", std::process::id()));
        // The publisher itself is the last of those who wait.
        let waiting = options.subscribers as usize + usize::from(qos > QoS::AtMostOnce);
        let mut serial: u64 = 0;
        loop {
            let now = Instant::now();
            if now >= self.end + self.patience {
                return Ok(());
            }
            {
                let mut window = self.windows[index].borrow_mut();
                let missing = window.retire(|flight| now.duration_since(flight.sent_at) > self.patience);
                if now >= self.begin {
                    self.record.borrow_mut().dropped += missing;
                }
                if now >= self.end && window.flights.is_empty() {
                    client.disconnect();
                    return Ok(());
                }
                while now < self.end && window.flights.len() < in_flight_max {
                    let mut payload = BytesMut::zeroed(options.payload);
                    let mut stamp = &mut payload[..STAMP_BYTES];
                    stamp.put_u64(index as u64);
                    stamp.put_u64(serial);
                    client.send(&Packet::Publish(Box::new(Publish {
                        dup: false,
                        qos,
                        retain: false,
                        topic: topic.clone(),
                        packet_id: (qos > QoS::AtMostOnce).then_some((serial % 65_535) as u16 + 1),
                        message_expiry_s: None,
                        topic_alias: None,
                        subscription_ids: Vec::new(),
                        metadata: Metadata::empty(),
                        payload: payload.freeze(),
                    })));
                    window.flights.push_back(Flight {
                        sent_at: Instant::now(),
                        missing: vec![true; waiting],
                        left: waiting,
                    });
                    serial += 1;
                    self.record.borrow_mut().published += u64::from(now >= self.begin);
                }
            }
            client.flush()?;
            let patience = tokio::time::sleep(self.patience / 4);
            tokio::select! {
                waited = client.wait() => waited?,
                () = moved.notified() => {}
                () = patience => {}
            }
            while let Some(packet) = client.next_packet()? {
                match packet {
                    Packet::PubAck(ack) => {
                        let mut window = self.windows[index].borrow_mut();
                        // Of the messages in flight, the one with this identifier.
                        let behind = u64::from(ack.packet_id - 1);
                        let acknowledged = (window.first..serial).find(|serial| serial % 65_535 == behind);
                        if let Some(serial) = acknowledged {
                            window.arrived(serial, waiting - 1);
                        }
                    }
                    Packet::Disconnect(disconnect) => return Err(ClientError::Disconnected(disconnect.reason)),
                    _ => return Err(ClientError::Unexpected),
                }
            }
        }
    }

    async fn subscriber(&self, mut client: Client, index: usize) -> Result<(), ClientError> {
        loop {
            let waited = tokio::time::timeout_at((self.end + self.patience).into(), client.wait());
            let Ok(waited) = waited.await else {
                client.disconnect();
                return Ok(());
            };
            waited?;
            while let Some(packet) = client.next_packet()? {
                match packet {
                    Packet::Publish(publish) => {
                        self.received(&publish, index);
                        if let Some(packet_id) = publish.packet_id {
                            client.send(&Packet::PubAck(answer(packet_id)));
                        }
                    }
                    Packet::Disconnect(disconnect) => return Err(ClientError::Disconnected(disconnect.reason)),
                    _ => return Err(ClientError::Unexpected),
                }
            }
            client.flush()?;
        }
    }

    fn received(&self, publish: &Publish, index: usize) {
        if !publish.topic.starts_with(b"bench-fanout/") || publish.payload.len() != self.options.payload {
            return;
        }
        let number = |at: usize| u64::from_be_bytes(publish.payload[at..at + 8].try_into().unwrap_or_default());
        let Some(window) = usize::try_from(number(0)).ok().and_then(|from| self.windows.get(from)) else {
            return;
        };
        let now = Instant::now();
        let sent_at = window.borrow_mut().arrived(number(8), index);
        if now < self.begin || now >= self.end {
            return;
        }
        let mut record = self.record.borrow_mut();
        match sent_at {
            Some(sent_at) => {
                record.delivered += 1;
                let us = u64::try_from((now - sent_at).as_micros()).unwrap_or(u64::MAX);
                record.latency_us.saturating_record(us);
            }
            None => record.doubled += 1,
        }
    }

    fn report(&self) -> Report {
        let record = self.record.borrow();
        let seconds = (self.end - self.begin).as_secs_f64();
        Report {
            publishers: self.options.publishers,
            subscribers: self.options.subscribers,
            qos: self.options.qos,
            seconds,
            published: record.published,
            published_per_s: rounded(record.published as f64 / seconds),
            delivered: record.delivered,
            delivered_per_s: rounded(record.delivered as f64 / seconds),
            dropped: record.dropped,
            doubled: record.doubled,
            latency_us: Latency::of(&record.latency_us),
            errors: record.errors.clone(),
        }
    }
}
