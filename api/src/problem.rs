//! Errors as RFC 9457 problem details.
//!
//! `type` is stable and what a program decides by; `title` belongs to the type; `detail` is for people and says what to do.

use serde::{Deserialize, Serialize};

/// Generates the enum with its `type`, status and title side by side, so that none can be forgotten.
macro_rules! problem_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal, $status:literal, $title:literal;)+) => {
        /// What went wrong, for programs. The name is the last part of the problem's `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum ProblemKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl ProblemKind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// The `type` of the problem, a URI reference: `/problems/topic-not-found`.
            #[must_use]
            pub const fn uri(self) -> &'static str {
                match self { $(Self::$kind => concat!("/problems/", $name),)+ }
            }

            /// The HTTP status code that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)+ }
            }

            /// The kind in words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)+ }
            }
        }
    };
}

problem_kinds! {
    /// The topic name breaks a rule of MQTT §4.7 or a limit.
    InvalidTopic = "invalid-topic", 400, "The topic name is not valid";
    /// The topic filter breaks a rule of MQTT §4.7 or a limit.
    InvalidFilter = "invalid-filter", 400, "The topic filter is not valid";
    /// A query parameter is unknown, repeated, contradictory or malformed.
    InvalidParameter = "invalid-parameter", 400, "A query parameter is not valid";
    /// A request header is malformed or contradicts another.
    InvalidHeader = "invalid-header", 400, "A request header is not valid";
    /// The body is not what the route takes.
    InvalidBody = "invalid-body", 400, "The request body is not valid";
    /// A record cannot hold zero bytes.
    EmptyPayload = "empty-payload", 400, "A record cannot be empty";
    /// The cursor was not made by a Banyan node, or was changed.
    InvalidCursor = "invalid-cursor", 400, "The cursor is not valid";
    /// Topics that begin with `$` are the cluster's own.
    ReservedTopic = "reserved-topic", 403, "The topic is reserved";
    /// The page that connects is not from where pages may.
    OriginNotAllowed = "origin-not-allowed", 403, "The origin may not connect";
    /// There is no such path.
    RouteNotFound = "route-not-found", 404, "There is no such path";
    /// The topic holds no value.
    TopicNotFound = "topic-not-found", 404, "The topic holds no value";
    /// The client has no session.
    SessionNotFound = "session-not-found", 404, "The client has no session";
    /// There is no such member.
    MemberNotFound = "member-not-found", 404, "The cluster has no such member";
    /// The path exists, the method does not.
    MethodNotAllowed = "method-not-allowed", 405, "The path does not take this method";
    /// The request did not arrive in time.
    RequestTimeout = "request-timeout", 408, "The request took too long to arrive";
    /// A change of the members would lose the quorum, or contradicts what is under way.
    UnsafeChange = "unsafe-change", 409, "The change is not safe";
    /// The pages of this cursor are no longer kept.
    CursorExpired = "cursor-expired", 410, "The cursor has expired";
    /// Deletions since then are forgotten.
    SinceTooOld = "since-too-old", 410, "The change feed no longer reaches back so far";
    /// `If-Match` or `If-None-Match` did not hold at commit.
    ConditionFailed = "condition-failed", 412, "The condition did not hold";
    /// The body is larger than a record may be.
    PayloadTooLarge = "payload-too-large", 413, "The request body is too large";
    /// The body's encoding is not supported.
    UnsupportedMediaType = "unsupported-media-type", 415, "The encoding of the body is not supported";
    /// The timestamp is too far in the future.
    TimestampAhead = "timestamp-ahead", 422, "The timestamp is too far ahead";
    /// Too much of this is going on already.
    TooManyRequests = "too-many-requests", 429, "Too many requests of this kind";
    /// A bug, or damaged data.
    Internal = "internal", 500, "The node failed";
    /// Part of the interface, but not built.
    NotImplemented = "not-implemented", 501, "Not implemented yet";
    /// Nothing has happened; trying again is safe.
    Unavailable = "unavailable", 503, "The cluster cannot serve this at present";
    /// It is not known whether the write took effect.
    OutcomeUnknown = "outcome-unknown", 504, "The outcome is not known";
    /// Too few disks have room for it. Nothing has happened.
    InsufficientStorage = "insufficient-storage", 507, "The cluster has no room for this";
}

impl ProblemKind {
    /// The kind with this `type`, if this version knows it.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.uri() == uri)
    }
}

/// A problem as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable name, see [`ProblemKind::uri`].
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    /// With `condition-failed`: the revision the topic has, 0 if it holds no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<u64>,
    /// With `since-too-old`: the oldest cursor that is still served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
}

impl Problem {
    /// A problem of `kind`; `detail` says what to do.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.uri().to_owned(),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            current_revision: None,
            oldest: None,
        }
    }

    /// The kind, if this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<ProblemKind> {
        ProblemKind::from_uri(&self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_distinct_names_and_error_statuses() {
        let mut uris: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.uri()).collect();
        uris.sort_unstable();
        uris.dedup();
        assert_eq!(uris.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            assert!((400..600).contains(&kind.status()), "{kind:?}");
            assert_eq!(ProblemKind::from_uri(kind.uri()), Some(*kind));
        }
    }

    #[test]
    fn members_that_do_not_apply_are_absent() {
        let json = serde_json::to_value(Problem::new(ProblemKind::TopicNotFound, "x")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"type": "/problems/topic-not-found", "title": "The topic holds no value", "status": 404, "detail": "x"})
        );
    }
}
