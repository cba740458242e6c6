//! I-11: writes and linearizable reads are linearizable; see [`crate::linearizability`] for both ways of finding out.

use crate::history::{Finished, Invariant, Violation};
use crate::linearizability::{self, STEPS_MAX};

const ID: &str = "I-11";

/// See the module.
#[derive(Debug)]
pub(super) struct Linearizable;

impl Invariant for Linearizable {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let violation = |(at, message)| Violation {
            invariant: ID,
            at,
            message,
        };
        if let Some(replay) = finished.replay {
            linearizability::by_index(finished.history, replay).map_err(violation)?;
        }
        if finished.settings.black_box || finished.replay.is_none() {
            // What it gives up on is left to the log, where that was read in full.
            let _given_up = linearizability::black_box(finished.history, STEPS_MAX).map_err(violation)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::Consistency;
    use crate::model::testing::{IntoOperation, put};

    /// Two writes, then a read that sees one of them.
    fn check(counter: u32, revision: u64) -> [bool; 2] {
        let mut run = Run::new();
        run.log
            .batch(&[put("a", 1).into_operation(), put("a", 2).into_operation()]);
        run.operation(put_call("a", 1), 0, 10, written(1));
        run.operation(put_call("a", 2), 20, 30, written(2));
        run.operation(
            get_call("a", Consistency::Linearizable),
            40,
            50,
            value(counter, revision),
        );
        [
            run.finish(&mut Linearizable).is_ok(),
            run.finish_without_log(&mut Linearizable).is_ok(),
        ]
    }

    #[test]
    fn both_ways_agree() {
        assert_eq!(check(2, 2), [true, true]);
        assert_eq!(check(1, 1), [false, false]);
    }
}
