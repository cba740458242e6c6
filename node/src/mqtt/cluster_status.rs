//! The topics beneath `$SYS/broker/cluster`: whether there is a quorum, who leads, and how far this node is. Brought up to date
//! every second, since whoever watches them wants to know at once.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::status::say;
use crate::service::Service;

const INTERVAL: Duration = Duration::from_secs(1);

/// Brings the topics up to date until `stop`.
pub async fn run(service: Service, stop: CancellationToken) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => publish(&service),
            () = stop.cancelled() => return,
        }
    }
}

fn publish(service: &Service) {
    let standing = service.standing();
    let node = |id: Option<u64>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    let quorum = match &standing.not_ready {
        None => "yes".to_owned(),
        Some(reason) => format!("no: {reason}"),
    };
    for (name, value) in [
        ("id", format!("{:016x}", standing.cluster_id)),
        ("node", service.node_id().to_string()),
        ("quorum", quorum),
        ("leader", node(standing.leader)),
        ("term", standing.term.to_string()),
        ("role", standing.role.to_owned()),
        ("voters", standing.voters.to_string()),
        ("learners", standing.learners.to_string()),
        ("committed", standing.committed_index.to_string()),
        ("applied", standing.applied_index.to_string()),
        (
            "lag",
            standing
                .committed_index
                .saturating_sub(standing.applied_index)
                .to_string(),
        ),
    ] {
        say(service, &format!("cluster/{name}"), value);
    }
}
