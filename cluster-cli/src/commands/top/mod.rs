//! `banyanctl top`: the nodes at work, live in the terminal.
//!
//! | module | responsibility |
//! |---|---|
//! | `sample` | what the nodes told, and how fast it grows |
//! | `draw` | it as a screen |
//! | this one | asking, keys, the terminal |

mod draw;
mod sample;

use std::io::IsTerminal;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use banyan_api::cluster::ClusterStatus;
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use self::sample::Sampler;
use crate::client::{Call, Client};
use crate::error::CliError;

/// How often keys are looked for.
const KEY_INTERVAL: Duration = Duration::from_millis(100);

/// Arguments of `top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Seconds between two looks at the cluster
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match (0.2..=3600.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err("between 0.2 and 3600".to_owned()),
    }
}

/// By what the nodes are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Node,
    Writes,
    Deliveries,
    Clients,
    Lag,
    Fsync,
}

impl Column {
    const ALL: [Self; 6] = [
        Self::Node,
        Self::Writes,
        Self::Deliveries,
        Self::Clients,
        Self::Lag,
        Self::Fsync,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Writes => "writes",
            Self::Deliveries => "deliveries",
            Self::Clients => "clients",
            Self::Lag => "lag",
            Self::Fsync => "fsync",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|column| *column == self).unwrap_or_default();
        Self::ALL.get(at + 1).copied().unwrap_or(Self::Node)
    }
}

/// What is on the screen.
struct Screen {
    sampler: Sampler,
    sort: Column,
    reverse: bool,
    /// Why there was no answer the last time, and since when.
    trouble: Option<(String, Instant)>,
}

/// What came of asking the cluster.
type Asked = Result<(ClusterStatus, Instant), String>;

impl Top {
    /// Shows the cluster until told to stop.
    pub(super) fn run(&self, client: &Client) -> Result<(), CliError> {
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            let message =
                "top draws on a terminal, and this is none; `banyanctl status -o json` gives the same as numbers";
            return Err(CliError::Usage(message.to_owned()));
        }
        let interval = Duration::from_secs_f64(self.interval);
        // The first answer before the screen changes, so that what is wrong can be read.
        let first = ask(client)?;
        let (answers, answered) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || keep_asking(client, first, interval, &answers, &stopped));
            let mut terminal = ratatui::try_init()?;
            let shown = show(&mut terminal, &answered);
            ratatui::restore();
            drop(stop);
            shown
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "rates are of what passes on this side of the terminal"
)]
fn now() -> Instant {
    Instant::now()
}

fn ask(client: &Client) -> Result<(ClusterStatus, Instant), CliError> {
    let status = client.fetch(&Call {
        path: "/v1/cluster",
        ..Call::default()
    })?;
    Ok((status, now()))
}

/// Asks every `interval` until nobody listens, or `stopped` is. Those that the cluster names are asked when those that were given
/// do not answer.
fn keep_asking(
    given: &Client,
    first: (ClusterStatus, Instant),
    interval: Duration,
    answers: &Sender<Asked>,
    stopped: &Receiver<()>,
) {
    let mut client = given.or_else(addresses(&first.0));
    if answers.send(Ok(first)).is_err() {
        return;
    }
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
        let asked = ask(&client).map_err(|error| error.to_string());
        if let Ok((status, _)) = &asked {
            client = given.or_else(addresses(status));
        }
        if answers.send(asked).is_err() {
            return;
        }
    }
}

/// Where the members serve HTTP, if it can be reached from elsewhere.
fn addresses(status: &ClusterStatus) -> impl Iterator<Item = String> {
    let known = status
        .members
        .iter()
        .filter_map(|member| member.http_address.as_deref());
    let reachable = known
        .filter(|address| !address.is_empty() && !address.starts_with("0.0.0.0:") && !address.starts_with("[::]:"));
    reachable.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Draws what comes, until a key ends it.
fn show(terminal: &mut ratatui::DefaultTerminal, answered: &Receiver<Asked>) -> Result<(), CliError> {
    let mut screen = Screen::new();
    loop {
        while let Ok(asked) = answered.try_recv() {
            screen.take(asked);
        }
        terminal.draw(|frame| draw::draw(&screen, now(), frame))?;
        if event::poll(KEY_INTERVAL)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            if is_interrupt || !screen.on_key(key.code) {
                return Ok(());
            }
        }
    }
}

impl Screen {
    fn new() -> Self {
        Self {
            sampler: Sampler::default(),
            sort: Column::Node,
            reverse: false,
            trouble: None,
        }
    }

    fn take(&mut self, asked: Asked) {
        match asked {
            Ok((status, at)) => {
                self.trouble = None;
                self.sampler.add(status, at);
            }
            Err(error) => {
                let since = self.trouble.take().map_or_else(now, |(_, since)| since);
                self.trouble = Some((error, since));
            }
        }
    }

    /// Returns whether to go on.
    fn on_key(&mut self, key: KeyCode) -> bool {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reverse = !self.reverse,
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let mut screen = Screen::new();
        assert!(screen.on_key(KeyCode::Char('s')) && screen.on_key(KeyCode::Char('r')));
        assert_eq!((screen.sort, screen.reverse), (Column::Writes, true));
        for _ in 1..Column::ALL.len() {
            assert!(screen.on_key(KeyCode::Char('s')));
        }
        assert_eq!(screen.sort, Column::Node, "and from the beginning");
        assert!(screen.on_key(KeyCode::Char('x')), "no key of ours");
        assert!(!screen.on_key(KeyCode::Char('q')) && !screen.on_key(KeyCode::Esc));
    }

    #[test]
    fn members_that_say_where_they_are_can_be_asked() {
        let member = |address: Option<&str>| banyan_api::cluster::Member {
            http_address: address.map(str::to_owned),
            ..Default::default()
        };
        let status = ClusterStatus {
            members: vec![
                member(Some("10.0.0.1:8080")),
                member(Some("0.0.0.0:8080")),
                member(Some("")),
                member(None),
            ],
            ..ClusterStatus::default()
        };
        assert_eq!(addresses(&status).collect::<Vec<_>>(), ["10.0.0.1:8080"]);
    }

    #[test]
    fn intervals() {
        assert_eq!(interval("0.5"), Ok(0.5));
        assert!(interval("0").is_err() && interval("NaN").is_err() && interval("x").is_err());
    }
}
