//! Changing the members: `POST /v1/cluster/members`, `DELETE /v1/cluster/members/{id}`, `POST /v1/cluster/members/{id}/…` and
//! `POST /v1/cluster/leader`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::IntoResponse;
use banyan_api::cluster::{JoinToken, MembershipChange, Quorum};
use banyan_api::problem::ProblemKind;

use super::Http;
use super::problem::{Answer, Failure};
use super::query::Query;
use crate::service::MemberPlan;
use crate::service::members::{IssuedToken, MemberRequest, Refusal, quorum};

/// How long a join token is good, seconds, unless the request says otherwise.
const TOKEN_LIFETIME_S: u64 = 3600;
/// Longest it may be.
const TOKEN_LIFETIME_MAX_S: u64 = 7 * 24 * 3600;

/// Makes a join token.
pub(super) async fn add(State(http): State<Http>, uri: Uri) -> Answer {
    let query = Query::parse(uri.query(), &["learner", "replaces", "expires_s", "dry_run"])?;
    let dry_run = query.flag("dry_run", false)?;
    let voter = !query.flag("learner", false)?;
    let replaces = query.number("replaces")?;
    if replaces.is_some() && !voter {
        return Err(Failure::parameter(
            "replaces",
            "a learner replaces nobody; leave out learner.",
        ));
    }
    let lifetime_s = match query.number("expires_s")? {
        None => TOKEN_LIFETIME_S,
        Some(lifetime_s) if (1..=TOKEN_LIFETIME_MAX_S).contains(&lifetime_s) => lifetime_s,
        Some(_) => {
            let detail = format!("write 1 to {TOKEN_LIFETIME_MAX_S} (7 days).");
            return Err(Failure::parameter("expires_s", detail));
        }
    };
    let lifetime = Duration::from_secs(lifetime_s);
    let (plan, issued) = http.service.issue_token(voter, replaces, lifetime, dry_run).await?;
    Ok(answer(plan, dry_run, issued))
}

/// Takes a member out.
pub(super) async fn remove(State(http): State<Http>, Path(id): Path<String>, uri: Uri) -> Answer {
    let query = Query::parse(uri.query(), &["dry_run"])?;
    change(&http, MemberRequest::Remove(member_id(&id)?), &query).await
}

/// `promote`, `demote` and `replace`.
pub(super) async fn act(State(http): State<Http>, Path((id, action)): Path<(String, String)>, uri: Uri) -> Answer {
    let request = match action.as_str() {
        "promote" => MemberRequest::Promote,
        "demote" => MemberRequest::Demote,
        "replace" => {
            let query = Query::parse(uri.query(), &["with", "dry_run"])?;
            let new = query.number("with")?;
            let new = new.ok_or_else(|| Failure::parameter("with", "name the member that takes the place."))?;
            let old = member_id(&id)?;
            return change(&http, MemberRequest::Replace { old, new }, &query).await;
        }
        _ => return Err(super::problem::route_not_found(uri).await),
    };
    let query = Query::parse(uri.query(), &["dry_run"])?;
    change(&http, request(member_id(&id)?), &query).await
}

/// Lets another member lead.
pub(super) async fn lead(State(http): State<Http>, uri: Uri) -> Answer {
    let query = Query::parse(uri.query(), &["to", "dry_run"])?;
    change(&http, MemberRequest::Lead(query.number("to")?), &query).await
}

async fn change(http: &Http, request: MemberRequest, query: &Query) -> Answer {
    let dry_run = query.flag("dry_run", false)?;
    let plan = http.service.change_members(request, dry_run).await?;
    Ok(answer(plan, dry_run, None))
}

fn member_id(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| {
        let detail = format!("{text} is no id of a member. List them with GET /v1/cluster/members.");
        Failure::new(ProblemKind::MemberNotFound, detail)
    })
}

fn answer(plan: MemberPlan, dry_run: bool, issued: Option<IssuedToken>) -> axum::response::Response {
    let change = MembershipChange {
        dry_run,
        unchanged: plan.is_done,
        before: voters(plan.before),
        after: voters(plan.after),
        notes: plan.notes,
        token: issued.map(|issued| JoinToken {
            token: issued.token.to_string(),
            join: issued.join,
            expires_at: issued.expires_at_us,
        }),
    };
    Json(change).into_response()
}

fn voters(voters: Vec<u64>) -> Quorum {
    let quorum = quorum(voters.len());
    Quorum {
        quorum,
        spare: voters.len().saturating_sub(quorum),
        voters,
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotLeader | Refusal::Unavailable(_) => {
                Self::unavailable(&format!("{refusal}. Nothing was changed; try again."))
            }
            Refusal::Unknown(reason) => Self::new(
                ProblemKind::OutcomeUnknown,
                format!("{reason}. The change may or may not take effect; asking again is safe."),
            ),
            Refusal::NoSuchMember(_) => Self::new(
                ProblemKind::MemberNotFound,
                format!("{refusal}. List the members with GET /v1/cluster/members."),
            ),
            Refusal::Unsafe(reason) | Refusal::Entry(reason) => Self::new(ProblemKind::UnsafeChange, reason),
        }
    }
}
