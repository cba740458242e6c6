//! Dependencies point one way. The compiler guards the crates; this guards the modules.

use std::fs;
use std::path::{Path, PathBuf};

/// What no file beneath a folder may mention.
struct Rule {
    folder: &'static str,
    forbidden: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        folder: "core/src",
        forbidden: &[
            "tokio",
            "serde_json",
            "openraft",
            "fjall",
            "axum",
            "tracing::",
            "std::fs",
            "std::net",
            "std::env",
        ],
        why: "the rules are synchronous and touch nothing outside",
    },
    Rule {
        folder: "core/src",
        forbidden: &["Instant::now", "SystemTime", "HashMap", "HashSet", "rand::"],
        why: "the rules are deterministic",
    },
    Rule {
        folder: "core/src/state",
        forbidden: &["crate::mqtt"],
        why: "state knows no protocol",
    },
    Rule {
        folder: "core/src/topic",
        forbidden: &[
            "crate::command",
            "crate::keyspace",
            "crate::mqtt",
            "crate::state",
            "crate::store",
        ],
        why: "topics are at the bottom",
    },
    Rule {
        folder: "node/src/consensus",
        forbidden: &[
            "crate::broker",
            "crate::service",
            "crate::origin",
            "crate::mqtt",
            "crate::http",
        ],
        why: "consensus reports through its observer",
    },
    Rule {
        folder: "node/src/storage",
        forbidden: &["crate::consensus", "crate::broker", "crate::service", "openraft"],
        why: "storage is beneath consensus",
    },
    Rule {
        folder: "node/src/broker",
        forbidden: &["crate::consensus", "crate::service", "crate::origin", "crate::storage"],
        why: "the broker reads the change ring only",
    },
    Rule {
        folder: "node/src/mqtt",
        forbidden: &["crate::consensus", "crate::storage", "crate::origin", "crate::http"],
        why: "transports know the service only",
    },
    Rule {
        folder: "node/src/http",
        forbidden: &["crate::consensus", "crate::storage", "crate::origin", "crate::mqtt"],
        why: "transports know the service only",
    },
    Rule {
        folder: "api/src",
        forbidden: &["banyan_core", "banyan_node", "tokio"],
        why: "bodies only",
    },
    Rule {
        folder: "cluster-cli/src",
        forbidden: &[
            "tokio",
            "banyan_node::storage",
            "banyan_node::service",
            "banyan_node::server",
        ],
        why: "talks HTTP, and works on the directories of nodes that do not run",
    },
    Rule {
        folder: "node/src/backup",
        forbidden: &[
            "crate::consensus",
            "crate::storage",
            "crate::service",
            "crate::http",
            "std::fs",
        ],
        why: "a backup is made of a view and read from bytes",
    },
    Rule {
        folder: "node/src/offline",
        forbidden: &["crate::service", "crate::http", "crate::mqtt", "crate::server", "tokio"],
        why: "no node runs meanwhile",
    },
];

/// Names that only one place may use.
const ONLY_IN: &[(&str, &[&str])] = &[
    // The default log filter quiets it.
    ("openraft", &["node/src/consensus", "node/src/settings/keys.rs"]),
    ("fjall", &["node/src/storage/lsm.rs"]),
    ("bincode", &["node/src/consensus/wire.rs"]),
    ("prometheus_client", &["node/src/metrics/exposition.rs"]),
    ("ureq", &["node/src/trace/export.rs"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_path_buf()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Lines of code with their numbers: comments may name anything.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
        .filter(|(_, line)| !line.trim().is_empty())
}

fn offences(path: &Path, forbidden: &[&str], why: &str) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a source file");
    let offends = |line: &str| forbidden.iter().find(|name| line.contains(**name)).copied();
    code_lines(&text)
        .filter_map(|(number, line)| offends(line).map(|name| format!("{}:{number}: `{name}`: {why}", path.display())))
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let mut found = Vec::new();
    for rule in RULES {
        let mut files = Vec::new();
        sources(&root().join(rule.folder), &mut files);
        assert!(!files.is_empty(), "{} is empty: the rule checks nothing", rule.folder);
        found.extend(files.iter().flat_map(|path| offences(path, rule.forbidden, rule.why)));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_library_is_named_in_its_one_place() {
    let mut files = Vec::new();
    sources(&root().join("node/src"), &mut files);
    let mut found = Vec::new();
    for (name, places) in ONLY_IN {
        let elsewhere = files
            .iter()
            .filter(|path| !places.iter().any(|place| path.starts_with(root().join(place))));
        found.extend(elsewhere.flat_map(|path| offences(path, &[name], &format!("only in {places:?}"))));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Fuzzing has a lock file of its own, which no build of this workspace reads.
#[test]
fn the_lock_file_of_the_fuzz_targets_knows_every_dependency() {
    let lock = fs::read_to_string(root().join("fuzz/Cargo.lock")).expect("a lock file");
    let mut missing = Vec::new();
    for (folder, package) in [("node", "banyan-node"), ("core", "banyan-core"), ("api", "banyan-api")] {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
        let (_, dependencies) = manifest.split_once("\n[dependencies]\n").expect("dependencies");
        let names = dependencies
            .lines()
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()));
        let locked = lock
            .split("[[package]]")
            .find(|entry| entry.contains(&format!("name = \"{package}\"\n")))
            .expect("the package");
        let is_locked = |name: &&str| locked.contains(&format!("\"{name}\"")) || locked.contains(&format!("\"{name} "));
        missing.extend(
            names
                .filter(|name| !is_locked(name))
                .map(|name| format!("{package}: {name}")),
        );
    }
    assert!(
        missing.is_empty(),
        "run `cargo update --workspace --manifest-path fuzz/Cargo.toml`: {missing:?}"
    );
}
