//! A client that comes with another one's identifier, again and again for a while, at any node (L3): the other is closed with
//! 0x8E where they meet. It asks for nothing, so that whatever the other asked for must still be as promised.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::{Instant, timeout};

use super::Context;
use super::plan::{Twin, around};
use super::subscriber::CONNECT_TIMEOUT;
use crate::client::mqtt::MqttClient;

/// How long a storm lasts.
const STORM: Duration = Duration::from_secs(2);
/// Most connections that it makes a second, the fewest being one.
const PER_SECOND_MAX: u32 = 5;

pub(super) async fn run(behaviour: Twin, context: Context, mut rng: StdRng) {
    let client_id = format!("c{}", behaviour.of);
    loop {
        let pause = around(behaviour.every, &mut rng);
        if timeout(pause, context.stop.requests.cancelled()).await.is_ok() {
            return;
        }
        let until = Instant::now() + STORM;
        let between = Duration::from_secs(1) / rng.random_range(1..=PER_SECOND_MAX);
        while Instant::now() < until && !context.stop.requests.is_cancelled() {
            let Some(node) = context.nodes.choose(&mut rng) else {
                return;
            };
            let next = Instant::now() + between;
            let connected = MqttClient::connect(&*context.net, &node.mqtt, &client_id, None, CONNECT_TIMEOUT);
            if let Ok(mqtt) = connected.await {
                tokio::time::sleep_until(next).await;
                match rng.random_bool(0.5) {
                    true => mqtt.disconnect().await,
                    false => drop(mqtt),
                }
            } else {
                tokio::time::sleep_until(next).await;
            }
        }
    }
}
