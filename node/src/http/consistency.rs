//! How fresh a read must be: `consistency=linearizable|local|at_least=REVISION`, or `at_least=REVISION` by itself.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use banyan_core::state::StateView;

use super::Http;
use super::problem::Failure;
use super::query::Query;
use crate::service::Consistency;

/// The age of a local read, seconds.
pub(super) const BANYAN_STALENESS: HeaderName = HeaderName::from_static("banyan-staleness");

/// A state to read, and how old it may be if it was asked for without the cluster.
pub(super) struct Read {
    /// The state.
    pub(super) view: StateView,
    /// With `consistency=local`: since when the node has not been known to be current.
    pub(super) staleness: Option<Duration>,
}

impl Read {
    /// Adds `Banyan-Staleness` where it applies.
    pub(super) fn annotate(&self, headers: &mut HeaderMap) {
        if let Some(staleness) = self.staleness
            && let Ok(value) = HeaderValue::from_str(&format!("{:.3}", staleness.as_secs_f64()))
        {
            headers.insert(BANYAN_STALENESS, value);
        }
    }
}

/// The consistency that the query asks for; linearizable unless it says otherwise.
pub(super) fn parse(query: &Query) -> Result<Consistency, Failure> {
    let at_least = query.number::<u64>("at_least")?;
    match (query.get("consistency"), at_least) {
        (None | Some("at_least"), Some(revision)) => Ok(Consistency::AtLeast(revision)),
        (None | Some("linearizable"), None) => Ok(Consistency::Linearizable),
        (Some("local"), None) => Ok(Consistency::Local),
        (Some(text), None) => text
            .strip_prefix("at_least=")
            .or_else(|| text.strip_prefix("at_least:"))
            .and_then(|revision| revision.parse().ok())
            .map(Consistency::AtLeast)
            .ok_or_else(|| Failure::parameter("consistency", "write linearizable, local or at_least=REVISION.")),
        (Some(_), Some(_)) => Err(Failure::parameter(
            "at_least",
            "contradicts consistency; give one of them.",
        )),
    }
}

/// The state as fresh as the query asks for.
pub(super) async fn read(http: &Http, query: &Query) -> Result<Read, Failure> {
    let consistency = parse(query)?;
    let staleness = matches!(consistency, Consistency::Local)
        .then(|| http.service.staleness())
        .flatten();
    let view = http.service.read(consistency).await?;
    Ok(Read { view, staleness })
}
