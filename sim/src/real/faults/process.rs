//! Processes that end or stand still.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::{Kind, Nemesis, seconds};
use crate::real::error::RealError;

impl Nemesis {
    /// SIGKILL; every fifth time the node stays away for long.
    pub(super) async fn kill(&self, rng: &mut StdRng) -> Result<(), RealError> {
        let Some((mut process, _permit)) = self.take_down(rng) else {
            return Ok(());
        };
        let away = if rng.random_bool(0.2) {
            seconds(rng, 8.0, 25.0)
        } else {
            seconds(rng, 0.1, 4.0)
        };
        let title = self.title(&process);
        self.scene
            .begin(Kind::Kill, format!("{title}, back in {:.1} s", away.as_secs_f64()));
        process.kill();
        self.scene.hold(away).await;
        self.scene.end(Kind::Kill);
        process.start()
    }

    /// SIGKILL of all nodes that somebody else is not at, within 0.2 s.
    pub(super) async fn kill_all(&self, rng: &mut StdRng) -> Result<(), RealError> {
        self.scene.begin(Kind::KillAll, "all nodes");
        let mut killed = Vec::new();
        for index in 0..self.scene.cluster.size() {
            if let Some(mut process) = self.scene.cluster.try_process(index) {
                process.kill();
                killed.push(process);
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..60))).await;
            }
        }
        self.scene.hold(seconds(rng, 0.1, 2.0)).await;
        for process in &mut killed {
            process.start()?;
        }
        self.scene.end(Kind::KillAll);
        Ok(())
    }

    /// SIGSTOP, for less or more than an election takes.
    pub(super) async fn pause(&self, rng: &mut StdRng) {
        let Some((mut process, _permit)) = self.take_down(rng) else {
            return;
        };
        let time = if rng.random_bool(0.5) {
            seconds(rng, 0.1, 1.5)
        } else {
            seconds(rng, 1.5, 12.0)
        };
        let title = self.title(&process);
        self.scene
            .begin(Kind::Pause, format!("{title} for {:.1} s", time.as_secs_f64()));
        process.pause();
        self.scene.hold(time).await;
        process.resume();
        self.scene.end(Kind::Pause);
    }
}
