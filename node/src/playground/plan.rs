//! What is to run: nodes, ports and directories, and whether an existing directory fits.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Options, PlaygroundError};

/// File that remembers what a playground directory was made for.
const LAYOUT_FILE: &str = "playground.toml";

/// A cluster on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Directory of all nodes.
    pub(super) dir: PathBuf,
    /// The nodes, by id from 1.
    pub(super) nodes: Vec<NodePlan>,
}

/// One node of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodePlan {
    pub(super) id: u64,
    pub(super) mqtt_port: u16,
    pub(super) http_port: u16,
    pub(super) peer_port: u16,
    pub(super) data_dir: PathBuf,
    pub(super) log_file: PathBuf,
}

impl Plan {
    /// Nodes and ports for `options`, their data below `dir`.
    ///
    /// # Errors
    /// [`PlaygroundError::Usage`] if ports would overlap or end above 65,535.
    pub(super) fn new(options: &Options, dir: PathBuf) -> Result<Self, PlaygroundError> {
        let bases = [
            ("--mqtt", options.mqtt),
            ("--http", options.http),
            ("--peer", options.peer),
        ];
        for (index, &(flag, base)) in bases.iter().enumerate() {
            if base == 0 || u32::from(base) + u32::from(options.nodes) - 1 > u32::from(u16::MAX) {
                return Err(PlaygroundError::Usage(format!(
                    "{flag} {base}: {} ports from there on must lie between 1 and 65535",
                    options.nodes
                )));
            }
            for &(other_flag, other) in bases.iter().skip(index + 1) {
                if base.abs_diff(other) < options.nodes {
                    return Err(PlaygroundError::Usage(format!(
                        "{flag} {base} and {other_flag} {other} overlap: {} nodes need {} ports each",
                        options.nodes, options.nodes
                    )));
                }
            }
        }
        let nodes = (0..options.nodes)
            .map(|index| NodePlan {
                id: u64::from(index) + 1,
                mqtt_port: options.mqtt + index,
                http_port: options.http + index,
                peer_port: options.peer + index,
                data_dir: dir.join(format!("node-{}", index + 1)),
                log_file: dir.join(format!("node-{}.log", index + 1)),
            })
            .collect();
        Ok(Self { dir, nodes })
    }

    /// The value of `--members`.
    pub(super) fn members(&self) -> String {
        let members = self
            .nodes
            .iter()
            .map(|node| format!("{}@127.0.0.1:{}", node.id, node.peer_port));
        members.collect::<Vec<_>>().join(",")
    }

    fn layout(&self) -> Layout {
        Layout {
            nodes: self.nodes.len(),
            peer: self.nodes.first().map_or(0, |node| node.peer_port),
        }
    }

    /// Remembers the plan in a new directory; in an existing one checks that it is the same, since members and their
    /// addresses are in the data there.
    ///
    /// # Errors
    /// [`PlaygroundError::OtherLayout`], or the file cannot be read or written.
    pub(super) fn keep_layout(&self) -> Result<(), PlaygroundError> {
        let path = self.dir.join(LAYOUT_FILE);
        let layout = self.layout();
        if path.exists() {
            let kept = read_layout(&path)?;
            if kept == layout {
                return Ok(());
            }
            return Err(PlaygroundError::OtherLayout {
                dir: self.dir.clone(),
                nodes: kept.nodes,
                peer: kept.peer,
            });
        }
        let failed = |error: String| PlaygroundError::File {
            path: path.clone(),
            error,
        };
        let text = toml::to_string(&layout).map_err(|error| failed(error.to_string()))?;
        fs::write(&path, text).map_err(|error| failed(error.to_string()))
    }
}

/// What must not change between two starts on one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Layout {
    nodes: usize,
    peer: u16,
}

fn read_layout(path: &Path) -> Result<Layout, PlaygroundError> {
    let failed = |error: String| PlaygroundError::File {
        path: path.to_owned(),
        error,
    };
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    toml::from_str(&text).map_err(|error| failed(error.message().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(nodes: u16, mqtt: u16, http: u16, peer: u16) -> Options {
        Options {
            nodes,
            data_dir: None,
            ephemeral: false,
            mqtt,
            http,
            peer,
        }
    }

    #[test]
    fn node_i_listens_on_base_port_plus_i() {
        let plan = Plan::new(&options(3, 1883, 8080, 7400), PathBuf::from("p")).unwrap();
        let last = &plan.nodes[2];
        assert_eq!(
            (last.id, last.mqtt_port, last.http_port, last.peer_port),
            (3, 1885, 8082, 7402)
        );
        assert_eq!(last.data_dir, PathBuf::from("p/node-3"));
        assert_eq!(plan.members(), "1@127.0.0.1:7400,2@127.0.0.1:7401,3@127.0.0.1:7402");
    }

    #[test]
    fn overlapping_or_impossible_ports_are_refused() {
        for options in [
            options(3, 1883, 1885, 7400),
            options(3, 1883, 8080, 65_534),
            options(1, 0, 1, 2),
        ] {
            let error = Plan::new(&options, PathBuf::new()).unwrap_err();
            assert!(matches!(error, PlaygroundError::Usage(_)), "{error}");
        }
        Plan::new(&options(3, 1883, 1886, 65_533), PathBuf::new()).unwrap();
    }

    #[test]
    fn a_directory_stays_what_it_was_made_for() {
        let dir = tempfile::tempdir().unwrap();
        let plan = |nodes, mqtt, peer| Plan::new(&options(nodes, mqtt, 8080, peer), dir.path().to_owned()).unwrap();
        plan(3, 1883, 7400).keep_layout().unwrap();
        plan(3, 2883, 7400).keep_layout().unwrap();
        for other in [plan(5, 1883, 7400), plan(3, 1883, 7500)] {
            let error = other.keep_layout().unwrap_err();
            assert!(
                matches!(
                    error,
                    PlaygroundError::OtherLayout {
                        nodes: 3,
                        peer: 7400,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }
}
