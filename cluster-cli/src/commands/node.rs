//! `banyanctl node`: one node, before it is stopped.

use std::io::IsTerminal;
use std::time::Duration;

use banyan_api::drain::Drain;
use clap::{Args, Subcommand};
use ureq::http::Method;

use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::{Output, or_dash};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(500);

/// What to do with a node.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Empty a node before it is stopped: its leadership and its clients go to others, and nobody notices
    Drain(DrainNode),
}

impl Node {
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        match self {
            Self::Drain(drain) => drain.run(client, output),
        }
    }
}

/// `banyanctl node drain`
#[derive(Debug, Args)]
pub(crate) struct DrainNode {
    /// The node; the one that is asked unless given
    #[arg(value_name = "ID")]
    id: Option<u64>,
    /// Clients handed over a second (as in 200/s), 0 for all at once; the node's `drain_rate` unless given
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<u32>,
    /// Let the node serve again
    #[arg(long, conflicts_with_all = ["rate", "dry_run", "wait", "force", "for_good", "status"])]
    undo: bool,
    /// Say what would happen, and do nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Return when the node is ready to stop
    #[arg(long)]
    wait: bool,
    /// Also if the quorum will be lost, or nobody can take the clients
    #[arg(long)]
    force: bool,
    /// The node will not come back: clients are told to remember the others (0x9D instead of 0x9C)
    #[arg(long)]
    for_good: bool,
    /// Say how far it is, and change nothing
    #[arg(long, conflicts_with_all = ["rate", "dry_run", "wait", "force", "for_good"])]
    status: bool,
}

/// `200` or `200/s`.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number
        .parse()
        .map_err(|_| "write clients a second, as in 200/s".to_owned())
}

impl DrainNode {
    fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        let mut drain = self.ask(client, self.method())?;
        if self.dry_run && !output.is_json() {
            return plan(&drain, output);
        }
        if self.wait {
            drain = self.wait_until_ready(client, drain)?;
        }
        match output.is_json() {
            true => output.json(&drain),
            false => output.line(&line(&drain)),
        }
    }

    fn method(&self) -> Method {
        match (self.undo, self.status) {
            (true, _) => Method::DELETE,
            (_, true) => Method::GET,
            _ => Method::POST,
        }
    }

    fn ask(&self, client: &Client, method: Method) -> Result<Drain, CliError> {
        let id = self.id.map_or_else(|| "self".to_owned(), |id| id.to_string());
        let path = format!("/v1/cluster/members/{id}/drain");
        let is = |given: bool| given.then(|| "true".to_owned());
        let query = match method == Method::POST {
            true => vec![
                ("rate", self.rate.map(|rate| rate.to_string())),
                ("for_good", is(self.for_good)),
                ("force", is(self.force)),
                ("dry_run", is(self.dry_run)),
            ],
            false => Vec::new(),
        };
        client.fetch(&Call {
            method,
            path: &path,
            query,
            ..Call::default()
        })
    }

    /// Looks again until the node is empty. On a terminal the last line tells how far it is.
    #[expect(clippy::disallowed_methods, reason = "somebody else empties it, and does not tell")]
    fn wait_until_ready(&self, client: &Client, mut drain: Drain) -> Result<Drain, CliError> {
        let terminal = std::io::stderr().is_terminal();
        let asked = Self {
            // Whoever answers the next time, it is this node.
            id: Some(drain.node_id),
            undo: false,
            status: true,
            ..*self
        };
        while drain.state == "draining" {
            if terminal {
                progress(&format!("\r\x1b[K{}", line(&drain)));
            }
            std::thread::sleep(LOOK);
            drain = asked.ask(client, Method::GET)?;
        }
        if terminal {
            progress("\r\x1b[K");
        }
        if drain.state == "serving" {
            return Err(CliError::Failed(format!(
                "node {} serves again: the drain was undone, or the node was restarted",
                drain.node_id
            )));
        }
        Ok(drain)
    }
}

#[expect(clippy::print_stderr, reason = "progress is not output")]
fn progress(text: &str) {
    eprint!("{text}");
}

/// Where a drain is, in one line.
fn line(drain: &Drain) -> String {
    let id = drain.node_id;
    match drain.state.as_str() {
        "serving" => format!("node {id} serves, {} clients", drain.clients),
        "ready-to-stop" => format!("node {id} is drained: ready to stop"),
        _ => {
            let leads = if drain.leader { ", still leads" } else { "" };
            let streams = match drain.streams {
                0 => String::new(),
                1 => ", 1 stream left".to_owned(),
                count => format!(", {count} streams left"),
            };
            format!(
                "node {id} drains: {} clients left at {}{streams}{leads}",
                drain.clients,
                pace(drain.rate)
            )
        }
    }
}

fn pace(rate: u32) -> String {
    match rate {
        0 => "full speed".to_owned(),
        rate => format!("{rate}/s"),
    }
}

/// What a drain would do.
fn plan(drain: &Drain, output: &mut Output<'_>) -> Result<(), CliError> {
    let clients = match drain.rate {
        0 => format!("{}, all at once", drain.clients),
        rate => format!(
            "{}, {rate}/s: about {} s",
            drain.clients,
            drain.clients.div_ceil(u64::from(rate))
        ),
    };
    let to = Some(drain.sends_to.join(" ")).filter(|addresses| !addresses.is_empty());
    output.line(&format!("node {} would be drained; nothing was done", drain.node_id))?;
    output.line(&format!("clients     {clients}"))?;
    output.line(&format!("to          {}", or_dash(to)))?;
    output.line(&format!("streams     {}", drain.streams))?;
    let leader = if drain.leader { "yes, handed over" } else { "no" };
    output.line(&format!("leads       {leader}"))?;
    output.line(&format!(
        "when down   {} voters ready, quorum {}",
        drain.voters_left, drain.quorum
    ))?;
    for objection in &drain.objections {
        output.line(&format!("refused     {objection}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, printed};

    fn drain(state: &str) -> Drain {
        Drain {
            node_id: 2,
            state: state.into(),
            clients: 1_001,
            streams: 1,
            leader: true,
            rate: 500,
            sends_to: vec!["a:1883".into(), "b:1883".into()],
            quorum: 2,
            voters_left: 2,
            objections: Vec::new(),
        }
    }

    #[test]
    fn a_rate_is_clients_a_second() {
        assert_eq!(rate("200/s"), Ok(200));
        assert_eq!(rate("0"), Ok(0));
        assert!(rate("200/min").is_err());
    }

    #[test]
    fn one_line_tells_where_it_is() {
        assert_eq!(
            line(&drain("draining")),
            "node 2 drains: 1001 clients left at 500/s, 1 stream left, still leads"
        );
        assert_eq!(line(&drain("ready-to-stop")), "node 2 is drained: ready to stop");
        assert_eq!(line(&drain("serving")), "node 2 serves, 1001 clients");
    }

    #[test]
    fn a_plan_names_what_speaks_against_it() {
        let refused = Drain {
            objections: vec!["no other member is ready to take its clients".into()],
            sends_to: Vec::new(),
            ..drain("serving")
        };
        let text = printed(Format::Table, |output| plan(&refused, output));
        assert_eq!(
            text,
            "node 2 would be drained; nothing was done\n\
             clients     1001, 500/s: about 3 s\n\
             to          -\n\
             streams     1\n\
             leads       yes, handed over\n\
             when down   2 voters ready, quorum 2\n\
             refused     no other member is ready to take its clients\n"
        );
    }
}
