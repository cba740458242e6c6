//! The topics beneath `$SYS/broker/alarms`: one for each kind of alarm, with the ids of the nodes that such an alarm is about,
//! or `none`; and `count`, of all that are raised. They are brought up to date at once when this node raises or clears an
//! alarm, and within a second when another does.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::status::say;
use crate::alarms::AlarmKind;
use crate::service::Service;

/// How often alarms of other nodes are looked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the topics up to date until `stop`.
pub async fn run(service: Service, stop: CancellationToken) {
    let mut changes = service.alarms().changes();
    let mut published = BTreeMap::new();
    loop {
        let now = values(&service);
        for (name, value) in &now {
            if published.get(name) != Some(value) {
                say(&service, &format!("alarms/{name}"), value.clone());
            }
        }
        published = now;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn values(service: &Service) -> BTreeMap<&'static str, String> {
    let alarms = service.alarms().all();
    let mut values: BTreeMap<_, _> = AlarmKind::ALL.iter().map(|kind| (kind.name(), String::new())).collect();
    for raised in &alarms {
        let nodes = values.entry(raised.alarm.kind.name()).or_default();
        if !nodes.is_empty() {
            nodes.push(',');
        }
        nodes.push_str(&raised.alarm.node_id.to_string());
    }
    for nodes in values.values_mut().filter(|nodes| nodes.is_empty()) {
        nodes.push_str("none");
    }
    values.insert("count", alarms.len().to_string());
    values
}
