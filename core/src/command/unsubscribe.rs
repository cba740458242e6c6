//! A session unsubscribes.

use super::DecodeError;
use super::wire::{Reader, put_count, put_field};
use crate::topic::SubscriptionFilter;

/// Takes subscriptions from the sender's session; those it does not have change nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The very filters of the subscriptions.
    pub filters: Vec<SubscriptionFilter>,
}

impl Unsubscribe {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.filters.len());
        self.filters
            .iter()
            .for_each(|filter| put_field(out, filter.as_str().as_bytes()));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let filters = reader.list(Reader::subscription_filter)?;
        reader.finish()?;
        Ok(Self { filters })
    }
}
