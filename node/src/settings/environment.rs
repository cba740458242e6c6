//! Settings from environment variables.

use super::error::Problem;
use super::keys;
use super::nearest::nearest;
use super::value::{Source, Values};

const PREFIX: &str = "BANYAN_";

/// Ours, but no settings of a node: `--config`, and what `banyanctl` reads.
const OTHERS: [&str; 3] = ["BANYAN_CONFIG", "BANYAN_ENDPOINT", "BANYAN_TOKEN"];

/// Takes all variables that begin with `BANYAN_`.
pub(super) fn read(
    environment: impl IntoIterator<Item = (String, String)>,
    values: &mut Values,
    problems: &mut Vec<Problem>,
) {
    for (variable, text) in environment {
        if !variable.starts_with(PREFIX) || OTHERS.contains(&variable.as_str()) || is_service_link(&variable) {
            continue;
        }
        match keys::KEYS.into_iter().find(|key| key.variable() == variable) {
            Some(key) => problems.extend(values.put_text(key, &text, Source::Environment).err()),
            None => problems.push(unknown(variable)),
        }
    }
}

fn unknown(variable: String) -> Problem {
    let name = variable.trim_start_matches(PREFIX).to_lowercase();
    let message = match nearest(&name, keys::KEYS.into_iter().map(|key| key.name)).and_then(keys::find) {
        Some(key) => format!("unknown setting; did you mean `{}`?", key.variable()),
        None => "unknown setting; `banyan --help` lists all of them".to_owned(),
    };
    Problem {
        place: variable,
        message,
    }
}

/// Kubernetes tells every pod of each service by variables named after it: a service `banyan` or `banyan-peer` must not
/// keep the nodes from starting.
fn is_service_link(variable: &str) -> bool {
    variable.contains("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || variable.ends_with("_PORT")
        || variable.contains("_TCP")
        || variable.contains("_UDP")
}
