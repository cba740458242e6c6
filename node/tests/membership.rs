//! A cluster grows, loses a node, has it replaced and shrinks again, as an operator does it with `banyanctl`, while writers
//! write through every node.
//!
//! ```text
//! cargo test -p banyan-node --test membership -- --nocapture
//! ```
//!
//! prints the session as it looks. With `BANYAN_WRITES=100000` more is written between two changes.

#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

mod common;

use std::time::{Duration, Instant};

use banyan_api::cluster::Member;
use common::banyanctl;
use common::cluster::{Cluster, READY_TIMEOUT};
use common::evidence::{Evidence, read_state};
use common::load::{Load, LoadOptions, WriterLog};
use common::{number_from_environment, wait};

/// Longest time without any acknowledged write.
const PATIENCE: Duration = Duration::from_secs(30);
/// Exit code of a node that the cluster refused or removed.
const REFUSED: i32 = 4;

/// The settings with which a node enters, from what `member add` printed.
fn entry(printed: &str) -> Vec<(String, String)> {
    let value = |name: &str| {
        let line = printed.lines().find_map(|line| line.trim().strip_prefix(name));
        let text = line.unwrap_or_else(|| panic!("no {name} in {printed}"));
        text.replace(['[', ']', '"', ' '], "")
            .trim_start_matches('=')
            .to_owned()
    };
    vec![
        ("join".to_owned(), value("join =")),
        ("join_token".to_owned(), value("join_token =")),
    ]
}

/// Starts node `index` with the settings that `member add` printed.
fn start_new(cluster: &Cluster, index: usize, printed: &str) {
    let settings = entry(printed);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    cluster.spawn_with(index, &settings);
}

fn members(cluster: &Cluster, asked: usize) -> Vec<Member> {
    cluster.status(asked).map(|status| status.members).unwrap_or_default()
}

/// Waits until node `index` has `role`, as node `asked` sees it.
fn wait_for_role(cluster: &Cluster, asked: usize, index: usize, role: &str) {
    wait::until(&format!("{role} {}", cluster.id(index)), READY_TIMEOUT, || {
        cluster.assert_running(index);
        let members = members(cluster, asked);
        members
            .iter()
            .any(|member| member.id == cluster.id(index) && member.role == role)
            .then_some(())
    });
}

fn leader(cluster: &Cluster, asked: usize) -> usize {
    let leader = wait::until("leader", READY_TIMEOUT, || cluster.status(asked)?.leader);
    usize::try_from(leader - 1).expect("an index")
}

/// Waits for the end of a node that was removed.
fn assert_removed(cluster: &Cluster, index: usize) {
    let ended = cluster.wait_for_end(index);
    let log = std::fs::read_to_string(cluster.log_file(index)).expect("a log");
    assert_eq!(ended.code(), Some(REFUSED), "{log}");
    let said: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("removed from the cluster; the node stops"))
        .collect();
    assert_eq!(said.len(), 1, "{log}");
    println!("# node {} has ended with exit code {REFUSED}", cluster.id(index));
}

#[test]
fn from_one_node_to_five_and_back_to_three_under_load() {
    let writes = number_from_environment("BANYAN_WRITES", 300) as u64;
    let cluster = Cluster::growing(6, 1, &[]);
    let started = Instant::now();
    cluster.start_node(0);
    let options = LoadOptions {
        faithful_writers: 0,
        roaming_writers: 4,
        window: 8,
        ..LoadOptions::default()
    };
    let ctl = |asked: &[usize], line: &str| banyanctl::ok(&cluster, asked, line);
    let mut last = 0;
    let writers = Load::run(&cluster, options, |load| {
        let let_write = || load.wait_until_acknowledged(load.acknowledged() + writes, PATIENCE);
        let_write();
        println!("# one node becomes three\n");
        ctl(&[0], "member list");
        for index in [1, 2] {
            let added = ctl(&[0], "member add --no-wait");
            start_new(&cluster, index, &added);
            wait_for_role(&cluster, 0, index, "voter");
            let_write();
        }
        ctl(&[1], "member list");

        println!("# three become five, both at a time\n");
        let (fourth, fifth) = (ctl(&[1], "member add --no-wait"), ctl(&[2], "member add --no-wait"));
        start_new(&cluster, 3, &fourth);
        start_new(&cluster, 4, &fifth);
        wait_for_role(&cluster, 0, 3, "voter");
        wait_for_role(&cluster, 0, 4, "voter");
        let_write();
        ctl(&[3], "member list");

        println!("# one of them dies and is replaced\n");
        let dead = (0..5)
            .rev()
            .find(|index| *index != leader(&cluster, 0))
            .expect("a follower");
        let alive: Vec<usize> = (0..5).filter(|index| *index != dead).collect();
        cluster.kill(dead);
        let_write();
        wait::until("dead node", READY_TIMEOUT, || {
            let members = members(&cluster, alive[0]);
            members.iter().any(|member| !member.reachable).then_some(())
        });
        ctl(&alive, "member list");
        let learner = ctl(&alive, "member add --learner --no-wait");
        start_new(&cluster, 5, &learner);
        wait_for_role(&cluster, alive[0], 5, "learner");
        ctl(&alive, &format!("member replace {} 6 --dry-run", cluster.id(dead)));
        ctl(&alive, &format!("member replace {} 6", cluster.id(dead)));
        let_write();
        ctl(&alive, "member list");
        // The dead node comes back, and hears that it is no member any more.
        cluster.spawn(dead);
        assert_removed(&cluster, dead);
        println!();

        println!("# five become three, the leader goes first\n");
        let mut present: Vec<usize> = (0..6).filter(|index| *index != dead).collect();
        for _ in 0..2 {
            let leading = leader(&cluster, present[0]);
            let others: Vec<usize> = present.iter().copied().filter(|index| *index != leading).collect();
            ctl(&others, &format!("member remove {}", cluster.id(leading)));
            assert_removed(&cluster, leading);
            println!();
            present = others;
            let_write();
        }
        ctl(&present, "member list");
        let leading = leader(&cluster, present[0]);
        ctl(&present, "leader transfer");
        assert_ne!(leader(&cluster, present[0]), leading);
        let_write();

        println!("# what would lose the quorum is refused\n");
        let follower = *present
            .iter()
            .find(|index| **index != leader(&cluster, present[0]))
            .expect("one");
        let other = *present
            .iter()
            .find(|index| **index != follower && **index != leader(&cluster, present[0]))
            .expect("one");
        let asked: Vec<usize> = present.iter().copied().filter(|index| *index != follower).collect();
        cluster.kill(follower);
        wait::until("dead node that the leader has noticed", READY_TIMEOUT, || {
            let line = format!("member remove {} --dry-run", cluster.id(other));
            let ran = banyanctl::run_quietly(&cluster, &asked, &line);
            let is_refused = ran.code == 1 && ran.stderr.contains("nothing could be written any more");
            is_refused.then(|| ran.show(&line))
        });
        cluster.spawn(follower);
        cluster.wait_until_ready(follower);
        let_write();
        last = present[0];
    });
    cluster.wait_until_equal();
    let state = read_state(&cluster, last);
    let summary = Evidence {
        writers: &writers,
        observers: &[],
        state: &state,
    }
    .check();
    println!("{summary}");
    println!(
        "longest time without an acknowledged write: {} ms; the session took {} s",
        longest_gap(&writers).as_millis(),
        started.elapsed().as_secs()
    );
}

/// The longest time between two acknowledgements of any writers.
fn longest_gap(writers: &[WriterLog]) -> Duration {
    let attempts = writers.iter().flat_map(|writer| &writer.attempts);
    let mut times: Vec<Instant> = attempts.filter_map(|attempt| Some(attempt.acknowledged?.at)).collect();
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

/// A program's end: exit code, and what it said last.
fn end_of(cluster: &Cluster, index: usize) -> (Option<i32>, String) {
    let ended = cluster.wait_for_end(index);
    let log = std::fs::read_to_string(cluster.log_file(index)).unwrap_or_default();
    (ended.code(), log.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn who_may_not_enter_is_told_why() {
    let cluster = Cluster::growing(4, 1, &[]);
    cluster.start_node(0);
    let other = Cluster::start(1, &[]);
    let asked = &[0];

    println!("# a token is good for one node\n");
    let added = banyanctl::ok(&cluster, asked, "member add --learner --no-wait");
    start_new(&cluster, 1, &added);
    wait_for_role(&cluster, 0, 1, "learner");
    start_new(&cluster, 2, &added);
    let (code, said) = end_of(&cluster, 2);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(said.contains("node 2 has entered with the join token"), "{said}");

    println!("# a token of another cluster, and one that has expired\n");
    let foreign = banyanctl::ok(&other, &[0], "member add --no-wait");
    let mut settings = entry(&foreign);
    settings[0].1 = cluster.peer(0).to_string();
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    cluster.spawn_with(2, &settings);
    let (code, said) = end_of(&cluster, 2);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(said.contains("the node belongs to another cluster"), "{said}");
    let short = banyanctl::ok(&cluster, asked, "member add --expires 1 --no-wait");
    wait::until("expired token", READY_TIMEOUT, || {
        let list = banyanctl::run_quietly(&cluster, asked, "member list -o json");
        list.stdout.contains("\"tokens\": []").then_some(())
    });
    start_new(&cluster, 2, &short);
    let (code, said) = end_of(&cluster, 2);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(said.contains("expired"), "{said}");

    println!("# a second start ignores how the node entered, with the token of another cluster it is refused\n");
    cluster.stop(1);
    cluster.spawn(1);
    cluster.wait_until_ready(1);
    cluster.stop(1);
    cluster.spawn_with(1, &settings);
    let (code, said) = end_of(&cluster, 1);
    println!("{said}\n");
    assert_eq!(code, Some(2));
    assert!(said.contains("give this node an empty data directory"), "{said}");

    println!("# a node that lost its data does not come back under its id\n");
    std::fs::remove_dir_all(cluster.data_dir(1)).expect("its data");
    let again = banyanctl::ok(&cluster, asked, "member add --no-wait");
    start_new(&cluster, 1, &again);
    let (code, said) = end_of(&cluster, 1);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(
        said.contains("node 2 is a member already, with another data directory"),
        "{said}"
    );

    println!("# nor does one that was removed\n");
    banyanctl::ok(&cluster, asked, "member remove 2");
    start_new(&cluster, 1, &again);
    let (code, said) = end_of(&cluster, 1);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(said.contains("ids are never used again"), "{said}");

    println!("# the last voter stays\n");
    let ran = banyanctl::run(&cluster, asked, "member remove 1");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("the last voter"), "{}", ran.stderr);
    let ran = banyanctl::run(&cluster, asked, "member promote 9");
    assert_eq!(ran.code, 3);
}

/// A founder without its data would not know whom it voted for.
#[test]
fn a_founder_that_lost_its_data_does_not_begin_anew() {
    let cluster = Cluster::start(3, &[]);
    let lost = (0..3)
        .find(|index| *index != cluster.wait_for_leader())
        .expect("a follower");
    cluster.kill(lost);
    std::fs::remove_dir_all(cluster.data_dir(lost)).expect("its data");
    cluster.spawn(lost);
    let (code, said) = end_of(&cluster, lost);
    println!("{said}");
    assert_eq!(code, Some(REFUSED));
    assert!(
        said.contains("has been a member, and its data directory is empty now"),
        "{said}"
    );
}

/// Addresses are attributes: a node that starts with another one is found by it.
#[test]
fn a_node_moves_to_another_address() {
    let cluster = Cluster::start(3, &[]);
    let new_port = common::ports::ReservedPort::new();
    let address = format!("127.0.0.1:{}", new_port.number());
    let moving = (0..3)
        .find(|index| *index != cluster.wait_for_leader())
        .expect("a follower");
    cluster.stop(moving);
    cluster.spawn_moved(moving, &address);
    cluster.wait_until_ready(moving);
    wait::until("new address in the membership", READY_TIMEOUT, || {
        let members = members(&cluster, (moving + 1) % 3);
        members
            .iter()
            .any(|member| member.peer_address == address)
            .then_some(())
    });
    cluster.wait_until_equal();
}
