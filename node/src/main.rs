//! The program `banyan`: arguments, logging, signals, exit codes.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | ended as asked |
//! | 1 | anything else |
//! | 2 | arguments or settings are wrong |
//! | 3 | storage is damaged or in use |
//! | 4 | the cluster cannot be reached, or refused |

use std::fmt::Display;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::state::TombstoneBounds;
use banyan_node::components::{Components, SystemClock, SystemRandom};
use banyan_node::net::Tcp;
use banyan_node::playground::{self, STOP_WHEN_STDIN_CLOSES};
use banyan_node::settings::data_dir::DataDir;
use banyan_node::settings::{self, flags};
use banyan_node::storage::disk::SystemDisk;
use banyan_node::storage::lsm::LsmStores;
use banyan_node::{logging, server};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time for tasks that outlive the ordered shutdown.
const LAST_TASKS_TIMEOUT: Duration = Duration::from_secs(1);

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let matches = command().get_matches(); // ends with 2 on wrong usage, with 0 after --help and --version
    let result = match matches.subcommand() {
        Some(("playground", arguments)) => run_playground(arguments),
        Some(("config", arguments)) => check_config(arguments),
        _ => run_node(&matches),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _closed = writeln!(std::io::stderr(), "{}", failure.message);
            ExitCode::from(failure.exit_code)
        }
    }
}

/// How the process ends when it does not end well.
struct Failure {
    exit_code: u8,
    message: String,
}

impl Failure {
    fn new(exit_code: u8, error: impl Display) -> Self {
        Self {
            exit_code,
            message: format!("banyan: {error}"),
        }
    }

    fn other(error: impl Display) -> Self {
        Self::new(1, error)
    }
}

fn command() -> Command {
    let check = Command::new("check")
        .about("Check a settings file and do nothing else")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf)),
        );
    let playground = playground::Options::augment_args(Command::new("playground"))
        .about("Run a cluster on this machine, one process a node")
        .long_about(None);
    Command::new("banyan")
        .version(env!("CARGO_PKG_VERSION"))
        .about("One tree, many trunks: a clustered database of current state, over MQTT and HTTP")
        .after_help("Try it: banyan playground")
        .args_conflicts_with_subcommands(true)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .env("BANYAN_CONFIG")
                .value_parser(value_parser!(PathBuf))
                .help("Settings file (TOML); flags and BANYAN_... variables override it"),
        )
        .arg(
            Arg::new(STOP_WHEN_STDIN_CLOSES)
                .long(STOP_WHEN_STDIN_CLOSES)
                .action(ArgAction::SetTrue)
                .hide(true),
        )
        .args(flags::arguments())
        .subcommand(playground)
        .subcommand(
            Command::new("config")
                .about("Settings files")
                .subcommand_required(true)
                .subcommand(check),
        )
}

fn run_playground(arguments: &ArgMatches) -> Result<(), Failure> {
    let options = playground::Options::from_arg_matches(arguments).map_err(|error| Failure::new(USAGE, error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    runtime
        .block_on(playground::run(options))
        .map_err(|error| Failure::new(error.exit_code(), error))
}

fn check_config(arguments: &ArgMatches) -> Result<(), Failure> {
    let file = arguments
        .subcommand()
        .and_then(|(_, check)| check.get_one::<PathBuf>("file"));
    let file = file.ok_or_else(|| Failure::new(USAGE, "no settings file given"))?;
    settings::check_file(file).map_err(|error| Failure {
        exit_code: USAGE,
        message: error.to_string(),
    })?;
    let _closed = writeln!(std::io::stdout(), "{}: no mistakes found", file.display());
    Ok(())
}

fn run_node(matches: &ArgMatches) -> Result<(), Failure> {
    let file = matches.get_one::<PathBuf>("config").map(PathBuf::as_path);
    let draft = load_settings(file, matches)?;
    logging::start(draft.log_format(), draft.log_filter());
    stop_on_panic();
    let data_dir = DataDir::open(draft.data_dir(), draft.node_id(), &SystemRandom)
        .map_err(|error| Failure::new(error.exit_code(), error))?;
    let settings = draft.with_node_id(data_dir.node_id());
    let components = Components {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        net: Arc::new(Tcp),
        disk: Arc::new(SystemDisk),
        stores: Arc::new(LsmStores),
        tombstone_bounds: TombstoneBounds::default(),
    };

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Tasks run in the order in which they were woken. With the slot, the one that was woken last goes first, and what
        // waits to be sent to other nodes waits for it.
        .disable_lifo_slot()
        .build()
        .map_err(Failure::other)?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        watch_signals(shutdown.clone()).map_err(Failure::other)?;
        let reload = watch_hangup().map_err(Failure::other)?;
        if matches.get_flag(STOP_WHEN_STDIN_CLOSES) {
            watch_stdin(shutdown.clone());
        }
        server::run(settings, components, reload, shutdown)
            .await
            .map_err(|error| Failure::new(error.exit_code(), error))
    });
    runtime.shutdown_timeout(LAST_TASKS_TIMEOUT);
    drop(data_dir); // nothing uses it any more
    result
}

fn load_settings(file: Option<&Path>, matches: &ArgMatches) -> Result<settings::Draft, Failure> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    settings::load(file, environment, matches).map_err(|error| Failure {
        exit_code: USAGE,
        message: error.to_string(),
    })
}

/// The first SIGTERM or SIGINT begins the ordered shutdown, the second ends the process.
fn watch_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if is_first {
                tracing::info!("asked to stop; a second signal ends the process at once");
                shutdown.cancel();
            }
        }
        std::process::exit(1);
    });
    Ok(())
}

/// Each SIGHUP has the certificates read again.
fn watch_hangup() -> std::io::Result<watch::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, reload) = watch::channel(());
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: certificates are read again");
            sender.send_replace(());
        }
    });
    Ok(reload)
}

/// Begins the ordered shutdown when standard input ends. A thread, since a read of it cannot be cancelled.
fn watch_stdin(shutdown: CancellationToken) {
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut ignored = [0; 64];
        while !matches!(stdin.read(&mut ignored), Ok(0) | Err(_)) {}
        tracing::info!("standard input has closed; stopping");
        shutdown.cancel();
    });
}

/// A panic is a broken invariant. A node that goes on without the task that noticed it could answer wrongly: it stops.
fn stop_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %backtrace, "a bug was found; the node stops");
        std::process::exit(1);
    }));
}
