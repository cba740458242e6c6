//! Waiting for what goes on after the answer, with progress on a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use banyan_api::cluster::Members;
use clap::Args;

use super::member::{members, state};
use crate::client::Client;
use crate::error::CliError;

/// Wait between two looks.
const INTERVAL: Duration = Duration::from_millis(200);

/// Whether and how long to wait.
#[derive(Debug, Args)]
pub(super) struct Waiting {
    /// Do not wait until it is done
    #[arg(long)]
    pub(super) no_wait: bool,
    /// Wait at most so many seconds; what was asked goes on by itself
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

impl Waiting {
    /// Whether somebody watches.
    pub(super) fn has_terminal() -> bool {
        std::io::stderr().is_terminal()
    }
}

/// Waits until the members are as `is_done` says; shows what node `id` is about meanwhile (0: any that is not ready).
///
/// # Errors
/// It takes too long, or no node answers any more.
#[expect(clippy::disallowed_methods, reason = "this program waits in real time")]
pub(super) fn wait_until(
    client: &Client,
    waiting: &Waiting,
    id: u64,
    is_done: impl Fn(&Members) -> bool,
) -> Result<Members, CliError> {
    let deadline = Instant::now() + Duration::from_secs(waiting.timeout);
    let mut progress = Progress::default();
    loop {
        let reason = match members(client) {
            Ok(members) if is_done(&members) => return Ok(members),
            Ok(members) => {
                progress.show(&doing(&members, id));
                None
            }
            Err(CliError::Unavailable(reason)) => Some(reason),
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            drop(progress);
            return Err(match reason {
                Some(reason) => CliError::Unavailable(reason),
                None => CliError::Failed(format!(
                    "not done after {} s; it goes on by itself, see `banyanctl member list`",
                    waiting.timeout
                )),
            });
        }
        std::thread::sleep(INTERVAL);
    }
}

fn doing(members: &Members, id: u64) -> String {
    let end = members.items.iter().filter_map(|member| member.last_log_index).max();
    let shown = members.items.iter().find(|member| match id {
        0 => member.goal.is_some() && state(member) != "ready",
        id => member.id == id,
    });
    let Some(member) = shown else {
        return "waiting for the node".to_owned();
    };
    match (end, member.last_log_index) {
        (Some(end), Some(last)) if end > last => {
            format!("node {}: {}, {} entries behind", member.id, state(member), end - last)
        }
        _ => format!("node {}: {}", member.id, state(member)),
    }
}

/// One line that is written again and again, on a terminal; wiped at the end.
#[derive(Default)]
struct Progress {
    last: String,
}

impl Progress {
    fn show(&mut self, text: &str) {
        if !Waiting::has_terminal() || self.last == text {
            return;
        }
        let mut stderr = std::io::stderr().lock();
        let _nobody_watches = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
        text.clone_into(&mut self.last);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.last.is_empty() {
            let mut stderr = std::io::stderr().lock();
            let _nobody_watches = write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush());
        }
    }
}
