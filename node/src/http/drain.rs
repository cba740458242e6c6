//! `/v1/cluster/members/{id}/drain`: a member is emptied before it stops. Any member answers; `self` is the one that is asked.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use banyan_api::drain::Drain;
use banyan_api::problem::ProblemKind;

use super::Http;
use super::problem::Failure;
use super::query::Query;
use crate::service::drain::{DrainError, DrainOptions, DrainOrder, DrainReport, DrainState};

/// How far it is.
pub(super) async fn tell(State(http): State<Http>, Path(id): Path<String>, uri: Uri) -> Result<Json<Drain>, Failure> {
    Query::parse(uri.query(), &[])?;
    order(&http, &id, DrainOrder::Tell).await
}

/// Begins, or goes on at another rate; `dry_run=true` only tells what would happen.
pub(super) async fn begin(State(http): State<Http>, Path(id): Path<String>, uri: Uri) -> Result<Json<Drain>, Failure> {
    let query = Query::parse(uri.query(), &["rate", "for_good", "force", "dry_run"])?;
    let options = DrainOptions {
        rate: query.number::<u32>("rate")?,
        for_good: query.flag("for_good", false)?,
        force: query.flag("force", false)?,
        dry_run: query.flag("dry_run", false)?,
    };
    order(&http, &id, DrainOrder::Drain(options)).await
}

/// Lets the node serve again.
pub(super) async fn undo(State(http): State<Http>, Path(id): Path<String>, uri: Uri) -> Result<Json<Drain>, Failure> {
    Query::parse(uri.query(), &[])?;
    order(&http, &id, DrainOrder::Undo).await
}

async fn order(http: &Http, id: &str, order: DrainOrder) -> Result<Json<Drain>, Failure> {
    let node_id = match id {
        "self" => http.service.node_id(),
        id => id
            .parse()
            .map_err(|_| Failure::new(ProblemKind::MemberNotFound, format!("{id} is no node id.")))?,
    };
    let report = http.service.order_drain(node_id, order).await?;
    Ok(Json(render(report)))
}

fn render(report: DrainReport) -> Drain {
    let state = match report.state {
        DrainState::Serving => "serving",
        DrainState::Draining => "draining",
        DrainState::ReadyToStop => "ready-to-stop",
    };
    Drain {
        node_id: report.node_id,
        state: state.to_owned(),
        clients: report.clients,
        streams: report.streams,
        leader: report.leads,
        rate: report.rate,
        sends_to: report.sends_to,
        quorum: report.quorum,
        voters_left: report.voters_left,
        objections: report.objections,
    }
}

impl From<DrainError> for Failure {
    fn from(error: DrainError) -> Self {
        match &error {
            DrainError::NotAMember(_) => Self::new(
                ProblemKind::MemberNotFound,
                "The members are at GET /v1/cluster/members, and in banyanctl status.",
            ),
            DrainError::Unreachable(..) => Self::unavailable(&error.to_string()),
            DrainError::Refused(_) => Self::new(
                ProblemKind::UnsafeChange,
                format!("{error}. Bring the others back first, or drain it with force all the same."),
            ),
        }
    }
}
