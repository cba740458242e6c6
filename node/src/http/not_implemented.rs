//! Routes that the interface promises and that are not built yet: 501, so that a program can tell them from a wrong path.

use axum::http::{HeaderMap, Method, Uri};
use banyan_api::problem::ProblemKind;

use super::problem::Failure;

/// A route that is not built.
pub(super) async fn route(method: Method, uri: Uri) -> Failure {
    Failure::new(
        ProblemKind::NotImplemented,
        format!("{method} {} is not built yet in this version.", uri.path()),
    )
}

/// Merge patch is not built.
pub(super) async fn patch() -> Failure {
    Failure::new(
        ProblemKind::NotImplemented,
        "PATCH is not built yet. Read the topic, then PUT it with If-Match.",
    )
}

/// Refuses a write that relies on `Idempotency-Key`: to ignore the header would double what its sender thinks is safe.
pub(super) fn refuse_idempotency_key(headers: &HeaderMap) -> Result<(), Failure> {
    if headers.contains_key("idempotency-key") {
        return Err(Failure::new(
            ProblemKind::NotImplemented,
            "Idempotency-Key is not built yet. Leave it out; If-Match or If-None-Match: * makes a retry safe.",
        ));
    }
    Ok(())
}
