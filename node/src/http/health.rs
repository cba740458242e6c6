//! `/health/live`: the process answers. `/health/ready`: it can serve linearizable reads and writes.

use axum::Json;
use axum::extract::State;
use banyan_api::cluster::Health;

use super::Http;
use super::problem::Failure;

/// Always answers: if the process cannot, nobody does.
pub(super) async fn live() -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
    })
}

/// 503 while there is no leader or this node lags.
pub(super) async fn ready(State(http): State<Http>) -> Result<Json<Health>, Failure> {
    http.service
        .is_ready()
        .map_err(|reason| Failure::unavailable(&reason))?;
    Ok(Json(Health {
        status: "ok".to_owned(),
    }))
}
