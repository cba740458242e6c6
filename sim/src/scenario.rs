//! Named runs: a seed's plan, turned towards something.

use crate::faults::plan::{Class, Plan};

/// A named run.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Turns the plan of a seed.
    pub turn: fn(&mut Plan),
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "swarm",
        about: "every class of faults is on or off by the seed",
        turn: |_| {},
    },
    Scenario {
        name: "calm",
        about: "nothing goes wrong",
        turn: |plan| plan.classes.clear(),
    },
    Scenario {
        name: "everything",
        about: "all classes at once",
        turn: |plan| plan.classes.extend(Class::ALL.iter().map(|(class, _)| *class)),
    },
    Scenario {
        name: "power",
        about: "nodes lose power, one by one and all at once, in the middle of writes",
        turn: |plan| {
            plan.classes = [
                Class::Crash,
                Class::CrashAll,
                Class::Torn,
                Class::HalfOpen,
                Class::Knobs,
            ]
            .into();
        },
    },
    Scenario {
        name: "partitions",
        about: "all kinds of partitions",
        turn: |plan| {
            plan.classes = [
                Class::Latency,
                Class::Partition,
                Class::OneWay,
                Class::Pause,
                Class::Clog,
            ]
            .into();
        },
    },
    Scenario {
        name: "members",
        about: "members come and go while nodes lose power and reach each other badly",
        turn: |plan| {
            plan.classes = [
                Class::Latency,
                Class::Partition,
                Class::OneWay,
                Class::Crash,
                Class::Torn,
                Class::Lost,
                Class::Churn,
                Class::Knobs,
            ]
            .into();
        },
    },
    Scenario {
        name: "disks",
        about: "disks fail, are slow, and lose bits",
        turn: |plan| {
            plan.classes = [
                Class::Crash,
                Class::Torn,
                Class::SyncError,
                Class::WriteError,
                Class::Damage,
                Class::SlowDisk,
                Class::Knobs,
            ]
            .into();
        },
    },
];

/// The scenario of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
