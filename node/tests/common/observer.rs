//! Subscribers that write down every change with its revision, over all their connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::Publish;

use super::client::{Client, ClientError, ConnectOptions, SubscribeOptions, number_property};
use super::cluster::Cluster;
use super::serial::Serial;

/// Time for the last changes to arrive once they are applied.
const LAST_CHANGES: Duration = Duration::from_secs(60);
/// How long one look for a message takes.
const LOOK: Duration = Duration::from_millis(100);
/// Topic of the message that ends a retained delivery.
const MARKER: &str = "$SYS/marker";

/// A value that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its revision.
    pub revision: u64,
    /// Its topic.
    pub topic: String,
    /// What was in it.
    pub serial: Serial,
}

/// What one connection of an observer got.
#[derive(Debug, Default)]
pub struct Stay {
    /// What it had before: it asked for changes after this revision.
    pub since: Option<u64>,
    /// R, the moment of the retained messages, as SUBACK told.
    pub revision: u64,
    /// The retained messages.
    pub retained: Vec<Seen>,
    /// Whether the marker behind the retained messages came.
    pub complete: bool,
    /// What came after them, in order.
    pub live: Vec<Seen>,
}

/// Follows the load at one node until it has seen what it is told to.
#[derive(Debug)]
pub struct Observer<'a> {
    cluster: &'a Cluster,
    node: usize,
    filter: &'a str,
    stays: Vec<Stay>,
    /// The last revision it has seen completely.
    position: Option<u64>,
}

impl<'a> Observer<'a> {
    /// An observer at node `node`.
    pub fn new(cluster: &'a Cluster, node: usize, filter: &'a str) -> Self {
        Self {
            cluster,
            node,
            filter,
            stays: Vec::new(),
            position: None,
        }
    }

    /// Follows, and connects again whenever the connection is lost, until everything up to the revision in `last` is seen;
    /// 0: not yet known.
    ///
    /// # Panics
    /// If that does not come in time.
    pub fn run(mut self, last: &AtomicU64) -> Vec<Stay> {
        let mut end = None;
        loop {
            let connection = self.follow(last, &mut end);
            if let Err(error) = connection {
                self.check_deadline(last, &mut end, Some(&error));
                std::thread::sleep(LOOK);
            } else {
                return self.stays;
            }
        }
    }

    fn follow(&mut self, last: &AtomicU64, end: &mut Option<Instant>) -> Result<(), ClientError> {
        let options = ConnectOptions::v5(&format!("observer-{}", self.node)).annotated();
        let mut client = Client::connect(self.cluster.mqtt(self.node), &options)?;
        let mut subscribe = SubscribeOptions::new(self.filter).property("marker", "on");
        if let Some(position) = self.position {
            subscribe = subscribe.property("since", &position.to_string());
        }
        let suback = client.subscribe(&subscribe)?;
        if suback.reasons.iter().any(|reason| reason.is_failure()) {
            return Err(ClientError::Closed); // no quorum at this moment: again
        }
        let revision =
            number_property(&suback.user_properties, "revision").expect("an annotated SUBACK has a revision");
        self.stays.push(Stay {
            since: self.position,
            revision,
            ..Stay::default()
        });
        loop {
            match client.next_message(LOOK) {
                Ok(publish) => self.note(&publish),
                Err(ClientError::Timeout) => {}
                Err(error) => return Err(error),
            }
            let wanted = last.load(Ordering::Relaxed);
            if wanted > 0 && self.position >= Some(wanted) {
                return Ok(());
            }
            self.check_deadline(last, end, None);
        }
    }

    fn note(&mut self, publish: &Publish) {
        let stay = self.stays.last_mut().expect("a stay has begun");
        if publish.topic == MARKER.as_bytes() {
            stay.complete = true;
            self.position = self.position.max(Some(stay.revision));
            return;
        }
        let revision = publish
            .metadata
            .user_property("revision")
            .and_then(|text| text.parse().ok());
        let seen = Seen {
            revision: revision.expect("an annotated message has a revision"),
            topic: String::from_utf8(publish.topic.to_vec()).expect("a topic is UTF-8"),
            serial: Serial::of_payload(&publish.payload),
        };
        if stay.complete {
            self.position = Some(seen.revision);
            stay.live.push(seen);
        } else {
            stay.retained.push(seen);
        }
    }

    fn check_deadline(&self, last: &AtomicU64, end: &mut Option<Instant>, error: Option<&ClientError>) {
        let wanted = last.load(Ordering::Relaxed);
        if wanted > 0 {
            let end = *end.get_or_insert_with(|| Instant::now() + LAST_CHANGES);
            assert!(
                Instant::now() < end,
                "the observer at node {} saw {:?} of {wanted}; {error:?}",
                self.node,
                self.position
            );
        }
    }
}
