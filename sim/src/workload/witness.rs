//! A connection that its own client has replaced, and reads on: it acknowledges whatever comes and takes none of it. None of that
//! may have any effect.

use std::time::Duration;

use banyan_core::mqtt::packet::{Ack, Packet};
use banyan_core::mqtt::reason::ReasonCode;
use tokio::time::Instant;

use super::Context;
use super::session::{Connector, ack, acknowledgement};
use crate::client::mqtt::{Incoming, MqttClient, MqttError};
use crate::history::{Connection, Receipt};

/// How long it goes on.
const WATCH: Duration = Duration::from_secs(5);

/// Reads on, after CONNACK of the connection that replaces it.
pub(super) async fn watch(mut mqtt: MqttClient, connection: Connection, context: Context) {
    let connector = Connector::new(connection.client, context);
    let until = Instant::now() + WATCH;
    loop {
        match mqtt.next(until).await {
            Ok(Incoming::Message(publish)) => {
                let receipt = connector.receipt(connection, &publish);
                connector.context.recorder.receive(Receipt {
                    is_late: true,
                    ..receipt
                });
                if let Some(packet_id) = publish.packet_id {
                    mqtt.send(&acknowledgement(publish.qos, packet_id));
                }
            }
            Ok(Incoming::PubRel(Ack { packet_id, .. })) => mqtt.send(&Packet::PubComp(ack(packet_id))),
            Ok(_) => {}
            Err(MqttError::Disconnected(ReasonCode::SessionTakenOver)) => {
                return connector.context.recorder.taken_over();
            }
            Err(_) => return,
        }
    }
}
