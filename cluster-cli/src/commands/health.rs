//! `banyanctl health`: what is wrong, what it means, and what to do about it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use banyan_api::cluster::{Alarm, ClusterStatus};
use banyan_api::timestamp::format_utc;
use serde::Serialize;

use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::Output;

/// Kind of the alarm of a node that cannot serve.
const NO_QUORUM: &str = "no-quorum";
/// Exit codes while something is wrong.
const ALARMS: u8 = 1;
const UNAVAILABLE: u8 = 4;
/// Characters of a line of text.
const LINE_CHARACTERS: usize = 100;

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Health<'a> {
    /// `healthy`, `alarms` or `unavailable`.
    status: &'static str,
    /// The node that answered.
    node_id: u64,
    /// The leader that it knows.
    leader: Option<u64>,
    /// What is wrong.
    alarms: &'a [Alarm],
}

/// Asks any node, and says what it hears. Fails with 1 while there are alarms, with 4 while the node that answers can serve
/// neither writes nor linearizable reads.
#[expect(clippy::disallowed_methods, reason = "people want to know how long ago that was")]
pub(super) fn run(client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
    let status: ClusterStatus = client.fetch(&Call {
        path: "/v1/cluster",
        ..Call::default()
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    print(&status, now, output)
}

fn print(status: &ClusterStatus, now: Duration, output: &mut Output<'_>) -> Result<(), CliError> {
    let is_cut_off = |alarm: &Alarm| alarm.kind == NO_QUORUM && alarm.node_id == status.node_id;
    let is_unavailable = status.leader.is_none() || status.alarms.iter().any(is_cut_off);
    let name = match (is_unavailable, status.alarms.is_empty()) {
        (true, _) => "unavailable",
        (false, false) => "alarms",
        (false, true) => "healthy",
    };
    if output.is_json() {
        output.json(&Health {
            status: name,
            node_id: status.node_id,
            leader: status.leader,
            alarms: &status.alarms,
        })?;
    } else {
        let answering = status.members.iter().filter(|member| member.reachable).count();
        let leader = match status.leader.filter(|_| !is_unavailable) {
            Some(leader) => format!("leader {leader}"),
            None => "no leader with a quorum".to_owned(),
        };
        let count = status.members.len();
        output.line(&format!(
            "{name}: {answering} of {count} members answer, {leader}, asked node {}",
            status.node_id
        ))?;
        for alarms in status.alarms.chunk_by(|one, next| one.kind == next.kind) {
            print_kind(alarms, now, output)?;
        }
    }
    match name {
        "healthy" => Ok(()),
        "alarms" => Err(CliError::Reported(ALARMS)),
        _ => Err(CliError::Reported(UNAVAILABLE)),
    }
}

/// Alarms of one kind: what each says, then once what such an alarm means.
fn print_kind(alarms: &[Alarm], now: Duration, output: &mut Output<'_>) -> Result<(), CliError> {
    let Some(first) = alarms.first() else {
        return Ok(());
    };
    output.line("")?;
    output.line(&first.kind)?;
    let mut by_detail: Vec<(&str, Vec<&Alarm>)> = Vec::new();
    for alarm in alarms {
        match by_detail.iter_mut().find(|(detail, _)| *detail == alarm.detail) {
            Some((_, same)) => same.push(alarm),
            None => by_detail.push((&alarm.detail, vec![alarm])),
        }
    }
    for (detail, same) in by_detail {
        let nodes: Vec<_> = same.iter().map(|alarm| alarm.node_id.to_string()).collect();
        let plural = if nodes.len() > 1 { "s" } else { "" };
        paragraph(
            "    ",
            &format!("  node{plural} {}: ", nodes.join(", ")),
            detail,
            output,
        )?;
        let since = same.iter().map(|alarm| alarm.since).min().unwrap_or_default();
        let lasted = now.saturating_sub(Duration::from_micros(since));
        output.line(&format!(
            "  since  {} ({} ago)",
            // Seconds are enough for people.
            format_utc(since / 1_000_000 * 1_000_000).replace(".000000", ""),
            rough(lasted)
        ))?;
    }
    paragraph("         ", "  means  ", &first.meaning, output)?;
    paragraph("         ", "  do     ", &first.action, output)
}

/// `text` behind `label`, in lines; all but the first begin with `indent`.
fn paragraph(indent: &str, label: &str, text: &str, output: &mut Output<'_>) -> Result<(), CliError> {
    let mut line = label.to_owned();
    let mut is_fresh = true;
    for word in text.split_whitespace() {
        if !is_fresh && line.chars().count() + 1 + word.chars().count() > LINE_CHARACTERS {
            output.line(&line)?;
            line = indent.to_owned();
            is_fresh = true;
        }
        if !is_fresh {
            line.push(' ');
        }
        line.push_str(word);
        is_fresh = false;
    }
    output.line(&line)
}

/// A time in its largest unit.
fn rough(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use banyan_api::cluster::Member;

    use super::*;
    use crate::output::Format;

    const NOW: Duration = Duration::from_secs(1_000);

    fn status(leader: Option<u64>, alarms: Vec<Alarm>) -> ClusterStatus {
        let member = |id| Member {
            id,
            reachable: id != 3,
            ..Member::default()
        };
        ClusterStatus {
            node_id: 1,
            leader,
            members: vec![member(1), member(2), member(3)],
            alarms,
            ..ClusterStatus::default()
        }
    }

    fn alarm(kind: &str, node_id: u64, raised_by: &[u64]) -> Alarm {
        Alarm {
            kind: kind.into(),
            node_id,
            since: 940_500_000,
            detail: "1.0 MiB free".into(),
            meaning: "long ".repeat(30),
            action: "Make room.".into(),
            raised_by: raised_by.to_vec(),
        }
    }

    fn shown(format: Format, status: &ClusterStatus) -> (String, u8) {
        let mut bytes = Vec::new();
        let result = print(status, NOW, &mut Output::new(format, &mut bytes));
        let code = result.err().map_or(0, |error| error.exit_code());
        (String::from_utf8(bytes).unwrap(), code)
    }

    #[test]
    fn healthy_is_one_line() {
        let (text, code) = shown(Format::Table, &status(Some(2), vec![]));
        assert_eq!(text, "healthy: 2 of 3 members answer, leader 2, asked node 1\n");
        assert_eq!(code, 0);
    }

    #[test]
    fn an_alarm_is_explained() {
        let (text, code) = shown(Format::Table, &status(Some(2), vec![alarm("disk-space", 2, &[2])]));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[2], "disk-space");
        assert_eq!(lines[3], "  node 2: 1.0 MiB free");
        assert_eq!(lines[4], "  since  1970-01-01T00:15:40Z (59 s ago)");
        assert!(lines[5].starts_with("  means  long long"), "{text}");
        assert!(lines[6].starts_with("         long"), "{text}");
        assert_eq!(lines[7], "  do     Make room.");
        assert!(lines.iter().all(|line| line.len() <= LINE_CHARACTERS), "{text}");
        assert_eq!(code, 1);
    }

    #[test]
    fn a_node_without_a_quorum_is_unavailable_and_another_is_not() {
        assert_eq!(shown(Format::Table, &status(None, vec![])).1, 4);
        assert_eq!(
            shown(Format::Table, &status(Some(2), vec![alarm(NO_QUORUM, 1, &[1])])).1,
            4
        );
        assert_eq!(
            shown(Format::Table, &status(Some(2), vec![alarm(NO_QUORUM, 3, &[3])])).1,
            1
        );
    }

    #[test]
    fn what_is_the_same_for_several_nodes_is_said_once() {
        let mut alarms: Vec<_> = (1..=3).map(|id| alarm("writes-refused", id, &[id])).collect();
        alarms[1].detail = "other".into();
        let (text, _) = shown(Format::Table, &status(Some(2), alarms));
        assert!(text.contains("  nodes 1, 3: 1.0 MiB free\n"), "{text}");
        assert!(text.contains("  node 2: other\n"), "{text}");
        assert_eq!(text.matches("  means ").count(), 1, "{text}");
    }

    #[test]
    fn the_json_says_the_same() {
        let (text, _) = shown(Format::Json, &status(Some(2), vec![alarm("disk-slow", 2, &[2])]));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (json["status"].as_str(), json["leader"].as_u64()),
            (Some("alarms"), Some(2))
        );
        assert_eq!(json["alarms"][0]["kind"], "disk-slow");
    }
}
