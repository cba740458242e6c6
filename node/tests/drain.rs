//! A node is emptied before it stops, over real sockets: clients are told where to go, feeds end, leadership leaves, and what would
//! do harm is refused.
#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

mod common;

use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use banyan_api::drain::Drain;
use banyan_api::problem::Problem;
use banyan_core::mqtt::packet::{ConnAck, Packet, QoS};
use banyan_core::mqtt::reason::ReasonCode;
use common::client::{ANSWER_TIMEOUT, Client, ClientError, ConnectOptions, message};
use common::cluster::{Cluster, READY_TIMEOUT};
use common::wait;

/// Each test has a whole cluster and the machine few cores.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `METHOD path` at node `index`: status and body.
fn call(cluster: &Cluster, index: usize, method: &str, path: &str) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(20)))
        .http_status_as_error(false)
        .build()
        .into();
    let url = cluster.url(index, path);
    let answer = match method {
        "GET" => agent.get(url).call(),
        "DELETE" => agent.delete(url).call(),
        "PUT" => agent.put(url).send("x"),
        _ => agent.post(url).send_empty(),
    };
    let mut answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.body_mut().read_to_string().expect("a body"))
}

/// Asks node `asked` for a drain of `drained`, with a query, and wants it to be taken.
fn drain(cluster: &Cluster, asked: usize, method: &str, drained: usize, query: &str) -> Drain {
    try_drain(cluster, asked, method, drained, query).unwrap_or_else(|body| panic!("{body}"))
}

/// The same; what is answered instead, if it is not taken.
fn try_drain(cluster: &Cluster, asked: usize, method: &str, drained: usize, query: &str) -> Result<Drain, String> {
    let path = format!("/v1/cluster/members/{}/drain{query}", cluster.id(drained));
    match call(cluster, asked, method, &path) {
        (200, body) => Ok(serde_json::from_str(&body).expect("a drain")),
        (_, body) => Err(body),
    }
}

/// The same, and wants it to be refused: the type of the problem, and what it says.
fn refused(cluster: &Cluster, asked: usize, drained: u64, query: &str) -> (String, String) {
    let path = format!("/v1/cluster/members/{drained}/drain{query}");
    let (_, body) = call(cluster, asked, "POST", &path);
    let problem: Problem = serde_json::from_str(&body).expect("a problem");
    (problem.kind, problem.detail)
}

/// Asks until a drain is taken that may be refused while a member is silent for a moment, or an election goes on.
fn begin(cluster: &Cluster, asked: usize, drained: usize, query: &str) -> Drain {
    wait::until("a drain", READY_TIMEOUT, || {
        try_drain(cluster, asked, "POST", drained, query).ok()
    })
}

/// Waits until what node `drained` says of its drain is as wanted.
fn wait_until_told(cluster: &Cluster, asked: usize, drained: usize, is_wanted: impl Fn(&Drain) -> bool) -> Drain {
    wait::until("a drain as it is wanted", READY_TIMEOUT, || {
        let told = try_drain(cluster, asked, "GET", drained, "").ok()?;
        is_wanted(&told).then_some(told)
    })
}

fn wait_until_empty(cluster: &Cluster, asked: usize, drained: usize) -> Drain {
    wait_until_told(cluster, asked, drained, |told| told.state == "ready-to-stop")
}

/// Waits until the nodes `followers` are ready and name one leader, which is not node `former`.
fn wait_until_led_without(cluster: &Cluster, former: usize, followers: [usize; 2]) {
    wait::until("one leader that is another", READY_TIMEOUT, || {
        let [one, other] = followers.map(|index| cluster.status(index).and_then(|status| status.leader));
        (one? == other? && one? != cluster.id(former)).then_some(())
    });
    for index in followers {
        cluster.wait_until_ready(index);
    }
}

/// What CONNACK says to `options` at node `index`.
fn connack(cluster: &Cluster, index: usize, options: &ConnectOptions) -> ConnAck {
    let mut client = Client::open(cluster.mqtt(index), options.connect.version).expect("a socket");
    client
        .send(&Packet::Connect(Box::new(options.connect.clone())))
        .expect("a socket");
    match client.receive(ANSWER_TIMEOUT).expect("a CONNACK") {
        Packet::ConnAck(connack) => *connack,
        other => panic!("{other:?}"),
    }
}

/// Whether `reference` lists the MQTT addresses of all nodes but `index`.
fn names_the_others(cluster: &Cluster, index: usize, reference: Option<&str>) -> bool {
    let mut named: Vec<&str> = reference.unwrap_or_default().split(' ').collect();
    named.sort_unstable();
    let others = cluster.indexes().filter(|&other| other != index);
    let mut others: Vec<String> = others.map(|other| cluster.mqtt(other).to_string()).collect();
    others.sort_unstable();
    named == others
}

#[test]
fn a_node_that_drains_hands_everything_over_and_can_take_it_back() {
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[("drain_rate", "40")]);
    let node = cluster.wait_for_leader();
    let other = (node + 1) % 3;

    let persistent = |name: &str| {
        let mut options = ConnectOptions::v5(name);
        options.connect.clean_start = false;
        options.connect.session_expiry_s = Some(3_600);
        options
    };
    let connect = |options: &ConnectOptions| Client::connect_soon(cluster.mqtt(node), options);
    let mut new: Vec<Client> = (0..10)
        .map(|n| connect(&ConnectOptions::v5(&format!("new-{n}"))))
        .collect();
    new.extend((0..5).map(|n| connect(&persistent(&format!("kept-{n}")))));
    let mut old: Vec<Client> = (0..5)
        .map(|n| connect(&ConnectOptions::v3(&format!("old-{n}"))))
        .collect();
    new[0]
        .publish(message("state/a", "1", QoS::AtLeastOnce, true))
        .expect("a PUBACK");
    let url = cluster.url(node, "/v1/changes?feed=continuous&filter=state/%23");
    let feed = thread::spawn(move || {
        let mut lines = String::new();
        let mut body = ureq::get(url).call().expect("a feed").into_body();
        body.as_reader()
            .read_to_string(&mut lines)
            .expect("an end in good order");
        lines
    });
    wait_until_told(&cluster, other, node, |told| told.streams == 1);

    let told = wait::until("a drain that names both others", READY_TIMEOUT, || {
        let told = try_drain(&cluster, other, "POST", node, "?dry_run=true").ok()?;
        names_the_others(&cluster, node, Some(&told.sends_to.join(" "))).then_some(told)
    });
    assert_eq!((told.state.as_str(), told.clients), ("serving", 20), "{told:?}");
    assert_eq!((told.rate, told.quorum, told.voters_left), (40, 2, 2), "{told:?}");
    // Asked at another node, which hands it on.
    let told = begin(&cluster, other, node, "");
    assert_eq!(told.state, "draining");
    let (status, body) = call(&cluster, node, "GET", "/health/ready");
    assert_eq!(status, 503);
    assert!(body.contains("drain"), "{body}");

    let all: Vec<String> = cluster.indexes().map(|index| cluster.mqtt(index).to_string()).collect();
    for client in &mut new {
        match client.next_message(ANSWER_TIMEOUT) {
            Err(ClientError::Disconnected(disconnect)) => {
                assert_eq!(disconnect.reason, ReasonCode::UseAnotherServer);
                let reference = disconnect.server_reference.as_deref();
                // Of the others those who were ready at the last look.
                let own = cluster.mqtt(node).to_string();
                let is_another = |named: &str| named != own && all.contains(&named.to_owned());
                let named = reference.unwrap_or_default();
                assert!(named.split(' ').all(is_another), "{reference:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    for client in &mut old {
        let end = client.next_message(ANSWER_TIMEOUT);
        assert!(matches!(end, Err(ClientError::Closed)), "{end:?}");
    }
    let lines = feed.join().expect("a feed");
    assert!(lines.ends_with('\n'), "{lines}");
    for line in lines.lines() {
        let _whole: serde_json::Value = serde_json::from_str(line).expect("a whole line");
    }
    // It may be elected once more, until it looks again.
    let told = wait_until_told(&cluster, other, node, |told| {
        told.state == "ready-to-stop" && !told.leader
    });
    assert_eq!((told.clients, told.streams), (0, 0), "{told:?}");
    wait::until("another leader", READY_TIMEOUT, || {
        (cluster.leader()? != node).then_some(())
    });

    // Who comes now is told where to go; 3.1.1 has a code for it alone.
    wait::until("a reference to both others", READY_TIMEOUT, || {
        let refusal = connack(&cluster, node, &ConnectOptions::v5("late"));
        assert_eq!(refusal.reason, ReasonCode::UseAnotherServer);
        names_the_others(&cluster, node, refusal.server_reference.as_deref()).then_some(())
    });
    let refusal = connack(&cluster, node, &ConnectOptions::v3("late"));
    assert_eq!(refusal.reason, ReasonCode::ServerUnavailable);
    let (status, body) = call(&cluster, node, "GET", "/v1/changes?feed=continuous");
    assert_eq!(status, 503, "{body}");
    // Requests are served all the same.
    assert_eq!(call(&cluster, node, "PUT", "/v1/topics/state/b").0, 201);
    assert_eq!(call(&cluster, node, "GET", "/v1/topics/state/b").0, 200);
    let mut moved = wait::until("the session elsewhere", READY_TIMEOUT, || {
        Client::connect(cluster.mqtt(other), &persistent("kept-0")).ok()
    });
    assert!(moved.connack().session_present);

    let told = drain(&cluster, other, "DELETE", node, "");
    assert_eq!(told.state, "serving");
    cluster.wait_until_ready(node);
    wait::until("a client that is back", READY_TIMEOUT, || {
        Client::connect(cluster.mqtt(node), &ConnectOptions::v5("back")).ok()
    });
    // For good, and at once.
    let told = begin(&cluster, node, other, "?rate=0&for_good=true");
    assert_eq!(told.rate, 0);
    match moved.next_message(ANSWER_TIMEOUT) {
        Err(ClientError::Disconnected(disconnect)) => assert_eq!(disconnect.reason, ReasonCode::ServerMoved),
        other => panic!("{other:?}"),
    }
    wait_until_empty(&cluster, node, other);
    assert!(cluster.stop(other).success());
}

#[test]
fn a_drain_that_would_do_harm_is_refused() {
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[]);
    let (kind, detail) = refused(&cluster, 0, 9, "");
    assert_eq!(kind, "/problems/member-not-found", "{detail}");
    assert_eq!(refused(&cluster, 0, 1, "?rate=fast").0, "/problems/invalid-parameter");

    // Two at a time would leave one.
    begin(&cluster, 0, 1, "");
    wait_until_empty(&cluster, 0, 1);
    wait_until_led_without(&cluster, 1, [0, 2]);
    let (kind, detail) = refused(&cluster, 0, 1, "");
    assert_eq!(kind, "/problems/unsafe-change", "{detail}");
    assert!(
        detail.starts_with("without node 1, 1 of 3 voters are ready, and 2 must agree"),
        "{detail}"
    );
    assert!(detail.contains("node 2 is not ready (dra"), "{detail}");
    drain(&cluster, 0, "DELETE", 1, "");
    cluster.wait_until_ready(1);

    cluster.kill(2);
    wait_until_led_without(&cluster, 2, [0, 1]);
    let (kind, detail) = refused(&cluster, 0, 1, "");
    assert_eq!(kind, "/problems/unsafe-change");
    assert!(detail.contains("node 3 does not answer"), "{detail}");
    let (kind, detail) = refused(&cluster, 0, 3, "");
    assert_eq!(kind, "/problems/unavailable", "{detail}");
    let told = wait::until("a dry run with one objection", READY_TIMEOUT, || {
        let told = try_drain(&cluster, 0, "POST", 1, "?dry_run=true").ok()?;
        (told.objections.len() == 1).then_some(told)
    });
    assert_eq!(told.state, "serving");
    let told = drain(&cluster, 0, "POST", 1, "?force=true");
    assert_eq!(told.state, "draining");

    let alone = Cluster::start(1, &[]);
    let (_, detail) = refused(&alone, 0, 1, "");
    assert!(
        detail.contains("no other member is ready to take its clients"),
        "{detail}"
    );
    drain(&alone, 0, "POST", 0, "?force=true");
    wait_until_empty(&alone, 0, 0);
}
