//! A backup from a live cluster, checked, and a new cluster out of it; and a cluster of one out of what is left of a majority.
//!
//! The programs that operators run are thin over what is used here: the HTTP call, and `banyan_node::offline`.

#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

mod common;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use banyan_core::mqtt::packet::QoS;
use banyan_core::mqtt::reason::ReasonCode;
use banyan_core::topic::TopicName;
use banyan_node::backup::{Header, Reader};
use banyan_node::offline::OfflineError;
use banyan_node::offline::recover::Recovery;
use banyan_node::offline::restore::{Restore, Restored};
use banyan_node::settings::Member;
use common::client::{Client, ConnectOptions, SubscribeOptions, message};
use common::cluster::Cluster;
use common::evidence::read_state;
use common::load::{Load, LoadOptions};
use common::wait;

/// Longest time without any acknowledged write while a majority is up.
const PATIENCE: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Each test has a whole cluster and the machine few cores.
static RUNNING: Mutex<()> = Mutex::new(());

/// A backup through node `index`, as it comes.
fn save(cluster: &Cluster, index: usize, query: &str) -> Vec<u8> {
    let answer = ureq::get(cluster.url(index, &format!("/v1/cluster/snapshot{query}"))).call();
    let mut answer = answer.expect("an answer");
    let mut file = Vec::new();
    let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
    body.read_to_end(&mut file).expect("all of it");
    file
}

/// Header and digest of topics of a file that must be whole.
fn verified(file: &[u8]) -> (Header, String) {
    let mut reader = Reader::open(file).expect("a header");
    reader.verify().expect("a whole snapshot");
    assert_eq!(reader.bytes(), file.len() as u64);
    (reader.header().clone(), reader.sum().data_digest().to_string())
}

fn members_of(cluster: &Cluster) -> Vec<Member> {
    cluster
        .indexes()
        .map(|index| Member::parse(&format!("{}@{}", cluster.id(index), cluster.peer(index))).expect("a member"))
        .collect()
}

/// Makes the data directory of node `index` of `cluster`, which does not run yet.
fn restore(cluster: &Cluster, index: usize, file: &Path, prefix: Option<&str>) -> Result<Restored, OfflineError> {
    let prefix = prefix.map(|prefix| TopicName::parse(prefix).expect("a topic"));
    let restore = Restore {
        file,
        data_dir: &cluster.data_dir(index),
        node_id: cluster.id(index),
        members: &members_of(cluster),
        prefix: prefix.as_ref(),
        dry_run: false,
    };
    restore.run(&mut |_, _| {})
}

fn written(cluster: &Cluster, name: &str, bytes: &[u8]) -> PathBuf {
    let path = cluster.data_dir(0).with_file_name(name);
    fs::write(&path, bytes).expect("the file");
    path
}

/// A client with a session that outlives its connection.
fn persistent(client_id: &str) -> ConnectOptions {
    let mut options = ConnectOptions::v5(client_id);
    (options.connect.session_expiry_s, options.connect.clean_start) = (Some(3600), false);
    options
}

#[test]
fn a_backup_under_load_is_whole_and_its_restore_is_the_same_state_in_another_cluster() {
    let _alone = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let old = Cluster::start(3, &[]);
    let mut away = Client::connect_soon(old.mqtt(0), &persistent("away"));
    away.subscribe(&SubscribeOptions::new("jobs/#")).expect("subscribed");
    drop(away);
    let mut writer = Client::connect_soon(old.mqtt(1), &ConnectOptions::v5("writer"));
    for number in 0..5 {
        let job = message("jobs/next", format!("job {number}"), QoS::AtLeastOnce, true);
        writer.publish(job).expect("published");
    }
    for topic in ["gone", "kept/a", "kept/b"] {
        let state = message(topic, "value", QoS::AtLeastOnce, true);
        writer.publish(state).expect("published");
    }
    writer
        .publish(message("gone", "", QoS::AtLeastOnce, true))
        .expect("deleted");

    let options = LoadOptions {
        payload_bytes: 1_000,
        ..LoadOptions::default()
    };
    Load::run(&old, options, |load| {
        load.wait_until_acknowledged(2_000, PATIENCE);
        for index in old.indexes() {
            let acknowledged = old.member(index).and_then(|member| member.revision);
            let file = save(&old, index, "");
            let (header, _) = verified(&file);
            assert!(
                Some(header.position.revision) >= acknowledged,
                "older than what was acknowledged"
            );
            assert_eq!(header.node_id, old.id(index));
            for cut in [file.len() / 3, file.len() - 1] {
                let broken = Reader::open(&file[..cut]).and_then(|mut reader| reader.verify());
                assert!(broken.is_err(), "cut to {cut} of {} bytes", file.len());
            }
            load.wait_until_acknowledged(load.acknowledged() + 500, PATIENCE);
        }
    });
    drop(writer);
    // That the writer has gone, and how far idle sessions are, is noted a little later.
    let (members, file) = wait::until("a backup while nothing changes", TIMEOUT, || {
        let before = old.wait_until_equal();
        let file = save(&old, 2, "?rate=0&consistency=local");
        let members = old.wait_until_equal();
        (before[2].digest == members[2].digest).then_some((members, file))
    });
    let (header, data_digest) = verified(&file);
    assert_eq!(Some(header.position.revision), members[2].revision);
    let path = written(&old, "whole.snapshot", &file);
    let state = read_state(&old, 0);
    old.kill_all();

    let new = Cluster::new(3, &[]);
    let first = restore(&new, 0, &path, None).expect("restored");
    assert_eq!(
        Some(first.digest.to_string()),
        members[2].digest,
        "the digest of the old nodes"
    );
    assert_eq!(first.digest, restore(&new, 1, &path, None).expect("restored").digest);
    assert!(matches!(restore(&new, 1, &path, None), Err(OfflineError::Exists(_))));
    // Node 3 is started with the same settings and without the data: that makes another cluster.
    (0..3).for_each(|index| new.spawn(index));
    (0..2).for_each(|index| new.wait_until_ready(index));
    wait::until("refusal of the node without the data", TIMEOUT, || {
        let log = fs::read_to_string(new.log_file(2)).ok()?;
        log.contains("belongs to another cluster").then_some(())
    });
    let stranger = new.status(2).expect("it runs");
    assert!(stranger.leader.is_none() && stranger.cluster_id != format!("{:016x}", first.cluster_id));
    new.kill(2);
    fs::remove_dir_all(new.data_dir(2)).expect("removed");
    restore(&new, 2, &path, None).expect("restored");
    new.start_node(2);
    new.wait_until_equal();
    assert_eq!(
        new.status(0).expect("status").cluster_id,
        format!("{:016x}", first.cluster_id)
    );
    assert!(read_state(&new, 1) == state, "the new cluster lists another state");
    let (restored, restored_digest) = verified(&save(&new, 1, ""));
    assert_eq!(
        (restored.position.revision, restored_digest),
        (header.position.revision, data_digest)
    );

    // The session has come along, with what it had not had.
    let mut back = Client::connect_soon(new.mqtt(1), &persistent("away"));
    assert!(back.connack().session_present);
    for number in 0..5 {
        let job = back.next_message(TIMEOUT).expect("a message");
        assert_eq!(job.payload, format!("job {number}"));
    }
    let ack = back
        .publish(message("kept/c", "new", QoS::AtLeastOnce, true))
        .expect("written");
    assert_eq!(ack.reason, ReasonCode::Success);
    drop(back);

    // One subtree alone.
    let part = Cluster::new(1, &[]);
    let restored = restore(&part, 0, &path, Some("kept")).expect("restored");
    assert_eq!(restored.sum.topic_count, 2);
    part.start_all();
    let (_, list) = part.get(0, "/v1/topics?filter=%23&values=false").expect("a list");
    assert!(
        list.contains("kept/a") && list.contains("kept/b") && !list.contains("jobs"),
        "{list}"
    );
}

#[test]
fn a_backup_that_its_reader_or_its_node_breaks_off_is_no_backup() {
    let _alone = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start(1, &[]);
    let options = LoadOptions {
        payload_bytes: 4_000,
        ..LoadOptions::default()
    };
    Load::run(&cluster, options, |load| load.wait_until_acknowledged(2_000, PATIENCE));
    let whole = save(&cluster, 0, "?rate=0").len();
    // Slow enough that it is still on its way when the node is killed.
    let answer = ureq::get(cluster.url(0, "/v1/cluster/snapshot?rate=100000")).call();
    let mut answer = answer.expect("an answer");
    let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
    let mut file = vec![0; 200_000];
    body.read_exact(&mut file).expect("a part");
    cluster.kill(0);
    let mut rest = Vec::new();
    let ended = body.read_to_end(&mut rest);
    file.extend(rest);
    assert!(ended.is_err() && file.len() < whole, "the break shows");
    assert!(Reader::open(&file[..]).and_then(|mut reader| reader.verify()).is_err());
    cluster.start_all();

    for (query, kind) in [
        ("?rate=fast", "invalid-parameter"),
        ("?speed=1", "invalid-parameter"),
        ("?at_least=999999999", "unavailable"),
    ] {
        let (status, body) = cluster
            .get(0, &format!("/v1/cluster/snapshot{query}"))
            .expect("an answer");
        assert!(
            (400..600).contains(&status) && body.contains(kind),
            "{query}: {status} {body}"
        );
    }
    // Those that are on their way count, those that were given up do not.
    let slow = || {
        ureq::get(cluster.url(0, "/v1/cluster/snapshot?rate=1000"))
            .call()
            .expect("an answer")
    };
    let (one, two) = (slow(), slow());
    let (status, body) = cluster.get(0, "/v1/cluster/snapshot").expect("an answer");
    assert!(status == 429 && body.contains("too-many-requests"), "{status} {body}");
    drop((one, two));
}

#[test]
fn what_one_node_holds_becomes_a_cluster_when_the_majority_is_lost() {
    let _alone = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start(3, &[]);
    Load::run(&cluster, LoadOptions::default(), |load| {
        load.wait_until_acknowledged(1_000, PATIENCE);
    });
    cluster.wait_until_equal();
    let (state, former) = (read_state(&cluster, 0), cluster.status(0).expect("status").cluster_id);
    // One write reaches the leader's disk and nobody else's.
    let leader = cluster.wait_for_leader();
    let others: Vec<usize> = cluster.indexes().filter(|index| *index != leader).collect();
    let held = cluster.member(leader).and_then(|member| member.last_log_index);
    others.iter().for_each(|index| cluster.pause(*index));
    let put = ureq::put(cluster.url(leader, "/v1/topics/unsure"))
        .config()
        .http_status_as_error(false)
        .build();
    let answer = put.send("value").expect("an answer");
    assert!(answer.status().is_server_error(), "{}", answer.status());
    let last = cluster.member(leader).and_then(|member| member.last_log_index);
    assert!(last > held, "the write is in the log of the leader");
    cluster.kill_all();

    let directory = cluster.data_dir(leader);
    let recovery = Recovery::open(&directory).expect("opened");
    assert!(
        matches!(Recovery::open(&directory), Err(OfflineError::DataDir(_))),
        "opened twice"
    );
    let holdings = recovery.holdings().clone();
    assert_eq!(format!("{:016x}", holdings.cluster_id), former);
    assert_eq!((holdings.node_id, holdings.members.len()), (cluster.id(leader), 3));
    assert!(holdings.uncertain_entries() > 0 && holdings.last.map(|last| last.index) >= last);
    let address = recovery.peer_address(None).expect("known");
    assert_eq!(address, cluster.peer(leader).to_string());
    let recovered = recovery.run(&address, 1_000_000, &mut |_, _| {}).expect("recovered");
    assert!(recovered.old_data_dir.join("log").is_dir(), "the old data are kept");

    // The recovered node serves alone, with the same settings; another old member is refused.
    cluster.start_node(leader);
    assert!(
        read_state(&cluster, leader) == state,
        "the recovered node lists another state"
    );
    let (status, body) = cluster.get(leader, "/v1/topics/unsure").expect("an answer");
    assert_eq!(
        (status, body.as_str()),
        (200, "value"),
        "an entry that was not known to be committed is kept"
    );
    cluster.spawn(others[0]);
    wait::until("refusal of an old member", TIMEOUT, || {
        let log = fs::read_to_string(cluster.log_file(others[0])).ok()?;
        log.contains("belongs to another cluster").then_some(())
    });
    let (ready, _) = wait::until("an answer of the old member", TIMEOUT, || {
        cluster.get(others[0], "/health/ready")
    });
    assert_eq!(ready, 503);
    let status = cluster.status(leader).expect("status");
    assert_eq!(status.cluster_id, format!("{:016x}", recovered.cluster_id));
    assert_eq!((status.members.len(), status.leader), (1, Some(cluster.id(leader))));
}
