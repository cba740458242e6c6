//! `GET /v1/topics`: lists by filter, or by prefix, start and end; counts.

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, VARY};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use banyan_api::NDJSON;
use banyan_api::list::{LIMIT_DEFAULT, LIMIT_MAX, ListPage};
use banyan_core::keyspace::Selection;
use banyan_core::state::StateView;
use banyan_core::store::{Direction, StoreError};

use super::consistency::{self, Read};
use super::cursor::{Cursor, Listing, Place};
use super::page::{PAGE_BYTES_MAX, Row, Source, expired};
use super::problem::{Answer, Failure};
use super::query::Query;
use super::{Http, ndjson, render, topics};

/// Rows read between two looks at whether other tasks want to run.
const COUNT_CHUNK_ROWS: usize = 1_000;

/// Every parameter of this route.
const PARAMETERS: &[&str] = &[
    "topic",
    "view",
    "filter",
    "prefix",
    "start",
    "end",
    "limit",
    "cursor",
    "order",
    "values",
    "count",
    "consistency",
    "at_least",
];

/// The parameters that say what is listed, which a cursor holds already.
const LISTING_PARAMETERS: &[&str] = &["filter", "prefix", "start", "end", "order", "values"];

/// A list under way.
pub(super) struct List {
    /// What is listed.
    pub(super) listing: Listing,
    /// The revision of the state that is listed.
    pub(super) revision: u64,
    /// The node that keeps the view.
    pub(super) node_id: u64,
    /// The view, if this node has it; kept once a cursor names it.
    pub(super) view: Option<StateView>,
    /// The rows.
    pub(super) source: Source,
}

/// One topic if `topic` is given, otherwise a list.
pub(super) async fn get_root(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let query = Query::parse(uri.query(), PARAMETERS)?;
    if let Some(topic) = query.topic("topic")? {
        refuse(
            &query,
            PARAMETERS,
            &["topic", "view", "consistency", "at_least"],
            "does not go with topic=.",
        )?;
        return topics::read(&http, &topic, &query, &headers).await;
    }
    refuse(&query, &["view"], &[], "goes with topic= only.")?;
    let stream = accepts_ndjson(&headers);
    let limit = limit(&query, stream)?;
    if query.flag("count", false)? {
        refuse(&query, &["cursor", "limit"], &[], "does not go with count=true.")?;
        let read = consistency::read(&http, &query).await?;
        let count = count(&read.view, &listing(&query)?, u64::MAX).await?;
        let mut response = if stream {
            ndjson::end_only(read.view.revision, count)
        } else {
            Json(ListPage {
                revision: read.view.revision,
                count: Some(count),
                ..ListPage::default()
            })
            .into_response()
        };
        read.annotate(response.headers_mut());
        return Ok(vary(response));
    }
    let (list, read) = match query.get("cursor") {
        Some(cursor) => (resume(&http, cursor, &query)?, None),
        None => {
            let read = consistency::read(&http, &query).await?;
            (begin(&http, &read, listing(&query)?), Some(read))
        }
    };
    let mut response = match stream {
        true => ndjson::respond(&http, list, limit)?,
        false => Json(page(&http, list, limit.unwrap_or(LIMIT_DEFAULT)).await?).into_response(),
    };
    if let Some(read) = read {
        read.annotate(response.headers_mut());
    }
    Ok(vary(response))
}

/// A list from its beginning.
fn begin(http: &Http, read: &Read, listing: Listing) -> List {
    List {
        source: Source::begin(&read.view, &listing),
        revision: read.view.revision,
        node_id: http.service.node_id(),
        view: Some(read.view.clone()),
        listing,
    }
}

/// A list from where a cursor stands. Whatever the query says again about the list must agree with the cursor.
fn resume(http: &Http, cursor: &str, query: &Query) -> Result<List, Failure> {
    let Cursor { node_id, place } = Cursor::decode(cursor)?;
    if LISTING_PARAMETERS.iter().any(|name| query.get(name).is_some()) {
        let repeated = listing(query)?;
        let agrees = |name: &str, equal: bool| query.get(name).is_none() || equal;
        let selects = ["filter", "prefix", "start", "end"]
            .iter()
            .any(|name| query.get(name).is_some());
        if (selects && repeated.selection != place.listing.selection)
            || !agrees("order", repeated.direction == place.listing.direction)
            || !agrees("values", repeated.values == place.listing.values)
        {
            return Err(Failure::parameter(
                "cursor",
                "belongs to another list; leave out what the cursor says already.",
            ));
        }
    }
    let own = node_id == http.service.node_id();
    // A view of the same revision shows the same, whichever node took it.
    let view = http.views.get(place.revision);
    let (listing, revision) = (place.listing.clone(), place.revision);
    let source = match &view {
        Some(view) => Source::resume(view, &place),
        None if own => return Err(expired()),
        None => Source::Remote { node_id, place },
    };
    let node_id = if view.is_some() {
        http.service.node_id()
    } else {
        node_id
    };
    Ok(List {
        listing,
        revision,
        node_id,
        view,
        source,
    })
}

impl List {
    /// The cursor behind `last`; the view is kept for it.
    pub(super) fn cursor_after(&self, http: &Http, last: &Row) -> String {
        if let Some(view) = &self.view {
            http.views.keep(view.clone());
        }
        let place = Place {
            revision: self.revision,
            listing: self.listing.clone(),
            after: last.0.detach(),
        };
        Cursor {
            node_id: self.node_id,
            place,
        }
        .encode()
    }
}

/// The next page of a list.
async fn page(http: &Http, mut list: List, limit: usize) -> Result<ListPage, Failure> {
    let page = list.source.next(http, limit, PAGE_BYTES_MAX).await?;
    let next = page
        .rows
        .last()
        .filter(|_| page.more)
        .map(|last| list.cursor_after(http, last));
    let values = list.listing.values;
    let items = page
        .rows
        .iter()
        .map(|(topic, record)| render::item(topic, record, values))
        .collect();
    Ok(ListPage {
        revision: list.revision,
        count: None,
        items,
        next,
    })
}

/// How many records match, at most `at_most`. Other tasks run in between.
pub(super) async fn count(view: &StateView, listing: &Listing, at_most: u64) -> Result<u64, StoreError> {
    let mut scan = view.scan(listing.selection.clone(), listing.direction);
    let (mut count, mut rows) = (0u64, Vec::new());
    loop {
        rows.clear();
        let more = scan.next_chunk(COUNT_CHUNK_ROWS, PAGE_BYTES_MAX, &mut rows)?;
        count += rows.len() as u64;
        if !more || count >= at_most {
            return Ok(count.min(at_most));
        }
        tokio::task::yield_now().await;
    }
}

/// What the query asks to list.
fn listing(query: &Query) -> Result<Listing, Failure> {
    let (prefix, start, end) = (query.topic("prefix")?, query.topic("start")?, query.topic("end")?);
    let selection = match query.filter()? {
        Some(_) if prefix.is_some() || start.is_some() || end.is_some() => {
            return Err(Failure::parameter(
                "filter",
                "does not go with prefix, start and end; give one kind.",
            ));
        }
        Some(filter) => Selection::Filter(filter),
        None => Selection::Range { prefix, start, end },
    };
    let direction = match query.get("order") {
        None | Some("asc") => Direction::Ascending,
        Some("desc") => Direction::Descending,
        Some(_) => return Err(Failure::parameter("order", "write asc or desc.")),
    };
    Ok(Listing {
        selection,
        direction,
        values: query.flag("values", true)?,
    })
}

/// `limit`; a page has a default and a maximum, a stream has neither.
fn limit(query: &Query, stream: bool) -> Result<Option<usize>, Failure> {
    let limit = query.number::<usize>("limit")?;
    match limit {
        Some(0) => Err(Failure::parameter(
            "limit",
            "write 1 or more; to count, use count=true.",
        )),
        Some(limit) if !stream && limit > LIMIT_MAX => Err(Failure::parameter(
            "limit",
            format_args!("at most {LIMIT_MAX} per page. Follow `next`, or stream with Accept: {NDJSON}."),
        )),
        limit => Ok(limit),
    }
}

/// Refuses the parameters of `names` that are given and not in `except`.
fn refuse(query: &Query, names: &[&str], except: &[&str], why: &str) -> Result<(), Failure> {
    match names
        .iter()
        .find(|name| !except.contains(name) && query.get(name).is_some())
    {
        Some(name) => Err(Failure::parameter(name, why)),
        None => Ok(()),
    }
}

/// Whether the client asks for one item per line.
fn accepts_ndjson(headers: &HeaderMap) -> bool {
    let mut types = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    types.any(|accepted| {
        accepted
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case(NDJSON)
    })
}

/// Says that the answer depends on `Accept`.
fn vary(mut response: Response) -> Response {
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}
