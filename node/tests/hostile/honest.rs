//! The honest client: publishes at QoS 1 through the node that is attacked, and subscribes there.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::QoS;

use crate::common::client::{ANSWER_TIMEOUT, Client, ClientError, ConnectOptions, SubscribeOptions, message};
use crate::common::cluster::READY_TIMEOUT;
use crate::common::wait::{self, let_run};

/// Time from one message to the next, if they are answered sooner.
const INTERVAL: Duration = Duration::from_millis(10);
/// Time until it connects again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of each.
const PAYLOAD: [u8; 128] = [b'h'; 128];

/// The client at work.
pub struct Honest<'scope> {
    seen: Arc<Mutex<Seen>>,
    thread: ScopedJoinHandle<'scope, ()>,
}

/// How long each message took: to PUBACK, and to its subscriber.
#[derive(Debug, Default)]
pub struct Seen {
    acknowledged: Vec<Duration>,
    delivered: Vec<Duration>,
    /// Why it had to connect again, and how often: on a machine that stands still, nodes lose each other.
    interrupted: BTreeMap<String, usize>,
}

impl<'scope> Honest<'scope> {
    /// Is served by `node` until `stop`.
    pub fn start(scope: &'scope Scope<'scope, '_>, node: SocketAddr, stop: &'scope AtomicBool) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let thread = scope.spawn({
            let seen = Arc::clone(&seen);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let interrupted = serve(node, &seen, stop).err();
                    if let Some(error) = interrupted {
                        let mut seen = seen.lock().expect("no panic");
                        *seen.interrupted.entry(error.to_string()).or_default() += 1;
                        drop(seen);
                        let_run(RECONNECT_PAUSE);
                    }
                }
            }
        });
        Self { seen, thread }
    }

    /// What it has seen since the last call.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().expect("the honest client is served"))
    }

    /// Waits until a message has come through since the last [`Honest::take`].
    pub fn wait_until_served(&self) {
        wait::until("message of the honest client", READY_TIMEOUT, || {
            let seen = self.seen.lock().expect("the honest client is served");
            (seen.count() > 0).then_some(())
        });
    }

    /// # Panics
    /// If it was not served as it should be.
    pub fn join(self) {
        self.thread.join().expect("the honest client is served");
    }
}

/// Connects, and publishes until `stop` or until it is not served any more.
fn serve(node: SocketAddr, seen: &Mutex<Seen>, stop: &AtomicBool) -> Result<(), ClientError> {
    let mut publisher = Client::connect(node, &ConnectOptions::v5("honest publisher"))?;
    let mut subscriber = Client::connect(node, &ConnectOptions::v5("honest subscriber"))?;
    subscriber.subscribe(&SubscribeOptions::new("honest/+"))?;
    while !stop.load(Ordering::Relaxed) {
        let sent_at = Instant::now();
        publisher.publish(message("honest/topic", PAYLOAD, QoS::AtLeastOnce, false))?;
        let acknowledged = sent_at.elapsed();
        let publish = subscriber.next_message(ANSWER_TIMEOUT)?;
        let delivered = sent_at.elapsed();
        assert_eq!(publish.payload, PAYLOAD[..]);
        subscriber.flush()?;
        let mut seen = seen.lock().expect("no panic");
        seen.acknowledged.push(acknowledged);
        seen.delivered.push(delivered);
        drop(seen);
        let_run(INTERVAL.saturating_sub(sent_at.elapsed()));
    }
    Ok(())
}

impl Seen {
    /// Messages that came through.
    pub fn count(&self) -> usize {
        self.delivered.len()
    }

    /// How many times longer the slowest of a hundred messages takes to its subscriber than in `others` together.
    pub fn p99_ratio(&self, others: &[&Self]) -> f64 {
        let others: Vec<_> = others.iter().flat_map(|seen| &seen.delivered).copied().collect();
        quantile(&self.delivered, 0.99).as_secs_f64() / quantile(&others, 0.99).as_secs_f64()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages", self.count())?;
        for (what, durations) in [("PUBACK", &self.acknowledged), ("delivery", &self.delivered)] {
            write!(f, "; {what}")?;
            for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                write!(f, " {name} {:.1?}", quantile(durations, share))?;
            }
        }
        for (why, times) in &self.interrupted {
            write!(f, "; interrupted {times} times: {why}")?;
        }
        Ok(())
    }
}

/// The duration that this share of all does not pass.
fn quantile(durations: &[Duration], share: f64) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * share).round() as usize)
        .copied()
        .unwrap_or_default()
}
