//! Whether what clients saw is what one server, answering one request after the other, could have shown.
//!
//! [`by_index`] uses the log: its order *is* the order of the requests, so that each answer can be held against it in linear
//! time. [`black_box`] knows only what clients know, and searches for some order (Wing and Gong, with Lowe's memoisation), one
//! topic at a time: linearizability is local. It finds what a wrong log would hide.
//!
//! Both leave open what is unknown: such a write may take effect at any time after it was sent, or never. A write answered
//! with a refusal did not happen at all.

mod by_index;
mod floors;
mod search;
mod topic;

use crate::history::{History, Time};

pub use by_index::by_index;
pub use floors::Floors;

/// Steps after which a search of one topic is given up.
pub const STEPS_MAX: u64 = 2_000_000;

/// Searches for an order of the requests of each topic that explains every answer.
///
/// # Errors
/// A topic for which there is none, or whose search took more than `steps_max` steps: what is not known is not right.
pub fn black_box(history: &History, steps_max: u64) -> Result<(), (Time, String)> {
    for (name, operations) in topic::by_topic(history) {
        match search::search(&operations, steps_max) {
            search::Verdict::Linearizable => {}
            search::Verdict::NotLinearizable { furthest } => {
                let at = operations.get(furthest).map_or(0, |operation| operation.returned_at);
                let what = operations.get(furthest).map_or("", |operation| operation.text.as_str());
                return Err((
                    at,
                    format!(
                        "no order of the {} requests of {name} explains the answer to {what}",
                        operations.len()
                    ),
                ));
            }
            search::Verdict::Unknown => {
                return Err((
                    operations.last().map_or(0, |operation| operation.invoked_at),
                    format!(
                        "whether the {} requests of {name} can be ordered is unknown after {steps_max} steps",
                        operations.len()
                    ),
                ));
            }
        }
    }
    Ok(())
}
