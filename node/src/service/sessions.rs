//! What sessions wait for, counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use banyan_core::keyspace::MessagePosition;
use banyan_core::state::{Change, ChangeKind, Session, StateView, SubscriptionRow};
use banyan_core::topic::{FilterTrie, SubscriptionFilter};

use super::ReadError;

/// Messages looked at for one question: what waits beyond them is not counted.
const ROWS_MAX: usize = 50_000;
/// Messages read at a time.
const CHUNK_ROWS: usize = 500;
/// Bytes read at a time, roughly.
const CHUNK_BYTES: usize = 512 * 1024;

/// What a session waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages.
    pub messages: u64,
    /// More messages may wait than were looked at.
    pub is_partial: bool,
    /// Age of the oldest, microseconds.
    pub oldest_us: u64,
}

/// What each of `sessions` waits for, as `view` shows it: by one scan for all.
///
/// # Errors
/// The state could not be read.
pub async fn lags(view: &StateView, sessions: &[Arc<Session>]) -> Result<Vec<Lag>, ReadError> {
    let mut lags: Vec<Lag> = sessions
        .iter()
        .map(|session| Lag {
            messages: session.assigned.len() as u64,
            ..Lag::default()
        })
        .collect();
    let mut subscriptions: FilterTrie<usize, &SubscriptionRow> = FilterTrie::new();
    for (index, session) in sessions.iter().enumerate() {
        for row in session.subscriptions.values() {
            if let SubscriptionFilter::Plain(filter) = &row.subscription.filter {
                subscriptions.insert(filter, index, row);
            }
        }
    }
    let waiting = sessions.iter().filter(|session| !session.subscriptions.is_empty());
    let Some(mut after) = waiting.map(|session| session.cursor).min() else {
        return Ok(lags);
    };
    let mut looked_at = 0;
    loop {
        let waiting = view
            .waiting_after(after, CHUNK_ROWS, CHUNK_BYTES)
            .map_err(|error| ReadError::Unavailable(error.to_string()))?;
        for row in &waiting.rows {
            count(&row.change, row.is_latest, &subscriptions, sessions, view, &mut lags);
        }
        looked_at += CHUNK_ROWS;
        let Some(next) = waiting.next else {
            return Ok(lags);
        };
        if looked_at >= ROWS_MAX {
            for (lag, session) in lags.iter_mut().zip(sessions) {
                lag.is_partial = !session.subscriptions.is_empty();
            }
            return Ok(lags);
        }
        after = next;
        tokio::task::yield_now().await;
    }
}

/// Counts one message for everyone who waits for it.
fn count(
    change: &Change,
    is_latest: bool,
    subscriptions: &FilterTrie<usize, &SubscriptionRow>,
    sessions: &[Arc<Session>],
    view: &StateView,
    lags: &mut [Lag],
) {
    let position = MessagePosition {
        revision: change.revision,
        ordinal: change.ordinal,
    };
    let (publisher, at_us) = match &change.kind {
        ChangeKind::Put { record, .. } => (record.publisher_bytes(), record.timestamp_us()),
        ChangeKind::Delete(deletion) => (deletion.publisher.clone(), deletion.timestamp_us),
        ChangeKind::Event { event, received_at_us } => (event.publisher.clone(), *received_at_us),
    };
    let mut counted = BTreeSet::new();
    subscriptions.for_each_match(&change.topic, &mut |index, row| {
        let (Some(session), Some(lag)) = (sessions.get(*index), lags.get_mut(*index)) else {
            return;
        };
        let subscription = &row.subscription;
        let is_own = subscription.options.no_local && publisher == session.client_id;
        let is_due = position > session.cursor && change.revision > row.since && (is_latest || !subscription.latest);
        if is_due && !is_own && counted.insert(*index) {
            lag.messages += 1;
            lag.oldest_us = lag.oldest_us.max(view.log_time_us.saturating_sub(at_us));
        }
    });
}
