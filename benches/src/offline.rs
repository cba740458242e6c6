//! `banyan-bench offline`: persistent sessions that were away, and how fast they get what they missed.
//!
//! Phases: all sessions subscribe and leave; messages are published; a command may run in between, such as one that kills a
//! node; all sessions come back at once and receive until each has everything.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::packet::{Packet, ProtocolVersion, Publish, QoS};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Client, ClientError, Session, answer};

/// Session Expiry Interval of the sessions, seconds.
const SESSION_EXPIRY_S: u32 = 24 * 3600;
/// Sessions that connect at the same time while they are made.
const CONNECTING_MAX: usize = 128;
/// Time between two attempts of one session to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Arguments of `banyan-bench offline`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// MQTT addresses, as HOST:PORT separated by commas; sessions are spread over them, and go on to the next that answers.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:1883")]
    pub(crate) addresses: Vec<String>,
    /// Number of persistent sessions.
    #[arg(long, default_value_t = 1)]
    sessions: u32,
    /// Messages published while they are away: in all, or to each session with --own.
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// Each session subscribes a topic of its own; otherwise all subscribe everything.
    #[arg(long)]
    own: bool,
    /// Topics over which the messages are spread; not with --own.
    #[arg(long, default_value_t = 1_000)]
    topics: u64,
    /// Publish with RETAIN: states instead of events.
    #[arg(long)]
    retain: bool,
    /// Subscribe with `deliver=latest`: each topic comes once.
    #[arg(long)]
    latest: bool,
    /// Bytes of each payload, at least 16.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// QoS of publishing and subscribing, 1 or 2.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    qos: u8,
    /// Receive Maximum of the sessions.
    #[arg(long, default_value_t = 1_024)]
    receive_maximum: u16,
    /// Runs this with `sh -c` when everything is published and nobody is back.
    #[arg(long)]
    before_resume: Option<String>,
    /// Seconds until the run is given up.
    #[arg(long, default_value_t = 600.0)]
    timeout: f64,
}

/// What a run showed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    sessions: u32,
    messages_published: u64,
    subscribe_s: f64,
    publish_s: f64,
    published_per_s: f64,
    resume_s: f64,
    /// From the first CONNECT to the moment when half of the sessions had everything.
    resume_half_s: f64,
    received: u64,
    received_per_s: f64,
    doubled: u64,
    pub(crate) missing: u64,
    without_session: u64,
}

struct Run {
    options: Options,
    prefix: String,
    expected: u64,
}

/// What one session got.
#[derive(Debug, Default)]
struct Received {
    serials: BTreeSet<u64>,
    doubled: u64,
    without_session: u64,
    complete_at: Option<Instant>,
}

/// Runs all phases.
pub(crate) async fn run(options: Options) -> Result<Report, String> {
    if options.payload < 16 || options.sessions == 0 || options.messages == 0 || options.topics == 0 {
        return Err("--payload of at least 16, and at least one session, message and topic".to_owned());
    }
    let limit = Duration::try_from_secs_f64(options.timeout).map_err(|_| "--timeout is no time span".to_owned())?;
    let expected = match options.latest {
        true if options.own => 1,
        true => options.topics.min(options.messages),
        false => options.messages,
    };
    let prefix = format!("bench-offline/{}", std::process::id());
    let run = Rc::new(Run {
        options,
        prefix,
        expected,
    });
    tokio::time::timeout(limit, phases(run))
        .await
        .map_err(|_| "not done within --timeout".to_owned())?
}

async fn phases(run: Rc<Run>) -> Result<Report, String> {
    let options = &run.options;
    let begun = Instant::now();
    let connecting = Rc::new(Semaphore::new(CONNECTING_MAX));
    let mut sessions = JoinSet::new();
    for index in 0..options.sessions {
        let (run, connecting) = (Rc::clone(&run), Rc::clone(&connecting));
        sessions.spawn_local(async move {
            let _permit = connecting.acquire().await.map_err(|error| error.to_string())?;
            run.subscribe(index)
                .await
                .map_err(|error| format!("session {index}: {error}"))
        });
    }
    while let Some(made) = sessions.join_next().await {
        made.map_err(|error| error.to_string())??;
    }
    let subscribe_s = begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    let published = run.publish().await.map_err(|error| format!("publishing: {error}"))?;
    let publish_s = begun.elapsed().as_secs_f64();

    if let Some(command) = &options.before_resume {
        let status = std::process::Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .status()
            .map_err(|error| format!("--before-resume: {error}"))?;
        if !status.success() {
            return Err(format!("--before-resume: {status}"));
        }
    }

    let begun = Instant::now();
    let mut sessions = JoinSet::new();
    for index in 0..options.sessions {
        let run = Rc::clone(&run);
        sessions.spawn_local(async move { run.resume(index).await });
    }
    let mut all = Vec::new();
    while let Some(received) = sessions.join_next().await {
        all.push(received.map_err(|error| error.to_string())?);
    }
    let resume_s = begun.elapsed().as_secs_f64();
    let mut complete: Vec<f64> = all
        .iter()
        .filter_map(|received| Some((received.complete_at? - begun).as_secs_f64()))
        .collect();
    complete.sort_by(f64::total_cmp);
    let count: u64 = all.iter().map(|received| received.serials.len() as u64).sum();
    Ok(Report {
        sessions: options.sessions,
        messages_published: published,
        subscribe_s,
        publish_s,
        published_per_s: published as f64 / publish_s,
        resume_s,
        resume_half_s: complete.get(complete.len() / 2).copied().unwrap_or(resume_s),
        received: count,
        received_per_s: count as f64 / resume_s,
        doubled: all.iter().map(|received| received.doubled).sum(),
        missing: run.expected * u64::from(options.sessions) - count,
        without_session: all.iter().map(|received| received.without_session).sum(),
    })
}

impl Run {
    fn qos(&self) -> QoS {
        match self.options.qos {
            2 => QoS::ExactlyOnce,
            _ => QoS::AtLeastOnce,
        }
    }

    async fn connect(&self, index: u32, attempt: usize, clean_start: bool) -> Result<Client, ClientError> {
        let addresses = &self.options.addresses;
        let session = Session {
            clean_start,
            expiry_s: Some(SESSION_EXPIRY_S),
            receive_maximum: Some(self.options.receive_maximum),
        };
        let client_id = format!("{}-{index}", self.prefix.replace('/', "-"));
        let address = &addresses[(index as usize + attempt) % addresses.len()];
        Client::connect_session(address, ProtocolVersion::V5, &client_id, session).await
    }

    async fn subscribe(&self, index: u32) -> Result<(), ClientError> {
        let mut client = self.connect(index, 0, true).await?;
        let filter = match self.options.own {
            true => format!("{}/{index}", self.prefix),
            false => format!("{}/#", self.prefix),
        };
        let property = (Bytes::from_static(b"deliver"), Bytes::from_static(b"latest"));
        let properties = self.options.latest.then_some(property).into_iter().collect();
        client.subscribe(&filter, self.qos(), properties).await?;
        client.disconnect();
        Ok(())
    }

    /// Publishes everything over one connection; how many messages that were.
    async fn publish(&self) -> Result<u64, ClientError> {
        let options = &self.options;
        let topics = if options.own {
            u64::from(options.sessions)
        } else {
            options.topics
        };
        let total = if options.own {
            options.messages * topics
        } else {
            options.messages
        };
        let client_id = format!("{}-publisher", self.prefix.replace('/', "-"));
        let mut client = Client::connect(&options.addresses[0], ProtocolVersion::V5, &client_id).await?;
        let window = u64::from(client.receive_maximum.min(1_000));
        let (mut sent, mut done) = (0, 0);
        while done < total {
            while sent < total && sent - done < window {
                client.send(&Packet::Publish(Box::new(Publish {
                    dup: false,
                    qos: self.qos(),
                    retain: options.retain,
                    topic: Bytes::from(format!("{}/{}", self.prefix, sent % topics)),
                    packet_id: Some((sent % 65_535) as u16 + 1),
                    message_expiry_s: None,
                    topic_alias: None,
                    subscription_ids: Vec::new(),
                    metadata: Metadata::empty(),
                    payload: Bytes::from(format!("{sent:0width$}", width = options.payload)),
                })));
                sent += 1;
            }
            client.flush()?;
            client.wait().await?;
            while let Some(packet) = client.next_packet()? {
                match packet {
                    Packet::PubAck(_) | Packet::PubComp(_) => done += 1,
                    Packet::PubRec(ack) => client.send(&Packet::PubRel(answer(ack.packet_id))),
                    Packet::Disconnect(disconnect) => return Err(ClientError::Disconnected(disconnect.reason)),
                    _ => return Err(ClientError::Unexpected),
                }
            }
        }
        client.disconnect();
        Ok(total)
    }

    /// Comes back, at whatever node, as often as it takes, until everything has come.
    async fn resume(&self, index: u32) -> Received {
        let mut received = Received::default();
        let mut attempt = 0;
        while (received.serials.len() as u64) < self.expected {
            match self.connect(index, attempt, false).await {
                Ok(client) => {
                    received.without_session += u64::from(!client.session_present);
                    // However the connection ends, the session goes on at another node.
                    let _ended = self.receive(client, &mut received).await;
                }
                Err(_) => tokio::time::sleep(RECONNECT_PAUSE).await,
            }
            attempt += 1;
        }
        received
    }

    async fn receive(&self, mut client: Client, received: &mut Received) -> Result<(), ClientError> {
        // Packet identifiers of QoS 2 need no table: serial numbers tell doubles.
        while (received.serials.len() as u64) < self.expected {
            client.wait().await?;
            while let Some(packet) = client.next_packet()? {
                match packet {
                    Packet::Publish(publish) => {
                        let serial = std::str::from_utf8(&publish.payload)
                            .ok()
                            .and_then(|text| text.parse().ok());
                        if let Some(serial) = serial
                            && !received.serials.insert(serial)
                        {
                            received.doubled += 1;
                        }
                        match (publish.qos, publish.packet_id) {
                            (QoS::AtLeastOnce, Some(id)) => client.send(&Packet::PubAck(answer(id))),
                            (QoS::ExactlyOnce, Some(id)) => client.send(&Packet::PubRec(answer(id))),
                            _ => {}
                        }
                    }
                    Packet::PubRel(ack) => client.send(&Packet::PubComp(answer(ack.packet_id))),
                    Packet::Disconnect(disconnect) => return Err(ClientError::Disconnected(disconnect.reason)),
                    _ => {}
                }
            }
            client.flush()?;
        }
        received.complete_at = Some(Instant::now());
        client.disconnect();
        Ok(())
    }
}
