//! The change feed: each topic's latest change after a cursor, oldest first.

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// One change. A deletion has `deleted: true` and neither payload nor content type; its `timestamp` is the deletion's.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChangeItem {
    /// The position after this change, for `since`.
    pub cursor: String,
    /// Whether the topic was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// The topic with its value as of this change.
    #[serde(flatten)]
    pub record: Record,
}

/// A page of changes (`feed=normal`, `feed=longpoll`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChangesPage {
    /// The revision of the state that was read.
    pub revision: u64,
    /// The changes, oldest first.
    pub items: Vec<ChangeItem>,
    /// The position after this page, for `since`. Never absent.
    pub next: String,
    /// Whether more changes are there already.
    pub more: bool,
}

/// A line of a continuous feed that carries no change: the reader has seen everything up to `revision`. Sent when the reader
/// has caught up, and from time to time while nothing happens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Everything up to this revision was delivered.
    pub revision: u64,
    /// The position, for `since`.
    pub cursor: String,
    /// Always true.
    pub progress: bool,
}

/// A line of a continuous feed.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum FeedLine {
    /// A change.
    Change(Box<ChangeItem>),
    /// No change, but progress.
    Progress(Progress),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Payload;

    #[test]
    fn lines_are_told_apart() {
        let change = ChangeItem {
            cursor: "0.7.0".into(),
            record: Record {
                topic: "a".into(),
                revision: 7,
                payload: Payload::of(b"x", None),
                ..Record::default()
            },
            ..ChangeItem::default()
        };
        let text = serde_json::to_string(&change).unwrap();
        assert!(matches!(serde_json::from_str(&text).unwrap(), FeedLine::Change(item) if item.record.revision == 7));
        let progress = Progress {
            revision: 9,
            cursor: "0.9.0".into(),
            progress: true,
        };
        let text = serde_json::to_string(&progress).unwrap();
        assert!(matches!(serde_json::from_str(&text).unwrap(), FeedLine::Progress(line) if line == progress));
    }
}
