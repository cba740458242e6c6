//! Which clients a run has, and how each behaves.

use std::time::Duration;

use banyan_core::mqtt::QoS;
use rand::Rng;

use super::topics::Topics;

/// The clients of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One of each, by number from 1.
    pub clients: Vec<ClientPlan>,
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientPlan {
    /// Its number; its client identifier is `c<number>`.
    pub client: u32,
    /// What it draws from.
    pub seed: u64,
    /// What it chooses from.
    pub topics: Topics,
    /// What it does.
    pub behaviour: Behaviour,
}

/// What a client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Writes over MQTT.
    Publisher(Publisher),
    /// Reads and writes over HTTP.
    Requester(Requester),
    /// Follows a filter.
    Subscriber(Subscriber),
    /// Keeps a session.
    Device(Device),
    /// Has a session that ends soon.
    Visitor(Visitor),
    /// Comes with another one's identifier.
    Twin(Twin),
}

/// Writes and events over MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// Messages in flight at most.
    pub window: usize,
    /// Mean time between two messages.
    pub pause: Duration,
    /// Mean time between two kills of the client between PUBLISH and PUBACK (L2); zero: never.
    pub kill_every: Duration,
    /// How many of a hundred messages with unknown fate it sends again.
    pub resend_percent: u32,
    /// Mean time between bursts of ten times the rate (L4); zero: never.
    pub burst_every: Duration,
    /// What it writes.
    pub writes: Writes,
}

/// Requests over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// Mean time between two requests.
    pub pause: Duration,
    /// How many of a hundred requests read one topic.
    pub get_percent: u32,
    /// How many of a hundred requests list.
    pub list_percent: u32,
    /// How many of a thousand requests are given up while they are under way (L2).
    pub kill_permille: u32,
    /// What it writes otherwise.
    pub writes: Writes,
}

/// What kinds of writes a client makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writes {
    /// How many of a hundred writes delete a topic.
    pub delete_percent: u32,
    /// How many of a thousand writes delete by filter.
    pub delete_filter_permille: u32,
    /// How many of a hundred messages are events.
    pub event_percent: u32,
    /// How many of a hundred writes have a condition.
    pub condition_percent: u32,
    /// How many of a hundred writes have a timestamp.
    pub timestamp_percent: u32,
    /// How many of a hundred puts expire.
    pub expiry_percent: u32,
    /// Longest payload, bytes.
    pub payload_bytes_max: usize,
}

/// Publishes and receives in a session that it resumes at any node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// With which QoS: 1 or 2.
    pub qos: QoS,
    /// Messages in flight at most.
    pub window: usize,
    /// Mean time between two messages.
    pub pause: Duration,
    /// Mean time between two ends of its connection, without a word (L2).
    pub kill_every: Duration,
    /// Mean time until it is back.
    pub away: Duration,
    /// Mean time between two storms in which it takes its own connection over, at any node (L3); zero: never.
    pub storm_every: Duration,
}

/// Comes and goes, and takes its share of what the shared subscription brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// Mean time for which it stays.
    pub stay: Duration,
    /// Mean time until it is back.
    pub away: Duration,
}

/// Takes another client's connection over, in storms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// The other client.
    pub of: u32,
    /// Mean time between two storms.
    pub every: Duration,
}

/// Follows a filter and comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Mean time after which it leaves and subscribes at some node again.
    pub stay: Duration,
    /// How many of a hundred subscriptions resume with `since`.
    pub resume_percent: u32,
    /// How many of a hundred subscriptions ask for `consistency=local`.
    pub local_percent: u32,
    /// Receive Maximum.
    pub receive_maximum: u16,
    /// Mean time it takes to acknowledge a message (L1).
    pub acknowledge_after: Duration,
    /// Mean time between two times when it stops reading (L1); zero: never.
    pub stop_reading_every: Duration,
}

impl Plan {
    /// Ten clients, four that keep a session, one that has a short one, and with some seeds one that takes the place of another.
    /// Each special behaviour is on or off for the whole run, so that rare combinations get room.
    #[must_use]
    pub fn draw(rng: &mut impl Rng) -> Self {
        let topics = Topics {
            hot_count: rng.random_range(2..=5),
            cold_count: rng.random_range(3..=12),
            hot_percent: rng.random_range(30..=80),
        };
        let writes = Writes::draw(rng);
        let (kills, bursts, slow) = (rng.random_bool(0.8), rng.random_bool(0.3), rng.random_bool(0.5));
        let pause = Duration::from_millis(rng.random_range(60..=250));
        let mut behaviours = Vec::new();
        for _ in 0..4 {
            behaviours.push(Behaviour::Publisher(Publisher::draw(
                rng, pause, kills, bursts, &writes,
            )));
        }
        for number in 0..3 {
            behaviours.push(Behaviour::Requester(Requester {
                pause,
                get_percent: rng.random_range(30..=60),
                // One of them lists much.
                list_percent: if number == 0 { 30 } else { 4 },
                kill_permille: if kills { 20 } else { 0 },
                writes: writes.clone(),
            }));
        }
        for number in 0..3 {
            // One of them is slow, if any.
            behaviours.push(Behaviour::Subscriber(Subscriber::draw(rng, slow && number == 0)));
        }
        let mut clients: Vec<_> = (1..)
            .zip(behaviours)
            .map(|(client, behaviour)| ClientPlan {
                client,
                seed: rng.random(),
                topics,
                behaviour,
            })
            .collect();
        if rng.random_bool(0.3) {
            let of_mqtt = |plan: &&ClientPlan| !matches!(plan.behaviour, Behaviour::Requester(_));
            let others: Vec<u32> = clients.iter().filter(of_mqtt).map(|plan| plan.client).collect();
            clients.push(ClientPlan {
                client: clients.len() as u32 + 1,
                seed: rng.random(),
                topics,
                behaviour: Behaviour::Twin(Twin {
                    of: others[rng.random_range(0..others.len())],
                    every: seconds(rng, 5..=20),
                }),
            });
        }
        let storms = rng.random_bool(0.4);
        for number in 0..4 {
            let device = Device {
                qos: if number < 2 { QoS::ExactlyOnce } else { QoS::AtLeastOnce },
                window: rng.random_range(1..=6),
                pause: pause * 4,
                kill_every: seconds(rng, 2..=10),
                away: Duration::from_millis(rng.random_range(20..=2_000)),
                storm_every: match storms && number % 2 == 0 {
                    true => seconds(rng, 3..=12),
                    false => Duration::ZERO,
                },
            };
            clients.push(ClientPlan {
                client: clients.len() as u32 + 1,
                seed: rng.random(),
                topics,
                behaviour: Behaviour::Device(device),
            });
        }
        clients.push(ClientPlan {
            client: clients.len() as u32 + 1,
            seed: rng.random(),
            topics,
            behaviour: Behaviour::Visitor(Visitor {
                stay: seconds(rng, 1..=6),
                away: Duration::from_millis(rng.random_range(200..=4_000)),
            }),
        });
        Self { clients }
    }
}

impl Writes {
    fn draw(rng: &mut impl Rng) -> Self {
        let mut sometimes = |percent: u32| if rng.random_bool(0.7) { percent } else { 0 };
        Self {
            delete_percent: sometimes(12),
            delete_filter_permille: sometimes(8),
            event_percent: sometimes(20),
            condition_percent: sometimes(20),
            timestamp_percent: sometimes(25),
            expiry_percent: sometimes(10),
            payload_bytes_max: if rng.random_bool(0.2) { 4_000 } else { 60 },
        }
    }
}

impl Publisher {
    fn draw(rng: &mut impl Rng, pause: Duration, kills: bool, bursts: bool, writes: &Writes) -> Self {
        Self {
            window: rng.random_range(1..=16),
            pause,
            kill_every: if kills { seconds(rng, 5..=20) } else { Duration::ZERO },
            resend_percent: 60,
            burst_every: if bursts { seconds(rng, 10..=30) } else { Duration::ZERO },
            writes: writes.clone(),
        }
    }
}

impl Subscriber {
    fn draw(rng: &mut impl Rng, slow: bool) -> Self {
        Self {
            stay: seconds(rng, 5..=25),
            resume_percent: 60,
            local_percent: 15,
            receive_maximum: if slow { rng.random_range(1..=8) } else { 1024 },
            acknowledge_after: if slow {
                Duration::from_millis(200)
            } else {
                Duration::ZERO
            },
            stop_reading_every: if slow { seconds(rng, 5..=20) } else { Duration::ZERO },
        }
    }
}

fn seconds(rng: &mut impl Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_secs(rng.random_range(range))
}

/// A time drawn around `mean`: often shorter, sometimes much longer.
pub(super) fn around(mean: Duration, rng: &mut impl Rng) -> Duration {
    // Exponential, cut at six times the mean so that no client sleeps through its run.
    let factor = -f64::ln(1.0 - rng.random::<f64>());
    // Whole microseconds: the last bits of a logarithm may differ between machines.
    let factor = (factor.min(6.0) * 1024.0).round() / 1024.0;
    Duration::from_micros(mean.mul_f64(factor).as_micros() as u64)
}
