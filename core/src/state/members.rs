//! What the members are to be: tokens, goals, and nodes that have left.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::digest::RowSum;
use super::{Applied, ApplyError, OpenError, State};
use crate::command::MemberChange;
use crate::keyspace::member::{
    MemberGoal, MemberKey, MemberRow, TokenHash, TokenRow, member_key, member_of_key, token_key,
};
use crate::keyspace::{KeyKind, origin::origin_key};
use crate::limits::{JOIN_TOKENS_MAX, SESSION_CHUNK_MAX};
use crate::store::Direction;

/// What is to become of nodes, and the tokens with which others may enter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    rows: BTreeMap<u64, MemberRow>,
    tokens: BTreeMap<TokenHash, TokenRow>,
}

/// A node may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It enters now.
    Enters(TokenRow),
    /// It has entered before, and has not heard of it.
    HasEntered,
}

/// Why a node may not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnterRefusal {
    /// There is no such token, or it has expired and is forgotten.
    #[error("the join token is not known, or has expired; make a new one with `banyanctl member add`")]
    Unknown,
    /// It has expired.
    #[error("the join token has expired; make a new one with `banyanctl member add`")]
    Expired,
    /// Another node entered with it.
    #[error(
        "node {0} has entered with the join token, which is good for one node; make another with `banyanctl member add`"
    )]
    Used(u64),
    /// The id belonged to a node that has left.
    #[error("node {0} has left the cluster, and ids are never used again; leave `node_id` out, or choose another")]
    Gone(u64),
    /// The id belongs to a member with another data directory.
    #[error(
        "node {0} is a member already, with another data directory; if that is lost, remove the member and give this node another \
         id (leave `node_id` out)"
    )]
    Member(u64),
}

impl Members {
    /// What is to become of `node_id`, if anybody ever said.
    #[must_use]
    pub fn get(&self, node_id: u64) -> Option<&MemberRow> {
        self.rows.get(&node_id)
    }

    /// What is to become of each node that anybody ever asked something of, by id.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &MemberRow)> {
        self.rows.iter().map(|(id, row)| (*id, row))
    }

    /// The tokens, expired and used ones among them.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenHash, &TokenRow)> {
        self.tokens.iter()
    }

    /// Whether `node_id` was a member and has left.
    #[must_use]
    pub fn is_gone(&self, node_id: u64) -> bool {
        self.goal(node_id) == Some(MemberGoal::Gone)
    }

    /// Whether `node_id` leaves, or has left.
    #[must_use]
    pub fn is_leaving(&self, node_id: u64) -> bool {
        matches!(self.goal(node_id), Some(MemberGoal::Leaves | MemberGoal::Gone))
    }

    /// What `node_id` is to be, if anybody ever said.
    #[must_use]
    pub fn goal(&self, node_id: u64) -> Option<MemberGoal> {
        self.rows.get(&node_id).map(|row| row.goal)
    }

    /// Whether the node `node_id`, whose data directory has `nonce`, may enter with `token` at log time `now_us`.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, token: &TokenHash, node_id: u64, nonce: u64, now_us: u64) -> Result<Admission, EnterRefusal> {
        // It may have missed the answer for so long that its token is forgotten.
        if nonce != 0 && self.get(node_id).is_some_and(|row| row.nonce == nonce) && !self.is_leaving(node_id) {
            return Ok(Admission::HasEntered);
        }
        let row = self.tokens.get(token).ok_or(EnterRefusal::Unknown)?;
        match (row.used_by, self.rows.get(&node_id)) {
            (_, Some(member)) if member.goal >= MemberGoal::Leaves => Err(EnterRefusal::Gone(node_id)),
            (_, Some(_)) => Err(EnterRefusal::Member(node_id)),
            (Some((other, _)), None) => Err(EnterRefusal::Used(other)),
            (None, None) if row.expires_at_us <= now_us => Err(EnterRefusal::Expired),
            (None, None) => Ok(Admission::Enters(*row)),
        }
    }
}

impl State {
    /// What the members are to be. Cheap to clone, and unchanged by what is applied later.
    #[must_use]
    pub const fn members(&self) -> &Arc<Members> {
        &self.members
    }

    pub(super) fn change_members(&mut self, change: &MemberChange, applied: &mut Applied) -> Result<(), ApplyError> {
        let now_us = self.position.log_time_us;
        let expired: Vec<TokenHash> = self
            .members
            .tokens
            .iter()
            .filter(|(_, row)| row.expires_at_us <= now_us)
            .map(|(hash, _)| *hash)
            .collect();
        match change {
            MemberChange::IssueToken {
                token,
                lifetime_us,
                voter,
                replaces,
            } => {
                expired.iter().for_each(|hash| self.set_token(*hash, None));
                if !self.members.tokens.contains_key(token) && self.members.tokens.len() < JOIN_TOKENS_MAX {
                    let row = TokenRow {
                        voter: *voter,
                        expires_at_us: now_us.saturating_add(*lifetime_us),
                        replaces: *replaces,
                        used_by: None,
                    };
                    self.set_token(*token, Some(row));
                }
            }
            MemberChange::Enter {
                token,
                node_id,
                nonce,
                address,
            } => {
                if let Ok(Admission::Enters(row)) = self.members.admit(token, *node_id, *nonce, now_us) {
                    self.enter(token, row, (*node_id, *nonce), address);
                }
            }
            MemberChange::SetGoal { node_id, goal } => self.set_goal(*node_id, *goal),
            MemberChange::Replace { old, new } => {
                if !self.members.is_leaving(*old) && !self.members.is_leaving(*new) && old != new {
                    self.set_goal(*new, MemberGoal::Voter);
                    self.clear_replaces(*old);
                    self.change_member(*new, |row| row.replaces = Some(*old));
                }
            }
            MemberChange::Forget { node_id } => self.forget(*node_id, applied)?,
        }
        Ok(())
    }

    fn enter(&mut self, token: &TokenHash, row: TokenRow, (node_id, nonce): (u64, u64), address: &Bytes) {
        self.set_token(
            *token,
            Some(TokenRow {
                used_by: Some((node_id, nonce)),
                ..row
            }),
        );
        let replaces = row
            .replaces
            .filter(|old| *old != node_id && !self.members.is_leaving(*old));
        if let Some(old) = replaces {
            self.clear_replaces(old);
        }
        let member = MemberRow {
            goal: if row.voter {
                MemberGoal::Voter
            } else {
                MemberGoal::Learner
            },
            since_us: self.position.log_time_us,
            nonce,
            replaces,
            // A copy, which does not hold on to the log entry.
            address: Bytes::copy_from_slice(address),
        };
        self.set_member(node_id, member);
    }

    fn set_goal(&mut self, node_id: u64, goal: MemberGoal) {
        if self.members.is_leaving(node_id) || self.members.goal(node_id) == Some(goal) {
            return;
        }
        if goal >= MemberGoal::Leaves {
            self.clear_replaces(node_id);
        }
        let now_us = self.position.log_time_us;
        self.change_member(node_id, |row| {
            row.goal = goal;
            row.since_us = now_us;
            if goal != MemberGoal::Voter {
                row.replaces = None;
            }
        });
    }

    /// Nobody takes the place of `old` any more.
    fn clear_replaces(&mut self, old: u64) {
        let heirs: Vec<u64> = self
            .members
            .rows()
            .filter(|(_, row)| row.replaces == Some(old))
            .map(|(id, _)| id)
            .collect();
        for heir in heirs {
            self.change_member(heir, |row| row.replaces = None);
        }
    }

    /// Ends what the state knows of a node that leaves: its connections, and once there are none, where its stream of batches
    /// stands. What it may still send is refused from then on.
    fn forget(&mut self, node_id: u64, applied: &mut Applied) -> Result<(), ApplyError> {
        if self.members.goal(node_id) != Some(MemberGoal::Leaves) {
            return Ok(());
        }
        self.lose_node(node_id, self.position.fence, SESSION_CHUNK_MAX, applied)?;
        if self.sessions.fences_of(node_id).next().is_some() {
            return Ok(());
        }
        self.remove_origin(node_id);
        let now_us = self.position.log_time_us;
        self.change_member(node_id, |row| {
            row.goal = MemberGoal::Gone;
            row.since_us = now_us;
            row.address = Bytes::new();
        });
        Ok(())
    }

    fn change_member(&mut self, node_id: u64, change: impl FnOnce(&mut MemberRow)) {
        let mut row = self.members.get(node_id).cloned().unwrap_or(MemberRow {
            goal: MemberGoal::Learner,
            since_us: 0,
            nonce: 0,
            replaces: None,
            address: Bytes::new(),
        });
        change(&mut row);
        self.set_member(node_id, row);
    }

    fn set_member(&mut self, node_id: u64, row: MemberRow) {
        let encoded = row.encode();
        let old = Arc::make_mut(&mut self.members).rows.insert(node_id, row);
        let old = old.map(|row| row.encode());
        self.replace_member_row(member_key(node_id), old.as_ref(), Some(encoded));
    }

    fn set_token(&mut self, hash: TokenHash, row: Option<TokenRow>) {
        let tokens = &mut Arc::make_mut(&mut self.members).tokens;
        let old = match row {
            Some(row) => tokens.insert(hash, row),
            None => tokens.remove(&hash),
        };
        self.replace_member_row(
            token_key(&hash),
            old.map(|row| row.encode()).as_ref(),
            row.map(|row| row.encode()),
        );
    }

    fn replace_member_row(&mut self, key: Bytes, old: Option<&Bytes>, new: Option<Bytes>) {
        if old == new.as_ref() {
            return;
        }
        self.position
            .session_digest
            .replace_row(&key, old.map(|row| &row[..]), new.as_deref());
        match new {
            Some(new) => self.layer.put(key, new),
            None => self.layer.delete(key),
        }
    }

    /// Takes the row of an origin away.
    fn remove_origin(&mut self, node_id: u64) {
        let Some(row) = Arc::make_mut(&mut self.origins).remove(&node_id) else {
            return;
        };
        let key = origin_key(node_id);
        self.position.digest.replace_row(&key, Some(&row.to_bytes()), None);
        self.changed.origins.insert(node_id);
    }

    /// Reads the rows of a state that is being opened.
    pub(super) fn open_members(&mut self) -> Result<(), OpenError> {
        let (lower, upper) = KeyKind::Member.range();
        let mut members = Members::default();
        for row in self.layer.base_view().range(&lower, Some(&upper), Direction::Ascending) {
            let (key, value) = row?;
            match member_of_key(&key)? {
                MemberKey::Member(node_id) => drop(members.rows.insert(node_id, MemberRow::parse(&value)?)),
                MemberKey::Token(hash) => drop(members.tokens.insert(hash, TokenRow::parse(&value)?)),
            }
        }
        self.members = Arc::new(members);
        Ok(())
    }
}
