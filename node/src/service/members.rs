//! Changing the members, on any node: what is asked goes to the leader, which decides.

use std::time::Duration;

use banyan_core::command::MemberChange;
use banyan_core::limits::MEMBER_ADDRESS_BYTES_MAX;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Service;
use crate::consensus::members::plan::Plan;
use crate::consensus::wire;
use crate::peer::{Lane, PeerError};
use crate::settings::Address;
use crate::settings::join_token::{JoinToken, hash_of};

pub use crate::consensus::members::plan::quorum;
pub use crate::consensus::members::request::{MemberRequest, Refusal};

/// Kind of the control request that asks the leader to change the members.
pub const MEMBERS_REQUEST: u8 = 0x70;
/// Kind of the control request with which a node says where it is reached: the address, UTF-8; answered by nothing.
pub const ADDRESS_REQUEST: u8 = 0x71;

/// How long a request is taken to whoever leads.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for the feature level that it needs.
const LEVEL_TIMEOUT: Duration = Duration::from_secs(4);
/// Wait before it is taken there again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

#[derive(Serialize, Deserialize)]
struct Asked {
    request: MemberRequest,
    dry_run: bool,
}

type Decision = Result<Plan, Refusal>;

/// What a node says that belongs to no cluster yet, as far as its data directory knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinQuestion {
    /// It wants to enter.
    Enter {
        /// The secret of its token.
        secret: [u8; 16],
        /// What its data directory is known by.
        nonce: u64,
        /// Where other nodes reach it.
        address: String,
    },
    /// It is about to begin the cluster together with the node that it asks: has it done so before?
    Begin,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// It is let in: the leader will send it the log.
    Accepted,
    /// It is not, and asking again will not help.
    Refused(String),
    /// Not now. Asking again may help.
    Unavailable(String),
}

/// A token, as it is shown once.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// The token.
    pub token: JoinToken,
    /// When it expires, microseconds since the epoch.
    pub expires_at_us: u64,
    /// Where members listen for it.
    pub join: Vec<String>,
}

impl Service {
    /// Has the leader change the members; nothing changes if `dry_run`. What takes time goes on after the answer.
    ///
    /// # Errors
    /// It is refused, or could not be done.
    pub async fn change_members(&self, request: MemberRequest, dry_run: bool) -> Result<Plan, Refusal> {
        let held_back = match request {
            MemberRequest::Lead(_) => None,
            // A member that is gone for good may be what holds the level back: it can be removed at any level.
            MemberRequest::Remove(_) => self.wait_for_level().await.err(),
            _ => {
                self.wait_for_level().await?;
                None
            }
        };
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let refusal = match self.ask_leader(&request, dry_run, deadline).await {
                Err(refusal @ (Refusal::NotLeader | Refusal::Unavailable(_) | Refusal::Unknown(_))) => refusal,
                decided => return decided,
            };
            if Instant::now() + AGAIN_AFTER >= deadline {
                return Err(match (held_back, refusal) {
                    (Some(held_back), _) => held_back,
                    (None, Refusal::NotLeader) => {
                        Refusal::Unavailable("no leader with a quorum answered in time".to_owned())
                    }
                    (None, refusal) => refusal,
                });
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// A cluster that was begun just now is about to reach the level.
    async fn wait_for_level(&self) -> Result<(), Refusal> {
        let deadline = Instant::now() + LEVEL_TIMEOUT;
        while self.feature_level() < MemberChange::FEATURE_LEVEL {
            if Instant::now() >= deadline {
                let required = self
                    .require_level(MemberChange::FEATURE_LEVEL, "changing members")
                    .await;
                return required.map_err(|error| Refusal::Unsafe(error.to_string()));
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        Ok(())
    }

    async fn ask_leader(&self, request: &MemberRequest, dry_run: bool, deadline: Instant) -> Decision {
        let leader = self.0.replica.leadership().leader;
        let leader = leader.ok_or(Refusal::NotLeader)?;
        if leader == self.node_id() {
            return self.0.replica.decide(request, dry_run).await;
        }
        let asked = Asked {
            request: request.clone(),
            dry_run,
        };
        let body = wire::encode(&asked).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let timeout = deadline.saturating_duration_since(Instant::now());
        let peers = &self.0.peers;
        let answer = peers
            .request(leader, Lane::Control, MEMBERS_REQUEST, body, timeout)
            .await;
        match answer {
            Ok(answer) => wire::decode::<Decision>(&answer)
                .unwrap_or_else(|error| Err(Refusal::Unknown(format!("the leader's answer is unreadable: {error}")))),
            Err(error @ (PeerError::Unreachable(_) | PeerError::Busy | PeerError::TooLarge(_))) => {
                Err(Refusal::Unavailable(format!("the leader, node {leader}: {error}")))
            }
            Err(error) => Err(Refusal::Unknown(format!("the leader, node {leader}: {error}"))),
        }
    }

    /// Answers a [`MEMBERS_REQUEST`].
    pub(super) async fn answer_members(&self, body: Bytes) -> Result<Bytes, String> {
        let Asked { request, dry_run } = wire::decode(&body).map_err(|error| error.to_string())?;
        let decision: Decision = self.0.replica.decide(&request, dry_run).await;
        wire::encode(&decision).map_err(|error| error.to_string())
    }

    /// Makes a token with which one node may enter within `lifetime`.
    ///
    /// # Errors
    /// As [`change_members`](Self::change_members).
    pub async fn issue_token(
        &self,
        voter: bool,
        replaces: Option<u64>,
        lifetime: Duration,
        dry_run: bool,
    ) -> Result<(Plan, Option<IssuedToken>), Refusal> {
        let random = u128::from(self.random()) << 64 | u128::from(self.random());
        let token = JoinToken {
            cluster_id: self.0.settings.identity.cluster_id,
            secret: random.to_be_bytes(),
        };
        let lifetime_us = u64::try_from(lifetime.as_micros()).unwrap_or(u64::MAX);
        let request = MemberRequest::IssueToken {
            token: token.hash(),
            lifetime_us,
            voter,
            replaces,
        };
        let plan = self.change_members(request, dry_run).await?;
        if dry_run {
            return Ok((plan, None));
        }
        let issued = IssuedToken {
            token,
            expires_at_us: self.log_time_us().saturating_add(lifetime_us),
            join: self.join_addresses(),
        };
        Ok((plan, Some(issued)))
    }

    /// Where a new node finds the cluster: the members that have a vote, stay, and are connected now.
    fn join_addresses(&self) -> Vec<String> {
        let goals = self.0.replica.member_goals();
        let members = self.0.replica.members();
        let is_here = |id| id == self.node_id() || self.0.peers.is_connected(id, Lane::Control);
        let staying = members
            .iter()
            .filter(|member| member.voter && !goals.is_leaving(member.node_id) && is_here(member.node_id));
        staying.map(|member| member.peer_address.clone()).collect()
    }

    /// Answers node `from`, which wants to enter.
    pub(super) async fn answer_join(&self, from: u64, body: Bytes) -> Result<Bytes, String> {
        let question: JoinQuestion = wire::decode(&body).map_err(|error| error.to_string())?;
        let JoinQuestion::Enter { secret, nonce, address } = question else {
            return wire::encode(&self.may_begin(from)).map_err(|error| error.to_string());
        };
        let refused = |reason: &str| JoinAnswer::Refused(reason.to_owned());
        let is_address = address.len() <= MEMBER_ADDRESS_BYTES_MAX && Address::parse(&address).is_ok();
        let answer = match (from, is_address) {
            (0, _) => refused("no node has id 0"),
            (_, false) => refused("its address is none"),
            _ => {
                let request = MemberRequest::Enter {
                    token: hash_of(&secret),
                    node_id: from,
                    nonce,
                    address: address.clone(),
                };
                match self.change_members(request, false).await {
                    Ok(_) => JoinAnswer::Accepted,
                    Err(Refusal::Entry(reason) | Refusal::Unsafe(reason)) => JoinAnswer::Refused(reason),
                    Err(refusal) => JoinAnswer::Unavailable(refusal.to_string()),
                }
            }
        };
        match &answer {
            JoinAnswer::Accepted => {
                tracing::info!(node = from, address, "a node enters the cluster");
            }
            JoinAnswer::Refused(reason) => {
                tracing::warn!(node = from, address, reason, "a node was not let into the cluster");
            }
            JoinAnswer::Unavailable(_) => {}
        }
        wire::encode(&answer).map_err(|error| error.to_string())
    }

    /// Whether node `from` may begin this cluster with the others: not if it has lived in it before, and has lost its data. It
    /// would not know whom it voted for.
    fn may_begin(&self, from: u64) -> JoinAnswer {
        match self.0.replica.standing().has_taken_part(from) {
            false => JoinAnswer::Accepted,
            true => {
                tracing::warn!(node = from, "a member has lost its data and begins anew: refused");
                JoinAnswer::Refused(format!(
                    "node {from} has been a member, and its data directory is empty now. Bring the data back; or remove the \
                     member (`banyanctl member remove {from}`) and let this machine enter with a join token and without `node_id`"
                ))
            }
        }
    }

    /// Takes it from node `from` that it is reached at `address`: at once for this node's own connections, and as leader for
    /// all.
    pub(super) async fn answer_address(&self, from: u64, body: Bytes) -> Result<Bytes, String> {
        let address = std::str::from_utf8(&body).map_err(|_| "the address is no text".to_owned())?;
        if body.len() > MEMBER_ADDRESS_BYTES_MAX || Address::parse(address).is_err() {
            return Err("the address is none".to_owned());
        }
        let is_member = self.0.replica.members().iter().any(|member| member.node_id == from);
        if !is_member {
            return Err("the node is no member".to_owned());
        }
        self.0.peers.set_address(from, address.to_owned());
        if self.0.replica.leadership().leader != Some(self.node_id()) {
            return Ok(Bytes::new());
        }
        let set = self.0.replica.set_address(from, address).await;
        set.map(|()| Bytes::new()).map_err(|error| error.to_string())
    }
}
