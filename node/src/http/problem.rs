//! Errors on their way out: `application/problem+json`, with the kind chosen by what the caller should do next.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use banyan_api::PROBLEM_JSON;
use banyan_api::problem::{Problem, ProblemKind};
use banyan_core::state::Outcome;
use banyan_core::store::StoreError;
use banyan_core::topic::{TopicFilterError, TopicNameError};

use crate::service::{ProposeError, ReadError};

/// Seconds after which trying again makes sense: an election is over by then.
const RETRY_AFTER_S: &str = "1";

/// Why a request was not served.
#[derive(Debug)]
pub(super) struct Failure(Box<Problem>);

/// What handlers return.
pub(super) type Answer = Result<Response, Failure>;

impl Failure {
    /// A problem of `kind`; `detail` says what to do.
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(kind, detail)))
    }

    /// A query parameter that cannot be used.
    pub(super) fn parameter(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(ProblemKind::InvalidParameter, format!("Parameter {name}: {detail}"))
    }

    /// A request header that cannot be used.
    pub(super) fn header(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(ProblemKind::InvalidHeader, format!("Header {name}: {detail}"))
    }

    /// The feed no longer reaches back to where the reader was.
    pub(super) fn since_too_old(oldest: String) -> Self {
        let mut failure = Self::new(
            ProblemKind::SinceTooOld,
            "Deletions after this position are no longer kept, so changes would be missing. Read the state anew (list, or \
             since=0) and continue from there.",
        );
        failure.0.oldest = Some(oldest);
        failure
    }

    /// The problem itself, for an answer that holds several.
    pub(super) fn into_problem(self) -> Problem {
        *self.0
    }

    /// Nothing has happened, try again.
    pub(super) fn unavailable(reason: &str) -> Self {
        Self::new(ProblemKind::Unavailable, reason)
    }

    /// What an outcome means that is not the success the caller asked for.
    pub(super) fn of_outcome(outcome: &Outcome) -> Self {
        match *outcome {
            Outcome::ConditionFailed { current } => {
                let detail = if current == 0 {
                    "The topic holds no value. To create it, send If-None-Match: * or no condition.".to_owned()
                } else {
                    format!("The topic is at revision {current}. Read it again and decide anew.")
                };
                let mut failure = Self::new(ProblemKind::ConditionFailed, detail);
                failure.0.current_revision = Some(current);
                failure
            }
            Outcome::TimestampAhead { ahead_us } => Self::new(
                ProblemKind::TimestampAhead,
                format!(
                    "The timestamp is {} s ahead of the cluster's clock; {} s are allowed. Set the clock of the sender, or \
                     leave Banyan-Timestamp out.",
                    banyan_api::timestamp::format_us(ahead_us),
                    banyan_api::timestamp::format_us(banyan_core::limits::TIMESTAMP_AHEAD_MAX_US),
                ),
            ),
            Outcome::NotFound => topic_not_found(),
            Outcome::TooLate => {
                Self::unavailable("The write was not committed in time and was dropped. Send it again.")
            }
            _ => Self::new(
                ProblemKind::Internal,
                "The write was answered with an outcome that does not belong to it.",
            ),
        }
    }
}

/// The topic holds no value.
pub(super) fn topic_not_found() -> Failure {
    Failure::new(
        ProblemKind::TopicNotFound,
        "Topics below it may hold one: list them with prefix=.",
    )
}

/// The client has no session.
pub(super) fn session_not_found() -> Failure {
    Failure::new(
        ProblemKind::SessionNotFound,
        "It never connected, or its session has ended. List the sessions with GET /v1/sessions.",
    )
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Unavailable(reason) => {
                Self::unavailable(&format!("{reason}. Nothing was written; try again."))
            }
            ProposeError::Full(reason) => Self::new(
                ProblemKind::InsufficientStorage,
                format!("{reason}. Nothing was written. Deletes are taken; writes will be once there is room again."),
            ),
            ProposeError::Unknown(reason) => Self::new(
                ProblemKind::OutcomeUnknown,
                format!("{reason}. The write may or may not take effect; read the topic before you write again."),
            ),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let ReadError::Unavailable(reason) = error;
        Self::unavailable(&format!(
            "{reason}. Try again, or read what this node has with consistency=local."
        ))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "reading for HTTP failed");
        Self::new(
            ProblemKind::Internal,
            "The node cannot read its storage. Use another node.",
        )
    }
}

impl From<TopicNameError> for Failure {
    fn from(error: TopicNameError) -> Self {
        Self::new(ProblemKind::InvalidTopic, error.to_string())
    }
}

impl From<TopicFilterError> for Failure {
    fn from(error: TopicFilterError) -> Self {
        Self::new(ProblemKind::InvalidFilter, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        response
    }
}

/// The answer to a path that does not exist.
pub(super) async fn route_not_found(uri: Uri) -> Failure {
    Failure::new(
        ProblemKind::RouteNotFound,
        format!(
            "There is no {}. Topics are at /v1/topics/TOPIC, lists at /v1/topics?filter=FILTER.",
            uri.path()
        ),
    )
}

/// The answer to a method that a path does not take.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    Failure::new(
        ProblemKind::MethodNotAllowed,
        format!("{} does not take {method}.", uri.path()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_happened_is_told_from_what_cannot_have() {
        let unavailable = Failure::from(ProposeError::Unavailable("no leader".to_owned())).into_response();
        assert_eq!(unavailable.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(unavailable.headers().contains_key(RETRY_AFTER));
        let unknown = Failure::from(ProposeError::Unknown("no answer".to_owned())).into_response();
        assert_eq!(unknown.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(!unknown.headers().contains_key(RETRY_AFTER));
        let late = Failure::of_outcome(&Outcome::TooLate).into_response();
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn problems_have_their_media_type() {
        let response = topic_not_found().into_response();
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), PROBLEM_JSON);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}
