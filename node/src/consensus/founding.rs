//! The membership of a cluster that does not begin with an empty state: restored from a backup, or recovered from what one
//! node still has.

use std::collections::{BTreeMap, BTreeSet};

use banyan_core::state::AppliedId;
use bytes::Bytes;
use openraft::{BasicNode, Membership};

use super::replica::Member;
use super::state_machine::log_id_of;
use super::types::{NodeId, StoredMembership};
use super::wire::{self, WireError};

/// The membership row of a state at `applied`, in which `members` (with the addresses of their peer listeners) are voters.
///
/// # Errors
/// There are no members, or more than can be written.
pub fn encode_members(members: &BTreeMap<NodeId, String>, applied: AppliedId) -> Result<Bytes, WireError> {
    let voters: BTreeSet<_> = members.keys().copied().collect();
    let nodes: BTreeMap<_, _> = members
        .iter()
        .map(|(id, address)| (*id, BasicNode::new(address)))
        .collect();
    let membership = Membership::new(vec![voters], nodes).map_err(|error| WireError::new(&error))?;
    wire::encode(&StoredMembership::new(Some(log_id_of(applied)), membership))
}

/// The members that a membership row tells of, by id.
///
/// # Errors
/// The row is unreadable.
pub fn members_of_state(row: &[u8]) -> Result<Vec<Member>, WireError> {
    Ok(members_of_membership(
        wire::decode::<StoredMembership>(row)?.membership(),
    ))
}

/// The membership row that a membership entry of the log makes at `applied`.
///
/// # Errors
/// The entry is unreadable.
pub fn row_of_entry(payload: &[u8], applied: AppliedId) -> Result<Bytes, WireError> {
    let membership = wire::decode::<Membership<NodeId, BasicNode>>(payload)?;
    wire::encode(&StoredMembership::new(Some(log_id_of(applied)), membership))
}

/// The members of a membership, by id.
pub(super) fn members_of_membership(membership: &Membership<NodeId, BasicNode>) -> Vec<Member> {
    let voters: BTreeSet<_> = membership.voter_ids().collect();
    let member = |(node_id, node): (&NodeId, &BasicNode)| Member {
        node_id: *node_id,
        peer_address: node.addr.clone(),
        voter: voters.contains(node_id),
    };
    membership.nodes().map(member).collect()
}

#[cfg(test)]
mod tests {
    use banyan_core::state::founding_id;

    use super::*;

    #[test]
    fn members_come_back_as_they_went() {
        let members = BTreeMap::from([(3, "c:1".to_owned()), (1, "a:1".to_owned())]);
        let row = encode_members(&members, founding_id(7)).unwrap();
        let read = members_of_state(&row).unwrap();
        let ids: Vec<_> = read
            .iter()
            .map(|member| (member.node_id, &member.peer_address[..], member.voter))
            .collect();
        assert_eq!(ids, [(1, "a:1", true), (3, "c:1", true)]);
        assert!(members_of_state(&row[1..]).is_err());
    }
}
