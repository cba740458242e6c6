//! `/v1/sessions`: who has a session, and what it waits for.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::IntoResponse;
use banyan_api::problem::ProblemKind;
use banyan_api::record::{decode_base64url, encode_base64url};
use banyan_api::session::{Kicked, Session, Sessions, Subscription};
use banyan_core::command::{Kick, Operation};
use banyan_core::state::{self, Outcome};
use bytes::Bytes;

use super::problem::{Answer, Failure};
use super::query::{self, Query};
use super::{Http, consistency, problem};
use crate::service::sessions::{Lag, lags};

/// What is in front of the client identifier in a path.
const PATH_PREFIX: &str = "/v1/sessions/";
/// Sessions of a page unless the query says otherwise, and at most.
const LIMIT: usize = 1_000;

/// A page of sessions, by client identifier.
pub(super) async fn list(State(http): State<Http>, uri: Uri) -> Answer {
    let query = Query::parse(uri.query(), &["limit", "cursor", "consistency", "at_least"])?;
    let limit = match query.number::<usize>("limit")? {
        None => LIMIT,
        Some(limit) if (1..=LIMIT).contains(&limit) => limit,
        Some(_) => return Err(Failure::parameter("limit", format_args!("write 1 to {LIMIT}."))),
    };
    let after = query.get("cursor").map(cursor).transpose()?;
    let read = consistency::read(&http, &query).await?;
    let mut sessions = read.view.sessions_after(after.as_deref(), limit + 1);
    let more = sessions.len() > limit;
    sessions.truncate(limit);
    let next = sessions
        .last()
        .filter(|_| more)
        .map(|last| encode_base64url(&last.client_id));
    let lags = lags(&read.view, &sessions).await?;
    let items = sessions
        .iter()
        .zip(lags)
        .map(|(session, lag)| render(session, lag))
        .collect();
    let answer = Sessions {
        revision: read.view.revision,
        items,
        next,
    };
    let mut answer = Json(answer).into_response();
    read.annotate(answer.headers_mut());
    Ok(answer)
}

fn cursor(text: &str) -> Result<Vec<u8>, Failure> {
    decode_base64url(text).ok_or_else(|| Failure::new(ProblemKind::InvalidCursor, "Begin again without a cursor."))
}

/// One session with its subscriptions.
pub(super) async fn show(State(http): State<Http>, uri: Uri) -> Answer {
    let query = Query::parse(uri.query(), &["consistency", "at_least"])?;
    let client_id = client_id_of_path(&uri)?;
    let read = consistency::read(&http, &query).await?;
    let session = read.view.session(&client_id).ok_or_else(problem::session_not_found)?;
    let lag = lags(&read.view, std::slice::from_ref(&session)).await?.pop();
    let mut rendered = render(&session, lag.unwrap_or_default());
    rendered.subscriptions = subscriptions(&session);
    let mut answer = Json(rendered).into_response();
    read.annotate(answer.headers_mut());
    Ok(answer)
}

/// Ends a session and its connection.
pub(super) async fn kick(State(http): State<Http>, uri: Uri) -> Answer {
    Query::parse(uri.query(), &[])?;
    let client_id = client_id_of_path(&uri)?;
    match http.service.write(Operation::Kick(Kick { client_id })).await? {
        Outcome::SessionChanged => Ok(Json(Kicked { kicked: true }).into_response()),
        Outcome::NotFound => Err(problem::session_not_found()),
        other => Err(Failure::of_outcome(&other)),
    }
}

/// The rest of the path, percent-decoded once. An identifier that no client can have has no session.
fn client_id_of_path(uri: &Uri) -> Result<Bytes, Failure> {
    let raw = uri.path().strip_prefix(PATH_PREFIX).unwrap_or_default();
    let decoded = query::percent_decode(raw).ok_or_else(problem::session_not_found)?;
    let is_legal = (1..=banyan_core::limits::CLIENT_ID_BYTES_MAX).contains(&decoded.len())
        && std::str::from_utf8(&decoded).is_ok_and(|text| !text.contains('\0'));
    if is_legal {
        Ok(Bytes::from(decoded))
    } else {
        Err(problem::session_not_found())
    }
}

fn render(session: &state::Session, lag: Lag) -> Session {
    let never_expires = session.expiry_s == u32::MAX;
    let expires_at = session
        .disconnected_at_us
        .filter(|_| !never_expires)
        .map(|at| at.saturating_add(u64::from(session.expiry_s) * 1_000_000));
    Session {
        client_id: String::from_utf8_lossy(&session.client_id).into_owned(),
        connected: session.connection.is_some(),
        node: session.connection.map(|connection| connection.node_id),
        since: session
            .connection
            .map(|connection| connection.since_us)
            .or(session.disconnected_at_us),
        expiry_s: (!never_expires).then_some(session.expiry_s),
        expires_at,
        has_will: session.has_will,
        subscription_count: session.subscriptions.len(),
        lag_messages: lag.messages,
        lag_is_partial: lag.is_partial,
        lag_s: lag.oldest_us / 1_000_000,
        in_flight: session.in_flight.len(),
        subscriptions: Vec::new(),
    }
}

fn subscriptions(session: &state::Session) -> Vec<Subscription> {
    let rows = session.subscriptions.values().map(|row| &row.subscription);
    rows.map(|subscription| Subscription {
        filter: subscription.filter.as_str().to_owned(),
        qos: subscription.options.qos,
        no_local: subscription.options.no_local,
        retain_as_published: subscription.options.retain_as_published,
        latest: subscription.latest,
        subscription_id: subscription.subscription_id,
        replaying: subscription.replay.is_some(),
    })
    .collect()
}
