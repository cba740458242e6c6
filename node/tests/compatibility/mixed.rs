//! Clusters in which one node knows less than the others.
//!
//! It is held at the level before by a setting, and in the long form is the program of the version before itself:
//!
//! ```text
//! BANYAN_BEFORE=…/banyan cargo test -p banyan-node --test compatibility mixed -- --nocapture
//! ```

use std::ffi::OsString;
use std::time::Duration;

use banyan_core::feature::FeatureLevel;
use banyan_node::settings::Settings;
use tokio::runtime::Runtime;

use crate::common::banyanctl;
use crate::common::cluster::{Cluster, READY_TIMEOUT};
use crate::common::load::{Load, LoadOptions};
use crate::common::wait;
use crate::support::Node;
use crate::{SETTINGS, contents, one_at_a_time};

/// The node that knows less.
const OLD: usize = 2;
/// Writes between two steps.
const WRITES: u64 = 300;
/// Longest time without an acknowledged write.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the old node runs, if it is not today's program with a setting.
fn before() -> Option<OsString> {
    std::env::var_os("BANYAN_BEFORE")
}

fn start(cluster: &Cluster, node: usize) {
    match (node, before()) {
        (OLD, None) => cluster.spawn_with(OLD, &[("feature_level_max", "1")]),
        (OLD, Some(program)) => {
            cluster.use_program(OLD, program);
            cluster.spawn(OLD);
        }
        _ => cluster.spawn(node),
    }
}

/// The level that each member has applied, and the last that it knows, as node `asked` sees them.
fn levels(cluster: &Cluster, asked: usize) -> Option<Vec<(u16, u16)>> {
    let members = cluster.status(asked)?.members.into_iter();
    members
        .map(|member| member.feature_level.zip(member.feature_level_max))
        .collect()
}

#[test]
fn mixed_versions_apply_alike_until_all_know_the_next_level() {
    let _alone = one_at_a_time();
    let cluster = Cluster::new(3, SETTINGS);
    cluster.indexes().for_each(|node| start(&cluster, node));
    cluster.indexes().for_each(|node| cluster.wait_until_ready(node));
    // Every kind of command, by the node that knows less; the load by all, under leaders of both.
    drop(contents::write(cluster.mqtt(OLD)));
    let mut led = Vec::new();
    let logs = Load::run(&cluster, LoadOptions::default(), |load| {
        for _ in 0..2 {
            load.wait_until_acknowledged(load.acknowledged() + WRITES, PATIENCE);
            let leader = cluster.wait_for_leader();
            led.push(leader);
            assert!(cluster.stop(leader).success());
            load.wait_until_acknowledged(load.acknowledged() + WRITES, PATIENCE);
            start(&cluster, leader);
            cluster.wait_until_ready(leader);
        }
        load.wait_until_acknowledged(load.acknowledged() + WRITES, PATIENCE);
        led.push(cluster.wait_for_leader());
    });
    let members = cluster.wait_until_equal();
    wait::until("level 1 everywhere, held back", READY_TIMEOUT, || {
        (levels(&cluster, 0)? == [(1, 2), (1, 2), (1, 1)]).then_some(())
    });
    let writes: usize = logs.iter().map(|log| log.attempts.len()).sum();
    println!(
        "level 1 with node {} held there{}: leaders {:?}, {writes} writes of the load, digest {} on {} nodes",
        cluster.id(OLD),
        if before().is_some() { " by its program" } else { "" },
        led.iter().map(|leader| cluster.id(*leader)).collect::<Vec<_>>(),
        members[0].digest.as_deref().unwrap_or("?"),
        members.len(),
    );

    assert!(cluster.stop(OLD).success());
    cluster.use_program(OLD, env!("CARGO_BIN_EXE_banyan"));
    cluster.start_node(OLD);
    wait::until("level 2 everywhere", READY_TIMEOUT, || {
        let raised = levels(&cluster, 0)?.iter().all(|levels| *levels == (2, 2));
        raised.then_some(())
    });
    cluster.wait_until_equal();
    // What was written at level 1 by the old node is found by the new ones.
    contents::check(&cluster);
    cluster.wait_until_equal();

    // There is no way back any more.
    assert!(cluster.stop(OLD).success());
    start(&cluster, OLD);
    let status = cluster.wait_for_end(OLD);
    assert_eq!(status.code(), Some(3), "{status}");
    let log = std::fs::read_to_string(cluster.log_file(OLD)).expect("a log");
    let last = log.lines().last().unwrap_or_default();
    println!("and back: {last}");
    if before().is_none() {
        assert!(
            last.contains("the cluster has feature level 2, and this node goes up to 1"),
            "{last}"
        );
    }
}

#[test]
fn what_is_new_is_refused_with_the_node_that_holds_it_back() {
    let _alone = one_at_a_time();
    let ask = |nodes: &[Node; 3], asked: usize| {
        let runtime = Runtime::new().expect("a runtime");
        let required = nodes[asked].service().require_level(FeatureLevel::KNOWN, "a test");
        runtime.block_on(required).map_err(|error| error.to_string())
    };
    let is_held_back = |settings: &mut Settings| {
        if settings.node_id == 3 {
            settings.feature_level_max = FeatureLevel::FIRST;
        }
    };
    let nodes = Node::cluster_with(is_held_back);
    for asked in 0..3 {
        let holder = format!("node 3 holds it back (version {}, level 1)", env!("CARGO_PKG_VERSION"));
        let refusal = format!("a test needs feature level 2, and the cluster is at 1: {holder}");
        // Nodes that have just started do not know each other's versions yet.
        wait::until(&refusal, READY_TIMEOUT, || {
            let refused = ask(&nodes, asked).expect_err("level 1");
            (refused == refusal).then_some(())
        });
    }
    drop(nodes);
    let nodes = Node::cluster_with(|_| {});
    for asked in 0..3 {
        wait::until("level 2", READY_TIMEOUT, || ask(&nodes, asked).ok());
    }
}

/// A member that died before it knew the level would hold it back for ever if it could not be removed.
#[test]
fn who_is_gone_for_good_is_removed_at_any_level() {
    let _alone = one_at_a_time();
    let cluster = Cluster::new(3, SETTINGS);
    cluster.indexes().for_each(|node| match node {
        OLD => cluster.spawn_with(OLD, &[("feature_level_max", "1")]),
        _ => cluster.spawn(node),
    });
    cluster.indexes().for_each(|node| cluster.wait_until_ready(node));
    let asked = [0, 1];
    wait::until("node 3 to be named as what holds the level back", READY_TIMEOUT, || {
        let refused = banyanctl::run(&cluster, &asked, "member add --no-wait");
        assert_eq!(refused.code, 1, "{}", refused.stdout);
        refused.stderr.contains("node 3 holds it back").then_some(())
    });

    cluster.kill(OLD);
    let command = format!("member remove {} --no-wait", cluster.id(OLD));
    wait::until("a member that is known to be silent", READY_TIMEOUT, || {
        let ran = banyanctl::run(&cluster, &asked, &command);
        (ran.code == 0).then_some(())
    });
    wait::until("level 2 of those who are left", READY_TIMEOUT, || {
        (levels(&cluster, 0)? == [(2, 2), (2, 2)]).then_some(())
    });
    banyanctl::ok(&cluster, &asked, "member add --no-wait");
    // It hears that it is a member no more, also with today's program.
    cluster.spawn(OLD);
    let ended = cluster.wait_for_end(OLD);
    let log = std::fs::read_to_string(cluster.log_file(OLD)).expect("a log");
    assert_eq!(ended.code(), Some(4), "{log}");
}
