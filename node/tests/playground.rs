//! `banyan playground` with real processes: it serves, notices a killed node, stops cleanly, and keeps its data.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use common::ports::ReservedPort;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// A running playground; killed, and its nodes with it, when a test fails.
struct Playground {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    pids: Vec<Pid>,
    http: Vec<String>,
}

impl Playground {
    /// Starts three nodes and reads their table.
    fn start(dir: &Path, [mqtt, http, peer]: [u16; 3]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_banyan"))
            .args([
                "playground",
                "--mqtt",
                &mqtt.to_string(),
                "--http",
                &http.to_string(),
                "--peer",
                &peer.to_string(),
            ])
            .arg("--data-dir")
            .arg(dir)
            .env_clear()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut playground = Self {
            process,
            lines,
            pids: Vec::new(),
            http: Vec::new(),
        };
        loop {
            let line = playground.line();
            let columns: Vec<_> = line.split_whitespace().collect();
            match columns[..] {
                [_, pid, _, http] if http.starts_with("http://") => {
                    playground.pids.push(Pid::from_raw(pid.parse().unwrap()).unwrap());
                    playground.http.push(http.to_owned());
                }
                ["Ctrl-C", ..] => break,
                _ => {}
            }
        }
        assert_eq!(playground.pids.len(), 3);
        playground
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the playground ended early").unwrap()
    }

    fn url(&self, node: usize) -> String {
        format!("{}/v1/topics/playground/test", self.http[node])
    }

    fn put(&self, node: usize, payload: &str) {
        let response = ureq::put(self.url(node)).send(payload).unwrap();
        assert!(response.status().is_success(), "{response:?}");
    }

    fn get(&self, node: usize) -> String {
        ureq::get(self.url(node))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap()
    }

    /// SIGTERM: ends with 0, and leaves no process behind.
    fn stop(mut self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
        for pid in &self.pids {
            test_kill_process(*pid).expect_err("a node outlives its playground");
        }
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _already_ended = self.process.kill(); // the nodes stop when their standard input closes
        let _ = self.process.wait();
    }
}

#[test]
fn serves_reports_a_killed_node_and_comes_back_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let reserved: [[ReservedPort; 3]; 3] = std::array::from_fn(|_| ReservedPort::neighbours());
    let ports = reserved.each_ref().map(|of_a_service| of_a_service[0].number());
    let mut playground = Playground::start(dir.path(), ports);
    playground.put(0, "one");
    assert_eq!(playground.get(2), "one");

    kill_process(playground.pids[1], Signal::KILL).unwrap();
    let report = loop {
        let line = playground.line();
        if line.starts_with("node 2 ") {
            break line;
        }
    };
    assert!(report.starts_with("node 2 was killed by signal 9"), "{report}");
    playground.stop();

    let playground = Playground::start(dir.path(), ports);
    for node in 0..3 {
        assert_eq!(playground.get(node), "one");
    }
    playground.put(1, "two");
    drop(playground); // SIGKILL: nobody tells the nodes to stop, and the next start waits until they have

    let playground = Playground::start(dir.path(), ports);
    assert_eq!(playground.get(0), "two");
    playground.stop();
}

#[test]
fn refuses_a_directory_made_for_another_cluster_or_in_use() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("playground.toml"), "nodes = 5\npeer = 9000\n").unwrap();
    let playground = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
        let output = command
            .arg("playground")
            .arg("--data-dir")
            .arg(dir.path())
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = playground(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--nodes 5 --peer 9000"), "{said}");

    let _lock = banyan_node::settings::data_dir::lock(dir.path()).unwrap();
    let (code, said) = playground(&["--nodes", "5", "--peer", "9000"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("in use by process"), "{said}");
}
