//! The search for an order (Wing and Gong 1993), with the memory of where it was before (Lowe 2017).

use std::collections::BTreeSet;

use super::topic::{Held, TopicOperation};
use crate::history::Time;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    NotLinearizable {
        /// The request that could not be explained where the search came furthest.
        furthest: usize,
    },
    /// The search was given up.
    Unknown,
}

/// Which requests are ordered already: all before `done`, and `beyond` of the others, ascending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Ordered {
    done: usize,
    beyond: Vec<usize>,
}

impl Ordered {
    fn contains(&self, index: usize) -> bool {
        index < self.done || self.beyond.binary_search(&index).is_ok()
    }

    fn with(&self, index: usize) -> Self {
        let mut ordered = self.clone();
        let place = ordered.beyond.partition_point(|other| *other < index);
        ordered.beyond.insert(place, index);
        while ordered.beyond.first() == Some(&ordered.done) {
            ordered.beyond.remove(0);
            ordered.done += 1;
        }
        ordered
    }
}

/// Searches for an order of `operations`, which are sorted by the time at which they were sent.
///
/// A request may come next if no other one that is left had returned before it was sent. Those of unknown answer need not come
/// at all. They are what makes a search long, so at first each is tried only where it explains an answer by itself; only if
/// that finds no order, wherever it may.
pub(super) fn search(operations: &[TopicOperation], steps_max: u64) -> Verdict {
    let mut search = Search::new(operations, steps_max);
    match search.run(Unknowns::WhereNeeded) {
        Verdict::NotLinearizable { .. } => search.run(Unknowns::Anywhere),
        verdict => verdict,
    }
}

/// Where requests of unknown answer are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknowns {
    WhereNeeded,
    Anywhere,
}

struct Search<'a> {
    operations: &'a [TopicOperation],
    steps_left: u64,
    certain: usize,
    /// Requests whose answer names a revision, by that revision. They come in this order, since revisions increase.
    ranked: Vec<(u64, usize)>,
}

/// A place in the search: what may come next there.
struct Place {
    ordered: Ordered,
    held: Held,
    /// How many certain requests are ordered.
    count: usize,
    /// All of `ranked` before this are ordered.
    ranked: usize,
    /// Requests, and what the topic holds after them. Best last.
    candidates: Vec<(usize, Held)>,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [TopicOperation], steps_max: u64) -> Self {
        let ranks = operations.iter().enumerate();
        let mut ranked: Vec<(u64, usize)> = ranks
            .filter_map(|(index, operation)| Some((operation.action.revision()?, index)))
            .collect();
        ranked.sort_unstable();
        Self {
            operations,
            steps_left: steps_max,
            certain: operations.iter().filter(|operation| !operation.is_unknown()).count(),
            ranked,
        }
    }

    fn run(&mut self, unknowns: Unknowns) -> Verdict {
        let mut been: BTreeSet<(Ordered, Held)> = BTreeSet::new();
        let mut start = Place {
            ordered: Ordered::default(),
            held: Held::default(),
            count: 0,
            ranked: 0,
            candidates: Vec::new(),
        };
        if self.certain == 0 {
            return Verdict::Linearizable;
        }
        self.find_candidates(&mut start, unknowns);
        let (mut most, mut furthest) = (0, self.first_to_return(&start.ordered).0);
        let mut path = vec![start];
        while let Some(now) = path.last_mut() {
            let Some((index, held)) = now.candidates.pop() else {
                path.pop();
                continue;
            };
            if self.steps_left == 0 {
                return Verdict::Unknown;
            }
            self.steps_left -= 1;
            let operation = &self.operations[index];
            let mut next = Place {
                ordered: now.ordered.with(index),
                held,
                count: now.count + usize::from(!operation.is_unknown()),
                ranked: now.ranked,
                candidates: Vec::new(),
            };
            if next.count == self.certain {
                return Verdict::Linearizable;
            }
            if next.count > most {
                (most, furthest) = (next.count, self.first_to_return(&next.ordered).0);
            }
            if been.insert((next.ordered.clone(), held)) {
                self.find_candidates(&mut next, unknowns);
                path.push(next);
            }
        }
        Verdict::NotLinearizable { furthest }
    }

    /// The request that is left and returned first, and when.
    fn first_to_return(&self, ordered: &Ordered) -> (usize, Time) {
        let mut first = (ordered.done, Time::MAX);
        for (index, operation) in self.operations.iter().enumerate().skip(ordered.done) {
            if operation.invoked_at > first.1 {
                break;
            }
            if !ordered.contains(index) && operation.returned_at < first.1 {
                first = (index, operation.returned_at);
            }
        }
        first
    }

    fn find_candidates(&self, place: &mut Place, unknowns: Unknowns) {
        let ordered = &place.ordered;
        while self
            .ranked
            .get(place.ranked)
            .is_some_and(|(_, index)| ordered.contains(*index))
        {
            place.ranked += 1;
        }
        let least_rank = self.ranked.get(place.ranked).map_or(u64::MAX, |(rank, _)| *rank);
        let (_, until) = self.first_to_return(ordered);
        let left = (ordered.done..self.operations.len())
            .take_while(|index| self.operations[*index].invoked_at <= until)
            .filter(|index| !ordered.contains(*index));
        let (unknown, mut certain): (Vec<usize>, Vec<usize>) = left
            .filter(|index| {
                self.operations[*index]
                    .action
                    .revision()
                    .is_none_or(|rank| rank <= least_rank)
            })
            .partition(|index| self.operations[*index].is_unknown());
        // Best last: what returned first.
        certain.sort_by_key(|index| std::cmp::Reverse(self.operations[*index].returned_at));
        let after = |held: Held, index: usize| held.after(&self.operations[index].action);
        let impossible: Vec<usize> = certain
            .iter()
            .copied()
            .filter(|index| after(place.held, *index).next().is_none())
            .collect();
        let explains = |unknown: &usize| {
            after(place.held, *unknown).any(|held| impossible.iter().any(|index| after(held, *index).next().is_some()))
        };
        let (needed, mut candidates): (Vec<usize>, Vec<usize>) = unknown.into_iter().partition(explains);
        if unknowns == Unknowns::WhereNeeded {
            candidates.clear();
        }
        candidates.extend(needed);
        candidates.append(&mut certain);
        place.candidates = candidates
            .into_iter()
            .flat_map(|index| after(place.held, index).map(move |held| (index, held)))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::topic::Action;
    use super::*;
    use crate::history::{Condition, Seen, Serial};

    const STEPS: u64 = 100_000;

    fn serial(counter: u32) -> Serial {
        Serial { client: 1, counter }
    }

    fn operation(invoked_at: Time, returned_at: Time, action: Action) -> TopicOperation {
        TopicOperation {
            invoked_at,
            returned_at,
            action,
            text: String::new(),
        }
    }

    fn put(from: Time, to: Time, counter: u32, revision: Option<u64>) -> TopicOperation {
        conditional(from, to, counter, revision, Condition::None)
    }

    fn conditional(from: Time, to: Time, counter: u32, revision: Option<u64>, condition: Condition) -> TopicOperation {
        let action = Action::Put {
            serial: serial(counter),
            revision,
            condition,
            has_timestamp: false,
            expires: false,
        };
        operation(from, to, action)
    }

    fn read(from: Time, to: Time, seen: Option<(u32, u64)>) -> TopicOperation {
        let seen = seen.map(|(counter, revision)| Seen {
            serial: Some(serial(counter)),
            revision,
        });
        operation(from, to, Action::Read(seen))
    }

    fn delete(from: Time, to: Time, revision: Option<u64>) -> TopicOperation {
        let action = Action::Delete {
            revision,
            condition: Condition::None,
            had_value: revision.is_some(),
        };
        operation(from, to, action)
    }

    fn check(operations: &[TopicOperation]) -> bool {
        let mut operations = operations.to_vec();
        operations.sort_by_key(|operation| operation.invoked_at);
        match search(&operations, STEPS) {
            Verdict::Linearizable => true,
            Verdict::NotLinearizable { .. } => false,
            Verdict::Unknown => panic!("too many steps"),
        }
    }

    const NEVER: Time = Time::MAX;

    #[test]
    fn reads_after_writes() {
        let (one, two) = (put(0, 1, 1, Some(1)), put(2, 3, 2, Some(2)));
        assert!(check(&[one.clone(), two.clone(), read(4, 5, Some((2, 2)))]));
        assert!(!check(&[one.clone(), two.clone(), read(4, 5, Some((1, 1)))]), "stale");
        assert!(!check(&[one.clone(), two.clone(), read(4, 5, None)]), "lost");
        assert!(
            !check(&[one.clone(), two.clone(), read(4, 5, Some((3, 3)))]),
            "never written"
        );
        // While the second is under way, both may be seen, but not the new and then the old.
        let two = put(2, 9, 2, Some(2));
        let reads = |first, second| {
            [
                one.clone(),
                two.clone(),
                read(3, 4, Some(first)),
                read(5, 6, Some(second)),
            ]
        };
        assert!(check(&reads((1, 1), (2, 2))));
        assert!(!check(&reads((2, 2), (1, 1))));
    }

    #[test]
    fn revisions_increase() {
        assert!(!check(&[put(0, 1, 1, Some(2)), put(2, 3, 2, Some(1))]));
        assert!(check(&[
            put(0, 3, 1, Some(2)),
            put(0, 3, 2, Some(1)),
            read(4, 5, Some((1, 2)))
        ]));
        assert!(!check(&[
            put(0, 3, 1, Some(2)),
            put(0, 3, 2, Some(1)),
            read(4, 5, Some((2, 1)))
        ]));
    }

    #[test]
    fn unknown_writes_happen_late_or_never() {
        let (known, lost) = (put(0, 1, 1, Some(1)), put(2, NEVER, 2, None));
        assert!(check(&[known.clone(), lost.clone(), read(10, 11, Some((1, 1)))]));
        assert!(check(&[known.clone(), lost.clone(), read(10, 11, Some((2, 2)))]));
        let late = [
            known.clone(),
            lost.clone(),
            read(10, 11, Some((1, 1))),
            read(12, 13, Some((2, 2))),
        ];
        assert!(check(&late));
        let back = [
            known.clone(),
            lost.clone(),
            read(10, 11, Some((2, 2))),
            read(12, 13, Some((1, 1))),
        ];
        assert!(!check(&back));
        // Not before it was sent.
        assert!(!check(&[
            known.clone(),
            read(3, 4, Some((2, 2))),
            put(5, NEVER, 2, None)
        ]));
        let deleted = [known, delete(2, NEVER, None), read(10, 11, None)];
        assert!(check(&deleted));
    }

    #[test]
    fn conditions() {
        let one = put(0, 1, 1, Some(1));
        let cas = |revision, condition| conditional(2, 3, 2, Some(revision), condition);
        assert!(check(&[one.clone(), cas(2, Condition::Revision(1))]));
        assert!(!check(&[one.clone(), cas(2, Condition::Revision(7))]));
        assert!(!check(&[one.clone(), cas(2, Condition::Absent)]));
        assert!(check(&[cas(2, Condition::Absent)]));
        let failed = |current, condition| {
            let condition = Some(condition);
            operation(4, 5, Action::Failed { current, condition })
        };
        assert!(check(&[one.clone(), failed(1, Condition::Absent)]));
        assert!(!check(&[one.clone(), failed(0, Condition::Present)]));
        assert!(!check(&[one.clone(), failed(1, Condition::Present)]), "it was met");
        // Two writers that both found it absent.
        assert!(!check(&[
            conditional(0, 9, 1, Some(1), Condition::Absent),
            conditional(0, 9, 2, Some(2), Condition::Absent),
        ]));
    }

    #[test]
    fn deletes_and_expiry() {
        let one = put(0, 1, 1, Some(1));
        assert!(check(&[one.clone(), delete(2, 3, Some(2)), read(4, 5, None)]));
        assert!(!check(&[one.clone(), delete(2, 3, Some(2)), read(4, 5, Some((1, 1)))]));
        assert!(!check(&[delete(2, 3, Some(2))]), "there was nothing to delete");
        let mut expiring = one;
        if let Action::Put { expires, .. } = &mut expiring.action {
            *expires = true;
        }
        assert!(check(&[expiring.clone(), read(2, 3, Some((1, 1))), read(4, 5, None)]));
        assert!(
            !check(&[expiring, read(2, 3, None), read(4, 5, Some((1, 1)))]),
            "it came back"
        );
    }

    #[test]
    fn the_same_write_again() {
        let again = |from, to| {
            let mut again = put(from, to, 1, Some(1));
            if let Action::Put { has_timestamp, .. } = &mut again.action {
                *has_timestamp = true;
            }
            again
        };
        assert!(check(&[again(0, 1), again(2, 3), read(4, 5, Some((1, 1)))]));
        assert!(!check(&[
            again(0, 1),
            put(2, 3, 2, Some(2)),
            again(4, 5),
            read(6, 7, Some((1, 1)))
        ]));
    }

    #[test]
    fn the_same_write_again_after_it_expired() {
        let written = |from, to, revision| {
            let mut put = put(from, to, 1, revision);
            if let Action::Put {
                has_timestamp, expires, ..
            } = &mut put.action
            {
                (*has_timestamp, *expires) = (true, true);
            }
            put
        };
        let (first, second) = (written(0, 1, Some(1)), written(2, NEVER, None));
        // Where its value stands it changes nothing, and where it has expired it is written anew.
        assert!(check(&[first.clone(), second.clone(), read(4, 5, Some((1, 1)))]));
        assert!(check(&[first.clone(), second.clone(), read(4, 5, Some((1, 3)))]));
        assert!(!check(&[
            first,
            second,
            read(4, 5, Some((1, 3))),
            read(6, 7, Some((1, 1)))
        ]));
    }

    #[test]
    fn a_search_can_be_given_up() {
        let mut operations: Vec<_> = (0..20).map(|counter| put(0, NEVER, counter, None)).collect();
        operations.push(read(1, 2, Some((99, 1))));
        assert_eq!(search(&operations, 1_000), Verdict::Unknown);
    }

    /// Histories of a real order with random intervals around it are accepted; with one answer changed to what was never
    /// there at that time they are not.
    #[test]
    fn random_histories() {
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut operations, mut held, mut revision) = (Vec::new(), None, 0);
            for number in 1..=200_u32 {
                let at = Time::from(number) * 10;
                let (from, to) = (at - rng.random_range(1..40).min(at), at + rng.random_range(1..40));
                operations.push(match rng.random_range(0..10) {
                    0..=3 => {
                        revision += 1;
                        held = Some((number, revision));
                        // Every tenth answer is lost.
                        match rng.random_range(0..10) {
                            0 => put(from, NEVER, number, None),
                            _ => put(from, to, number, Some(revision)),
                        }
                    }
                    4 if held.is_some() => {
                        revision += 1;
                        held = None;
                        delete(from, to, Some(revision))
                    }
                    _ => read(from, to, held),
                });
            }
            operations.sort_by_key(|operation| (operation.invoked_at, operation.returned_at));
            assert!(check(&operations), "seed {seed}");
            operations.push(read(3_000, 3_001, Some((201, revision + 1))));
            let verdict = search(&operations, if seed < 10 { 5_000 } else { 500 });
            assert_ne!(verdict, Verdict::Linearizable, "seed {seed}");
        }
    }
}
