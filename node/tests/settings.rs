//! The program's arguments, settings and exit codes, as a user meets them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use banyan_node::settings::data_dir;

fn banyan(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
    command.current_dir(dir).args(arguments).env_clear().output().unwrap()
}

/// Asserts exit code and parts of what was said on standard error.
#[track_caller]
fn assert_refused(output: &Output, exit_code: i32, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[test]
fn version_and_help_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let version = banyan(dir.path(), &["--version"]);
    assert_eq!(
        String::from_utf8_lossy(&version.stdout),
        format!("banyan {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = banyan(dir.path(), &["--help"]);
    assert!(help.status.success());
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        help.contains("--write-timeout-ms") && help.contains("BANYAN_WRITE_TIMEOUT_MS"),
        "{help}"
    );
}

#[test]
fn wrong_arguments_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    assert_refused(&banyan(dir.path(), &["--log-fromat", "json"]), 2, &["--log-format"]);
    assert_refused(&banyan(dir.path(), &[]), 2, &["`data_dir` is missing"]);
    assert_refused(
        &banyan(dir.path(), &["--data-dir", "d", "--view-lease-s", "0"]),
        2,
        &["--view-lease-s: "],
    );
    assert_refused(
        &banyan(dir.path(), &["--config", "none.toml"]),
        2,
        &["none.toml: cannot be read"],
    );
    assert_refused(
        &banyan(dir.path(), &["--data-dir", "d", "--join", "a:1"]),
        2,
        &["`join` needs `join_token`"],
    );
    assert_refused(&banyan(dir.path(), &["playground", "--mqtt", "8080"]), 2, &["overlap"]);
    assert!(!dir.path().join("d").exists(), "a refused start leaves no trace");
}

#[test]
fn config_check_does_only_that() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("good.toml"),
        "data_dir = \"d\"\nmqtt = [\"127.0.0.1:1883\"]\n",
    )
    .unwrap();
    let good = banyan(dir.path(), &["config", "check", "good.toml"]);
    assert_eq!(String::from_utf8_lossy(&good.stdout), "good.toml: no mistakes found\n");
    assert!(good.status.success() && !dir.path().join("d").exists());

    fs::write(
        dir.path().join("bad.toml"),
        "data_dir = \"d\"\n\nmqt = [\"127.0.0.1:1883\"]\nbootstrap = 1\n",
    )
    .unwrap();
    let parts = [
        "bad.toml:3: unknown key `mqt`; did you mean `mqtt`?",
        "bad.toml:4: `bootstrap` must be `true` or `false`",
    ];
    assert_refused(&banyan(dir.path(), &["config", "check", "bad.toml"]), 2, &parts);
    assert_refused(&banyan(dir.path(), &["--config", "bad.toml"]), 2, &parts);
}

#[test]
fn a_data_directory_belongs_to_one_node_and_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("d");
    fs::create_dir(&data_dir).unwrap();
    fs::write(data_dir.join("node-id"), "7\n").unwrap();
    let start = ["--data-dir", "d", "--mqtt", "", "--http", "", "--peer", "127.0.0.1:0"];
    let as_node_8 = [&start[..], &["--node-id", "8"]].concat();
    assert_refused(
        &banyan(dir.path(), &as_node_8),
        2,
        &["belongs to node 7", "`node_id = 7`"],
    );

    let lock = data_dir::lock(&data_dir).unwrap();
    let pid = std::process::id().to_string();
    assert_refused(&banyan(dir.path(), &start), 3, &["in use by process", &pid]);
    drop(lock);

    fs::write(data_dir.join("node-id"), "seven\n").unwrap();
    assert_refused(&banyan(dir.path(), &start), 3, &["does not hold a node id"]);
}
