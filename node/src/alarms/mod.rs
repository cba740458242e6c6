//! What is wrong with the cluster, told by every node: alarms.
//!
//! A node raises alarms about itself (its disk, its clock, its contact with the others) and about members it hears nothing of,
//! or something wrong. Members tell each other theirs every second, so that any node can show all. An alarm is raised once
//! what it tells of has lasted, and clears by itself once that is over: one log line each.
//!
//! | module | responsibility |
//! |---|---|
//! | [`kind`](AlarmKind) | what can be wrong, what it means, what to do |
//! | `board` | what this node has raised |
//! | [`vitals`] | what members tell each other |
//! | `monitor`, `looking`, `asking` | the tasks: following the quorum, looking at this node, asking the others |
//! | [`space`] | room on the disk: floor and reserve |
//! | `room` | whether there is room for what clients write |
//! | `slow` | slow disks, and who leads instead |
//! | `skew` | clocks |
//! | `divergence` | states that differ |
//! | [`diverged`] | the mark of a data directory that must not be used any more |
//! | this one | what the rest of the node sees |

mod asking;
mod board;
pub mod diverged;
mod divergence;
mod kind;
mod looking;
mod monitor;
mod room;
mod skew;
mod slow;
pub mod space;
pub mod vitals;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

pub use board::Alarm;
pub use kind::AlarmKind;
pub use monitor::Watched;
pub use vitals::Vitals;

use self::board::Board;
use self::skew::Offset;
use self::space::SpaceSettings;
use crate::components::Clock;

/// What a member has told counts for so long.
const HEARD_MAX: Duration = Duration::from_secs(10);
/// The alarms it has told are shown for so long: they may have cleared since.
const SHOWN_MAX: Duration = Duration::from_secs(4);

/// Settings of the alarms.
#[derive(Debug, Clone)]
pub struct AlarmSettings {
    /// Where the node keeps its data.
    pub data_dir: PathBuf,
    /// Room on the disk.
    pub space: SpaceSettings,
    /// From how long a sync of the log takes, in the median, its disk is slow.
    pub disk_slow: Duration,
}

/// An alarm of the cluster, by all that know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAlarm {
    /// As the node tells that it is about, or else as the one with the lowest id does; since when it was first raised.
    pub alarm: Alarm,
    /// The nodes that have raised it.
    pub raised_by: BTreeSet<u64>,
}

/// The alarms of this node, and what it knows of those of others; cheap to clone.
#[derive(Clone)]
pub struct Alarms(Arc<Inner>);

struct Inner {
    node_id: u64,
    settings: AlarmSettings,
    clock: Arc<dyn Clock>,
    board: Mutex<Board>,
    /// Of this node, but for its alarms.
    own: Mutex<Vitals>,
    /// Of the others.
    heard: Mutex<BTreeMap<u64, Heard>>,
    /// Why client writes are refused, if they are.
    refusal: Mutex<Option<Arc<str>>>,
    /// Whether they are: every write asks.
    refuses: AtomicBool,
    /// Counts what is raised and cleared here.
    changes: watch::Sender<u64>,
}

/// What a member has told last.
struct Heard {
    at: Instant,
    offset: Offset,
    vitals: Vitals,
}

impl Alarms {
    /// Of node `node_id`. Nothing is raised until [`start`](Self::start)ed.
    #[must_use]
    pub fn new(node_id: u64, settings: AlarmSettings, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            node_id,
            settings,
            clock,
            board: Mutex::default(),
            own: Mutex::default(),
            heard: Mutex::default(),
            refusal: Mutex::default(),
            refuses: AtomicBool::new(false),
            changes: watch::Sender::new(0),
        }))
    }

    /// Begins to look and to ask.
    pub fn start(&self, watched: Watched) {
        monitor::start(self.clone(), watched);
    }

    /// What this node has raised, what hurts most first.
    #[must_use]
    pub fn own(&self) -> Vec<Alarm> {
        self.0.board.lock().raised().cloned().collect()
    }

    /// What any member has raised, as far as this node hears; what hurts most first.
    #[must_use]
    pub fn all(&self) -> Vec<ClusterAlarm> {
        let mut all: BTreeMap<(AlarmKind, u64), ClusterAlarm> = BTreeMap::new();
        let mut add = |raised_by: u64, alarm: Alarm| {
            let known = all.entry((alarm.kind, alarm.node_id)).or_insert_with(|| ClusterAlarm {
                alarm: alarm.clone(),
                raised_by: BTreeSet::new(),
            });
            let is_own_account = raised_by == alarm.node_id;
            let is_lowest = known.raised_by.first().is_none_or(|first| raised_by < *first);
            let has_own_account = known.raised_by.contains(&alarm.node_id);
            let since_us = known.alarm.since_us.min(alarm.since_us);
            if is_own_account || is_lowest && !has_own_account {
                known.alarm = alarm;
            }
            known.alarm.since_us = since_us;
            known.raised_by.insert(raised_by);
        };
        self.own().into_iter().for_each(|alarm| add(self.0.node_id, alarm));
        for (node_id, heard) in &*self.0.heard.lock() {
            if heard.at.elapsed() < SHOWN_MAX {
                heard.vitals.alarms().for_each(|alarm| add(*node_id, alarm));
            }
        }
        all.into_values().collect()
    }

    /// Whether this node has raised an alarm of this kind about itself.
    #[must_use]
    pub fn is_raised(&self, kind: AlarmKind) -> bool {
        self.0.board.lock().about(kind).contains(&self.0.node_id)
    }

    /// Follows what is raised and cleared here: a count of it.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Why client writes are refused, if they are.
    #[must_use]
    pub fn refusal(&self) -> Option<Arc<str>> {
        match self.0.refuses.load(Ordering::Relaxed) {
            true => self.0.refusal.lock().clone(),
            false => None,
        }
    }

    fn refuse(&self, reason: Option<&str>) {
        *self.0.refusal.lock() = reason.map(Arc::from);
        self.0.refuses.store(reason.is_some(), Ordering::Relaxed);
    }

    /// This node, as it was when it last looked.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let vitals = self.0.own.lock().clone();
        Vitals {
            now_us: self.0.clock.now_us(),
            ..vitals
        }
        .with_alarms(self.0.board.lock().raised())
    }

    /// Member `node_id`, as it has told not long ago.
    #[must_use]
    pub fn vitals_of(&self, node_id: u64) -> Option<Vitals> {
        if node_id == self.0.node_id {
            return Some(self.vitals());
        }
        let heard = self.0.heard.lock();
        let heard = heard.get(&node_id).filter(|heard| heard.at.elapsed() < HEARD_MAX)?;
        Some(heard.vitals.clone())
    }

    /// A member tells that it stops, since its state differs from the others'.
    pub fn on_diverged(&self, from: u64, reason: &Bytes) {
        let reason = String::from_utf8_lossy(reason).chars().take(400).collect();
        self.set(AlarmKind::Divergence, from, Some(reason));
    }

    /// Raises, renews or clears an alarm.
    fn set(&self, kind: AlarmKind, node_id: u64, detail: Option<String>) {
        let now_us = self.0.clock.now_us();
        if self.0.board.lock().set(kind, node_id, detail, now_us) {
            self.0.changes.send_modify(|count| *count += 1);
        }
    }
}
