//! What clients do: about ten of them, over both protocols, at all nodes, drawn from a seed.
//!
//! Each client draws from randomness of its own, so that one client's fate does not change what another one wants. They
//! write everything they do and see into the [`Recorder`]; whether it was right is for others to say.
//!
//! | file | concept |
//! |---|---|
//! | `plan` | which clients there are and how they behave |
//! | `topics` | the topics and filters they choose from |
//! | `calls` | one request after the other, drawn |
//! | `device` | keeps a session: QoS 1 or 2 both ways, at any node |
//! | `visitor` | has a session that ends soon, and a share of the jobs |
//! | `witness` | a connection that its own client has replaced |
//! | `session` | what clients with wills and sessions have in common |
//! | `ending` | how they come to an end together |
//! | `publisher` | writes over MQTT with a window, killed and resending elsewhere |
//! | `requester` | reads, writes and lists over HTTP |
//! | `subscriber` | follows a filter, resumes, reads slowly |
//! | `twin` | takes the connection of another client over |

mod calls;
mod device;
mod ending;
mod plan;
mod publisher;
mod requester;
mod session;
mod subscriber;
mod topics;
mod twin;
mod visitor;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use banyan_node::components::Clock;
use banyan_node::net::Net;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::history::{Now, Recorder};

pub use ending::Ending;
pub use plan::{Behaviour, ClientPlan, Device, Plan, Publisher, Requester, Subscriber, Twin, Visitor, Writes};
pub use session::{DEVICE_FILTER, JOB_FILTER, JOB_TOPICS, WILL_CLIENTS};
pub use topics::Topics;

/// Where a node listens for clients, `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddresses {
    /// The node.
    pub node: u64,
    /// MQTT.
    pub mqtt: String,
    /// HTTP.
    pub http: String,
}

/// What a client may take to end beside its time for a request: it connects, waits for what does not come, and pauses.
pub const ENDS_WITHIN: Duration = subscriber::CONNECT_TIMEOUT
    .saturating_add(device::END)
    .saturating_add(Duration::from_secs(3));

/// When clients end.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Publishers and requesters send nothing new and end once everything is answered or given up.
    pub requests: CancellationToken,
    /// Subscribers end once they have what their node has for them. Cancel it some time after the requests have ended.
    pub subscriptions: CancellationToken,
}

/// What a client needs.
#[derive(Clone)]
pub struct Context {
    /// Its network.
    pub net: Arc<dyn Net>,
    /// The nodes it may go to.
    pub nodes: Arc<[NodeAddresses]>,
    /// Where it writes what it does and sees.
    pub recorder: Recorder,
    /// The time of the run.
    pub now: Now,
    /// Its own clock, for timestamps.
    pub wall: Arc<dyn Clock>,
    /// After this it gives up on an answer: longer than the nodes' own timeouts.
    pub timeout: Duration,
    /// When it ends.
    pub stop: Stop,
    /// With what it ends, if it keeps a session.
    pub ending: Ending,
}

/// The life of one client, until it is stopped.
pub async fn client(plan: ClientPlan, context: Context) {
    let rng = StdRng::seed_from_u64(plan.seed);
    match plan.behaviour {
        Behaviour::Publisher(behaviour) => publisher::run(plan.client, behaviour, plan.topics, context, rng).await,
        Behaviour::Requester(behaviour) => requester::run(plan.client, behaviour, plan.topics, context, rng).await,
        Behaviour::Subscriber(behaviour) => subscriber::run(plan.client, behaviour, plan.topics, context, rng).await,
        Behaviour::Device(behaviour) => device::run(plan.client, behaviour, context, rng).await,
        Behaviour::Visitor(behaviour) => visitor::run(plan.client, behaviour, context, rng).await,
        Behaviour::Twin(behaviour) => twin::run(behaviour, context, rng).await,
    }
}

/// Clients that run as tasks.
pub struct Workload {
    stop: Stop,
    requests: Vec<JoinHandle<()>>,
    subscriptions: Vec<JoinHandle<()>>,
}

/// Starts every client of `plan` as a task.
#[must_use]
pub fn spawn(plan: &Plan, context: &Context) -> Workload {
    let (mut requests, mut subscriptions) = (Vec::new(), Vec::new());
    for one in &plan.clients {
        let task = tokio::spawn(client(one.clone(), context.clone()));
        match one.behaviour {
            Behaviour::Subscriber(_) | Behaviour::Device(_) => subscriptions.push(task),
            _ => requests.push(task),
        }
    }
    Workload {
        stop: context.stop.clone(),
        requests,
        subscriptions,
    }
}

impl Workload {
    /// Stops requests, lets subscribers receive for `drain`, then stops them too. Clients that do not end within `patience`,
    /// their time for a request, and [`ENDS_WITHIN`] after they were told to are aborted; returns how many those were.
    ///
    /// # Panics
    /// If a client panicked.
    pub async fn finish(self, drain: Duration, patience: Duration) -> usize {
        let deadline = patience + ENDS_WITHIN;
        self.stop.requests.cancel();
        let mut aborted = join(self.requests, deadline).await;
        tokio::time::sleep(drain).await;
        self.stop.subscriptions.cancel();
        aborted += join(self.subscriptions, deadline).await;
        aborted
    }
}

async fn join(tasks: Vec<JoinHandle<()>>, deadline: Duration) -> usize {
    let mut aborted = 0;
    for mut task in tasks {
        match timeout(deadline, &mut task).await {
            Ok(ended) => ended.expect("a client panicked"),
            Err(_) => {
                task.abort();
                aborted += 1;
            }
        }
    }
    aborted
}
