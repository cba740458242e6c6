//! `DELETE /v1/topics`: one topic with `topic=`, or all that match with `filter=`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::IntoResponse;
use banyan_api::write::{DELETE_FILTER_LIMIT_DEFAULT, DeleteFilterAnswer};
use banyan_core::command::{DeleteFilter, Operation};
use banyan_core::keyspace::Selection;
use banyan_core::limits::DELETE_FILTER_TOPICS_MAX;
use banyan_core::state::Outcome;
use banyan_core::store::Direction;
use banyan_core::topic::TopicFilter;

use super::consistency;
use super::cursor::Listing;
use super::problem::{Answer, Failure};
use super::query::Query;
use super::topics::PUBLISHER;
use super::{Http, list, not_implemented, topics};

/// Deletes one topic or many. Without either parameter nothing is deleted.
pub(super) async fn delete_root(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let query = Query::parse(uri.query(), &["topic", "filter", "limit", "dry_run"])?;
    match (query.topic("topic")?, query.filter()?) {
        (Some(topic), None) => match ["limit", "dry_run"].iter().find(|name| query.get(name).is_some()) {
            Some(name) => Err(Failure::parameter(name, "goes with filter= only.")),
            None => topics::delete(&http, topic, &headers).await,
        },
        (None, Some(filter)) => delete(&http, filter, &query, &headers).await,
        (Some(_), Some(_)) => Err(Failure::parameter(
            "topic",
            "does not go with filter=; give one of them.",
        )),
        (None, None) => Err(Failure::parameter(
            "filter",
            "missing. To delete everything, write filter=%23 (#).",
        )),
    }
}

async fn delete(http: &Http, filter: TopicFilter, query: &Query, headers: &HeaderMap) -> Answer {
    not_implemented::refuse_idempotency_key(headers)?;
    for name in ["if-match", "if-none-match", "banyan-timestamp"] {
        if headers.contains_key(name) {
            return Err(Failure::header(
                name,
                "a delete by filter takes no condition and no timestamp.",
            ));
        }
    }
    let limit = query.number::<u32>("limit")?.unwrap_or(DELETE_FILTER_LIMIT_DEFAULT);
    if limit == 0 || limit > DELETE_FILTER_TOPICS_MAX {
        return Err(Failure::parameter(
            "limit",
            format_args!("write 1 to {DELETE_FILTER_TOPICS_MAX}."),
        ));
    }
    if query.flag("dry_run", false)? {
        return dry_run(http, filter, limit, query).await;
    }
    let operation = Operation::DeleteFilter(DeleteFilter {
        filter,
        limit,
        publisher: PUBLISHER,
    });
    match http.service.write(operation).await? {
        Outcome::DeletedMany { revision, count, more } => Ok(Json(DeleteFilterAnswer {
            revision,
            deleted: u64::from(count),
            more,
        })
        .into_response()),
        other => Err(Failure::of_outcome(&other)),
    }
}

/// Counts what would be deleted.
async fn dry_run(http: &Http, filter: TopicFilter, limit: u32, query: &Query) -> Answer {
    let read = consistency::read(http, query).await?;
    let listing = Listing {
        selection: Selection::Filter(filter),
        direction: Direction::Ascending,
        values: false,
    };
    let count = list::count(&read.view, &listing, u64::from(limit) + 1).await?;
    let deleted = count.min(u64::from(limit));
    Ok(Json(DeleteFilterAnswer {
        revision: read.view.revision,
        deleted,
        more: count > deleted,
    })
    .into_response())
}
