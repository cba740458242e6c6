//! The form of a fault: it strikes, lasts, and is over.

use rand::Rng;
use rand::rngs::StdRng;

use super::atlas::Atlas;
use super::plan::Class;
use crate::cluster::Cluster;
use crate::history::Time;
use crate::trace::event::Event;

/// What a fault may look at and change.
pub struct World<'a> {
    /// The cluster.
    pub cluster: &'a mut Cluster,
    /// Chance of this class of faults.
    pub random: &'a mut StdRng,
    /// What is damaged for good.
    pub atlas: &'a mut Atlas,
}

/// One class of faults in a run.
pub trait Fault {
    /// Which.
    fn class(&self) -> Class;
    /// Time has passed.
    fn tick(&mut self, cluster: &mut Cluster, atlas: &mut Atlas);
    /// Ends what lasts; there will be no more.
    fn heal(&mut self, cluster: &mut Cluster, atlas: &mut Atlas);
    /// How often it has struck.
    fn injected(&self) -> u64;
}

/// A fault that comes again and again.
pub trait Episode {
    /// What must be undone.
    type Active;

    /// Shortest and longest time from the end of one to the next, seconds.
    fn gap_s(&self) -> (f64, f64);

    /// Shortest and longest time that it lasts, seconds.
    fn length_s(&self) -> (f64, f64);

    /// Strikes; `None` if there is nothing to strike at the moment.
    fn begin(&mut self, world: &mut World<'_>) -> Option<Self::Active>;

    /// The nodes that it strikes by itself. What it does to links and processes is seen there.
    fn struck(&self, _active: &Self::Active) -> Vec<u64> {
        Vec::new()
    }

    /// Undoes it.
    fn end(&mut self, world: &mut World<'_>, active: Self::Active);
}

/// Lets an [`Episode`] come again and again.
pub struct Episodes<E: Episode> {
    class: Class,
    episode: E,
    random: StdRng,
    next: Option<Time>,
    active: Option<(Time, E::Active)>,
    injected: u64,
}

impl<E: Episode + 'static> Episodes<E> {
    /// The fault that lets `episode` come.
    #[must_use]
    pub fn start(class: Class, random: StdRng, episode: E) -> Option<Box<dyn Fault>> {
        Some(Box::new(Self {
            class,
            episode,
            random,
            next: None,
            active: None,
            injected: 0,
        }))
    }

    fn draw_us(&mut self, (min_s, max_s): (f64, f64)) -> u64 {
        (self.random.random_range(min_s..=max_s) * 1e6) as u64
    }
}

impl<E: Episode> Fault for Episodes<E>
where
    E: 'static,
{
    fn class(&self) -> Class {
        self.class
    }

    fn tick(&mut self, cluster: &mut Cluster, atlas: &mut Atlas) {
        let now = cluster.now();
        if self.active.as_ref().is_some_and(|(until, _)| now >= *until)
            && let Some((_, active)) = self.active.take()
        {
            let random = &mut self.random;
            cluster.mark(Event::Over { class: self.class });
            self.episode.end(&mut World { cluster, random, atlas }, active);
        }
        let Some(next) = self.next else {
            // The first comes earlier than the others, so that short runs see one too.
            let (min_s, max_s) = self.episode.gap_s();
            let first = self.draw_us((min_s / 4.0, max_s / 2.0));
            self.next = Some(now + first);
            return;
        };
        if self.active.is_some() || now < next {
            return;
        }
        let said = cluster.trace().len();
        let random = &mut self.random;
        let begun = self.episode.begin(&mut World { cluster, random, atlas });
        let length = self.draw_us(self.episode.length_s());
        let gap = self.draw_us(self.episode.gap_s());
        if let Some(active) = begun {
            cluster.mark(Event::Strikes {
                class: self.class,
                nodes: self.episode.struck(&active),
                text: cluster.trace().said_since(said),
            });
            self.injected += 1;
            self.active = Some((now + length, active));
        }
        self.next = Some(now + length + gap);
    }

    fn heal(&mut self, cluster: &mut Cluster, atlas: &mut Atlas) {
        if let Some((_, active)) = self.active.take() {
            cluster.mark(Event::Over { class: self.class });
            let random = &mut self.random;
            self.episode.end(&mut World { cluster, random, atlas }, active);
        }
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}
