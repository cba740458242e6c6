//! `banyan-bench write`: starts the connections, tells them when to stop, and collects.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::ProtocolVersion;
use tokio::task::JoinSet;

use crate::message::{Message, TOPICS_MAX};
use crate::publisher::{Publisher, Shared};
use crate::record::Record;
use crate::report::Report;

/// How long answers are waited for after the last message was sent.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Arguments of `banyan-bench write`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// MQTT addresses, as HOST:PORT separated by commas; connections are spread over them.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:1883")]
    pub(crate) addresses: Vec<String>,
    /// Number of topics, below --prefix.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(TOPICS_MAX)))]
    pub(crate) topics: u32,
    /// Number of connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Messages in flight of each connection, or the broker's Receive Maximum if that is less.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) inflight: u16,
    /// Messages a second, of all connections together; latency counts from the moment a message is due. Without it: as fast as
    /// they are acknowledged.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) payload: u32,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds of the same load before.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Send this many messages after the warm-up instead of counting seconds.
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// MQTT version: 5, or 3 for 3.1.1.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=5))]
    pub(crate) version: u8,
    /// First levels of all topics.
    #[arg(long, default_value = "bench")]
    pub(crate) prefix: String,
    /// Seconds without any acknowledgement after which a connection is given up.
    #[arg(long, default_value_t = 15.0)]
    pub(crate) stall: f64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the load. Ctrl-C ends it early, with a report.
pub(crate) async fn run(options: Options) -> Result<Report, String> {
    let seconds = |name: &str, seconds: f64| {
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("--{name} {seconds} is no time span"))
    };
    let (duration, warmup) = (seconds("seconds", options.seconds)?, seconds("warmup", options.warmup)?);
    if options.prefix.is_empty() || options.prefix.contains(['#', '+', '\0']) || options.prefix.len() > 512 {
        return Err(format!(
            "--prefix {:?} is no topic name to put others below",
            options.prefix
        ));
    }
    let is_no_address = |address: &&String| {
        let port = address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .map(|(_, port)| port.parse::<u16>());
        !matches!(port, Some(Ok(_)))
    };
    if let Some(wrong) = options.addresses.iter().find(is_no_address) {
        return Err(format!("--addresses {wrong}: write HOST:PORT"));
    }
    let version = match options.version {
        5 => ProtocolVersion::V5,
        3 | 4 => ProtocolVersion::V3,
        other => return Err(format!("there is no MQTT version {other}")),
    };
    let begin = Instant::now() + warmup;
    let shared = Rc::new(Shared {
        message: Message::new(version, &options.prefix, options.payload as usize),
        addresses: options.addresses.clone(),
        version,
        connections: options.connections,
        topics: options.topics,
        inflight: options.inflight,
        interval: options
            .rate
            .map(|rate| Duration::from_secs(options.connections.into()) / rate),
        stall_timeout: seconds("stall", options.stall)?,
        record: RefCell::new(Record::new(begin, options.addresses.len())),
        remaining: Cell::new(options.count.unwrap_or(u64::MAX)),
        stopping: Cell::new(false),
        run_id: std::process::id(),
    });
    let mut publishers = JoinSet::new();
    for index in 0..options.connections {
        publishers.spawn_local(Publisher::new(Rc::clone(&shared), index).run());
    }

    let time_is_up = async {
        match options.count {
            Some(_) => std::future::pending().await,
            None => tokio::time::sleep_until((begin + duration).into()).await,
        }
    };
    tokio::select! {
        () = time_is_up => {}
        () = all_ended(&mut publishers) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    let end = Instant::now();
    shared.record.borrow_mut().end(end);
    shared.stopping.set(true);
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, all_ended(&mut publishers))
        .await
        .is_ok();
    publishers.shutdown().await;
    let report = Report::new(
        &options,
        &shared.record.borrow(),
        end.saturating_duration_since(begin),
        drained,
    );
    Ok(report)
}

async fn all_ended(publishers: &mut JoinSet<()>) {
    while publishers.join_next().await.is_some() {}
}
