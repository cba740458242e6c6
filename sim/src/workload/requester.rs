//! A client that reads, writes and lists over HTTP, at one node after the other.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::timeout;

use super::Context;
use super::calls::{Calls, percent};
use super::plan::{Requester, around};
use super::topics::Topics;
use crate::client::http::{HttpClient, Listing};
use crate::history::{Answer, KILLED, Operation, Transport};

/// How many of a hundred requests go to another node than the one before.
const MOVE_PERCENT: u32 = 20;
/// How long a request that is given up was under way at most.
const KILL_AFTER_MAX: Duration = Duration::from_millis(80);

pub(super) async fn run(client: u32, behaviour: Requester, topics: Topics, context: Context, mut rng: StdRng) {
    let mut calls = Calls::new(client, topics, behaviour.writes.clone());
    let mut connection: Option<(u64, HttpClient)> = None;
    while !context.stop.requests.is_cancelled() {
        let (node, mut http) = match connection.take().filter(|_| !percent(&mut rng, MOVE_PERCENT)) {
            Some(connection) => connection,
            None => {
                let Some(node) = context.nodes.choose(&mut rng) else {
                    return;
                };
                (node.node, HttpClient::new(Arc::clone(&context.net), &node.http))
            }
        };
        let choice = rng.random_range(0..100);
        let call = if choice < behaviour.get_percent {
            calls.get(&mut rng)
        } else if choice < behaviour.get_percent + behaviour.list_percent {
            calls.list(&mut rng)
        } else {
            calls.write(context.wall.now_us(), &mut rng)
        };
        let listing = match rng.random_range(0..3) {
            0 => Listing::Stream,
            1 => Listing::Pages(3),
            _ => Listing::Pages(1_000),
        };
        let payload_bytes = calls.payload_bytes(&mut rng);
        let id = context.recorder.begin(Operation {
            client,
            node,
            transport: Transport::Http,
            call: call.clone(),
            invoked_at: (context.now)(),
            returned_at: None,
            answer: None,
        });
        let is_killed = rng.random_range(0..1000) < behaviour.kill_permille;
        let kill_after = KILL_AFTER_MAX.mul_f64(f64::from(rng.random_range(0..1000_u32)) / 1000.0);
        let patience = if is_killed { kill_after } else { context.timeout * 2 };
        let answer = match timeout(patience, http.call(&call, payload_bytes, listing, context.timeout)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Unknown(KILLED.to_owned()),
        };
        calls.learn(&call, &answer);
        let failed = !answer.is_certain();
        context.recorder.finish(id, (context.now)(), answer);
        // After a failure it tries elsewhere.
        connection = (!failed).then_some((node, http));
        tokio::time::sleep(around(behaviour.pause, &mut rng)).await;
    }
}
