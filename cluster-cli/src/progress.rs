//! How far long work is, on a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::output::{bytes_text, count_text};

/// How often the line changes.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line on standard error that says how far the work is; none if that is no terminal. Gone when this is dropped.
pub(crate) struct Progress {
    what: &'static str,
    started: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// Of work that is counted in `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            started: Instant::now(),
            shown: None,
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// `done` of `expected`, which were `bytes` so far.
    pub(crate) fn show(&mut self, done: u64, expected: Option<u64>, bytes: u64) {
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= INTERVAL);
        if !self.is_terminal || !due {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line(self.what, done, expected, bytes, self.started.elapsed());
        // A terminal that does not take it misses it.
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }
}

fn line(what: &str, done: u64, expected: Option<u64>, bytes: u64, elapsed: Duration) -> String {
    let rate = (bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let percent = expected.filter(|expected| *expected > 0).map(|expected| {
        let percent = (done.saturating_mul(100) / expected).min(100);
        format!("{percent:>3} %  ")
    });
    let count = match what {
        "bytes" => String::new(),
        what => format!("{} {what}  ", count_text(done)),
    };
    format!(
        "{}{count}{}  {}/s",
        percent.unwrap_or_default(),
        bytes_text(bytes),
        bytes_text(rate)
    )
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_progress() {
        let elapsed = Duration::from_secs(2);
        assert_eq!(
            line("rows", 1_500, Some(3_000), 4 << 20, elapsed),
            " 50 %  1,500 rows  4.0 MiB  2.0 MiB/s"
        );
        assert_eq!(line("bytes", 10, None, 10, elapsed), "10 B  5 B/s");
    }
}
