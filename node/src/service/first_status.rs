//! [`NodeStatus`] as the first version encodes it, for clusters in which one still runs.

use serde::{Deserialize, Serialize};

use super::status::NodeStatus;

/// The fields of the first version, in its order. It tells them apart by their places alone: never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstStatus {
    version: String,
    mqtt_address: String,
    http_address: String,
    term: u64,
    last_log_index: u64,
    committed_index: u64,
    applied_index: u64,
    purged_index: u64,
    snapshot_index: u64,
    revision: u64,
    digest: String,
    topic_count: u64,
    client_count: u64,
    session_count: u64,
    message_count: u64,
    message_bytes: u64,
    delivered_count: u64,
    dropped_count: u64,
    fallen_behind_count: u64,
    gap_count: u64,
    log_appends: u64,
    log_fsyncs: u64,
    not_ready: Option<String>,
}

impl From<NodeStatus> for FirstStatus {
    fn from(status: NodeStatus) -> Self {
        Self {
            version: status.version,
            mqtt_address: status.mqtt_address,
            http_address: status.http_address,
            term: status.term,
            last_log_index: status.last_log_index,
            committed_index: status.committed_index,
            applied_index: status.applied_index,
            purged_index: status.purged_index,
            snapshot_index: status.snapshot_index,
            revision: status.revision,
            digest: status.digest,
            topic_count: status.topic_count,
            client_count: status.client_count,
            session_count: status.session_count,
            message_count: status.message_count,
            message_bytes: status.message_bytes,
            delivered_count: status.delivered_count,
            dropped_count: status.dropped_count,
            fallen_behind_count: status.fallen_behind_count,
            gap_count: status.gap_count,
            log_appends: status.log_appends,
            log_fsyncs: status.log_fsyncs,
            not_ready: status.not_ready,
        }
    }
}

impl From<FirstStatus> for NodeStatus {
    fn from(first: FirstStatus) -> Self {
        Self {
            version: first.version,
            mqtt_address: first.mqtt_address,
            http_address: first.http_address,
            term: first.term,
            last_log_index: first.last_log_index,
            committed_index: first.committed_index,
            applied_index: first.applied_index,
            purged_index: first.purged_index,
            snapshot_index: first.snapshot_index,
            revision: first.revision,
            digest: first.digest,
            topic_count: first.topic_count,
            client_count: first.client_count,
            session_count: first.session_count,
            message_count: first.message_count,
            message_bytes: first.message_bytes,
            delivered_count: first.delivered_count,
            dropped_count: first.dropped_count,
            fallen_behind_count: first.fallen_behind_count,
            gap_count: first.gap_count,
            log_appends: first.log_appends,
            log_fsyncs: first.log_fsyncs,
            not_ready: first.not_ready,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::wire;

    /// Bytes as the first version wrote them.
    #[test]
    fn the_first_version_is_understood() {
        let status = NodeStatus {
            version: "0.1.0".to_owned(),
            mqtt_address: "a:1".to_owned(),
            http_address: "b:2".to_owned(),
            term: 3,
            revision: 300,
            digest: "cd".to_owned(),
            log_fsyncs: 5,
            not_ready: Some("why".to_owned()),
            ..NodeStatus::default()
        };
        let encoded = wire::encode(&FirstStatus::from(status.clone())).unwrap();
        let expected = b"\x050.1.0\x03a:1\x03b:2\x03\0\0\0\0\0\xfb\x2c\x01\x02cd\0\0\0\0\0\0\0\0\0\0\x05\x01\x03why";
        assert_eq!(encoded[..], expected[..]);
        let decoded: FirstStatus = wire::decode(&encoded).unwrap();
        assert_eq!(NodeStatus::from(decoded), status);
    }
}
