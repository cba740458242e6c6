//! What a PUBLISH came to, in the words of MQTT.
//!
//! | outcome | PUBACK, PUBREC |
//! |---|---|
//! | applied, deleted, published, the same again, nothing to delete | 0x00 |
//! | received before under the same packet identifier (QoS 2) | 0x00 |
//! | superseded by a newer timestamp | 0x00, annotated `superseded` |
//! | condition failed | 0x83 `condition-failed: current revision N` |
//! | timestamp too far ahead | 0x83 `timestamp-ahead: …` |
//! | no room | 0x97 |
//! | too late, unavailable, unknown | none: DISCONNECT 0x89 |
//! | the session is another connection's | none: DISCONNECT 0x8E |

use std::borrow::Cow;

use super::effect::ProposeResult;
use crate::mqtt::reason::ReasonCode;
use crate::state::Outcome;

/// The answer to a PUBLISH or PUBREL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Code 0x00.
    Done {
        /// For the annotation `revision`: of this write, or of the value that stands in its place.
        revision: Option<u64>,
        /// For the annotation `superseded`: of the value that won.
        superseded: Option<u64>,
    },
    /// This code and reason string.
    Refused(ReasonCode, String),
    /// No acknowledgement: DISCONNECT 0x89 with this reason string.
    Unavailable(Cow<'static, str>),
    /// No acknowledgement: DISCONNECT 0x8E.
    Fenced,
}

impl From<ProposeResult> for Verdict {
    fn from(result: ProposeResult) -> Self {
        let outcome = match result {
            ProposeResult::Outcome(outcome) => outcome,
            ProposeResult::Full(detail) => return Self::Refused(ReasonCode::QuotaExceeded, detail),
            ProposeResult::Unavailable(detail) | ProposeResult::Unknown(detail) => {
                return Self::Unavailable(Cow::Owned(detail));
            }
        };
        let refused = |detail| Self::Refused(ReasonCode::ImplementationSpecificError, detail);
        match outcome {
            Outcome::Applied { revision, .. }
            | Outcome::Deleted { revision }
            | Outcome::Unchanged { revision }
            | Outcome::DeletedMany { revision, .. }
            | Outcome::Published { revision } => Self::Done {
                revision: Some(revision),
                superseded: None,
            },
            Outcome::Superseded { winner } => Self::Done {
                revision: Some(winner),
                superseded: Some(winner),
            },
            Outcome::NotFound | Outcome::Duplicate | Outcome::Released { .. } => Self::Done {
                revision: None,
                superseded: None,
            },
            Outcome::Fenced => Self::Fenced,
            Outcome::ConditionFailed { current } => refused(format!("condition-failed: current revision {current}")),
            Outcome::TimestampAhead { ahead_us } => {
                let (seconds, microseconds) = (ahead_us / 1_000_000, ahead_us % 1_000_000);
                refused(format!(
                    "timestamp-ahead: {seconds}.{microseconds:06} s ahead of the cluster's clock"
                ))
            }
            Outcome::TooLate => {
                Self::Unavailable(Cow::Borrowed("the write came too late to be applied; send it again"))
            }
            Outcome::Connected { .. } | Outcome::Subscribed { .. } | Outcome::SessionChanged => {
                Self::Unavailable(Cow::Borrowed("the outcome is that of another request"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome) -> Verdict {
        ProposeResult::Outcome(outcome).into()
    }

    #[test]
    fn successes() {
        let done = |revision| Verdict::Done {
            revision: Some(revision),
            superseded: None,
        };
        assert_eq!(
            verdict(Outcome::Applied {
                revision: 4,
                created: true
            }),
            done(4)
        );
        assert_eq!(verdict(Outcome::Deleted { revision: 5 }), done(5));
        assert_eq!(verdict(Outcome::Unchanged { revision: 6 }), done(6));
        assert_eq!(verdict(Outcome::Published { revision: 7 }), done(7));
        assert_eq!(
            verdict(Outcome::NotFound),
            Verdict::Done {
                revision: None,
                superseded: None
            }
        );
        assert_eq!(
            verdict(Outcome::Superseded { winner: 8 }),
            Verdict::Done {
                revision: Some(8),
                superseded: Some(8)
            }
        );
    }

    #[test]
    fn refusals_say_what_the_contract_says() {
        let refused = |detail: &str| Verdict::Refused(ReasonCode::ImplementationSpecificError, detail.to_owned());
        assert_eq!(
            verdict(Outcome::ConditionFailed { current: 12 }),
            refused("condition-failed: current revision 12")
        );
        assert_eq!(
            verdict(Outcome::ConditionFailed { current: 0 }),
            refused("condition-failed: current revision 0")
        );
        let full = ProposeResult::Full("no room".to_owned());
        assert_eq!(
            Verdict::from(full),
            Verdict::Refused(ReasonCode::QuotaExceeded, "no room".to_owned())
        );
        let ahead = refused("timestamp-ahead: 6.500000 s ahead of the cluster's clock");
        assert_eq!(verdict(Outcome::TimestampAhead { ahead_us: 6_500_000 }), ahead);
    }

    #[test]
    fn what_is_not_known_to_be_applied_is_not_acknowledged() {
        for result in [
            ProposeResult::Outcome(Outcome::TooLate),
            ProposeResult::Unavailable("no leader".to_owned()),
            ProposeResult::Unknown("no answer in time".to_owned()),
        ] {
            assert!(matches!(Verdict::from(result), Verdict::Unavailable(_)));
        }
    }
}
