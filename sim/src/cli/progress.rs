//! One line on a terminal while seeds run.

use std::io::{IsTerminal, Write};

use super::summary::Summary;

/// Width of the bar, characters.
const WIDTH: u64 = 30;

pub(super) struct Progress {
    total: u64,
    shown: bool,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        Self { total, shown: false }
    }

    pub(super) fn show(&mut self, summary: &Summary) {
        if self.total < 2 || !std::io::stderr().is_terminal() {
            return;
        }
        let filled = summary.seeds * WIDTH / self.total;
        let bar: String = (0..WIDTH).map(|place| if place < filled { '#' } else { '.' }).collect();
        eprint!(
            "[{bar}] {} of {} seeds, {:.0} a minute, {} broken",
            summary.seeds,
            self.total,
            summary.pace(),
            summary.failures.len()
        );
        let _closed = std::io::stderr().flush();
        self.shown = true;
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[K");
        }
    }
}
