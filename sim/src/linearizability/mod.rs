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
/// Returns how many topics it gave up on, since their search took more than `steps_max` steps.
///
/// # Errors
/// A topic for which there is none.
pub fn black_box(history: &History, steps_max: u64) -> Result<usize, (Time, String)> {
    let mut given_up = 0;
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
            search::Verdict::Unknown => given_up += 1,
        }
    }
    Ok(given_up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Call, Condition, Consistency, Operation, Seen, Serial, Transport};

    const NEVER: Time = Time::MAX;

    fn serial(counter: u32) -> Serial {
        Serial { client: 1, counter }
    }

    fn operation(invoked_at: Time, returned_at: Time, call: Call, answer: Answer) -> Operation {
        Operation {
            client: 1,
            node: 1,
            transport: Transport::Http,
            call,
            invoked_at,
            returned_at: (returned_at < NEVER).then_some(returned_at),
            answer: (returned_at < NEVER).then_some(answer),
        }
    }

    fn put(from: Time, to: Time, topic: &str, counter: u32, revision: u64) -> Operation {
        let call = Call::Put {
            topic: topic.to_owned(),
            serial: serial(counter),
            timestamp_us: None,
            condition: Condition::None,
            expiry_s: None,
        };
        let answer = Answer::Written {
            revision,
            superseded_by: None,
        };
        operation(from, to, call, answer)
    }

    fn delete_all(from: Time, to: Time, filter: &str, revision: u64) -> Operation {
        let call = Call::DeleteFilter {
            filter: filter.to_owned(),
        };
        let answer = Answer::Deleted {
            revision: Some(revision),
        };
        operation(from, to, call, answer)
    }

    /// A list that shows these topics with these serials and revisions.
    fn list(from: Time, to: Time, filter: &str, rows: &[(&str, u32, u64)]) -> Operation {
        let call = Call::List {
            filter: filter.to_owned(),
            consistency: Consistency::Linearizable,
        };
        let row = |(topic, counter, revision): &(&str, u32, u64)| {
            let seen = Seen {
                serial: Some(serial(*counter)),
                revision: *revision,
            };
            ((*topic).to_owned(), seen)
        };
        let answer = Answer::Rows {
            revision: rows.iter().map(|(_, _, revision)| *revision).max().unwrap_or(0),
            rows: rows.iter().map(row).collect(),
        };
        operation(from, to, call, answer)
    }

    fn check(operations: &[Operation]) -> bool {
        let history = History {
            operations: operations.to_vec(),
            ..History::default()
        };
        black_box(&history, 10_000) == Ok(0)
    }

    #[test]
    fn lists_show_what_was_written_before_them() {
        let written = [put(0, 1, "a/1", 1, 1), put(2, 3, "a/2", 2, 2), put(4, 5, "b/1", 3, 3)];
        let check = |last: Operation| check(&[&written[..], &[last]].concat());
        assert!(check(list(6, 7, "#", &[("a/1", 1, 1), ("a/2", 2, 2), ("b/1", 3, 3)])));
        assert!(check(list(6, 7, "a/+", &[("a/1", 1, 1), ("a/2", 2, 2)])));
        assert!(!check(list(6, 7, "a/+", &[("a/1", 1, 1)])), "a topic is missing");
        assert!(!check(list(6, 7, "a/+", &[])), "all are missing");
        assert!(!check(list(6, 7, "b/+", &[("b/1", 2, 2)])), "of another topic");
        assert!(
            !check(list(6, 7, "+/1", &[("a/1", 1, 1), ("b/1", 3, 3), ("c/1", 9, 9)])),
            "never written"
        );
    }

    #[test]
    fn a_stale_list_is_found_topic_by_topic() {
        let (one, two) = (put(0, 1, "a", 1, 1), put(2, 3, "a", 2, 2));
        assert!(!check(&[one.clone(), two.clone(), list(4, 5, "#", &[("a", 1, 1)])]));
        // While the second is under way both may be shown, but not the new and then the old.
        let two = put(2, 9, "a", 2, 2);
        let lists = |first: (&str, u32, u64), second| {
            let lists = [list(3, 4, "#", &[first]), list(5, 6, "+", &[second])];
            [&[one.clone(), two.clone()][..], &lists].concat()
        };
        assert!(check(&lists(("a", 1, 1), ("a", 2, 2))));
        assert!(!check(&lists(("a", 2, 2), ("a", 1, 1))));
        // What the answer of a write leaves open, a list decides.
        let lost = put(2, NEVER, "a", 2, 2);
        let seen = [one.clone(), lost.clone(), list(4, 5, "#", &[("a", 2, 2)])];
        assert!(check(&seen));
        assert!(!check(&[&seen[..], &[list(6, 7, "#", &[("a", 1, 1)])]].concat()));
    }

    #[test]
    fn lists_do_not_show_what_was_deleted() {
        let before = [
            put(0, 1, "a/1", 1, 1),
            put(2, 3, "a/2", 2, 2),
            delete_all(4, 5, "a/#", 3),
        ];
        let check = |last: Operation| check(&[&before[..], &[last]].concat());
        assert!(check(list(6, 7, "#", &[])));
        assert!(!check(list(6, 7, "#", &[("a/2", 2, 2)])), "deleted before");
        assert!(
            check(list(4, 7, "#", &[("a/1", 1, 1), ("a/2", 2, 2)])),
            "deleted meanwhile"
        );
    }
}
