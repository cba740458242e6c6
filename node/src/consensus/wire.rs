//! How openraft's values and other cold records are encoded. The one place that names bincode.
//!
//! AppendEntries has a layout of its own around bincode's, so that commands are copied once on the way out and not at all on
//! the way in: `length of the head u32 (big-endian), head, payloads of the entries one after the other`.

use bytes::{BufMut, Bytes, BytesMut};
use openraft::entry::RaftEntry;
use openraft::{BasicNode, EntryPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::types::{Entry, EntryData, LogId, NodeId, TypeConfig, Vote};
use banyan_core::limits::PEER_FRAME_BYTES_MAX;

/// Most bytes that a decoded value may take: nothing that is encoded here is larger than what travels between nodes.
const DECODED_BYTES_MAX: usize = PEER_FRAME_BYTES_MAX;

type Membership = openraft::Membership<NodeId, BasicNode>;

/// openraft's AppendEntries.
pub type AppendEntriesRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;

/// Why bytes cannot be decoded, or a value not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(String);

impl WireError {
    pub(super) fn new(error: &impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODED_BYTES_MAX>()
}

/// Encodes `value`.
///
/// # Errors
/// The value is larger than what travels between nodes.
pub fn encode<T: Serialize>(value: &T) -> Result<Bytes, WireError> {
    bincode::serde::encode_to_vec(value, config())
        .map(Bytes::from)
        .map_err(|error| WireError::new(&error))
}

/// Decodes a value that [`encode`] has written, and nothing else: bytes that are left over are an error.
///
/// # Errors
/// The bytes are no such value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bincode::serde::decode_from_slice(bytes, config()) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(WireError(format!("{} bytes too many", bytes.len() - used))),
        Err(error) => Err(WireError::new(&error)),
    }
}

#[derive(Serialize, Deserialize)]
struct AppendHead {
    vote: Vote,
    prev_log_id: Option<LogId>,
    leader_commit: Option<LogId>,
    entries: Vec<EntryHead>,
}

#[derive(Serialize, Deserialize)]
struct EntryHead {
    log_id: LogId,
    payload: PayloadHead,
}

#[derive(Serialize, Deserialize)]
enum PayloadHead {
    Blank,
    Membership(Membership),
    /// This many bytes behind the head.
    Normal(u32),
}

/// Encodes an AppendEntries request.
///
/// # Errors
/// The request is larger than what travels between nodes.
pub fn encode_append(request: &AppendEntriesRequest) -> Result<Bytes, WireError> {
    let mut payload_bytes = 0;
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in &request.entries {
        let payload = match &entry.payload {
            EntryPayload::Blank => PayloadHead::Blank,
            EntryPayload::Membership(membership) => PayloadHead::Membership(membership.clone()),
            EntryPayload::Normal(data) => {
                payload_bytes += data.0.len();
                PayloadHead::Normal(u32::try_from(data.0.len()).map_err(|error| WireError::new(&error))?)
            }
        };
        entries.push(EntryHead {
            log_id: entry.log_id,
            payload,
        });
    }
    let head = AppendHead {
        vote: request.vote,
        prev_log_id: request.prev_log_id,
        leader_commit: request.leader_commit,
        entries,
    };
    let head = encode(&head)?;
    let mut out = BytesMut::with_capacity(4 + head.len() + payload_bytes);
    out.put_u32(u32::try_from(head.len()).map_err(|error| WireError::new(&error))?);
    out.extend_from_slice(&head);
    for entry in &request.entries {
        if let EntryPayload::Normal(data) = &entry.payload {
            out.extend_from_slice(&data.0);
        }
    }
    Ok(out.freeze())
}

/// Decodes what [`encode_append`] has written. The commands are slices of `bytes`.
///
/// # Errors
/// The bytes are no such request.
pub fn decode_append(bytes: &Bytes) -> Result<AppendEntriesRequest, WireError> {
    let cut = || WireError("cut short".to_owned());
    let (head_len, _) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let payloads_at = 4_usize.saturating_add(u32::from_be_bytes(*head_len) as usize);
    let head: AppendHead = decode(bytes.get(4..payloads_at).ok_or_else(cut)?)?;
    let mut payloads = bytes.slice(payloads_at..);
    let mut entries = Vec::with_capacity(head.entries.len());
    for entry in head.entries {
        let payload = match entry.payload {
            PayloadHead::Blank => EntryPayload::Blank,
            PayloadHead::Membership(membership) => EntryPayload::Membership(membership),
            PayloadHead::Normal(len) if len as usize <= payloads.len() => {
                EntryPayload::Normal(EntryData(payloads.split_to(len as usize)))
            }
            PayloadHead::Normal(_) => return Err(cut()),
        };
        entries.push(Entry::new(entry.log_id, payload));
    }
    if !payloads.is_empty() {
        return Err(WireError(format!("{} bytes too many", payloads.len())));
    }
    Ok(AppendEntriesRequest {
        vote: head.vote,
        prev_log_id: head.prev_log_id,
        entries,
        leader_commit: head.leader_commit,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::raft::{StreamAppendError, StreamAppendResult, VoteRequest, VoteResponse};
    use openraft::type_config::alias::CommittedLeaderIdOf;
    use proptest::prelude::*;

    use super::*;
    use crate::consensus::types::{SnapshotMeta, StoredMembership};

    fn log_id(index: u64) -> LogId {
        LogId::new(CommittedLeaderIdOf::<TypeConfig> { term: 3, node_id: 7 }, index)
    }

    fn membership() -> Membership {
        let nodes: BTreeMap<u64, BasicNode> = (1..=3)
            .map(|id| (id, BasicNode::new(format!("host-{id}:7000"))))
            .collect();
        Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])], nodes).unwrap()
    }

    fn request() -> AppendEntriesRequest {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(EntryData(Bytes::from_static(b"commands"))),
            EntryPayload::Membership(membership()),
            EntryPayload::Normal(EntryData(Bytes::new())),
            EntryPayload::Normal(EntryData(Bytes::from_static(b"more"))),
        ];
        AppendEntriesRequest {
            vote: Vote::new_committed(3, 7),
            prev_log_id: Some(log_id(9)),
            entries: (10..)
                .zip(payloads)
                .map(|(index, payload)| Entry::new(log_id(index), payload))
                .collect(),
            leader_commit: None,
        }
    }

    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T) {
        let bytes = encode(&value).unwrap();
        assert_eq!(decode::<T>(&bytes), Ok(value));
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(decode::<T>(&longer).is_err());
    }

    #[test]
    fn values_of_openraft_travel() {
        round_trip(VoteRequest::<TypeConfig>::new(Vote::new(4, 1), Some(log_id(3))));
        round_trip(VoteResponse::<TypeConfig>::new(Vote::new(4, 1), None, true));
        let last_membership = StoredMembership::new(Some(log_id(1)), membership());
        round_trip(last_membership.clone());
        round_trip(SnapshotMeta {
            last_log_id: Some(log_id(5)),
            last_membership,
        });
        let results: [StreamAppendResult<TypeConfig>; 4] = [
            Ok(None),
            Ok(Some(log_id(8))),
            Err(StreamAppendError::Conflict(log_id(2))),
            Err(StreamAppendError::HigherVote(Vote::new(5, 2))),
        ];
        results.into_iter().for_each(round_trip);
    }

    #[test]
    fn an_append_request_travels_and_its_commands_are_not_copied() {
        let request = request();
        let bytes = encode_append(&request).unwrap();
        let decoded = decode_append(&bytes).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
        assert_eq!(decoded.entries, request.entries);
        let EntryPayload::Normal(data) = &decoded.entries[1].payload else {
            panic!("a normal entry")
        };
        assert!(bytes.as_ptr_range().contains(&data.0.as_ptr()));
    }

    #[test]
    fn an_append_request_of_any_other_length_is_refused() {
        let bytes = encode_append(&request()).unwrap();
        for len in 0..bytes.len() {
            assert!(decode_append(&bytes.slice(..len)).is_err(), "{len}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(decode_append(&longer.into()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<StoredMembership>(&bytes);
            let _ = decode_append(&bytes.into());
        }

        #[test]
        fn damaged_requests_never_panic(at in 0_usize..100, byte: u8) {
            let mut bytes = encode_append(&request()).unwrap().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode_append(&bytes.into());
        }
    }
}
