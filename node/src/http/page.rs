//! Pages of a list: read from a view here, or asked for at the node that keeps it.
//!
//! ```text
//! request  version=1 u8 | rows_max u32 | bytes_max u32 | place (see `cursor`)
//! answer   version=1 u8 | status u8: 0 page, 1 expired, 2 failed | more u8 | count u32 | row*
//! row      topic length u16 | topic | record length u32 | stored record
//! ```

use banyan_api::problem::ProblemKind;
use banyan_core::keyspace::{Scan, TopicRecord};
use banyan_core::state::StateView;
use banyan_core::store::StoreError;
use banyan_core::topic::TopicName;
use bytes::Bytes;

use super::Http;
use super::cursor::{Listing, Place, Reader};
use super::problem::Failure;
use super::views::ListViews;

/// A page ends once it holds this many bytes of keys and records. It may pass this by one record.
pub(super) const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most rows that a page asked for by another node may have.
const REMOTE_ROWS_MAX: usize = 10_000;

const VERSION: u8 = 1;
const STATUS_PAGE: u8 = 0;
const STATUS_EXPIRED: u8 = 1;
const STATUS_FAILED: u8 = 2;

/// A topic and its record.
pub(super) type Row = (TopicName, TopicRecord);

/// Some rows, and whether more follow.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    pub(super) more: bool,
}

/// Where the rows of a list come from.
pub(super) enum Source {
    /// A view of this node.
    Local {
        /// Keeps the position between chunks.
        scan: Scan,
        /// A row that was read to see that there is one.
        ahead: Option<Row>,
    },
    /// A view that another node keeps.
    Remote {
        /// The node.
        node_id: u64,
        /// Where to go on.
        place: Place,
    },
}

impl Source {
    /// A list from its beginning.
    pub(super) fn begin(view: &StateView, listing: &Listing) -> Self {
        Self::local(view.scan(listing.selection.clone(), listing.direction))
    }

    /// A list from where a cursor stands, in a view of this node.
    pub(super) fn resume(view: &StateView, place: &Place) -> Self {
        let Listing {
            selection, direction, ..
        } = &place.listing;
        Self::local(view.resume_scan(selection.clone(), *direction, &place.after))
    }

    fn local(scan: Scan) -> Self {
        Self::Local { scan, ahead: None }
    }

    /// The next rows: at most `rows_max`, and about `bytes_max` bytes. `more` is exact.
    pub(super) async fn next(&mut self, http: &Http, rows_max: usize, bytes_max: usize) -> Result<Page, Failure> {
        match self {
            Self::Local { scan, ahead } => Ok(read_page(scan, ahead, rows_max, bytes_max).await?),
            Self::Remote { node_id, place } => {
                let page = fetch(http, *node_id, place, rows_max, bytes_max).await?;
                if let Some((topic, _)) = page.rows.last() {
                    place.after = topic.clone();
                }
                Ok(page)
            }
        }
    }
}

/// Reads a page, and one row further to know whether there is more. Other tasks run in between.
async fn read_page(
    scan: &mut Scan,
    ahead: &mut Option<Row>,
    rows_max: usize,
    bytes_max: usize,
) -> Result<Page, StoreError> {
    let mut rows: Vec<Row> = ahead.take().into_iter().collect();
    let mut bytes: usize = rows.iter().map(row_bytes).sum();
    let mut more = true;
    // A chunk may be short, or empty, and yet not the last: a scan that finds little returns from time to time.
    while more && rows.len() < rows_max && bytes < bytes_max {
        let read = rows.len();
        more = scan.next_chunk(rows_max - read, bytes_max - bytes, &mut rows)?;
        bytes += rows.iter().skip(read).map(row_bytes).sum::<usize>();
        tokio::task::yield_now().await;
    }
    let mut further = Vec::new();
    while more && further.is_empty() {
        more = scan.next_chunk(1, 1, &mut further)?;
        tokio::task::yield_now().await;
    }
    *ahead = further.pop();
    Ok(Page {
        rows,
        more: ahead.is_some(),
    })
}

fn row_bytes((topic, record): &Row) -> usize {
    topic.len() + record.as_bytes().len()
}

/// Asks the node that keeps the view for a page.
async fn fetch(http: &Http, node_id: u64, place: &Place, rows_max: usize, bytes_max: usize) -> Result<Page, Failure> {
    let mut request = vec![VERSION];
    for bound in [rows_max, bytes_max] {
        request.extend_from_slice(&u32::try_from(bound).unwrap_or(u32::MAX).to_be_bytes());
    }
    place.encode(&mut request);
    let answer = match http.service.forward_page(node_id, Bytes::from(request)).await {
        Ok(answer) => answer,
        // The view is gone with its node, as far as the client can tell.
        Err(error) => {
            tracing::debug!(node_id, %error, "cannot reach the node that keeps a cursor's view");
            return Err(expired());
        }
    };
    decode_answer(&answer)
}

/// The problem of a cursor whose view is gone.
pub(super) fn expired() -> Failure {
    Failure::new(
        ProblemKind::CursorExpired,
        "Pages are kept 60 s after their last use. Start the list again without cursor.",
    )
}

/// Answers a request of another node.
pub(super) async fn answer(views: &ListViews, request: &Bytes) -> Bytes {
    let Some((rows_max, bytes_max, place)) = decode_request(request) else {
        return status(STATUS_EXPIRED);
    };
    let Some(view) = views.get(place.revision) else {
        return status(STATUS_EXPIRED);
    };
    let Source::Local { mut scan, mut ahead } = Source::resume(&view, &place) else {
        return status(STATUS_FAILED);
    };
    let (rows_max, bytes_max) = (rows_max.min(REMOTE_ROWS_MAX), bytes_max.min(PAGE_BYTES_MAX));
    let page = match read_page(&mut scan, &mut ahead, rows_max, bytes_max).await {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(%error, "reading a page for another node failed");
            return status(STATUS_FAILED);
        }
    };
    let mut out = vec![VERSION, STATUS_PAGE, u8::from(page.more)];
    out.extend_from_slice(&u32::try_from(page.rows.len()).unwrap_or(0).to_be_bytes());
    for (topic, record) in &page.rows {
        out.extend_from_slice(&u16::try_from(topic.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
        out.extend_from_slice(&u32::try_from(record.as_bytes().len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(record.as_bytes());
    }
    Bytes::from(out)
}

fn status(status: u8) -> Bytes {
    Bytes::copy_from_slice(&[VERSION, status, 0, 0, 0, 0, 0])
}

fn decode_request(request: &Bytes) -> Option<(usize, usize, Place)> {
    let mut reader = Reader(request);
    if reader.u8()? != VERSION {
        return None;
    }
    let (rows_max, bytes_max) = (reader.u32()? as usize, reader.u32()? as usize);
    let place = Place::decode(&mut reader)?;
    reader.0.is_empty().then_some((rows_max, bytes_max, place))
}

fn decode_answer(answer: &Bytes) -> Result<Page, Failure> {
    let broken = || {
        Failure::new(
            ProblemKind::Internal,
            "The node that keeps this cursor answered with something unreadable.",
        )
    };
    let mut reader = Reader(answer);
    match (reader.u8(), reader.u8()) {
        (Some(VERSION), Some(STATUS_PAGE)) => decode_rows(&mut reader, answer).ok_or_else(broken),
        (Some(VERSION), Some(STATUS_EXPIRED)) => Err(expired()),
        (Some(VERSION), Some(STATUS_FAILED)) => Err(Failure::new(
            ProblemKind::Internal,
            "The node that keeps this cursor cannot read its storage.",
        )),
        _ => Err(broken()),
    }
}

/// Reads the rows; records are slices of the answer.
fn decode_rows(reader: &mut Reader<'_>, answer: &Bytes) -> Option<Page> {
    let more = reader.u8()? != 0;
    let count = reader.u32()?;
    let mut rows = Vec::new();
    for _ in 0..count {
        let topic = TopicName::parse(reader.text()?).ok()?;
        let length = reader.u32()? as usize;
        let record = TopicRecord::parse(answer.slice_ref(reader.bytes(length)?)).ok()?;
        rows.push((topic, record));
    }
    reader.0.is_empty().then_some(Page { rows, more })
}
