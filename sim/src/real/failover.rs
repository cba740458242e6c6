//! How long nobody can write after the leader's end.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::RealError;
use super::scene::Scene;
use crate::client::http::{HttpClient, Listing};
use crate::history::{Call, Condition, Operation, Serial, Time, Transport};
use crate::workload::Context;

/// Writers at each node, each with one write under way.
const PROBES_PER_NODE: u32 = 2;
/// Time between two writes of one.
const PROBE_PAUSE: Duration = Duration::from_millis(2);
/// The same at a node that does not answer.
const PROBE_PAUSE_DOWN: Duration = Duration::from_millis(50);
/// Time for the cluster to be at rest before the next kill.
const REST: Duration = Duration::from_secs(2);
/// Time the killed node stays away: longer than an election.
const AWAY: Duration = Duration::from_secs(3);

/// Kills the leader `kills` times, each time in a cluster at rest; the times of the kills.
///
/// # Errors
/// A node does not come back.
pub(super) async fn kill_leaders(scene: &Scene, kills: u32) -> Result<Vec<Time>, RealError> {
    let mut times = Vec::new();
    while times.len() < kills as usize && !scene.stop.is_cancelled() {
        scene.cluster.wait_until_ready().await.map_err(RealError::Start)?;
        tokio::time::sleep(REST).await;
        let Some(leader) = scene.cluster.ask_leader().await else {
            continue;
        };
        let mut process = scene.cluster.process(leader).await;
        times.push(scene.now());
        process.kill();
        scene.note(format!("kill {}: node {} (leader)", times.len(), leader + 1));
        tokio::time::sleep(AWAY).await;
        process.start()?;
    }
    Ok(times)
}

/// Writers at every node that write again as soon as they are answered.
pub(super) struct Probes {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Probes {
    /// Starts them.
    pub(super) fn start(context: &Context) -> Self {
        let mut tasks = JoinSet::new();
        let mut client = 0;
        for _ in 0..PROBES_PER_NODE {
            for node in context.nodes.iter() {
                client += 1;
                tasks.spawn(probe(client, node.node, node.http.clone(), context.clone()));
            }
        }
        Self {
            tasks,
            stop: context.stop.requests.clone(),
        }
    }

    /// Lets them finish what they have under way.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

async fn probe(client: u32, node: u64, address: String, context: Context) {
    let mut connection = HttpClient::new(Arc::clone(&context.net), &address);
    for counter in 1.. {
        if context.stop.requests.is_cancelled() {
            return;
        }
        let call = Call::Put {
            topic: format!("probe/{client}"),
            serial: Serial { client, counter },
            timestamp_us: None,
            condition: Condition::None,
            expiry_s: None,
        };
        let id = context.recorder.begin(Operation {
            client,
            node,
            transport: Transport::Http,
            call: call.clone(),
            invoked_at: (context.now)(),
            returned_at: None,
            answer: None,
        });
        let answer = connection.call(&call, 0, Listing::Stream, context.timeout).await;
        let pause = if answer.is_certain() {
            PROBE_PAUSE
        } else {
            PROBE_PAUSE_DOWN
        };
        context.recorder.finish(id, (context.now)(), answer);
        tokio::time::sleep(pause).await;
    }
}
