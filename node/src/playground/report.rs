//! What the playground says on the terminal.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use super::plan::Plan;

/// The table of nodes with their pids, and the lines to paste.
pub(super) fn table(plan: &Plan, pids: &[u32]) -> String {
    let mut text = format!("\n{:>4}  {:>8}  {:<16}  {}\n", "node", "pid", "MQTT", "HTTP");
    for (node, pid) in plan.nodes.iter().zip(pids) {
        let mqtt = format!("127.0.0.1:{}", node.mqtt_port);
        text += &format!(
            "{:>4}  {pid:>8}  {mqtt:<16}  http://127.0.0.1:{}\n",
            node.id, node.http_port
        );
    }
    text += "\nWrite and read at any node:\n";
    for node in &plan.nodes {
        text += &format!(
            "\n  mosquitto_pub -V 5 -h 127.0.0.1 -p {} -q 1 -r -t hello/from-node-{} -m 'hello from node {}'\n  \
             curl -i http://127.0.0.1:{}/v1/topics/hello/from-node-{}\n",
            node.mqtt_port, node.id, node.id, node.http_port, node.id
        );
    }
    text
}

/// How a process ended, in words.
pub(super) fn ending(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("is lost: {error}"),
    }
}

/// A command line that a shell takes apart into `program` and `arguments` again.
pub(super) fn command_line(program: &Path, arguments: &[String]) -> String {
    let program = quoted(&program.display().to_string());
    let arguments = arguments.iter().map(|argument| quoted(argument));
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@,=+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The last lines of a log, indented; empty if it cannot be read.
pub(super) fn last_lines(path: &Path) -> String {
    const TAIL_BYTES: u64 = 4096;
    const LINES: usize = 5;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LINES));
    last.map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::playground::Options;

    #[test]
    fn every_node_has_a_row_and_two_lines_to_paste() {
        let options = Options {
            nodes: 2,
            data_dir: None,
            ephemeral: false,
            mqtt: 1883,
            http: 8080,
            peer: 7400,
        };
        let plan = Plan::new(&options, PathBuf::from("p")).unwrap();
        let expected = "
node       pid  MQTT              HTTP
   1        17  127.0.0.1:1883    http://127.0.0.1:8080
   2    123456  127.0.0.1:1884    http://127.0.0.1:8081

Write and read at any node:

  mosquitto_pub -V 5 -h 127.0.0.1 -p 1883 -q 1 -r -t hello/from-node-1 -m 'hello from node 1'
  curl -i http://127.0.0.1:8080/v1/topics/hello/from-node-1

  mosquitto_pub -V 5 -h 127.0.0.1 -p 1884 -q 1 -r -t hello/from-node-2 -m 'hello from node 2'
  curl -i http://127.0.0.1:8081/v1/topics/hello/from-node-2
";
        assert_eq!(table(&plan, &[17, 123_456]), expected);
    }

    #[test]
    fn command_lines_survive_a_shell() {
        let arguments = ["--data-dir".to_owned(), "my data/it's".to_owned(), String::new()];
        assert_eq!(
            command_line(Path::new("/bin/banyan"), &arguments),
            r"/bin/banyan --data-dir 'my data/it'\''s' ''"
        );
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1\n2\n3\n4\n5\n6\n").unwrap();
        assert_eq!(last_lines(file.path()), "    2\n    3\n    4\n    5\n    6");
        assert_eq!(last_lines(Path::new("/nonexistent")), "");
    }
}
