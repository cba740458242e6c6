//! Log lines on standard error, for people or for machines.

use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Sends what this process logs to standard error from now on. The first call wins; later ones change nothing.
///
/// `filter` has been checked with the settings; one that is none after all logs from `info` up.
pub fn start(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let _already_started = match format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
}
