//! `banyanctl member`: who belongs to the cluster, and changing it.

use banyan_api::cluster::{Member, Members, MembershipChange, Quorum};
use clap::{Args, Subcommand};
use ureq::http::Method;

use super::waiting::{Waiting, wait_until};
use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::{Output, or_dash};

/// What to do with members.
#[derive(Debug, Subcommand)]
pub(crate) enum Commands {
    /// List the members: what each is, and how far it has come
    List,
    /// Make a join token with which a new node enters, as a learner first and as a voter once it has caught up
    Add(Add),
    /// Give a learner a vote
    Promote(One),
    /// Take the vote of a member, which stays as a learner
    Demote(One),
    /// Take a member out; it lets its clients go, stops, and never comes back
    Remove(One),
    /// Let a learner take the place of another member: it becomes a voter, then the other is removed
    Replace(Replace),
}

/// Options of `member add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Keep the new node a learner
    #[arg(long)]
    learner: bool,
    /// The member that is removed once the new node is a voter
    #[arg(long, value_name = "ID", conflicts_with = "learner")]
    replace: Option<u64>,
    /// Seconds that the token is good for [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    expires: Option<u64>,
    /// Say what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait until the new node has caught up, also where there is no terminal
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Options of a change to one member.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Id of the member
    id: u64,
    /// Say what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Options of `member replace`.
#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// Id of the member that leaves
    old: u64,
    /// Id of the learner that takes its place
    new: u64,
    /// Say what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: Waiting,
}

impl Commands {
    /// Does it.
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        match self {
            Self::List => print_list(&members(client)?, output),
            Self::Add(add) => add.run(client, output),
            Self::Promote(one) => {
                let is_voter = |members: &Members| role_of(members, one.id).is_some_and(is_voter);
                one.change(client, output, (Method::POST, "/promote"), "is a voter", is_voter)
            }
            Self::Demote(one) => {
                let is_learner = |members: &Members| role_of(members, one.id) == Some("learner");
                one.change(client, output, (Method::POST, "/demote"), "is a learner", is_learner)
            }
            Self::Remove(one) => {
                let is_gone = |members: &Members| role_of(members, one.id).is_none();
                one.change(client, output, (Method::DELETE, ""), "has left the cluster", is_gone)
            }
            Self::Replace(replace) => replace.run(client, output),
        }
    }
}

impl One {
    fn change(
        &self,
        client: &Client,
        output: &mut Output<'_>,
        (method, action): (Method, &str),
        done: &str,
        is_done: impl Fn(&Members) -> bool,
    ) -> Result<(), CliError> {
        let path = format!("/v1/cluster/members/{}{action}", self.id);
        let client = with_others(client);
        let change = send(&client, method, &path, Vec::new(), self.dry_run)?;
        print_change(&change, output)?;
        if !self.dry_run && !self.waiting.no_wait {
            wait_until(&client, &self.waiting, self.id, is_done)?;
            if !output.is_json() {
                output.line(&format!("node {} {done}", self.id))?;
            }
        }
        Ok(())
    }
}

impl Replace {
    fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        let Self { old, new, .. } = *self;
        let path = format!("/v1/cluster/members/{old}/replace");
        let client = with_others(client);
        let query = vec![("with", Some(new.to_string()))];
        let change = send(&client, Method::POST, &path, query, self.dry_run)?;
        print_change(&change, output)?;
        if !self.dry_run && !self.waiting.no_wait {
            wait_until(&client, &self.waiting, new, |members| {
                role_of(members, new).is_some_and(is_voter) && role_of(members, old).is_none()
            })?;
            if !output.is_json() {
                output.line(&format!("node {new} has taken the place of node {old}"))?;
            }
        }
        Ok(())
    }
}

impl Add {
    fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        let before = members(client)?;
        let query = vec![
            ("learner", self.learner.then(|| "true".to_owned())),
            ("replaces", self.replace.map(|id| id.to_string())),
            ("expires_s", self.expires.map(|seconds| seconds.to_string())),
        ];
        let change = send(client, Method::POST, "/v1/cluster/members", query, self.dry_run)?;
        print_change(&change, output)?;
        let Some(token) = &change.token else { return Ok(()) };
        if !output.is_json() {
            let join: Vec<String> = token.join.iter().map(|address| format!("\"{address}\"")).collect();
            output.line(&format!(
                "Start the new node, with a data directory of its own and within {}, with these settings; the token is good \
                 for one node and is not shown again:",
                lifetime(self.expires.unwrap_or(3600))
            ))?;
            output.line("")?;
            output.line(&format!("  join = [{}]", join.join(", ")))?;
            output.line(&format!("  join_token = \"{}\"", token.token))?;
            output.line("")?;
        }
        let waits = self.wait || (Waiting::has_terminal() && !output.is_json() && !self.waiting.no_wait);
        if !waits {
            return Ok(());
        }
        let known: Vec<u64> = before.items.iter().map(|member| member.id).collect();
        let new = |members: &Members| {
            members
                .items
                .iter()
                .map(|member| member.id)
                .find(|id| !known.contains(id))
        };
        let is_done = |members: &Members| {
            let serves = |member: &&Member| member.reachable && member.not_ready.is_none();
            let id = new(members).filter(|id| members.items.iter().filter(serves).any(|member| member.id == *id));
            let role = id.and_then(|id| role_of(members, id));
            role.is_some_and(|role| is_voter(role) || (self.learner && role == "learner"))
                && self.replace.is_none_or(|old| role_of(members, old).is_none())
        };
        let after = wait_until(client, &self.waiting, 0, is_done)?;
        let id = or_dash(new(&after));
        if output.is_json() {
            return Ok(());
        }
        output.line(&format!(
            "node {id} is a {}",
            if self.learner { "learner" } else { "voter" }
        ))
    }
}

fn lifetime(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    }
}

/// Asks for the members.
pub(super) fn members(client: &Client) -> Result<Members, CliError> {
    client.fetch(&Call {
        path: "/v1/cluster/members",
        ..Call::default()
    })
}

/// The same cluster, by its other members too: the one that is asked may be the one that goes.
fn with_others(client: &Client) -> Client {
    let others = members(client).map(|members| members.items).unwrap_or_default();
    client.or_else(others.into_iter().filter_map(|member| member.http_address))
}

/// Asks for a change.
pub(super) fn send(
    client: &Client,
    method: Method,
    path: &str,
    mut query: Vec<(&str, Option<String>)>,
    dry_run: bool,
) -> Result<MembershipChange, CliError> {
    query.push(("dry_run", dry_run.then(|| "true".to_owned())));
    client.fetch(&Call {
        method,
        path,
        query,
        ..Call::default()
    })
}

fn role_of(members: &Members, id: u64) -> Option<&str> {
    members
        .items
        .iter()
        .find(|member| member.id == id)
        .map(|member| member.role.as_str())
}

fn is_voter(role: &str) -> bool {
    matches!(role, "leader" | "voter")
}

/// Says what a change does to the quorum.
pub(super) fn print_change(change: &MembershipChange, output: &mut Output<'_>) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(change);
    }
    output.line(&quorum_line(&change.before, &change.after))?;
    for note in &change.notes {
        output.line(&format!("note: {note}"))?;
    }
    if change.dry_run {
        output.line("dry run: nothing was changed")?;
    }
    Ok(())
}

fn quorum_line(before: &Quorum, after: &Quorum) -> String {
    let text = |quorum: &Quorum| format!("{} of {}", quorum.quorum, quorum.voters.len());
    let spare = |quorum: &Quorum| match quorum.spare {
        0 => "none may fail".to_owned(),
        spare => format!("{spare} may fail"),
    };
    let spares = match before.spare == after.spare {
        true => spare(after),
        false => format!("{} → {}", spare(before), spare(after)),
    };
    match (before.voters == after.voters, before.voters.len() == after.voters.len()) {
        (true, _) => format!("quorum {} voters, unchanged ({spares})", text(before)),
        (_, true) => format!("quorum {} voters before and after ({spares})", text(before)),
        _ => format!("quorum {} → {} voters ({spares})", text(before), text(after)),
    }
}

fn print_list(members: &Members, output: &mut Output<'_>) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(members);
    }
    let end = members
        .items
        .iter()
        .filter_map(|member| member.last_log_index)
        .max()
        .unwrap_or_default();
    let header = ["ID", "ROLE", "STATE", "BEHIND", "PEERS", "HTTP", "VERSION"];
    let row = |member: &Member| {
        [
            member.id.to_string(),
            member.role.clone(),
            state(member),
            or_dash(member.last_log_index.map(|last| end - last)),
            member.peer_address.clone(),
            or_dash(member.http_address.as_deref()),
            or_dash(member.version.as_deref()),
        ]
    };
    output.table(header, members.items.iter().map(row).collect())?;
    output.line("")?;
    let mut summary = format!("quorum {} of {} voters", members.quorum, members.voters);
    match members.tokens.len() {
        0 => {}
        1 => summary.push_str("; 1 join token is waiting for a node"),
        count => summary.push_str(&format!("; {count} join tokens are waiting for nodes")),
    }
    output.line(&summary)
}

/// What a member is about, in few words.
pub(super) fn state(member: &Member) -> String {
    let is_voter = is_voter(&member.role);
    let doing = match (member.goal.as_deref(), member.replaces) {
        (Some("leaves"), _) => Some("leaving".to_owned()),
        (Some("voter"), Some(old)) => Some(format!("to replace node {old}")),
        (Some("voter"), None) if !is_voter => Some("catching up".to_owned()),
        (Some("learner"), _) if is_voter => Some("being demoted".to_owned()),
        _ => None,
    };
    let being = match (&member.not_ready, member.reachable) {
        (_, false) => "unreachable".to_owned(),
        (Some(_), true) if doing.is_some() => return doing.unwrap_or_default(),
        (Some(reason), true) => format!("not ready: {reason}"),
        (None, true) => "ready".to_owned(),
    };
    match (doing, being.as_str()) {
        (Some(doing), "ready") => doing,
        (Some(doing), _) => format!("{being}, {doing}"),
        (None, _) => being,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, printed};

    fn quorum_of(voters: &[u64]) -> Quorum {
        let quorum = voters.len() / 2 + 1;
        Quorum {
            voters: voters.to_vec(),
            quorum,
            spare: voters.len() - quorum,
        }
    }

    #[test]
    fn a_change_tells_the_quorum_before_and_after() {
        let change = MembershipChange {
            dry_run: true,
            before: quorum_of(&[1, 2, 3]),
            after: quorum_of(&[1, 2]),
            notes: vec!["the cluster will not survive the loss of any voter".into()],
            ..MembershipChange::default()
        };
        let text = printed(Format::Table, |output| print_change(&change, output));
        assert_eq!(
            text,
            "quorum 2 of 3 → 2 of 2 voters (1 may fail → none may fail)\n\
             note: the cluster will not survive the loss of any voter\n\
             dry run: nothing was changed\n"
        );
        let unchanged = quorum_line(&quorum_of(&[1, 2, 3]), &quorum_of(&[1, 2, 3]));
        assert_eq!(unchanged, "quorum 2 of 3 voters, unchanged (1 may fail)");
        let json = printed(Format::Json, |output| print_change(&change, output));
        assert_eq!(serde_json::from_str::<MembershipChange>(&json).unwrap(), change);
    }

    #[test]
    fn members_are_listed_with_what_they_are_about() {
        let leader = Member {
            id: 1,
            role: "leader".into(),
            reachable: true,
            peer_address: "a:7400".into(),
            http_address: Some("a:8080".into()),
            version: Some("0.1.0".into()),
            last_log_index: Some(120),
            ..Member::default()
        };
        let learner = Member {
            id: 4,
            role: "learner".into(),
            goal: Some("voter".into()),
            replaces: Some(2),
            last_log_index: Some(20),
            ..leader.clone()
        };
        let dead = Member {
            id: 2,
            role: "voter".into(),
            reachable: false,
            http_address: None,
            version: None,
            last_log_index: None,
            ..leader.clone()
        };
        let members = Members {
            items: vec![leader, dead, learner],
            quorum: 2,
            voters: 2,
            tokens: vec![banyan_api::cluster::OpenToken::default()],
        };
        let text = printed(Format::Table, |output| print_list(&members, output));
        assert_eq!(
            text,
            "ID  ROLE     STATE              BEHIND  PEERS   HTTP    VERSION\n\
             1   leader   ready              0       a:7400  a:8080  0.1.0\n\
             2   voter    unreachable        -       a:7400  -       -\n\
             4   learner  to replace node 2  100     a:7400  a:8080  0.1.0\n\
             \n\
             quorum 2 of 2 voters; 1 join token is waiting for a node\n"
        );
        let json = printed(Format::Json, |output| print_list(&members, output));
        assert_eq!(serde_json::from_str::<Members>(&json).unwrap(), members);
    }

    #[test]
    fn states_are_few_words() {
        let member = |role: &str, goal: Option<&str>, reachable: bool| {
            state(&Member {
                role: role.into(),
                goal: goal.map(str::to_owned),
                reachable,
                ..Member::default()
            })
        };
        assert_eq!(member("voter", Some("leaves"), true), "leaving");
        assert_eq!(member("voter", Some("leaves"), false), "unreachable, leaving");
        assert_eq!(member("learner", Some("voter"), true), "catching up");
        assert_eq!(member("learner", Some("learner"), true), "ready");
        assert_eq!(member("voter", Some("learner"), true), "being demoted");
        assert_eq!(member("voter", Some("voter"), true), "ready");
    }
}
