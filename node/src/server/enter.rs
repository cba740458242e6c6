//! How a node comes to belong to a cluster, once: it begins one, or shows a token to a member of one.
//!
//! | name in the data directory | holds |
//! |---|---|
//! | `cluster-id` | the cluster, decimal; written once |
//! | `entry-nonce` | what the directory is known by to the cluster that it entered with a token, decimal |
//! | `removed` | present once the cluster has said that this node was removed: it never starts again |

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::RunError;
use super::listeners::Listeners;
use crate::components::Components;
use crate::consensus::wire;
use crate::peer::{JoinError, Refusal, ask_to_join};
use crate::service::members::{JoinAnswer, JoinQuestion};
use crate::settings::join_token::JoinToken;
use crate::settings::{Address, Entry, Member, Settings};
use crate::storage::disk::Disk;

const CLUSTER_ID: &str = "cluster-id";
const NONCE: &str = "entry-nonce";
const REMOVED: &str = "removed";

/// How long members are asked, before the node gives up.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for one member to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// Time for the other initial members to answer.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Wait after no member could be reached.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The cluster's id, from the data directory; at the first start the node begins or enters the cluster that the settings say.
///
/// # Errors
/// The cluster refused or was not reached, the directory belongs to another cluster or was removed from its own, or the
/// settings do not say how to enter.
pub(super) async fn enter(settings: &Settings, components: &Components) -> Result<u64, RunError> {
    let disk = &*components.disk;
    if is_removed(settings, disk)? {
        return Err(removed(settings));
    }
    let path = settings.data_dir.join(CLUSTER_ID);
    if let Some(cluster_id) = read_number(disk, &path)? {
        return match &settings.entry {
            Entry::Join(_, token) if token.cluster_id != cluster_id => Err(RunError::Settings(format!(
                "data directory {} belongs to cluster {cluster_id:016x}, but `join_token` is for cluster {:016x}; give this \
                 node an empty data directory, or remove `join` and `join_token`",
                settings.data_dir.display(),
                token.cluster_id,
            ))),
            _ => Ok(cluster_id),
        };
    }
    let cluster_id = match &settings.entry {
        Entry::Bootstrap(members) => {
            let mut sorted: Vec<_> = members
                .iter()
                .map(|member| format!("{}@{}", member.node_id, member.address))
                .collect();
            sorted.sort();
            let cluster_id = xxhash_rust::xxh3::xxh3_64(sorted.join(",").as_bytes());
            ask_whether_to_begin(settings, components, members, cluster_id).await?;
            cluster_id
        }
        Entry::Join(addresses, token) => {
            ask(settings, components, addresses, token).await?;
            token.cluster_id
        }
        Entry::None => {
            return Err(RunError::Settings(format!(
                "{} holds no node yet; say how it enters a cluster: `join` and `join_token` (from `banyanctl member add`) to \
                 enter one, or `bootstrap = true` with `members` to begin one",
                settings.data_dir.display()
            )));
        }
    };
    write_number(disk, &path, cluster_id)?;
    Ok(cluster_id)
}

/// Asks members in turn to be let in, until one says yes or no.
async fn ask(
    settings: &Settings,
    components: &Components,
    addresses: &[Address],
    token: &JoinToken,
) -> Result<(), RunError> {
    let net = Listeners::peer_net(settings, components)?;
    let question = JoinQuestion::Enter {
        secret: token.secret,
        nonce: nonce(settings, components)?,
        address: settings.peer_advertise.to_string(),
    };
    let body = wire::encode(&question).map_err(|error| RunError::Refused(error.to_string()))?;
    let deadline = Instant::now() + JOIN_TIMEOUT;
    tracing::info!(
        node = settings.node_id,
        cluster = format!("{:016x}", token.cluster_id),
        "asking to be let into the cluster"
    );
    let mut told = String::new();
    loop {
        let mut reasons = Vec::new();
        let mut all_refused = true;
        for address in addresses {
            let asked = ask_to_join(
                &*net,
                token.cluster_id,
                settings.node_id,
                address.as_str(),
                body.clone(),
                ANSWER_TIMEOUT,
            );
            let reason = match asked.await {
                Ok(answer) => match wire::decode(&answer) {
                    Ok(JoinAnswer::Accepted) => {
                        tracing::info!(node = settings.node_id, by = %address, "let into the cluster");
                        return Ok(());
                    }
                    Ok(JoinAnswer::Refused(reason)) => {
                        return Err(RunError::Refused(format!(
                            "the cluster did not let node {} in: {reason}",
                            settings.node_id
                        )));
                    }
                    Ok(JoinAnswer::Unavailable(reason)) => {
                        all_refused = false;
                        reason
                    }
                    Err(error) => format!("it answered what cannot be read: {error}"),
                },
                Err(JoinError::Refused(Refusal::Removed)) => {
                    return Err(RunError::Refused(format!(
                        "node {} was removed from the cluster, and ids are never used again; leave `node_id` out, or choose \
                         another",
                        settings.node_id
                    )));
                }
                Err(JoinError::Refused(refusal)) => refusal.to_string(),
                Err(JoinError::Unreachable(reason)) => {
                    all_refused = false;
                    reason
                }
            };
            reasons.push(format!("{address}: {reason}"));
        }
        let reasons = reasons.join("; ");
        if all_refused {
            return Err(RunError::Refused(format!(
                "no member let node {} into the cluster: {reasons}",
                settings.node_id
            )));
        }
        if Instant::now() + AGAIN_AFTER >= deadline {
            return Err(RunError::Refused(format!(
                "no member of the cluster answered within {} s: {reasons}; check `join`, and that the members run",
                JOIN_TIMEOUT.as_secs()
            )));
        }
        if told != reasons {
            tracing::warn!(%reasons, "no member answers yet; asking again");
            told = reasons;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Asks the other initial members whether this node has been there before: then it has lost its data, and must not come back as
/// the same node. Who does not answer does not know; nobody answers when the cluster begins.
///
/// # Errors
/// It has.
async fn ask_whether_to_begin(
    settings: &Settings,
    components: &Components,
    members: &[Member],
    cluster_id: u64,
) -> Result<(), RunError> {
    let net = Listeners::peer_net(settings, components)?;
    let body = wire::encode(&JoinQuestion::Begin).map_err(|error| RunError::Refused(error.to_string()))?;
    let others = members.iter().filter(|member| member.node_id != settings.node_id);
    let asked = others.map(|member| {
        let (net, body) = (&net, body.clone());
        async move {
            let address = member.address.as_str();
            ask_to_join(&**net, cluster_id, settings.node_id, address, body, BEGIN_TIMEOUT).await
        }
    });
    for answer in futures_util::future::join_all(asked).await {
        match answer {
            Ok(answer) => {
                if let Ok(JoinAnswer::Refused(reason)) = wire::decode(&answer) {
                    return Err(RunError::Refused(reason));
                }
            }
            Err(JoinError::Refused(Refusal::Removed)) => {
                return Err(RunError::Refused(format!(
                    "node {} was removed from the cluster, and ids are never used again; let this machine enter with a join \
                     token (`banyanctl member add`) and without `node_id`",
                    settings.node_id
                )));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// What the data directory is known by; drawn at the first question and durable before it is asked.
fn nonce(settings: &Settings, components: &Components) -> Result<u64, RunError> {
    let path = settings.data_dir.join(NONCE);
    match read_number(&*components.disk, &path)? {
        Some(nonce) => Ok(nonce),
        None => {
            let nonce = components.random.next_u64() | 1;
            write_number(&*components.disk, &path, nonce)?;
            Ok(nonce)
        }
    }
}

fn is_removed(settings: &Settings, disk: &dyn Disk) -> Result<bool, RunError> {
    let path = settings.data_dir.join(REMOVED);
    match disk.read(&path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(damaged(&path, &error)),
    }
}

/// Notes that this node was removed.
pub(super) fn mark_removed(settings: &Settings, disk: &dyn Disk) -> Result<(), RunError> {
    write_number(disk, &settings.data_dir.join(REMOVED), settings.node_id)
}

/// The error of a node that was removed.
pub(super) fn removed(settings: &Settings) -> RunError {
    RunError::Removed {
        node_id: settings.node_id,
        data_dir: settings.data_dir.clone(),
    }
}

fn read_number(disk: &dyn Disk, path: &Path) -> Result<Option<u64>, RunError> {
    match disk.read(path) {
        Ok(text) => std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map(Some)
            .ok_or_else(|| damaged(path, &"it holds no number")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(path, &error)),
    }
}

fn write_number(disk: &dyn Disk, path: &Path, number: u64) -> Result<(), RunError> {
    let write = || {
        let temporary = path.with_extension("new");
        let file = disk.open(&temporary, true)?;
        file.set_len(0)?;
        file.write_at(0, number.to_string().as_bytes())?;
        file.sync()?;
        drop(file);
        disk.rename(&temporary, path)?;
        disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
    };
    write().map_err(|error: std::io::Error| {
        RunError::DataDirectory(format!("{} cannot be written: {error}", path.display()))
    })
}

/// The error of a data directory that cannot be read.
pub(super) fn damaged(path: &Path, why: &dyn std::fmt::Display) -> RunError {
    RunError::DataDirectory(format!("{} cannot be read: {why}", path.display()))
}
