//! What the members of the cluster are to be: the leader's answer to an operator or to a node that enters.
//!
//! All kinds of this file came together with [`MemberChange::FEATURE_LEVEL`]: a cluster below it must not have them in its log.

use bytes::Bytes;

use super::DecodeError;
use super::wire::{Reader, put_field};
use crate::feature::FeatureLevel;
use crate::keyspace::member::{MemberGoal, TokenHash};
use crate::limits::MEMBER_ADDRESS_BYTES_MAX;

const ISSUE_TOKEN: u8 = 1;
const ENTER: u8 = 2;
const SET_GOAL: u8 = 3;
const REPLACE: u8 = 4;
const FORGET: u8 = 5;

/// A change of what the members are to be. What Raft's membership does not allow the leader refuses before the log; what
/// contradicts these rows changes nothing. Repeating one changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// Makes a token with which one node may enter.
    IssueToken {
        /// SHA-256 of its secret.
        token: TokenHash,
        /// For so long, microseconds of log time.
        lifetime_us: u64,
        /// Whether the node becomes a voter once it has caught up.
        voter: bool,
        /// The node that leaves once the new one is a voter.
        replaces: Option<u64>,
    },
    /// A node enters.
    Enter {
        /// SHA-256 of the secret that it showed.
        token: TokenHash,
        /// Its id.
        node_id: u64,
        /// What its data directory is known by.
        nonce: u64,
        /// Where other nodes reach it.
        address: Bytes,
    },
    /// A member is to be something else.
    SetGoal {
        /// The member.
        node_id: u64,
        /// What it is to be; [`MemberGoal::Gone`] only follows from [`MemberChange::Forget`].
        goal: MemberGoal,
    },
    /// A member is to take the place of another: it becomes a voter, then the other leaves.
    Replace {
        /// The one that leaves.
        old: u64,
        /// The one that takes its place.
        new: u64,
    },
    /// A node that leaves is no member any more: what the state knows of it ends.
    Forget {
        /// The node.
        node_id: u64,
    },
}

impl MemberChange {
    /// The level that brought them.
    pub const FEATURE_LEVEL: FeatureLevel = FeatureLevel::FIRST.next();

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::IssueToken {
                token,
                lifetime_us,
                voter,
                replaces,
            } => {
                out.push(ISSUE_TOKEN);
                out.extend_from_slice(token);
                out.extend_from_slice(&lifetime_us.to_be_bytes());
                out.push(u8::from(*voter));
                out.extend_from_slice(&replaces.unwrap_or(0).to_be_bytes());
            }
            Self::Enter {
                token,
                node_id,
                nonce,
                address,
            } => {
                assert!(address.len() <= MEMBER_ADDRESS_BYTES_MAX, "an address this long");
                out.push(ENTER);
                out.extend_from_slice(token);
                out.extend_from_slice(&node_id.to_be_bytes());
                out.extend_from_slice(&nonce.to_be_bytes());
                put_field(out, address);
            }
            Self::SetGoal { node_id, goal } => {
                out.push(SET_GOAL);
                out.extend_from_slice(&node_id.to_be_bytes());
                out.push(*goal as u8);
            }
            Self::Replace { old, new } => {
                out.push(REPLACE);
                out.extend_from_slice(&old.to_be_bytes());
                out.extend_from_slice(&new.to_be_bytes());
            }
            Self::Forget { node_id } => {
                out.push(FORGET);
                out.extend_from_slice(&node_id.to_be_bytes());
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            ISSUE_TOKEN => Self::IssueToken {
                token: reader.array()?,
                lifetime_us: reader.u64()?,
                voter: reader.flags(1)? == 1,
                replaces: Some(reader.u64()?).filter(|id| *id != 0),
            },
            ENTER => Self::Enter {
                token: reader.array()?,
                node_id: reader.node_id()?,
                nonce: reader.u64()?,
                address: reader.member_address()?,
            },
            SET_GOAL => Self::SetGoal {
                node_id: reader.node_id()?,
                goal: reader.member_goal()?,
            },
            REPLACE => Self::Replace {
                old: reader.node_id()?,
                new: reader.node_id()?,
            },
            FORGET => Self::Forget {
                node_id: reader.node_id()?,
            },
            other => return Err(DecodeError::Kind(other)),
        })
    }
}

impl Reader<'_> {
    fn node_id(&mut self) -> Result<u64, DecodeError> {
        match self.u64()? {
            0 => Err(DecodeError::Member("no node has id 0")),
            id => Ok(id),
        }
    }

    fn member_goal(&mut self) -> Result<MemberGoal, DecodeError> {
        MemberGoal::from_u8(self.u8()?)
            .filter(|goal| *goal != MemberGoal::Gone)
            .ok_or(DecodeError::Member("an unknown goal"))
    }

    fn member_address(&mut self) -> Result<Bytes, DecodeError> {
        let address = self.field()?;
        if address.len() <= MEMBER_ADDRESS_BYTES_MAX && std::str::from_utf8(&address).is_ok() {
            Ok(address)
        } else {
            Err(DecodeError::Member("an address that is none"))
        }
    }
}
