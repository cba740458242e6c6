//! What writers, observers and the final states say, put together: nothing lost, nothing doubled, nothing reordered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use banyan_api::record::Record;

use super::cluster::Cluster;
use super::load::{FILTER, WriterLog};
use super::observer::{Seen, Stay};
use super::serial::Serial;

/// The state of the load's topics: revision and serial by topic.
pub type FinalState = BTreeMap<String, (u64, Serial)>;

/// Reads the load's topics from node `index`, linearizably.
///
/// # Panics
/// If the node does not answer, or with a list that was cut off.
pub fn read_state(cluster: &Cluster, index: usize) -> FinalState {
    let url = cluster.url(index, &format!("/v1/topics?filter={}", FILTER.replace('#', "%23")));
    let mut answer = ureq::get(url)
        .header("accept", banyan_api::NDJSON)
        .call()
        .expect("a list");
    let body = answer
        .body_mut()
        .with_config()
        .limit(u64::MAX)
        .read_to_string()
        .expect("a whole list");
    let (end, lines) = body
        .trim_end()
        .rsplit_once('\n')
        .map_or((body.as_str(), ""), |(lines, end)| (end, lines));
    assert!(end.contains("\"end\":true"), "the list was cut off: {end}");
    let records = lines
        .lines()
        .map(|line| serde_json::from_str::<Record>(line).expect("a record"));
    let values = records.map(|record| {
        let payload = record.payload.payload.expect("the payloads are text");
        (record.topic, (record.revision, Serial::of_payload(payload.as_bytes())))
    });
    values.collect()
}

/// Everything that is known after a run.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// What each writer did.
    pub writers: &'a [WriterLog],
    /// The connections of each observer.
    pub observers: &'a [Vec<Stay>],
    /// The state afterwards, the same on all nodes.
    pub state: &'a FinalState,
}

/// The counts of one run.
#[derive(Debug, Default)]
pub struct Summary {
    /// Writes attempted.
    pub attempted: usize,
    /// Of these: acknowledged.
    pub acknowledged: usize,
    /// Not acknowledged, but seen applied.
    pub unknown_applied: usize,
    /// Changes received by observers after their retained messages.
    pub observed: usize,
    /// Connections of observers.
    pub stays: usize,
    /// Connections of writers.
    pub connections: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} acknowledged of {} attempted on {} connections, none missing, none twice, order kept; \
             {} unacknowledged were applied; {} changes observed live on {} subscriptions, no gap",
            self.acknowledged, self.attempted, self.connections, self.unknown_applied, self.observed, self.stays
        )
    }
}

/// Every applied write that anybody knows of.
#[derive(Default)]
struct Applied<'a> {
    by_revision: BTreeMap<u64, (&'a str, Serial)>,
    by_serial: BTreeMap<Serial, u64>,
}

impl<'a> Applied<'a> {
    /// # Panics
    /// If this revision was another write, or this write had another revision.
    fn add(&mut self, revision: u64, topic: &'a str, serial: Serial, source: &str) {
        let at_revision = *self.by_revision.entry(revision).or_insert((topic, serial));
        assert_eq!(
            at_revision,
            (topic, serial),
            "revision {revision} is two writes, says {source}"
        );
        let of_serial = *self.by_serial.entry(serial).or_insert(revision);
        assert_eq!(
            of_serial, revision,
            "{serial} to {topic} was applied twice, says {source}"
        );
    }
}

impl Evidence<'_> {
    /// Checks all of it.
    ///
    /// # Panics
    /// If an acknowledged write is missing, a write was applied twice, a writer's order was not kept, or an observer missed a
    /// change or got one twice.
    pub fn check(&self) -> Summary {
        let applied = self.applied();
        self.check_topics(&applied);
        self.check_final_values(&applied);
        for writer in self.writers {
            check_order(writer, &applied);
        }
        for stay in self.observers.iter().flatten() {
            check_retained(stay, &applied);
            check_live(stay, &applied);
        }
        self.summary(&applied)
    }

    fn applied(&self) -> Applied<'_> {
        let mut applied = Applied::default();
        for attempt in self.writers.iter().flat_map(|writer| &writer.attempts) {
            if let Some(acknowledgement) = attempt.acknowledged {
                applied.add(acknowledgement.revision, &attempt.topic, attempt.serial, "a PUBACK");
            }
        }
        for (observer, stays) in self.observers.iter().enumerate() {
            let source = format!("the observer at node {observer}");
            for seen in stays.iter().flat_map(|stay| stay.retained.iter().chain(&stay.live)) {
                applied.add(seen.revision, &seen.topic, seen.serial, &source);
            }
        }
        for (topic, &(revision, serial)) in self.state {
            applied.add(revision, topic, serial, "the final state");
        }
        applied
    }

    /// What was applied was attempted, to that topic.
    fn check_topics(&self, applied: &Applied<'_>) {
        let attempts = self.writers.iter().flat_map(|writer| &writer.attempts);
        let topics: BTreeMap<Serial, &str> = attempts
            .map(|attempt| (attempt.serial, attempt.topic.as_str()))
            .collect();
        for (revision, (topic, serial)) in &applied.by_revision {
            assert_eq!(
                topics.get(serial),
                Some(topic),
                "{serial} at revision {revision} was attempted otherwise"
            );
        }
    }

    /// Each topic holds the last write to it that is known to have been applied, so no later acknowledged one is missing.
    fn check_final_values(&self, applied: &Applied<'_>) {
        let last: BTreeMap<&str, u64> = applied
            .by_revision
            .iter()
            .map(|(&revision, &(topic, _))| (topic, revision))
            .collect();
        for (topic, revision) in last {
            let held = self.state.get(topic).map(|&(revision, _)| revision);
            let (_, serial) = applied.by_revision[&revision];
            assert_eq!(
                held,
                Some(revision),
                "{topic} does not hold its last applied write, {serial}"
            );
        }
    }

    fn summary(&self, applied: &Applied<'_>) -> Summary {
        let attempted = self.writers.iter().map(|writer| writer.attempts.len()).sum();
        let attempts = || self.writers.iter().flat_map(|writer| &writer.attempts);
        let acknowledged = attempts().filter(|attempt| attempt.acknowledged.is_some()).count();
        let connections = self.writers.iter().map(|writer| {
            writer
                .attempts
                .iter()
                .map(|attempt| attempt.connection)
                .collect::<BTreeSet<_>>()
                .len()
        });
        Summary {
            attempted,
            acknowledged,
            unknown_applied: applied.by_serial.len() - acknowledged,
            observed: self.observers.iter().flatten().map(|stay| stay.live.len()).sum(),
            stays: self.observers.iter().map(Vec::len).sum(),
            connections: connections.sum(),
        }
    }
}

/// A writer's writes have ascending revisions: over its whole life if it stayed with one node, whose streams are in order over
/// restarts too; else on each connection.
fn check_order(writer: &WriterLog, applied: &Applied<'_>) {
    let known = writer
        .attempts
        .iter()
        .filter_map(|attempt| Some((attempt, *applied.by_serial.get(&attempt.serial)?)));
    let known: Vec<_> = known.collect();
    for pair in known.windows(2) {
        let [(earlier, earlier_revision), (later, later_revision)] = pair else {
            unreachable!("a window of two")
        };
        if writer.faithful || earlier.connection == later.connection {
            assert!(
                earlier_revision < later_revision,
                "{} has revision {earlier_revision}, but the later {} has {later_revision}",
                earlier.serial,
                later.serial
            );
        }
    }
}

/// The retained messages are the state of moment R, or what of it is newer than `since`: exactly, as far as anybody knows.
fn check_retained(stay: &Stay, applied: &Applied<'_>) {
    let mut retained = BTreeMap::new();
    for Seen {
        revision,
        topic,
        serial,
    } in &stay.retained
    {
        assert!(
            *revision <= stay.revision,
            "{serial} at {revision} is newer than R = {}",
            stay.revision
        );
        assert_eq!(retained.insert(topic.as_str(), *revision), None, "{topic} came twice");
    }
    if !stay.complete {
        return;
    }
    let at_r = applied.by_revision.range(..=stay.revision);
    let state: BTreeMap<&str, u64> = at_r.map(|(&revision, &(topic, _))| (topic, revision)).collect();
    for (topic, revision) in state {
        if stay.since.is_none_or(|since| revision > since) {
            let got = retained.get(topic).copied();
            assert_eq!(
                got,
                Some(revision),
                "{topic} at R = {}, since {:?}",
                stay.revision,
                stay.since
            );
        }
    }
}

/// After R every change came, in order, none twice.
fn check_live(stay: &Stay, applied: &Applied<'_>) {
    let mut position = stay.revision;
    for seen in &stay.live {
        assert!(seen.revision > position, "{} came after {position}", seen.revision);
        let skipped = applied.by_revision.range(position + 1..seen.revision).next();
        assert_eq!(skipped, None, "a gap between {position} and {}", seen.revision);
        position = seen.revision;
    }
}
