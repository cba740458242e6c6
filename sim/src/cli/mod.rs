//! The program `banyan-sim`.
//!
//! | module | command |
//! |---|---|
//! | `run` | `run`, `replay` |
//! | `meta` | `meta`: the same seed twice, in processes with different hash seeds |
//! | `bugs` | `bugs`: planted bugs, found one by one |
//! | `summary` | what a set of seeds came to |
//! | `progress` | the line on a terminal while they run |

mod bugs;
mod meta;
mod progress;
mod run;
mod summary;

use std::ops::Range;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::faults::plan::{Class, Plan};
use crate::real;
use crate::run::RunConfig;
use crate::scenario::{self, SCENARIOS};

/// Whole Banyan clusters in one thread, by a seed
#[derive(Debug, Parser)]
#[command(name = "banyan-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run seeds and check every promise
    Run(run::Arguments),
    /// Run one seed again and print its whole trace
    Replay(run::ReplayArguments),
    /// Run seeds twice, in two processes with different hash seeds, and compare their traces byte for byte
    Meta(meta::Arguments),
    /// Plant each bug in turn and show that it is found
    Bugs(bugs::Arguments),
    /// List the named scenarios
    Scenarios,
    /// Break the machines of real processes, and check every promise
    Real(real::Options),
}

/// How a seed is run.
#[derive(Debug, Clone, Args)]
struct Turn {
    /// A named scenario
    #[arg(long, default_value = "swarm")]
    scenario: String,
    /// Simulated minutes under faults, before the healing
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Switch a class of faults off, by its name or the beginning of it ("N5"); may be repeated
    #[arg(long)]
    without: Vec<String>,
    /// A planted bug, with the faults that it needs; see `bugs`
    #[arg(long)]
    bug: Option<String>,
}

impl Turn {
    fn config(&self, seed: u64) -> Result<RunConfig, String> {
        let scenario = scenario::find(&self.scenario)
            .ok_or_else(|| format!("there is no scenario `{}`; see `banyan-sim scenarios`", self.scenario))?;
        let mut plan = Plan::draw(seed);
        (scenario.turn)(&mut plan);
        for name in &self.without {
            let named = |class: &Class| class.name() == name || class.name().split(' ').next() == Some(name);
            if !Class::ALL.iter().any(|(class, _)| named(class)) {
                return Err(format!("there is no class of faults `{name}`"));
            }
            plan.classes.retain(|class| !named(class));
        }
        let bug = self
            .bug
            .as_ref()
            .map(|id| crate::bugs::find(id).ok_or_else(|| format!("there is no bug `{id}`")))
            .transpose()?;
        if let Some(bug) = bug {
            if cfg!(not(feature = "planted-bugs")) {
                return Err(bugs::NOT_BUILT_IN.to_owned());
            }
            bug.turn(&mut plan);
        }
        Ok(RunConfig {
            plan,
            bug: bug.map(|bug| bug.bug),
            safety_us: (self.minutes * 60e6) as u64 / 1_000 * 1_000,
        })
    }

    /// The command that runs `seed` like this.
    fn command(&self, seed: u64) -> String {
        let mut words = vec![format!("cargo run --profile sim -p banyan-sim -- replay {seed}")];
        words.extend(self.arguments());
        words.join(" ")
    }

    /// The arguments that give this.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.scenario != "swarm" {
            arguments.extend(["--scenario".to_owned(), self.scenario.clone()]);
        }
        if self.minutes != 1.0 {
            arguments.extend(["--minutes".to_owned(), self.minutes.to_string()]);
        }
        for name in &self.without {
            arguments.extend(["--without".to_owned(), name.clone()]);
        }
        if let Some(bug) = &self.bug {
            arguments.extend(["--bug".to_owned(), bug.clone()]);
        }
        arguments
    }
}

/// Reads `A..B`, or one seed.
fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no seed"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => number(text).map(|seed| seed..seed + 1),
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Replay(arguments) => run::replay(&arguments),
        Command::Meta(arguments) => meta::run(&arguments),
        Command::Bugs(arguments) => bugs::run(&arguments),
        Command::Scenarios => {
            for scenario in SCENARIOS {
                println!("{:<12} {}", scenario.name, scenario.about);
            }
            Ok(true)
        }
        Command::Real(options) => return real::main(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("banyan-sim: {error}");
            ExitCode::from(2)
        }
    }
}
