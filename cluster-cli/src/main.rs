//! `banyanctl`: look at a Banyan cluster and its data from the command line, through any of its nodes.

#![allow(
    clippy::disallowed_methods,
    reason = "the simulator does not run this: its time is the real one"
)]

mod client;
mod commands;
mod error;
mod output;
mod progress;

use std::process::ExitCode;

use clap::{Args, Parser};

use crate::client::Client;
use crate::commands::Command;
use crate::error::CliError;
use crate::output::{Format, Output};

/// Operate a Banyan cluster and read and write its topics, through any node.
///
/// Exit codes: 0 done, 1 failed (also: outcome unknown), 2 usage, 3 not found, 4 unavailable.
#[derive(Debug, Parser)]
#[command(name = "banyanctl", version, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// HTTP address of a node; may be given several times, the next is tried if one cannot be reached
    #[arg(
        long = "endpoint",
        global = true,
        value_name = "URL",
        env = "BANYAN_ENDPOINT",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8080"
    )]
    endpoints: Vec<String>,
    /// Token to show to the node
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "BANYAN_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
}

fn main() -> ExitCode {
    // Exits by itself with 2 for wrong usage and 0 for help.
    let arguments = Arguments::parse();
    let mut stdout = std::io::stdout().lock();
    let mut output = Output::new(arguments.global.output, &mut stdout);
    let outcome = Client::new(&arguments.global.endpoints, arguments.global.token.as_deref())
        .and_then(|client| arguments.command.run(&client, &mut output));
    match outcome {
        Ok(()) | Err(CliError::OutputClosed) => ExitCode::SUCCESS,
        Err(CliError::Reported(code)) => ExitCode::from(code),
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Says what went wrong, on standard error.
#[expect(clippy::print_stderr, reason = "this is where a program complains")]
pub(crate) fn complain(message: &dyn std::fmt::Display) {
    eprintln!("banyanctl: {message}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn endpoints_come_from_several_flags_or_one_list() {
        let arguments = parse("banyanctl --endpoint http://a:1 --endpoint http://b:2 status").unwrap();
        assert_eq!(arguments.global.endpoints, ["http://a:1", "http://b:2"]);
        let arguments = parse("banyanctl status --endpoint a:1,b:2 -o json").unwrap();
        assert_eq!(arguments.global.endpoints, ["a:1", "b:2"]);
        assert_eq!(arguments.global.output, Format::Json);
    }

    #[test]
    fn commands_and_their_options() {
        for line in [
            "banyanctl status",
            "banyanctl health -o json",
            "banyanctl top --interval 0.5",
            "banyanctl get a/b --consistency local",
            "banyanctl put a/b 21.5 --content-type text/plain --expiry 60 --timestamp 1490347944.893743",
            "banyanctl put a/b --file payload.bin --if-absent",
            "banyanctl put a/b - --if-revision 7 --user-property unit=C --user-property site=7",
            "banyanctl delete a/b --if-revision 7",
            "banyanctl delete --filter a/# --limit 10 --dry-run",
            "banyanctl list",
            "banyanctl list a/+ --limit 10 --values --reverse",
            "banyanctl list --prefix a --start a/b --end a/c --count",
            "banyanctl snapshot save f --rate 8M --consistency local --overwrite",
            "banyanctl snapshot verify f -o json",
            "banyanctl snapshot restore f --data-dir d --node-id 1 --member 1@a:7400 --member 2@b:7400 --prefix a/b",
            "banyanctl snapshot restore f --data-dir d --node-id 1 --member 1@a:7400,2@b:7400 --dry-run",
            "banyanctl recover --data-dir d --peer-address a:7400 --yes",
            "banyanctl recover --data-dir d --dry-run",
            "banyanctl node drain",
            "banyanctl node drain 2 --rate 200/s --wait --for-good --force",
            "banyanctl node drain 2 --dry-run",
            "banyanctl node drain 2 --undo",
            "banyanctl node drain 2 --status",
            "banyanctl session list --limit 10",
            "banyanctl session show sensor-7 -o json",
            "banyanctl session kick sensor-7",
            "banyanctl member list",
            "banyanctl member add --learner --expires 60 --no-wait",
            "banyanctl member add --replace 3 --dry-run",
            "banyanctl member promote 4 --dry-run",
            "banyanctl member demote 4 --timeout 5",
            "banyanctl member remove 4 -o json",
            "banyanctl member replace 3 4",
            "banyanctl leader transfer --to 2 --dry-run",
            "banyanctl watch a/# --since 0.7.1",
            "banyanctl watch --from-start",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn contradictions_are_usage_errors() {
        for line in [
            "banyanctl",
            "banyanctl fetch a",
            "banyanctl get",
            "banyanctl put a b --file c",
            "banyanctl put a b --if-absent --if-revision 7",
            "banyanctl delete",
            "banyanctl delete a --filter b",
            "banyanctl delete a --dry-run",
            "banyanctl list a --prefix b",
            "banyanctl list --count --limit 7",
            "banyanctl snapshot",
            "banyanctl snapshot save",
            "banyanctl snapshot save f --rate fast",
            "banyanctl snapshot restore f --data-dir d --node-id 1",
            "banyanctl snapshot restore f --data-dir d --node-id 1 --member a:7400",
            "banyanctl snapshot restore f --data-dir d --node-id 1 --member 1@a:7400 --prefix a/#",
            "banyanctl recover",
            "banyanctl recover --data-dir d --dry-run --yes",
            "banyanctl node drain 2 --undo --wait",
            "banyanctl node drain x",
            "banyanctl session",
            "banyanctl session kick",
            "banyanctl member remove",
            "banyanctl member replace 3",
            "banyanctl member add --learner --replace 3",
            "banyanctl member add --wait --no-wait",
            "banyanctl leader",
            "banyanctl watch --since 1 --from-start",
            "banyanctl status -o yaml",
            "banyanctl top --interval 0",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
