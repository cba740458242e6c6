//! Links that are cut or slow.

use rand::Rng;
use rand::rngs::StdRng;

use super::{Kind, Nemesis, seconds};
use crate::real::error::RealError;
use crate::real::network::{Link, Slowness};

impl Nemesis {
    /// Cuts one node off from the others, or one pair of nodes from each other.
    pub(super) async fn partition(&self, rng: &mut StdRng) -> Result<(), RealError> {
        let node = self.pick(rng);
        let others = self.others(node);
        let (text, others) = if rng.random_bool(0.7) {
            (format!("node {} alone", node + 1), others)
        } else {
            let other = others[rng.random_range(0..others.len())];
            (format!("between nodes {} and {}", node + 1, other + 1), vec![other])
        };
        let links: Vec<Link> = others
            .iter()
            .flat_map(|&other| [(node, other), (other, node)])
            .collect();
        self.cut(Kind::Partition, &text, &links, rng).await
    }

    /// Cuts what one node sends, or what it receives, or one direction of one link.
    pub(super) async fn one_way(&self, rng: &mut StdRng) -> Result<(), RealError> {
        let node = self.pick(rng);
        let others = self.others(node);
        let (text, links): (String, Vec<Link>) = match rng.random_range(0..3) {
            0 => (
                format!("nobody hears node {}", node + 1),
                others.iter().map(|&other| (node, other)).collect(),
            ),
            1 => (
                format!("node {} hears nobody", node + 1),
                others.iter().map(|&other| (other, node)).collect(),
            ),
            _ => {
                let other = others[rng.random_range(0..others.len())];
                (
                    format!("node {} does not hear node {}", node + 1, other + 1),
                    vec![(other, node)],
                )
            }
        };
        self.cut(Kind::OneWay, &text, &links, rng).await
    }

    /// Pulls one node's cable.
    pub(super) async fn cable(&self, rng: &mut StdRng) -> Result<(), RealError> {
        let (node, time) = (self.pick(rng), seconds(rng, 0.5, 10.0));
        let text = format!("node {} unplugged for {:.1} s", node + 1, time.as_secs_f64());
        self.scene.begin(Kind::Cable, text);
        self.scene.cluster.network().pull(node)?;
        self.scene.hold(time).await;
        self.scene.cluster.network().plug(node)?;
        self.scene.end(Kind::Cable);
        Ok(())
    }

    /// Slows all links from one node, or to it, or both.
    pub(super) async fn slow(&self, rng: &mut StdRng) -> Result<(), RealError> {
        let (node, time) = (self.pick(rng), seconds(rng, 3.0, 15.0));
        let (from, to) = [(true, false), (false, true), (true, true)][rng.random_range(0..3)];
        let slowness = Slowness {
            rate_kbit: [64, 256, 1_000, 4_000][rng.random_range(0..4)],
            delay_ms: rng.random_range(5..200),
            loss_percent: rng.random_range(0..15),
        };
        let directions = match (from, to) {
            (true, false) => "from",
            (false, _) => "to",
            (true, true) => "from and to",
        };
        let links: Vec<Link> = self
            .others(node)
            .into_iter()
            .flat_map(|other| [(from, (node, other)), (to, (other, node))])
            .filter_map(|(chosen, link)| chosen.then_some(link))
            .collect();
        let text = format!(
            "{} kbit/s {directions} node {} for {:.1} s",
            slowness.rate_kbit,
            node + 1,
            time.as_secs_f64()
        );
        self.scene.begin(Kind::Slow, text);
        for &link in &links {
            self.scene.cluster.network().slow(link, Some(slowness))?;
        }
        self.scene.hold(time).await;
        for &link in &links {
            self.scene.cluster.network().slow(link, None)?;
        }
        self.scene.end(Kind::Slow);
        Ok(())
    }

    async fn cut(&self, kind: Kind, text: &str, links: &[Link], rng: &mut StdRng) -> Result<(), RealError> {
        let time = seconds(rng, 0.5, 15.0);
        self.scene
            .begin(kind, format!("{text} for {:.1} s", time.as_secs_f64()));
        self.scene.cluster.network().cut(links)?;
        self.scene.hold(time).await;
        self.scene.cluster.network().heal(links)?;
        self.scene.end(kind);
        Ok(())
    }

    fn others(&self, node: usize) -> Vec<usize> {
        (0..self.scene.cluster.size()).filter(|&other| other != node).collect()
    }
}
