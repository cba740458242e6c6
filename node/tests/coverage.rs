//! `docs/mqtt5-coverage.toml` is complete and true: every statement of both standards is in it, and each test that it names exists
//! and carries the statement's id.
//!
//! A test carries an id that stands in its doc comment or its body, in brackets; ids of 3.1.1 behind the word `3.1.1`:
//! `[MQTT-3.1.2-1], [MQTT-3.1.2-2]; 3.1.1 [MQTT-3.1.2-1], [MQTT-3.1.2-2]`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Sections with the numbers of their first and their last statement.
type Sections = &'static [(&'static str, u32, u32)];

/// Statements of MQTT 5.0: those of its appendix B.
const V5: Sections = &[
    ("1.5.4", 1, 3),
    ("1.5.5", 1, 1),
    ("1.5.7", 1, 1),
    ("2.1.3", 1, 1),
    ("2.2.1", 2, 6), // there is no first
    ("2.2.2", 1, 1),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 30),
    ("3.1.3", 1, 12),
    ("3.1.4", 1, 6),
    ("3.2.0", 1, 2),
    ("3.2.2", 1, 22),
    ("3.3.1", 1, 13),
    ("3.3.2", 1, 20),
    ("3.3.4", 1, 10),
    ("3.4.2", 1, 3),
    ("3.5.2", 1, 3),
    ("3.6.1", 1, 1),
    ("3.6.2", 1, 3),
    ("3.7.2", 1, 3),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 5),
    ("3.8.4", 1, 8),
    ("3.9.2", 1, 2),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.11.2", 1, 2),
    ("3.11.3", 1, 2),
    ("3.12.4", 1, 1),
    ("3.14.0", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.2", 1, 4),
    ("3.14.4", 1, 3),
    ("3.15.1", 1, 1),
    ("3.15.2", 1, 3),
    ("4.1.0", 1, 2),
    ("4.2.0", 1, 1), // 4.2-1 in the text
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 5),
    ("4.3.3", 1, 13),
    ("4.4.0", 1, 2),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.0", 1, 1),
    ("4.7.1", 1, 2),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.2", 1, 6),
    ("4.9.0", 1, 3),
    ("4.12.0", 1, 7),
    ("4.12.1", 1, 2),
    ("4.13.1", 1, 1),
    ("4.13.2", 1, 1),
    ("6.0.0", 1, 4),
];

/// Those of MQTT 3.1.1.
const V3: Sections = &[
    ("1.5.3", 1, 3),
    ("2.2.2", 1, 2),
    ("2.3.1", 1, 7),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 24),
    ("3.1.3", 1, 11),
    ("3.1.4", 1, 5),
    ("3.2.0", 1, 1),
    ("3.2.2", 1, 6),
    ("3.3.1", 1, 12),
    ("3.3.2", 1, 3),
    ("3.3.4", 1, 1),
    ("3.3.5", 1, 2),
    ("3.6.1", 1, 1),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 4),
    ("3.8.4", 1, 6),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.12.4", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.4", 1, 3),
    ("4.1.0", 1, 2),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 2),
    ("4.3.3", 1, 2),
    ("4.4.0", 1, 1),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.1", 1, 3),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.0", 1, 2),
    ("6.0.0", 1, 4),
    ("7.0.0", 1, 2),
    ("7.1.1", 1, 1),
    ("7.1.2", 1, 1),
];

/// The two standards, as the file names them.
const STANDARDS: [(&str, Sections, usize); 2] = [("5.0", V5, 251), ("3.1.1", V3, 141)];

#[derive(serde::Deserialize)]
struct Statement {
    says: String,
    /// Whom it binds, if not the server.
    binds: Option<String>,
    status: String,
    reason: Option<String>,
    #[serde(default)]
    tests: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn ids(sections: Sections) -> BTreeSet<String> {
    let of_section = |(section, first, last): &(&str, u32, u32)| {
        let section = (*section).to_owned();
        (*first..=*last).map(move |number| format!("MQTT-{section}-{number}"))
    };
    sections.iter().flat_map(of_section).collect()
}

fn statements() -> BTreeMap<String, BTreeMap<String, Statement>> {
    let text = fs::read_to_string(root().join("docs/mqtt5-coverage.toml")).expect("the file");
    toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// The ids that a test carries, by standard.
fn carried(text: &str) -> BTreeSet<(&'static str, String)> {
    let mut carried = BTreeSet::new();
    let mut standard = "5.0";
    let mut rest = text;
    while let Some(at) = rest.find("[MQTT-") {
        let (before, tail) = rest.split_at(at);
        let is_list = matches!(before.trim_matches([' ', '/', '\n', ',']), "" | "and");
        if !is_list {
            standard = if before.trim_end().ends_with("3.1.1") {
                "3.1.1"
            } else {
                "5.0"
            };
        }
        let end = tail.find(']').unwrap_or(tail.len());
        carried.insert((standard, tail[1..end].to_owned()));
        rest = tail.get(end + 1..).unwrap_or_default();
    }
    carried
}

/// Every test of the workspace, with doc comment and body, by file and name: `core/src/topic/name::refuses_by_rule`.
fn tests() -> BTreeMap<String, String> {
    let root = root();
    let mut found = BTreeMap::new();
    for folder in ["core/src", "node/src", "node/tests"] {
        for file in files(&root.join(folder)) {
            let name = file.strip_prefix(&root).expect("beneath the root").with_extension("");
            let name = name.to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&file).expect("a readable file");
            let lines: Vec<_> = text.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                let Some(function) = line
                    .trim_start()
                    .strip_prefix("fn ")
                    .and_then(|rest| rest.split(['(', '<']).next())
                else {
                    continue;
                };
                let is_above = |line: &&&str| {
                    let line = line.trim_start();
                    line.starts_with("///") || line.starts_with("//") || line.starts_with("#[")
                };
                let above = lines[..at].iter().rev().take_while(is_above).count();
                let is_test = lines[at - above..at].iter().any(|line| line.trim() == "#[test]");
                if !is_test {
                    continue;
                }
                let indent = line.len() - line.trim_start().len();
                let end = format!("{}}}", " ".repeat(indent));
                let length = lines[at..].iter().take_while(|line| **line != end).count();
                let text = lines[at - above..at + length].join("\n");
                found.insert(format!("{name}::{function}"), text);
            }
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_statement_is_there_once() {
    let statements = statements();
    assert_eq!(statements.keys().collect::<Vec<_>>(), ["3.1.1", "5.0"]);
    for (standard, sections, count) in STANDARDS {
        let expected = ids(sections);
        assert_eq!(expected.len(), count, "{standard}");
        let found: BTreeSet<_> = statements[standard].keys().cloned().collect();
        let missing: Vec<_> = expected.difference(&found).collect();
        let unknown: Vec<_> = found.difference(&expected).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "{standard}: missing {missing:?}, unknown {unknown:?}"
        );
    }
}

#[test]
fn every_status_has_what_it_needs() {
    let mut counts: BTreeMap<(String, &str, String), usize> = BTreeMap::new();
    for (standard, statements) in statements() {
        for (id, statement) in statements {
            let Statement {
                says,
                binds,
                status,
                reason,
                tests,
            } = statement;
            assert!(says.len() > 10 && says.ends_with('.'), "{standard} {id}: {says}");
            let party = match binds.as_deref() {
                None => "server",
                Some("client") => "client",
                Some(other) => panic!("{standard} {id}: binds {other}"),
            };
            match status.as_str() {
                "met" => assert!(
                    reason.is_none() && !tests.is_empty() && party == "server",
                    "{standard} {id}"
                ),
                "not-applicable" | "open" => assert!(reason.is_some() && tests.is_empty(), "{standard} {id}"),
                other => panic!("{standard} {id}: status {other}"),
            }
            *counts.entry((standard.clone(), party, status)).or_default() += 1;
        }
    }
    for ((standard, party, status), count) in &counts {
        println!("MQTT {standard}, {party}: {count} {status}");
    }
    let head = fs::read_to_string(root().join("docs/mqtt5-coverage.toml")).expect("the file");
    for ((standard, party, status), count) in &counts {
        let row = format!("# | {standard} | {party} | {status} | {count} |");
        assert!(head.contains(&row), "the table in the file has no row: {row}");
    }
}

#[test]
fn every_test_named_exists_and_carries_the_id() {
    let tests = tests();
    let mut problems = Vec::new();
    for (standard, statements) in statements() {
        for (id, statement) in statements {
            for named in &statement.tests {
                let ends = format!("/{named}");
                let mut found = tests.iter().filter(|(name, _)| *name == named || name.ends_with(&ends));
                match (found.next(), found.next()) {
                    (Some((_, text)), None) => {
                        let wanted = (if standard == "5.0" { "5.0" } else { "3.1.1" }, id.clone());
                        if !carried(text).contains(&wanted) {
                            problems.push(format!("{named} does not carry {standard} [{id}]"));
                        }
                    }
                    (None, _) => problems.push(format!("{standard} [{id}]: there is no test {named}")),
                    (Some(_), Some(_)) => problems.push(format!("{standard} [{id}]: {named} is several tests")),
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A test that carries an id that does not exist has a misprint.
#[test]
fn every_id_carried_exists() {
    let known: BTreeMap<_, _> = STANDARDS
        .map(|(standard, sections, _)| (standard, ids(sections)))
        .into();
    for (name, text) in tests() {
        for (standard, id) in carried(&text) {
            assert!(known[standard].contains(&id), "{name}: {standard} [{id}]");
        }
    }
}
