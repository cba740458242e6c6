//! Writers that never stop: pipelined QoS 1 publishes through every node while a test does its worst.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::{Ack, QoS};

use super::client::{Client, ClientError, ConnectOptions, message, number_property};
use super::cluster::Cluster;
use super::publisher::Publisher;
use super::serial::Serial;
use super::wait;

/// A node answers every write or closes the connection within its write timeout (10 s); this is beyond it.
const STALLED: Duration = Duration::from_secs(40);
/// Pause before another attempt to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(25);
/// Topics that one writer writes again and again, and those that all writers do.
const TOPICS_REWRITTEN: u64 = 16;

/// Where every topic of the load is.
pub const FILTER: &str = "load/#";

/// What writers do.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// Writers that stay with one node, divided evenly. What these write is applied in their order over their whole life.
    pub faithful_writers: usize,
    /// Writers that move to the next node whenever they lose a connection. Their order holds within a connection.
    pub roaming_writers: usize,
    /// Messages each has in flight.
    pub window: usize,
    /// Size of each payload.
    pub payload_bytes: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            faithful_writers: 6,
            roaming_writers: 2,
            window: 16,
            payload_bytes: 64,
        }
    }
}

/// What became of one attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its number and who made it.
    pub serial: Serial,
    /// The connection it was made on, counted by the writer.
    pub connection: usize,
    /// Where to.
    pub topic: String,
    /// The acknowledgement; none: nobody knows what became of the write.
    pub acknowledged: Option<Acknowledgement>,
}

/// A PUBACK.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledgement {
    /// The revision in it.
    pub revision: u64,
    /// When it came.
    pub at: Instant,
}

/// All that one writer did.
#[derive(Debug)]
pub struct WriterLog {
    /// Whether it stayed with one node.
    pub faithful: bool,
    /// Its attempts, in order.
    pub attempts: Vec<Attempt>,
}

/// The running load, as the one sees it who directs the test.
#[derive(Debug, Default)]
pub struct Load {
    stopping: AtomicBool,
    failed: AtomicBool,
    acknowledged: AtomicU64,
    logs: Mutex<Vec<WriterLog>>,
}

impl Load {
    /// Runs writers against `cluster` while `direct` runs, and gives what they did. They stop when `direct` is done: what is in
    /// flight then is still acknowledged.
    ///
    /// # Panics
    /// If a writer sees something that must not be, or `direct` panics.
    pub fn run(cluster: &Cluster, options: LoadOptions, direct: impl FnOnce(&Self)) -> Vec<WriterLog> {
        let load = Self::default();
        thread::scope(|scope| {
            let _stop = OnDrop(|| load.stopping.store(true, Ordering::Relaxed));
            for writer in 0..options.faithful_writers + options.roaming_writers {
                let load = &load;
                scope.spawn(move || {
                    let _fail = OnDrop(|| {
                        if thread::panicking() {
                            load.failed.store(true, Ordering::Relaxed);
                        }
                    });
                    let log = Writer::new(load, cluster, options, writer).run();
                    load.logs.lock().expect("no writer panicked with it").push(log);
                });
            }
            direct(&load);
        });
        load.logs.into_inner().expect("no writer panicked")
    }

    /// Writes acknowledged up to now.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `count` writes are acknowledged in all.
    ///
    /// # Panics
    /// If a writer has failed, or no write at all was acknowledged for `patience`.
    pub fn wait_until_acknowledged(&self, count: u64, patience: Duration) {
        while self.acknowledged() < count {
            let before = self.acknowledged();
            wait::until("acknowledged write", patience, || {
                assert!(!self.failed.load(Ordering::Relaxed), "a writer failed");
                (self.acknowledged() > before).then_some(())
            });
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

struct Writer<'a> {
    load: &'a Load,
    cluster: &'a Cluster,
    options: LoadOptions,
    writer: usize,
    node: usize,
    connection: usize,
    log: WriterLog,
}

impl<'a> Writer<'a> {
    fn new(load: &'a Load, cluster: &'a Cluster, options: LoadOptions, writer: usize) -> Self {
        let log = WriterLog {
            faithful: writer < options.faithful_writers,
            attempts: Vec::new(),
        };
        Self {
            load,
            cluster,
            options,
            writer,
            node: writer % cluster.size(),
            connection: 0,
            log,
        }
    }

    fn run(mut self) -> WriterLog {
        while !self.load.is_stopping() {
            if self.write_on_one_connection().is_ok() {
                break;
            }
            self.connection += 1;
            if !self.log.faithful {
                self.node = (self.node + 1) % self.cluster.size();
            }
            thread::sleep(RECONNECT_PAUSE);
        }
        self.log
    }

    /// Writes until the load stops. What is in flight when the connection is lost stays unknown.
    fn write_on_one_connection(&mut self) -> Result<(), ClientError> {
        let options = ConnectOptions::v5(&format!("writer-{}", self.writer)).annotated();
        let client = Client::connect(self.cluster.mqtt(self.node), &options)?;
        let mut publisher = Publisher::new(client, self.options.window);
        loop {
            while publisher.has_room() && !self.load.is_stopping() {
                let attempt = self.next_attempt();
                let payload = attempt.serial.payload(self.options.payload_bytes);
                publisher.publish(
                    message(&attempt.topic, payload, QoS::AtLeastOnce, true),
                    self.log.attempts.len(),
                );
                self.log.attempts.push(attempt);
            }
            if publisher.in_flight() == 0 {
                return Ok(());
            }
            match publisher.acknowledged(STALLED) {
                Ok(acknowledged) => self.note(acknowledged),
                Err(ClientError::Timeout) => {
                    panic!(
                        "writer {} at node {}: neither answered nor closed",
                        self.writer, self.node
                    );
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn note(&mut self, acknowledged: Vec<(usize, Ack)>) {
        let at = Instant::now();
        for (attempt, ack) in acknowledged {
            let attempt = &mut self.log.attempts[attempt];
            assert!(
                !ack.reason.is_failure(),
                "{}: {}, {:?}",
                attempt.serial,
                ack.reason,
                ack.reason_string
            );
            let revision =
                number_property(&ack.user_properties, "revision").expect("an annotated PUBACK has a revision");
            attempt.acknowledged = Some(Acknowledgement { revision, at });
            self.load.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A quarter of the writes each goes to a topic of its own, so that every single one can be found afterwards; half to
    /// topics of this writer; a quarter to topics of all writers.
    fn next_attempt(&self) -> Attempt {
        let (writer, number) = (self.writer, self.log.attempts.len() as u64);
        let topic = match number % 4 {
            0 => format!("load/once/{writer}/{number}"),
            1 | 2 => format!("load/own/{writer}/{}", number / 4 % TOPICS_REWRITTEN),
            _ => format!("load/shared/{}", number / 4 % TOPICS_REWRITTEN),
        };
        let serial = Serial { writer, number };
        Attempt {
            serial,
            connection: self.connection,
            topic,
            acknowledged: None,
        }
    }
}
