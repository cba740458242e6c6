//! `banyanctl`, run as a user does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::cluster::Cluster;

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code.
    pub code: i32,
}

/// Runs `banyanctl` with `line`, words apart by blanks, against the nodes `asked` of `cluster`, and shows line and output.
pub fn run(cluster: &Cluster, asked: &[usize], line: &str) -> Ran {
    let ran = run_quietly(cluster, asked, line);
    ran.show(line);
    ran
}

/// As [`run`], and shows nothing.
pub fn run_quietly(cluster: &Cluster, asked: &[usize], line: &str) -> Ran {
    let endpoints: Vec<String> = asked
        .iter()
        .map(|&index| format!("http://{}", cluster.http(index)))
        .collect();
    let output = Command::new(program())
        .env("BANYAN_ENDPOINT", endpoints.join(","))
        .args(line.split_ascii_whitespace())
        .output()
        .expect("banyanctl runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran {
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        code: output.status.code().expect("an exit code"),
    }
}

impl Ran {
    /// Shows the command `line` and what it printed, as a terminal does.
    pub fn show(&self, line: &str) {
        println!("$ banyanctl {line}");
        print!("{}{}", self.stdout, self.stderr);
        if self.code != 0 {
            println!("[exit code {}]", self.code);
        }
        println!();
    }
}

/// As [`run`]; the command must succeed.
pub fn ok(cluster: &Cluster, asked: &[usize], line: &str) -> String {
    let ran = run(cluster, asked, line);
    assert_eq!(ran.code, 0, "banyanctl {line}: {}", ran.stderr);
    ran.stdout
}

/// The program beside the node under test. It belongs to another package: `cargo test --workspace` has built it, and if nothing has,
/// or its sources have changed since, it is built here.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let node = Path::new(env!("CARGO_BIN_EXE_banyan"));
        let folder = node.parent().expect("a folder");
        let program = folder.join("banyanctl");
        if !is_fresh(&program) {
            build_in(folder);
        }
        program
    })
}

/// Whether `program` is newer than all that cargo noted it was made of.
fn is_fresh(program: &Path) -> bool {
    let changed_at = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Ok(noted) = fs::read_to_string(program.with_extension("d")) else {
        return false;
    };
    let Some((_, sources)) = noted.split_once(": ") else {
        return false;
    };
    let built_at = changed_at(program);
    let is_older = |source: &str| changed_at(Path::new(source)).is_some_and(|at| Some(at) <= built_at);
    sources.split_whitespace().all(is_older)
}

fn build_in(folder: &Path) {
    let target = folder.parent().expect("the target folder");
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--quiet", "--package", "banyan-cli", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "banyanctl is built");
}
