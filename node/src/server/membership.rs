//! What a running node does about its own membership: it says where it is reached, and goes when it is removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::consensus::Replica;
use crate::peer::{Lane, Peers};
use crate::service::members::ADDRESS_REQUEST;

/// How often a node looks whether it is to leave.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A node that has had no contact for so long asks the others whether it was removed.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Wait between two rounds of such questions.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// Time for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Keeps the addresses of the peers as the membership says.
pub(super) async fn follow_members(replica: Arc<Replica>, peers: Peers) {
    let mut changes = replica.follow_members();
    let mut known: BTreeMap<u64, String> = BTreeMap::new();
    loop {
        let members: BTreeMap<_, _> = changes
            .borrow_and_update()
            .iter()
            .map(|member| (member.node_id, member.peer_address.clone()))
            .collect();
        for (id, address) in &members {
            if *id != replica.node_id() && known.get(id) != Some(address) {
                peers.set_address(*id, address.clone());
            }
        }
        for removed in known.keys().filter(|id| !members.contains_key(id)) {
            peers.remove(*removed);
        }
        known = members;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the others where this node is reached, whenever the membership says otherwise.
pub(super) async fn announce_address(replica: Arc<Replica>, peers: Peers, address: String) {
    let mut changes = replica.follow_members();
    loop {
        let members = Arc::clone(&changes.borrow_and_update());
        let own = members.iter().find(|member| member.node_id == replica.node_id());
        if own.is_none_or(|own| own.peer_address == address) {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        if replica.leadership().leader == Some(replica.node_id()) {
            // Tried again as long as it fails.
            let _ = replica.set_address(replica.node_id(), &address).await;
        }
        let others = members.iter().filter(|member| member.node_id != replica.node_id());
        let told = others.map(|member| {
            let body = Bytes::copy_from_slice(address.as_bytes());
            peers.request(member.node_id, Lane::Control, ADDRESS_REQUEST, body, ANSWER_TIMEOUT)
        });
        futures_util::future::join_all(told).await;
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

/// Waits until this node is to leave the cluster, as far as it has heard; or it was removed already.
pub(super) async fn leaving(replica: &Replica, peers: &Peers) {
    let removed = peers.removed();
    let mut contact = Instant::now();
    loop {
        if *removed.borrow() || replica.member_goals().is_leaving(replica.node_id()) {
            return;
        }
        if replica.has_contact().await {
            contact = Instant::now();
        } else if contact.elapsed() > SILENCE_MAX {
            ask_whether_removed(replica, peers).await;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Waits until another node says that this one was removed.
pub(super) async fn removed(replica: &Replica, peers: &Peers) {
    let removed = peers.removed();
    while !*removed.borrow() {
        ask_whether_removed(replica, peers).await;
        if *removed.borrow() {
            return;
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

/// Opens a connection to each member that is known; one that knows better refuses it, and [`Peers::removed`] says so.
async fn ask_whether_removed(replica: &Replica, peers: &Peers) {
    let members = replica.members();
    let others = members.iter().filter(|member| member.node_id != replica.node_id());
    let asked = others.map(|member| {
        let address = peers.address(member.node_id);
        let address = address.unwrap_or_else(|| member.peer_address.clone());
        async move { peers.identify(&address, ANSWER_TIMEOUT).await }
    });
    futures_util::future::join_all(asked).await;
}
