//! I-1: at most one leader per leader id.
//!
//! A leader id is (term, node), and votes follow the order of leader ids: two nodes may win one term, the greater id last.
//! What must never be is that two of them are in force at once: once an entry of one leader id is committed, nothing of a
//! lesser one is. So committed leader ids do not decrease along the log.

use crate::history::{Finished, Invariant, LogIdSeen, Observation, Time, Violation};

const ID: &str = "I-1";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    /// The last committed entry that was seen.
    last: Option<LogIdSeen>,
}

impl Invariant for ElectionSafety {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        for id in observation.nodes.iter().filter_map(|node| node.committed) {
            match self.last {
                Some(last) if id.index < last.index => in_order(observation.at, id, last)?,
                Some(last) => {
                    in_order(observation.at, last, id)?;
                    self.last = Some(id);
                }
                None => self.last = Some(id),
            }
        }
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let ids = finished.committed.values().map(|entry| entry.id);
        ids.clone()
            .zip(ids.skip(1))
            .try_for_each(|(one, next)| in_order(finished.at, one, next))
    }
}

/// Neither leader was in force after the other.
fn in_order(at: Time, earlier: LogIdSeen, later: LogIdSeen) -> Result<(), Violation> {
    if (earlier.term, earlier.leader) <= (later.term, later.leader) {
        return Ok(());
    }
    Err(Violation {
        invariant: ID,
        at,
        message: format!("{earlier} and {later} are both committed, the later entry by the earlier leader"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn leaders_follow_each_other() {
        let moments = [
            vec![node(1, 1, 5)],
            vec![node(1, 1, 6), node(2, 2, 7)],
            vec![node(1, 1, 6)],
        ];
        assert!(observe(&mut ElectionSafety::default(), &moments).is_ok());
    }

    #[test]
    fn two_leaders_are_in_force() {
        let moments = [vec![node(2, 2, 7)], vec![node(1, 1, 8)]];
        assert!(observe(&mut ElectionSafety::default(), &moments).is_err());
        let moments = [vec![node(2, 1, 7)], vec![node(1, 2, 6)]];
        assert!(observe(&mut ElectionSafety::default(), &moments).is_err());
    }

    #[test]
    fn committed_leader_ids_do_not_decrease() {
        let mut run = Run::new();
        run.log.term = 3;
        run.log.push(None);
        assert!(run.finish(&mut ElectionSafety::default()).is_ok());
        run.log.term = 2;
        run.log.push(None);
        assert!(run.finish(&mut ElectionSafety::default()).is_err());
    }
}
