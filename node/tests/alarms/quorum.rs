//! A node that has lost the others says so at once, wherever somebody looks.

use std::fs;

use banyan_api::cluster::ClusterStatus;
use banyan_core::mqtt::packet::ProtocolVersion;
use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{Client, ClientError, ConnectOptions, SubscribeOptions};
use crate::common::cluster::Cluster;
use crate::common::wait;
use crate::support::{ClientExt, VERSIONS, payload_of};
use crate::{ALARM_TIMEOUT, alarm};

const TOPIC: &str = "$SYS/broker/alarms/no-quorum";

/// Lines about two nodes that have gone and are not back for some seconds: for each a lost connection of each lane, and that it
/// cannot be reached; the alarms; and as many again for a slow start.
const WARNINGS_MAX: usize = 40;

/// Takes what is published until `payload` comes. What the others last said of themselves may come before it.
fn expect_at_last(watcher: &mut Client, payload: &str) {
    while payload_of(&watcher.next()) != payload {}
}

/// Two of three processes are killed: `/health/ready` is 503, CONNECT is answered 0x88 (3.1.1: 3), `$SYS` and `/v1/cluster`
/// tell of an alarm, and there is one line in the log; one of them back, all is well, and there is one more.
#[test]
fn it_is_told_everywhere_that_there_is_no_quorum_and_that_there_is_again() {
    let cluster = Cluster::start(3, &[]);
    wait::until("no alarms", ALARM_TIMEOUT, || {
        cluster.status(0).filter(|status| status.alarms.is_empty())
    });
    let mut watcher = Client::connect_soon(cluster.mqtt(0), &ConnectOptions::v5("watcher"));
    watcher.subscribed(&SubscribeOptions::new(TOPIC));
    expect_at_last(&mut watcher, "none");
    let lines = |text: &str| {
        let log = fs::read_to_string(cluster.log_file(0)).expect("a log");
        log.lines()
            .filter(|line| line.contains("no-quorum") && line.contains(text))
            .count()
    };
    let (raised_before, cleared_before) = (lines("alarm:"), lines("alarm cleared"));

    cluster.kill(1);
    cluster.kill(2);
    wait::until("503 of /health/ready", ALARM_TIMEOUT, || {
        cluster.get(0, "/health/ready").filter(|(status, _)| *status == 503)
    });
    expect_at_last(&mut watcher, "1");
    for version in VERSIONS {
        match Client::connect(cluster.mqtt(0), &ConnectOptions::new(version, "late")) {
            Err(ClientError::Refused(ReasonCode::ServerUnavailable)) => {}
            other => panic!("{version:?}: {other:?}"),
        }
    }
    let status = cluster.status(0).expect("an answer without a quorum");
    assert!(alarm(&status, "no-quorum", 1).is_some(), "{:?}", status.alarms);
    for lost in [2, 3] {
        wait::until("unreachable members", ALARM_TIMEOUT, || {
            alarm(&cluster.status(0)?, "unreachable", lost).cloned()
        });
    }
    assert_eq!(lines("alarm:"), raised_before + 1);
    assert_eq!(lines("alarm cleared"), cleared_before);

    cluster.start_node(1);
    expect_at_last(&mut watcher, "none");
    Client::connect_soon(cluster.mqtt(0), &ConnectOptions::new(ProtocolVersion::V5, "later"));
    wait::until("one line for each end", ALARM_TIMEOUT, || {
        let cleared = lines("alarm cleared") - cleared_before;
        (cleared > 0 && cleared == lines("alarm:") - raised_before).then_some(())
    });
    // Who is away is spoken of in our words alone, and not at every attempt to reach him.
    let log = fs::read_to_string(cluster.log_file(0)).expect("a log");
    assert!(!log.contains("openraft"), "{log}");
    let warnings = log.lines().filter(|line| line.contains(" WARN ")).count();
    assert!(warnings <= WARNINGS_MAX, "{log}");
    let status = wait::until("the end of the alarm", ALARM_TIMEOUT, || {
        let is_over = |status: &ClusterStatus| alarm(status, "no-quorum", 1).is_none();
        cluster.status(0).filter(is_over)
    });
    assert!(alarm(&status, "unreachable", 3).is_some(), "one is still down");
}
