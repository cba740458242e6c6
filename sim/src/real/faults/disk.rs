//! Disks that are full.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Kind, Nemesis, seconds};
use crate::client::http::{HttpClient, Listing};
use crate::history::{Call, Condition, Operation, Serial, Transport};
use crate::real::error::RealError;
use crate::real::node::{Process, STORAGE_EXIT};
use crate::workload::NodeAddresses;

/// The client that fills segments.
const CLIENT: u32 = 900;
/// Length of its values, and the number of its topics.
const MUCH_BYTES: usize = 64 * 1024;
const MUCH_TOPICS: u32 = 8;
/// It does not wait long for nodes that do not answer.
const MUCH_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a node is looked at.
const LOOK: Duration = Duration::from_millis(50);

impl Nemesis {
    /// Fills one node's volume, every third time while the node is down. A node that notices must stop, and say that its
    /// storage is the reason; once there is space it must come back.
    pub(super) async fn disk_full(&self, rng: &mut StdRng) -> Result<(), RealError> {
        let Some((mut process, _permit)) = self.take_down(rng) else {
            return Ok(());
        };
        let (time, restarted) = (seconds(rng, 3.0, 15.0), rng.random_bool(0.3));
        let title = self.title(&process);
        let when = if restarted { "while it is down" } else { "while it runs" };
        self.scene.begin(
            Kind::DiskFull,
            format!("{title} for {:.1} s, {when}", time.as_secs_f64()),
        );
        if restarted {
            process.kill();
        }
        let node = process.node().clone();
        node.volume.fill()?;
        process.start()?;
        process.note_full();
        let until = Instant::now() + time;
        let enough = CancellationToken::new();
        let noticed = async {
            while Instant::now() < until && self.scene.hold(LOOK).await && process.is_started() {
                self.check_storage_exit(&mut process, "the volume is full");
            }
            enough.cancel();
        };
        tokio::join!(noticed, self.write_much(node.id, &enough));
        let ended = !process.is_started();
        self.scene.count(if ended {
            "stopped by a full disk"
        } else {
            "full disk not noticed"
        });
        if ended {
            self.scene.hold(until - Instant::now().min(until)).await;
        }
        node.volume.free()?;
        // What failed just now may still be on its way to the exit.
        if !ended {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.check_storage_exit(&mut process, "the volume was full");
        }
        self.scene.end(Kind::DiskFull);
        process.start()
    }

    /// Writes large values at the nodes other than `id`, until it is `enough`. The nodes have allocated their files in
    /// advance: it takes some until one needs more.
    async fn write_much(&self, id: u64, enough: &CancellationToken) {
        let others: Vec<&NodeAddresses> = self.context.nodes.iter().filter(|node| node.node != id).collect();
        loop {
            for node in &others {
                if enough.is_cancelled() {
                    return;
                }
                let mut client = HttpClient::new(Arc::clone(&self.context.net), &node.http);
                let counter = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
                let call = Call::Put {
                    topic: format!("much/{}", counter % MUCH_TOPICS),
                    serial: Serial {
                        client: CLIENT,
                        counter,
                    },
                    timestamp_us: None,
                    condition: Condition::None,
                    expiry_s: None,
                };
                let operation = self.context.recorder.begin(Operation {
                    client: CLIENT,
                    node: node.node,
                    transport: Transport::Http,
                    call: call.clone(),
                    invoked_at: (self.context.now)(),
                    returned_at: None,
                    answer: None,
                });
                let answer = client.call(&call, MUCH_BYTES, Listing::Stream, MUCH_TIMEOUT).await;
                self.context.recorder.finish(operation, (self.context.now)(), answer);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// If the node has ended, it must have said that its storage is the reason. Whether it has ended.
    pub(super) fn check_storage_exit(&self, process: &mut Process, why: &str) -> bool {
        let Some(status) = process.ended() else { return false };
        let id = process.node().id;
        if status.code() == Some(STORAGE_EXIT) {
            self.scene
                .note(format!("node {id} has stopped with exit code 3: {why}"));
        } else {
            let log = process.node().log_file().display().to_string();
            let message = format!("{why}, and node {id} ended with {status} instead of exit code 3; its log: {log}");
            self.scene.violated("I-46", message);
        }
        true
    }
}
