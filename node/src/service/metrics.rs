//! Everything below the transports that there is to measure, gathered when somebody scrapes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Consistency, Service};
use crate::alarms::AlarmKind;
use crate::consensus::observe::Observation;
use crate::metrics::families::Unit;
use crate::metrics::{Families, Gauge, Histogram, process};
use crate::origin::measure::{Asker, Became};

/// Open connections of clients, by how they came in.
#[derive(Debug, Clone, Default)]
pub struct ConnectionGauges {
    /// MQTT over TCP.
    pub mqtt: Gauge,
    /// MQTT over TLS.
    pub mqtts: Gauge,
    /// HTTP, those included that have become a WebSocket.
    pub http: Gauge,
    /// HTTP over TLS, those included that have become a WebSocket.
    pub https: Gauge,
    /// MQTT over WebSocket.
    pub websocket: Gauge,
}

/// How long readers waited until the state was as fresh as they asked for.
#[derive(Debug, Default)]
pub(super) struct ReadCounts {
    times: [Histogram; READS.len()],
    failed: AtomicU64,
}

const READS: [&str; 3] = ["linearizable", "local", "at_least"];

impl ReadCounts {
    pub(super) fn record(&self, consistency: Consistency, took: Duration, is_served: bool) {
        if !is_served {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let at = match consistency {
            Consistency::Linearizable => 0,
            Consistency::Local => 1,
            Consistency::AtLeast(_) => 2,
        };
        self.times[at].record(took);
    }
}

impl Service {
    /// Adds what there is to tell of this node, but for its transports. Takes the locks of log, state and index for a moment, and
    /// reads files.
    pub fn gather(&self, families: &mut Families) {
        families.info(
            "banyan_build",
            "The program.",
            &[("version", env!("CARGO_PKG_VERSION"))],
        );
        self.gather_cluster(families);
        let seen = self.0.replica.observe();
        gather_raft(self.node_id(), &seen, families);
        self.gather_replica(families);
        gather_log(&seen, families);
        self.gather_writes(families);
        self.gather_reads(families);
        self.gather_state(families);
        self.gather_sessions(families);
        self.gather_mqtt(families);
        let bytes = Unit::Bytes;
        let help = "Changes that no checkpoint holds yet, in memory.";
        families.gauge_of("banyan_state_layer", bytes, help, &[], seen.layer_bytes as f64);
        let help = "Recent changes that are kept in memory until they are handed to subscribers.";
        families.gauge_of("banyan_change_ring", bytes, help, &[], seen.ring_bytes as f64);
        process::gather(families, &self.0.settings.data_dir);
    }

    fn gather_cluster(&self, families: &mut Families) {
        let cluster = format!("{:016x}", self.0.settings.identity.cluster_id);
        families.info(
            "banyan_node",
            "This node and its cluster.",
            &[("node", &self.node_id().to_string()), ("cluster", &cluster)],
        );
        families.gauge(
            "banyan_ready",
            "1 if the node can serve writes and linearizable reads: it is in touch with a quorum and keeps up.",
            u64::from(self.is_ready().is_ok()),
        );
        let raised = self.alarms().own();
        for kind in AlarmKind::ALL {
            let is_raised = raised.iter().any(|alarm| alarm.kind == kind);
            families.gauge_of(
                "banyan_alarm",
                Unit::None,
                "1 while this node has raised such an alarm, about itself or another member.",
                &[("alarm", kind.name())],
                f64::from(u8::from(is_raised)),
            );
        }
        if let Some(staleness) = self.staleness() {
            families.gauge_of(
                "banyan_staleness",
                Unit::Seconds,
                "How old the state of this node may be.",
                &[],
                staleness.as_secs_f64(),
            );
        }
    }

    fn gather_replica(&self, families: &mut Families) {
        let counts = self.0.replica.counts();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        families.counter(
            "banyan_raft_elections",
            "Elections, those that failed included: by how much the term rose.",
            count(&counts.elections),
        );
        families.counter(
            "banyan_raft_leader_changes",
            "How often another node led than before.",
            count(&counts.leader_changes),
        );
        families.counter(
            "banyan_raft_snapshots_sent",
            "Snapshots that this node has sent to followers that had fallen behind the log.",
            count(&counts.snapshots_sent),
        );
        families.counter(
            "banyan_raft_snapshots_installed",
            "Snapshots that have replaced the state of this node.",
            count(&counts.snapshots_installed),
        );
        families.histogram(
            "banyan_raft_read_index",
            "Time until a reader knew how far the log is committed.",
            &[],
            counts.read_index.read(),
        );
        families.histogram(
            "banyan_apply",
            "Time to apply a log entry to the state; an entry holds many commands.",
            &[],
            counts.apply.read(),
        );
        families.histogram(
            "banyan_checkpoint",
            "Time to write a checkpoint.",
            &[],
            counts.checkpoint.read(),
        );
    }

    fn gather_writes(&self, families: &mut Families) {
        let counts = self.0.origin.counts();
        for asker in Asker::ALL {
            families.histogram(
                "banyan_write",
                "Time from the receipt of a command to its answer, of those that clients write and of those that sessions need.",
                &[("service", asker.name())],
                counts.times(asker).read(),
            );
        }
        for asker in Asker::ALL {
            for became in Became::ALL {
                families.counter_of(
                    "banyan_writes",
                    Unit::None,
                    "Commands answered, by what became of them.",
                    &[("service", asker.name()), ("outcome", became.name())],
                    counts.count(asker, became) as f64,
                );
            }
        }
        families.counter(
            "banyan_write_batches",
            "Batches of commands of this node that were applied.",
            counts.batches(),
        );
        families.gauge(
            "banyan_proposals_in_flight",
            "Commands of this node that wait for their answer.",
            counts.waiting(),
        );
    }

    fn gather_reads(&self, families: &mut Families) {
        let reads = &self.0.reads;
        for (name, times) in READS.iter().zip(&reads.times) {
            families.histogram(
                "banyan_read",
                "Time until the state was as fresh as a reader asked for.",
                &[("consistency", name)],
                times.read(),
            );
        }
        families.counter(
            "banyan_read_failures",
            "Reads that could not be served: no quorum, or this node lags.",
            reads.failed.load(Ordering::Relaxed),
        );
    }

    fn gather_state(&self, families: &mut Families) {
        let view = self.local_view();
        families.gauge("banyan_revision", "Revision of the keyspace.", view.revision);
        families.gauge("banyan_topics", "Topics that hold a value.", view.topic_count);
        families.gauge(
            "banyan_tombstones",
            "Deletions that are remembered.",
            view.tombstone_count,
        );
        families.gauge(
            "banyan_sessions",
            "Sessions of the cluster, connected or not.",
            view.session_count() as u64,
        );
        families.gauge(
            "banyan_messages_kept",
            "Messages that are kept for sessions that have not had them.",
            view.message_count,
        );
        families.gauge_of(
            "banyan_messages_kept",
            Unit::Bytes,
            "Messages that are kept for sessions that have not had them.",
            &[],
            view.message_bytes as f64,
        );
        families.gauge(
            "banyan_dispatch_lag_revisions",
            "Revisions that are applied here and not yet handed to subscribers.",
            view.revision.saturating_sub(self.0.broker.dispatched_revision()),
        );
    }

    fn gather_sessions(&self, families: &mut Families) {
        let broker = &self.0.broker;
        let connections = broker.connections();
        let persistent = connections.iter().filter(|outbox| outbox.is_persistent()).count();
        let behind = connections.iter().filter(|outbox| outbox.is_behind()).count();
        for (kind, count) in [("clean", connections.len() - persistent), ("persistent", persistent)] {
            families.gauge_of(
                "banyan_mqtt_clients",
                Unit::None,
                "MQTT clients connected to this node.",
                &[("session", kind)],
                count as f64,
            );
        }
        families.gauge(
            "banyan_sessions_behind",
            "Connected sessions that are served from what is stored, as they have not had it yet.",
            behind as u64,
        );
        families.gauge(
            "banyan_subscriptions",
            "Subscriptions of connected clients.",
            broker.subscription_count() as u64,
        );
        families.counter(
            "banyan_deliveries",
            "Messages handed to connections.",
            broker.delivered_count(),
        );
        families.counter(
            "banyan_deliveries_dropped",
            "QoS 0 messages dropped, as their connections read too slowly.",
            broker.dropped_count(),
        );
        families.counter(
            "banyan_sessions_fallen_behind",
            "How often a connected session fell behind, as it read too slowly.",
            broker.fallen_behind_count(),
        );
        families.counter(
            "banyan_session_gaps",
            "How often a session was told that messages are gone that it had not had.",
            broker.gap_count(),
        );
    }

    fn gather_mqtt(&self, families: &mut Families) {
        let open = &self.0.settings.connections;
        for (listener, gauge) in [
            ("mqtt", &open.mqtt),
            ("mqtts", &open.mqtts),
            ("http", &open.http),
            ("https", &open.https),
            ("websocket", &open.websocket),
        ] {
            families.gauge_of(
                "banyan_connections",
                Unit::None,
                "Open connections of clients; MQTT over WebSocket counts here and at the listener it came through.",
                &[("listener", listener)],
                gauge.read() as f64,
            );
        }
        let traffic = self.0.broker.traffic();
        let counts = traffic.counts();
        families.counter("banyan_mqtt_connects", "CONNECTs accepted.", counts.connections);
        for (direction, kind, packets) in [
            ("received", "publish", counts.publishes_received),
            (
                "received",
                "other",
                counts.packets_received.saturating_sub(counts.publishes_received),
            ),
            ("sent", "publish", counts.publishes_sent),
            (
                "sent",
                "other",
                counts.packets_sent.saturating_sub(counts.publishes_sent),
            ),
        ] {
            families.counter_of(
                "banyan_mqtt_packets",
                Unit::None,
                "MQTT control packets.",
                &[("direction", direction), ("type", kind)],
                packets as f64,
            );
        }
        for (direction, bytes) in [("received", counts.bytes_received), ("sent", counts.bytes_sent)] {
            families.counter_of(
                "banyan_mqtt",
                Unit::Bytes,
                "Bytes of MQTT.",
                &[("direction", direction)],
                bytes as f64,
            );
        }
        families.histogram(
            "banyan_mqtt_subscribe",
            "Time from SUBSCRIBE to SUBACK.",
            &[],
            traffic.subscribe_times().read(),
        );
        for (name, help, count) in [
            (
                "banyan_mqtt_publishes_refused",
                "PUBLISHes refused, whether or not the client could be told.",
                counts.publishes_refused,
            ),
            (
                "banyan_mqtt_publishes_superseded",
                "PUBLISHes that lost against a newer timestamp.",
                counts.publishes_superseded,
            ),
            (
                "banyan_mqtt_publishes_repeated",
                "QoS 2 PUBLISHes of a message that was received before.",
                counts.publishes_repeated,
            ),
            (
                "banyan_mqtt_deliveries_too_large",
                "Messages not sent, as they are larger than the client takes.",
                counts.deliveries_too_large,
            ),
            (
                "banyan_mqtt_filters_refused",
                "Topic filters of SUBSCRIBEs that were refused.",
                counts.filters_refused,
            ),
        ] {
            families.counter(name, help, count);
        }
    }
}

fn gather_raft(node_id: u64, seen: &Observation, families: &mut Families) {
    let leads = seen.leadership.leader == Some(node_id);
    families.gauge("banyan_raft_term", "Term of this node.", seen.leadership.term);
    families.gauge("banyan_raft_is_leader", "1 if this node leads.", u64::from(leads));
    families.gauge(
        "banyan_raft_has_leader",
        "1 if this node knows who leads.",
        u64::from(seen.leadership.leader.is_some()),
    );
    for (role, count) in [("voter", seen.voters), ("learner", seen.learners)] {
        let help = "Members of the cluster, as this node knows them.";
        families.gauge_of("banyan_raft_members", Unit::None, help, &[("role", role)], count as f64);
    }
    for (position, index) in [
        ("last", seen.progress.last_log_index),
        ("committed", seen.progress.committed_index),
        ("applied", seen.progress.applied_index),
        ("snapshot", seen.progress.snapshot_index),
        ("purged", seen.progress.purged_index),
    ] {
        families.gauge_of(
            "banyan_raft_log_index",
            Unit::None,
            "How far this node is in the log.",
            &[("position", position)],
            index as f64,
        );
    }
    for follower in &seen.followers {
        families.gauge_of(
            "banyan_raft_follower_lag_entries",
            Unit::None,
            "Log entries that a follower is not known to hold; told by the leader.",
            &[("peer", &follower.node_id.to_string())],
            follower.lag_entries as f64,
        );
    }
    for follower in &seen.followers {
        // One that was never heard of has been silent for as long as there has been anybody to hear it: since it is not known
        // how long, there is no sample, which an alert can ask for too.
        if let Some(silent_for) = follower.silent_for {
            families.gauge_of(
                "banyan_raft_follower_silence",
                Unit::Seconds,
                "How long ago a follower answered last; told by the leader.",
                &[("peer", &follower.node_id.to_string())],
                silent_for.as_secs_f64(),
            );
        }
    }
}

fn gather_log(seen: &Observation, families: &mut Families) {
    families.counter("banyan_log_appends", "Appends to the log.", seen.log.appends);
    families.counter("banyan_log_entries", "Entries written to the log.", seen.log.entries);
    families.counter("banyan_log_fsyncs", "Syncs of log and vote.", seen.log.fsyncs);
    families.counter_of(
        "banyan_log_written",
        Unit::Bytes,
        "Bytes written to segments of the log.",
        &[],
        seen.log.bytes as f64,
    );
    families.gauge_of(
        "banyan_log",
        Unit::Bytes,
        "Records in all segments of the log.",
        &[],
        seen.log_bytes as f64,
    );
    families.histogram(
        "banyan_log_fsync",
        "Time to sync a segment of the log.",
        &[],
        seen.log_times.fsync.clone(),
    );
    families.histogram(
        "banyan_log_append",
        "Time from an append until it is on disk.",
        &[],
        seen.log_times.append.clone(),
    );
}
