//! The clients of a run: the workload of its seed, and at the end a write and a read at every node that lives on.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::http::{HttpClient, Listing};
use crate::cluster::Cluster;
use crate::cluster::links::host;
use crate::components::clock::{SimClock, simulated_us};
use crate::components::net::{HTTP_PORT, MQTT_PORT, SimNet};
use crate::components::random::stream;
use crate::faults::plan::Plan;
use crate::history::{Answer, Call, Condition, Consistency, Operation, Recorder, Serial, Transport};
use crate::workload::{self, Context, Ending, NodeAddresses, Stop};

/// How long subscribers receive after the last request.
const DRAIN: Duration = Duration::from_secs(3);
/// The client that asks at the end.
const LAST_CLIENT: u32 = 99;
/// How long it tries.
const LAST_TIMEOUT: Duration = Duration::from_secs(30);

/// The clients of a run.
pub struct Clients {
    recorder: Recorder,
    timeout: Duration,
    finish: CancellationToken,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Nodes that must serve in the end.
    core: Mutex<Vec<u64>>,
    done: CancellationToken,
    failure: Mutex<Option<String>>,
}

impl Clients {
    /// Starts the clients of `plan`.
    pub fn start(cluster: &mut Cluster, plan: &Plan) -> Self {
        let nodes: Vec<_> = cluster.nodes().keys().map(|id| addresses(*id)).collect();
        let recorder = Recorder::new();
        // Longer than nodes take to say that they do not know.
        let timeout = Duration::from_millis(plan.knobs.write_timeout_ms) + Duration::from_secs(3);
        let context = Context {
            net: Arc::new(SimNet::new(Arc::clone(cluster.wire()))),
            nodes: nodes.into(),
            recorder: recorder.clone(),
            now: Arc::new(simulated_us),
            wall: Arc::new(SimClock::default()),
            timeout,
            stop: Stop::default(),
            ending: Ending::default(),
        };
        let clients = Self {
            recorder,
            timeout,
            finish: CancellationToken::new(),
            shared: Arc::default(),
        };
        let plan = workload::Plan::draw(&mut stream(plan.seed, "workload"));
        let (finish, shared) = (clients.finish.clone(), Arc::clone(&clients.shared));
        cluster.start_clients(async move {
            let workload = workload::spawn(&plan, &context);
            finish.cancelled().await;
            context.ending.serve(&shared.core.lock());
            let aborted = workload.finish(DRAIN, context.timeout * 2).await;
            if aborted > 0 {
                *shared.failure.lock() = Some(format!("{aborted} clients wait for an answer for ever"));
            }
            let core = shared.core.lock().clone();
            for (id, counter) in core.into_iter().zip(1..) {
                if let Err(error) = use_once(&context, id, counter).await {
                    shared.failure.lock().get_or_insert(error);
                }
            }
            shared.done.cancel();
        });
        clients
    }

    /// What clients did and saw.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// After this a client gives up.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Lets clients end; nodes of `core` must serve.
    pub fn finish(&self, core: &[u64]) {
        *self.shared.core.lock() = core.to_vec();
        self.finish.cancel();
    }

    /// Whether all clients have ended.
    #[must_use]
    pub fn are_done(&self) -> bool {
        self.shared.done.is_cancelled()
    }

    /// What did not work in the end.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }
}

fn addresses(id: u64) -> NodeAddresses {
    NodeAddresses {
        node: id,
        mqtt: format!("{}:{MQTT_PORT}", host(id)),
        http: format!("{}:{HTTP_PORT}", host(id)),
    }
}

/// Writes at node `id`, and reads there what was written.
async fn use_once(context: &Context, id: u64, counter: u32) -> Result<(), String> {
    let until = Instant::now() + LAST_TIMEOUT;
    let topic = format!("last/{id}");
    let serial = Serial {
        client: LAST_CLIENT,
        counter,
    };
    let put = Call::Put {
        topic: topic.clone(),
        serial,
        timestamp_us: None,
        condition: Condition::None,
        expiry_s: None,
    };
    let get = Call::Get {
        topic,
        consistency: Consistency::Linearizable,
    };
    for call in [put, get] {
        loop {
            match ask(context, id, call.clone()).await {
                Answer::Written { .. } => break,
                Answer::Value(Some(seen)) if seen.serial == Some(serial) => break,
                answer if Instant::now() >= until => {
                    return Err(format!("node {id} does not serve after the healing: {call}: {answer}"));
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
    Ok(())
}

async fn ask(context: &Context, id: u64, call: Call) -> Answer {
    let operation = context.recorder.begin(Operation {
        client: LAST_CLIENT,
        node: id,
        transport: Transport::Http,
        call: call.clone(),
        invoked_at: (context.now)(),
        returned_at: None,
        answer: None,
    });
    let mut client = HttpClient::new(Arc::clone(&context.net), &addresses(id).http);
    let answer = client.call(&call, 0, Listing::Stream, context.timeout).await;
    context.recorder.finish(operation, (context.now)(), answer.clone());
    answer
}
