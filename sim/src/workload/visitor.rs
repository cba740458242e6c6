//! A client that comes and goes: its session ends soon or with the connection, sometimes with a word and sometimes without, and
//! meanwhile it takes its share of the jobs.

use std::time::Duration;

use banyan_core::mqtt::QoS;
use banyan_core::mqtt::reason::ReasonCode;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::{Instant, timeout};

use super::Context;
use super::plan::{Visitor, around};
use super::session::{Connector, JOB_FILTER, acknowledgement, subscribe};
use super::subscriber::SILENCE_MAX;
use crate::client::mqtt::{Incoming, KEEP_ALIVE_S, MqttClient, MqttError};
use crate::history::{Connection, ProtocolError};

/// Longest Session Expiry Interval, seconds.
const EXPIRY_MAX_S: u32 = 3;

pub(super) async fn run(client: u32, behaviour: Visitor, context: Context, mut rng: StdRng) {
    let mut connector = Connector::new(client, context);
    loop {
        let pause = around(behaviour.away, &mut rng);
        if timeout(pause, connector.context.stop.requests.cancelled())
            .await
            .is_ok()
        {
            return;
        }
        let Some(node) = connector.context.nodes.choose(&mut rng).cloned() else {
            return;
        };
        let expiry_s = rng.random_range(0..=EXPIRY_MAX_S);
        let clean_start = rng.random_bool(0.3);
        let (mut mqtt, connection) = match connector.connect(&node, clean_start, expiry_s, &mut rng).await {
            Ok(connected) => connected,
            Err(error) => {
                connector.note(node.node, &error);
                continue;
            }
        };
        if clean_start && connection.session_present {
            connector.error(
                node.node,
                "I-24",
                "tells of a session, although there was to be none".to_owned(),
            );
        }
        let until = Instant::now() + around(behaviour.stay, &mut rng);
        match serve(&connector, connection, &mut mqtt, until).await {
            Ok(()) if rng.random_bool(0.5) => {
                let reasons = [ReasonCode::Success, ReasonCode::DisconnectWithWill];
                mqtt.leave(reasons[usize::from(rng.random_bool(0.3))]).await;
            }
            Ok(()) => {}
            Err(error) => connector.note(node.node, &error),
        }
    }
}

async fn serve(
    connector: &Connector,
    connection: Connection,
    mqtt: &mut MqttClient,
    until: Instant,
) -> Result<(), MqttError> {
    let stop = connector.context.stop.requests.clone();
    mqtt.send(&subscribe(1, &[JOB_FILTER], QoS::AtLeastOnce));
    let mut heard_at = Instant::now();
    let mut ping_at = heard_at;
    while Instant::now() < until && !stop.is_cancelled() {
        let now = Instant::now();
        if now.duration_since(heard_at) > SILENCE_MAX {
            return Err(MqttError::Timeout);
        }
        if ping_at <= now {
            mqtt.ping();
            ping_at = now + Duration::from_secs(u64::from(KEEP_ALIVE_S) / 3);
        }
        let incoming = match mqtt.next((now + Duration::from_millis(100)).min(until)).await {
            Ok(incoming) => incoming,
            Err(MqttError::Timeout) => continue,
            Err(error) => return Err(error),
        };
        heard_at = Instant::now();
        if let Incoming::Message(publish) = incoming {
            let (QoS::AtLeastOnce, Some(packet_id)) = (publish.qos, publish.packet_id) else {
                let what = "a message of a greater QoS than was granted".to_owned();
                connector.error(connection.node, ProtocolError::ID, what);
                continue;
            };
            let receipt = connector.receipt(connection, &publish);
            connector.context.recorder.receive(receipt);
            if let Some(serial) = receipt.serial {
                connector.context.ending.received(serial);
            }
            mqtt.send(&acknowledgement(publish.qos, packet_id));
        }
    }
    Ok(())
}
