//! The state of the network between hosts.
//!
//! turmoil keeps one state per link and direction, and a later call overrules an earlier one. Here every fault takes and gives
//! back its own hold on a link, and what comes of all of them is applied.
//!
//! | a link is | what is sent |
//! |---|---|
//! | cut (one way or both) | is lost, and with it the connections: turmoil's TCP sends nothing again |
//! | held | waits, as it does while TCP sends again, and arrives in another order than other links' |

use std::collections::BTreeMap;

use super::CLIENTS;
use crate::trace::event::Event;

/// How many faults hold a link in a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Link {
    /// From the first host to the second, and back.
    cuts: [u32; 2],
    holds: u32,
}

/// What was told to turmoil last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Applied {
    cuts: [bool; 2],
    held: bool,
}

/// All links between hosts.
#[derive(Debug)]
pub struct Links {
    links: BTreeMap<(String, String), (Link, Applied)>,
}

/// Name of the host of node `id`.
#[must_use]
pub fn host(id: u64) -> String {
    format!("n{id}")
}

impl Links {
    /// Whole links between all nodes and the clients.
    #[must_use]
    pub fn new(ids: &[u64]) -> Self {
        let hosts: Vec<String> = std::iter::once(CLIENTS.to_owned())
            .chain(ids.iter().map(|id| host(*id)))
            .collect();
        let mut links = BTreeMap::new();
        for (place, a) in hosts.iter().enumerate() {
            for b in &hosts[place + 1..] {
                links.insert((a.clone(), b.clone()), Default::default());
            }
        }
        Self { links }
    }

    fn link(&mut self, a: &str, b: &str) -> (&mut Link, usize) {
        let (key, direction) = if a < b {
            ((a.to_owned(), b.to_owned()), 0)
        } else {
            ((b.to_owned(), a.to_owned()), 1)
        };
        let (link, _) = self.links.get_mut(&key).expect("two hosts of the cluster");
        (link, direction)
    }

    /// What `from` sends to `to` is lost, until [`mend`](Self::mend).
    pub fn cut(&mut self, from: &str, to: &str) {
        let (link, direction) = self.link(from, to);
        link.cuts[direction] += 1;
    }

    /// Takes back one [`cut`](Self::cut).
    pub fn mend(&mut self, from: &str, to: &str) {
        let (link, direction) = self.link(from, to);
        link.cuts[direction] = link.cuts[direction].saturating_sub(1);
    }

    /// What `a` and `b` send to each other waits, until [`release`](Self::release).
    pub fn hold(&mut self, a: &str, b: &str) {
        self.link(a, b).0.holds += 1;
    }

    /// Takes back one [`hold`](Self::hold).
    pub fn release(&mut self, a: &str, b: &str) {
        let (link, _) = self.link(a, b);
        link.holds = link.holds.saturating_sub(1);
    }

    /// Makes all links whole.
    pub fn heal(&mut self) {
        self.links.values_mut().for_each(|(link, _)| *link = Link::default());
    }

    /// Makes links what they are to be. Returns those that have changed.
    pub(super) fn apply(&mut self, sim: &turmoil::Sim<'_>) -> Vec<Event> {
        let mut changed = Vec::new();
        for ((a, b), (link, applied)) in &mut self.links {
            let wanted = Applied {
                cuts: link.cuts.map(|cuts| cuts > 0),
                held: link.holds > 0 && link.cuts == [0, 0],
            };
            if wanted != *applied {
                tell(sim, a, b, wanted);
                *applied = wanted;
                changed.push(Event::Link {
                    hosts: [a.clone(), b.clone()],
                    cuts: wanted.cuts,
                    held: wanted.held,
                });
            }
        }
        changed
    }

    /// Tells turmoil again what the links of `host` are.
    pub(super) fn restore(&mut self, sim: &turmoil::Sim<'_>, host: &str, others: &[String]) {
        for other in others {
            let key = if host < other.as_str() {
                (host.to_owned(), other.clone())
            } else {
                (other.clone(), host.to_owned())
            };
            if let Some((_, applied)) = self.links.get(&key) {
                tell(sim, &key.0, &key.1, *applied);
            }
        }
    }
}

fn tell(sim: &turmoil::Sim<'_>, a: &str, b: &str, wanted: Applied) {
    // From any state to a whole link, with what was held on its way.
    sim.release(a, b);
    match (wanted.cuts, wanted.held) {
        ([true, true], _) => sim.partition(a, b),
        ([true, false], _) => sim.partition_oneway(a, b),
        ([false, true], _) => sim.partition_oneway(b, a),
        ([false, false], true) => sim.hold(a, b),
        ([false, false], false) => {}
    }
}
