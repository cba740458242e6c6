//! Raft logs that are not as the node left them.

use std::time::Duration;

use rand::rngs::StdRng;

use super::log_file::NewestSegment;
use super::{Kind, Nemesis, seconds};
use crate::real::ask;
use crate::real::error::RealError;
use crate::real::node::Process;
use crate::real::patience::Patience;

/// Time for a node to find out that its log is damaged. Generous: debug builds on busy machines.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time after which what a killed node had sent has arrived, if it arrives at all.
const IN_FLIGHT: Duration = Duration::from_millis(1500);
/// Time for one question.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

impl Nemesis {
    /// Kills a node and lets its log end as a crash in the middle of an append would have left it: the node must start.
    ///
    /// What a crash can take is the part that was not synced. SIGKILL takes nothing, and which bytes were synced cannot be
    /// told from outside; so either bytes that belong to nothing are put behind the end, or the last append is cut, if no
    /// other node has its entries: then nobody can have been told of them.
    pub(super) async fn torn_tail(&self, rng: &mut StdRng) -> Result<(), RealError> {
        let Ok(_damaged) = self.damaged.try_acquire() else {
            return Ok(());
        };
        let Some((mut process, _permit)) = self.take_down(rng) else {
            return Ok(());
        };
        let title = self.title(&process);
        self.scene.begin(Kind::TornTail, &title);
        process.kill();
        self.scene.hold(IN_FLIGHT).await;
        let dir = process.node().raft_log_dir();
        if let Some(segment) = NewestSegment::read(&dir)? {
            let cut = match segment.last_batch_first_index() {
                Some(first) if self.nobody_else_has(process.node().id, first).await => segment.cut_last_batch(rng),
                _ => None,
            };
            if let Some(patch) = cut {
                self.scene.note(format!("node {}: {patch}", process.node().id));
                self.scene.count("last append cut");
                let undo = patch.apply()?;
                process.start()?;
                // If the node had noted that it was synced, it must refuse: then the bytes come back.
                if self.has_refused(&mut process, Duration::from_secs(6)).await {
                    undo.apply()?;
                }
            } else if let Some(patch) = segment.garbage_behind_the_end(rng) {
                self.scene.note(format!("node {}: {patch}", process.node().id));
                patch.apply()?;
            }
        }
        self.scene.end(Kind::TornTail);
        process.start()
    }

    /// Kills a node and flips one bit of its log before the last append: it must refuse to start, serve nobody and vote for
    /// nobody. Later it gets its bit back.
    pub(super) async fn damage(&self, rng: &mut StdRng) -> Result<(), RealError> {
        let Ok(_damaged) = self.damaged.try_acquire() else {
            return Ok(());
        };
        let Some((mut process, _permit)) = self.take_down(rng) else {
            return Ok(());
        };
        let dir = process.node().raft_log_dir();
        process.kill();
        let patch = NewestSegment::read(&dir)?.and_then(|segment| segment.flip_in_the_middle(rng));
        let Some(patch) = patch else { return process.start() };
        let id = process.node().id;
        self.scene.begin(Kind::Damage, format!("node {id}: {patch}"));
        let undo = patch.apply()?;
        process.start()?;
        if self.has_refused(&mut process, REFUSAL_TIMEOUT).await {
            self.scene.count("damaged log refused");
            self.scene.hold(seconds(rng, 0.5, 10.0)).await;
        } else if !self.scene.stop.is_cancelled() {
            let message = format!("node {id} runs on a damaged log: {patch}");
            self.scene.violated("I-45", message);
        }
        process.kill();
        undo.apply()?;
        self.scene.end(Kind::Damage);
        process.start()
    }

    /// Whether the node ends with the exit code of damaged storage. Meanwhile it must not serve.
    async fn has_refused(&self, process: &mut Process, timeout: Duration) -> bool {
        let mut patience = Patience::new(timeout);
        loop {
            if self.check_storage_exit(process, "its log is damaged") {
                return true;
            }
            if patience.is_over() || ask::is_ready(process.node().http(), ASK_TIMEOUT).await {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the logs of all nodes but `id` end before `index`, by their own accounts.
    async fn nobody_else_has(&self, id: u64, index: u64) -> bool {
        let members = self.scene.cluster.members().await;
        members
            .iter()
            .zip(self.scene.cluster.nodes())
            .filter(|(_, node)| node.id != id)
            .all(|(member, _)| {
                let last = member.as_ref().and_then(|member| member.last_log_index);
                last.is_some_and(|last| last < index)
            })
    }
}
