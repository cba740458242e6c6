//! Lists of records: pages, and the lines of a streamed list.

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// Records per page unless `limit` says otherwise.
pub const LIMIT_DEFAULT: usize = 1_000;

/// Most records per page. A streamed list (NDJSON) has no such bound.
pub const LIMIT_MAX: usize = 10_000;

/// One page. All pages of one list are of one revision.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ListPage {
    /// The revision of the state that is listed.
    pub revision: u64,
    /// With `count=true`: how many records match. `items` is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The records, in the order of topics with `/` before every other character. May be fewer than `limit`, since a page is
    /// bounded in bytes too.
    pub items: Vec<Record>,
    /// The cursor of the next page; `null` on the last.
    pub next: Option<String>,
}

/// The last line of a streamed list. A stream that ends without it was cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListEnd {
    /// The revision of the state that was listed.
    pub revision: u64,
    /// Always true.
    pub end: bool,
    /// With `count=true`: how many records match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// If `limit` ended the stream: the cursor of the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
