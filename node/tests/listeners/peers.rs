//! Mutual TLS between nodes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banyan_node::net::tls::TlsFiles;
use banyan_node::net::tls::peers::{PeerConfigs, SecuredNet};
use banyan_node::net::tls::reload::Reloading;
use banyan_node::net::{Net, Tcp};
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::certificates::{Authority, CLIENT, Identity, SERVER};
use crate::common::client::{Client, ConnectOptions, message};
use crate::common::cluster::Cluster;
use crate::common::wait;
use crate::tunnel;
use banyan_core::mqtt::packet::QoS;

/// A hello of a node of some cluster: a whole frame is not needed to see that nobody reads it.
const HELLO: &[u8] = b"\0\0\0\x40BNYN\0\x01";

fn files(dir: &Path, authority: &Authority, identity: &Identity) -> TlsFiles {
    TlsFiles {
        ca: Some(authority.write(dir, "ca.pem")),
        ..identity.write(dir)
    }
}

/// The settings that make a node use `files`.
fn settings(files: &TlsFiles) -> Vec<(&'static str, String)> {
    let text = |path: &Path| path.display().to_string();
    vec![
        ("peer_certificate", text(&files.certificate)),
        ("peer_key", text(&files.key)),
        ("peer_ca", files.ca.as_deref().map(text).expect("a CA")),
    ]
}

fn cluster(size: usize, files: &TlsFiles) -> Cluster {
    let settings = settings(files);
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Cluster::new(size, &settings)
}

fn write(cluster: &Cluster, index: usize, topic: &str) {
    let mut client = Client::connect_soon(cluster.mqtt(index), &ConnectOptions::v5("writer"));
    let ack = client
        .publish(message(topic, "1", QoS::AtLeastOnce, true))
        .expect("PUBACK");
    assert!(!ack.reason.is_failure(), "{:?}", ack.reason);
}

#[test]
fn nodes_of_one_ca_form_a_cluster_and_follow_new_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("nodes");
    let files = files(dir.path(), &authority, &authority.issue("node", &[SERVER, CLIENT]));
    let cluster = cluster(3, &files);
    cluster.start_all();
    write(&cluster, 0, "first");

    // New certificates of a new CA for all: connections that are open stay, and each that is opened then uses the new ones.
    let successor = Authority::new("successors");
    std::fs::write(dir.path().join("ca.pem"), format!("{}{}", authority.pem, successor.pem)).unwrap();
    successor.issue("node", &[SERVER, CLIENT]).write(dir.path());
    for index in cluster.indexes() {
        cluster.signal(index, rustix::process::Signal::HUP);
    }
    wait::until("new certificate on all nodes", Duration::from_secs(30), || {
        let took = |index| {
            let log = std::fs::read_to_string(cluster.log_file(index)).unwrap_or_default();
            log.contains("new connections use the new certificate")
        };
        cluster.indexes().all(took).then_some(())
    });
    cluster.restart(1);
    write(&cluster, 1, "second");
    cluster.wait_until_equal();
}

#[test]
fn a_node_with_a_foreign_ca_stays_outside() {
    let (dir, foreign_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, foreign) = (Authority::new("nodes"), Authority::new("foreign"));
    let good = files(dir.path(), &authority, &authority.issue("node", &[SERVER, CLIENT]));
    let bad = files(foreign_dir.path(), &foreign, &foreign.issue("node", &[SERVER, CLIENT]));
    let cluster = Cluster::new(3, &[]);
    for (index, files) in [(0, &good), (1, &good), (2, &bad)] {
        let settings = settings(files);
        let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        cluster.spawn_with(index, &settings);
    }
    cluster.wait_until_ready(0);
    cluster.wait_until_ready(1);
    write(&cluster, 0, "among-two");
    // It has the ids, the addresses and the cluster's name, and two willing peers. It is still never ready, for a while after
    // the certificates were refused.
    let assert_outside = || {
        let ready = cluster.get(2, "/health/ready").map(|(status, _)| status);
        assert_ne!(ready, Some(200), "a node with a foreign CA serves");
        let status = cluster.status(0).expect("a status");
        let member = status.members.iter().find(|member| member.id == 3).expect("a member");
        assert_eq!(member.applied_index, None, "the outsider answered");
    };
    wait::until("refused certificate in the log", Duration::from_secs(60), || {
        assert_outside();
        let log = std::fs::read_to_string(cluster.log_file(0)).unwrap();
        (log.contains("UnknownIssuer") || log.contains("UnknownCA")).then_some(())
    });
    let end = std::time::Instant::now() + Duration::from_secs(3);
    wait::until("end of the time that it stays outside", Duration::from_secs(60), || {
        assert_outside();
        (std::time::Instant::now() > end).then_some(())
    });
}

/// What a peer port answers to somebody with this client configuration.
async fn peer_port_says(address: std::net::SocketAddr, config: Arc<rustls::ClientConfig>) -> std::io::Result<Vec<u8>> {
    let mut stream = tunnel::tls(address, config).await?;
    tunnel::say(&mut stream, HELLO).await
}

#[test]
fn the_peer_port_reads_nothing_from_those_who_are_no_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, foreign) = (Authority::new("nodes"), Authority::new("foreign"));
    let node = authority.issue("node", &[SERVER, CLIENT]);
    let configs = Reloading::<PeerConfigs>::for_peers(files(dir.path(), &authority, &node)).unwrap();
    let net = SecuredNet::new(Arc::new(Tcp), configs);
    let expired = authority.issue_with("node", &[SERVER, CLIENT], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    tunnel::run(async {
        let mut listener = net.bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; HELLO.len()];
            stream.read_exact(&mut bytes).await.unwrap();
            bytes.to_vec()
        });
        let strangers = [
            ("no certificate", None),
            ("a foreign one", Some(foreign.issue("node", &[SERVER, CLIENT]))),
            ("an expired one", Some(expired)),
            ("a client's", Some(authority.issue("client", &[CLIENT]))),
            ("a server's", Some(authority.issue("server", &[SERVER]))),
        ];
        for (what, identity) in &strangers {
            let config = authority.client(identity.as_ref(), &[&TLS13], &[]);
            assert!(peer_port_says(address, config).await.is_err(), "{what}");
        }
        let old = authority.client(Some(&node), &[&TLS12], &[]);
        assert!(peer_port_says(address, old).await.is_err(), "TLS 1.2");
        let mut plain = TcpStream::connect(address).await.unwrap();
        let said = tunnel::say(&mut plain, HELLO).await.unwrap_or_default();
        assert!(!said.windows(4).any(|bytes| bytes == b"BNYN"), "{said:x?}");
        assert!(!accepted.is_finished(), "somebody was let in");

        use tokio::io::AsyncWriteExt;
        let mut stream = net.connect(&address.to_string()).await.unwrap();
        stream.write_all(HELLO).await.unwrap();
        assert_eq!(accepted.await.unwrap(), HELLO);
    });
}

#[test]
fn a_node_does_not_talk_to_a_listener_that_is_no_node() {
    let dir = tempfile::tempdir().unwrap();
    let (nodes, foreign) = (Authority::new("nodes"), Authority::new("foreign"));
    let net = |authority: &Authority, ca: &Authority, name: &str, usages: &[_]| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let files = files(&dir, ca, &authority.issue("node", usages));
        SecuredNet::new(Arc::new(Tcp), Reloading::<PeerConfigs>::for_peers(files).unwrap())
    };
    let both = [SERVER, CLIENT];
    let node = net(&nodes, &nodes, "node", &both);
    tunnel::run(async {
        for (name, authority, usages) in [("foreign", &foreign, &both[..]), ("server", &nodes, &[SERVER])] {
            let stranger = net(authority, &nodes, name, usages);
            let mut listener = stranger.bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let accepting = tokio::spawn(async move { listener.accept().await.map(drop) });
            assert!(node.connect(&address).await.is_err(), "{name}");
            accepting.abort();
        }
    });
}
