//! `GET /v1/changes`: each topic's latest change after a position, oldest first.
//!
//! A reader that lags sees only the latest of several changes of a topic; the order and the state it ends with are those of
//! everybody else. `feed=normal` answers one page; `longpoll` the same, but waits for a first change; `continuous` and
//! `eventsource` go on (see `feed`).

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use banyan_api::changes::{ChangeItem, ChangesPage};
use banyan_api::list::{LIMIT_DEFAULT, LIMIT_MAX};
use banyan_api::problem::ProblemKind;
use banyan_api::record::Record;
use banyan_core::state::{ChangeRow, StateView};
use banyan_core::store::StoreError;
use banyan_core::topic::TopicFilter;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::consistency::{self, Read};
use super::feed::{self, Format};
use super::problem::{Answer, Failure};
use super::query::Query;
use super::{Http, page, render};

/// Rows read between two looks at whether other tasks want to run.
const CHUNK_ROWS: usize = 256;

/// How long `feed=longpoll` waits unless `timeout` says otherwise, seconds.
const LONGPOLL_S_DEFAULT: u64 = 30;

/// The longest `timeout`, seconds.
const LONGPOLL_S_MAX: u64 = 300;

const PARAMETERS: &[&str] = &[
    "filter",
    "since",
    "feed",
    "limit",
    "values",
    "timeout",
    "consistency",
    "at_least",
];

/// A position in the order of changes, as text `SHARD.REVISION[.ORDINAL[.BASE]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Everything before this revision was read.
    pub(super) revision: u64,
    /// And of this revision everything up to this ordinal.
    pub(super) ordinal: u32,
    /// A reader who began with nothing does not miss deletions that were forgotten before it began: those up to here.
    pub(super) base: u64,
}

impl Position {
    /// Behind everything of `revision`.
    pub(super) const fn behind(revision: u64) -> Self {
        Self {
            revision,
            ordinal: u32::MAX,
            base: 0,
        }
    }

    /// Reads `since`: a cursor, a plain revision, `0` for everything, or `now`.
    pub(super) fn parse(text: &str, view: &StateView) -> Result<Self, Failure> {
        let wrong = || {
            Failure::parameter(
                "since",
                "write a cursor as it came, a revision, 0 for everything, or now.",
            )
        };
        if text == "now" {
            return Ok(Self::behind(view.revision));
        }
        let mut numbers = text.split('.').map(|part| {
            let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if plain { part.parse::<u64>().ok() } else { None }
        });
        let mut fields = [None; 4];
        for field in &mut fields {
            match numbers.next() {
                Some(number) => *field = Some(number.ok_or_else(wrong)?),
                None => break,
            }
        }
        if numbers.next().is_some() {
            return Err(wrong());
        }
        match fields {
            [Some(0), None, ..] => Ok(Self {
                revision: 0,
                ordinal: u32::MAX,
                base: view.compacted_revision,
            }),
            [Some(revision), None, ..] => Ok(Self::behind(revision)),
            [Some(0), Some(revision), ordinal, base] => {
                let ordinal = u32::try_from(ordinal.unwrap_or(u64::from(u32::MAX))).map_err(|_| wrong())?;
                Ok(Self {
                    revision,
                    ordinal,
                    base: base.unwrap_or(0),
                })
            }
            _ => Err(wrong()),
        }
    }

    /// Whether everything behind this position is still known in `view`, deletions included.
    pub(super) fn is_complete_in(&self, view: &StateView) -> bool {
        self.revision.max(self.base) >= view.compacted_revision
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            revision,
            ordinal,
            base,
        } = *self;
        match (ordinal, base > revision) {
            (u32::MAX, false) => write!(f, "0.{revision}"),
            (_, false) => write!(f, "0.{revision}.{ordinal}"),
            (_, true) => write!(f, "0.{revision}.{ordinal}.{base}"),
        }
    }
}

/// Reads changes on from a position.
#[derive(Debug)]
pub(super) struct ChangeReader {
    filter: Option<TopicFilter>,
    values: bool,
    /// Everything up to here was read.
    pub(super) position: Position,
}

impl ChangeReader {
    /// Appends the next matching changes in `view` to `out`: at most `rows_max`, and about `bytes_max` bytes. Returns whether
    /// more are there; if not, the position is behind everything in `view`.
    pub(super) async fn read(
        &mut self,
        view: &StateView,
        rows_max: usize,
        bytes_max: usize,
        out: &mut Vec<ChangeItem>,
    ) -> Result<bool, StoreError> {
        let mut bytes = 0;
        loop {
            let rows = view.changes_after(self.position.revision, self.position.ordinal, CHUNK_ROWS)?;
            let last = rows.len() < CHUNK_ROWS;
            for row in rows {
                if out.len() >= rows_max || bytes >= bytes_max {
                    return Ok(true);
                }
                self.position.revision = row.revision;
                self.position.ordinal = row.ordinal;
                if self.filter.as_ref().is_none_or(|filter| filter.matches(&row.topic)) {
                    bytes += row.topic.len() + row.record.as_ref().map_or(0, |record| record.as_bytes().len());
                    out.push(self.item(&row));
                }
            }
            if last {
                if view.revision >= self.position.revision {
                    self.position = Position::behind(view.revision);
                }
                return Ok(false);
            }
            tokio::task::yield_now().await;
        }
    }

    fn item(&self, row: &ChangeRow) -> ChangeItem {
        let deleted_at = row.tombstone.as_ref().map_or(0, |tombstone| tombstone.timestamp_us);
        let record = match &row.record {
            Some(record) => render::item(&row.topic, record, self.values),
            None => Record {
                topic: row.topic.as_str().to_owned(),
                revision: row.revision,
                timestamp: deleted_at,
                ..Record::default()
            },
        };
        ChangeItem {
            cursor: self.position.to_string(),
            deleted: row.record.is_none(),
            record,
        }
    }
}

/// The feed that is asked for.
enum Kind {
    Normal,
    LongPoll(Duration),
    Stream(Format),
}

/// Changes as a page or as a stream.
pub(super) async fn get(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let query = Query::parse(uri.query(), PARAMETERS)?;
    let kind = kind(&query)?;
    let limit = query.number::<usize>("limit")?;
    if limit == Some(0) || limit.is_some_and(|limit| limit > LIMIT_MAX && !matches!(kind, Kind::Stream(_))) {
        return Err(Failure::parameter("limit", format_args!("write 1 to {LIMIT_MAX}.")));
    }
    let read = consistency::read(&http, &query).await?;
    let since = match (&kind, headers.get("last-event-id")) {
        // What a browser sends when it connects again by itself.
        (Kind::Stream(Format::EventStream), Some(id)) if !id.is_empty() => id.to_str().unwrap_or("?"),
        _ => query.get("since").unwrap_or("0"),
    };
    let position = Position::parse(since, &read.view)?;
    refuse_too_old(&position, &read.view)?;
    let reader = ChangeReader {
        filter: query.filter()?,
        values: query.flag("values", true)?,
        position,
    };
    let mut response = match kind {
        Kind::Normal => normal(&read, reader, limit).await?,
        Kind::LongPoll(timeout) => {
            let _slot = slot(&http)?;
            long_poll(&http, reader, limit, timeout, read.view.clone()).await?
        }
        Kind::Stream(format) => feed::respond(&http, reader, format, limit, slot(&http)?),
    };
    read.annotate(response.headers_mut());
    Ok(response)
}

fn kind(query: &Query) -> Result<Kind, Failure> {
    let timeout = query.number::<u64>("timeout")?;
    let kind = match query.get("feed") {
        None | Some("normal") => Kind::Normal,
        Some("longpoll") => {
            let timeout_s = timeout.unwrap_or(LONGPOLL_S_DEFAULT);
            if timeout_s > LONGPOLL_S_MAX {
                return Err(Failure::parameter(
                    "timeout",
                    format_args!("at most {LONGPOLL_S_MAX} seconds."),
                ));
            }
            return Ok(Kind::LongPoll(Duration::from_secs(timeout_s)));
        }
        Some("continuous") => Kind::Stream(Format::Lines),
        Some("eventsource") => Kind::Stream(Format::EventStream),
        Some(_) => {
            return Err(Failure::parameter(
                "feed",
                "write normal, longpoll, continuous or eventsource.",
            ));
        }
    };
    match timeout {
        Some(_) => Err(Failure::parameter("timeout", "goes with feed=longpoll only.")),
        None => Ok(kind),
    }
}

/// A place among the feeds of this node.
fn slot(http: &Http) -> Result<OwnedSemaphorePermit, Failure> {
    if http.service.drain().is_draining() {
        let reason = "This node is about to stop and opens no more feeds. Use another node.";
        return Err(Failure::unavailable(reason));
    }
    http.feeds.clone().try_acquire_owned().map_err(|_| {
        Failure::new(
            ProblemKind::TooManyRequests,
            "Too many feeds are open at this node. Use another node, or feed=normal.",
        )
    })
}

/// Refuses a position from which deletions would be missed.
fn refuse_too_old(position: &Position, view: &StateView) -> Result<(), Failure> {
    if position.is_complete_in(view) {
        return Ok(());
    }
    Err(Failure::since_too_old(
        Position::behind(view.compacted_revision).to_string(),
    ))
}

/// One page of what is there.
async fn normal(read: &Read, mut reader: ChangeReader, limit: Option<usize>) -> Result<Response, Failure> {
    page_of(&read.view, &mut reader, limit)
        .await
        .map(|page| Json(page).into_response())
}

async fn page_of(view: &StateView, reader: &mut ChangeReader, limit: Option<usize>) -> Result<ChangesPage, Failure> {
    let mut items = Vec::new();
    let more = reader
        .read(view, limit.unwrap_or(LIMIT_DEFAULT), page::PAGE_BYTES_MAX, &mut items)
        .await?;
    Ok(ChangesPage {
        revision: view.revision,
        items,
        next: reader.position.to_string(),
        more,
    })
}

/// One page, as soon as there is a change; an empty one after `timeout`.
async fn long_poll(
    http: &Http,
    mut reader: ChangeReader,
    limit: Option<usize>,
    timeout: Duration,
    mut view: StateView,
) -> Result<Response, Failure> {
    let deadline = Instant::now() + timeout;
    let mut applied = http.service.applied_revision();
    loop {
        let page = page_of(&view, &mut reader, limit).await?;
        if !page.items.is_empty() {
            return Ok(Json(page).into_response());
        }
        let revision = view.revision;
        drop(view);
        let waited = tokio::select! {
            biased;
            () = http.shutdown.cancelled() => false,
            () = http.service.drain().begins() => false,
            waited = tokio::time::timeout_at(deadline, applied.wait_for(|applied| *applied > revision)) => {
                waited.is_ok_and(|applied| applied.is_ok())
            }
        };
        if !waited {
            return Ok(Json(page).into_response());
        }
        view = http.service.local_view();
        refuse_too_old(&reader.position, &view)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back() {
        for text in ["0.42", "0.42.7", "0.42.7.99", "0.42.4294967295.99"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("42").unwrap(), Position::behind(42));
        assert_eq!(
            parse("0").unwrap().to_string(),
            "0.0.4294967295.5",
            "whoever begins does not miss what was forgotten"
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            ".",
            "1.2",
            "0.1.2.3.4",
            "-1",
            "0.x",
            "0.1.4294967296",
            "99999999999999999999",
            "later",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    fn parse(text: &str) -> Result<Position, Failure> {
        let store = std::sync::Arc::new(banyan_core::store::MemoryStore::new());
        let mut view = banyan_core::state::State::open(store).unwrap().view();
        view.compacted_revision = 5;
        Position::parse(text, &view)
    }
}
