//! TLS of the listeners for clients.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use banyan_node::net::entrance::Entrance;
use banyan_node::net::tls::TlsFiles;
use banyan_node::net::tls::clients::{ClientCertificates, ClientConfigs};
use banyan_node::net::tls::reload::Reloading;
use banyan_node::net::{BoxStream, Listener};
use banyan_node::server::Server;
use banyan_node::settings::{Address, Entry, Member, Settings, TlsSettings};
use futures_util::future::BoxFuture;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certificates::{Authority, CLIENT, Identity, SERVER};
use crate::common::client::{Client, ClientError, ConnectOptions, SubscribeOptions, message};
use crate::common::wait;
use crate::support::{Node, components};
use crate::{exercise, tunnel};
use banyan_core::mqtt::packet::QoS;

/// MQTT 5.0 CONNECT of client `c`.
const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c";
/// `GET /health/live`
const GET: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A node with every kind of listener, and the authority of its certificate.
pub struct Secure {
    pub node: Node,
    pub authority: Authority,
    dir: TempDir,
}

impl Secure {
    pub fn start() -> Self {
        Self::start_with(ClientCertificates::Off, None)
    }

    pub fn start_with(client_certificates: ClientCertificates, clients: Option<&Authority>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::new("servers");
        let files = authority.issue("server", &[SERVER]).write(dir.path());
        let ca = clients.map(|clients| clients.write(dir.path(), "clients.pem"));
        let node = Node::start_with(|settings| {
            set_tls(
                settings,
                TlsFiles {
                    ca: ca.clone(),
                    ..files.clone()
                },
            );
            if let Some(tls) = &mut settings.tls {
                tls.client_certificates = client_certificates;
            }
        });
        Self { node, authority, dir }
    }

    pub fn mqtts(&self) -> SocketAddr {
        self.node.server().mqtts_addresses()[0]
    }

    pub fn https(&self) -> SocketAddr {
        self.node.server().https_addresses()[0]
    }

    /// A local port that leads to `mqtts`.
    fn tunnel(&self, identity: Option<&Identity>) -> SocketAddr {
        let (address, config) = (
            self.mqtts(),
            self.authority.client(identity, &[&TLS13, &TLS12], &["mqtt"]),
        );
        tunnel::open(move || tunnel::tls(address, Arc::clone(&config)))
    }
}

/// Adds an `mqtts` and an `https` listener that use `files`.
pub fn set_tls(settings: &mut Settings, files: TlsFiles) {
    let any_port = Address::parse("127.0.0.1:0").expect("an address");
    settings.mqtts = vec![any_port.clone()];
    settings.https = vec![any_port];
    settings.tls = Some(TlsSettings {
        files,
        client_certificates: ClientCertificates::Off,
    });
}

/// Shows [MQTT-4.2.0-1].
#[test]
fn mqtt_and_http_over_either_version() {
    let secure = Secure::start();
    for version in [&TLS12, &TLS13] {
        let config = secure.authority.client(None, &[version], &["mqtt"]);
        let address = secure.mqtts();
        exercise(tunnel::open(move || tunnel::tls(address, Arc::clone(&config))));

        tunnel::run(async {
            let config = secure.authority.client(None, &[version], &["h2", "http/1.1"]);
            let mut stream = tunnel::tls(secure.https(), config).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
            let answer = tunnel::say(&mut stream, GET).await.unwrap();
            assert!(
                answer.starts_with(b"HTTP/1.1 200 "),
                "{}",
                String::from_utf8_lossy(&answer)
            );
        });
    }
}

/// Gives one connection.
struct One(Option<BoxStream>);

impl Listener for One {
    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 1).into())
    }

    fn accept(&mut self) -> BoxFuture<'_, std::io::Result<(BoxStream, SocketAddr)>> {
        let stream = self.0.take();
        Box::pin(async move {
            match stream {
                Some(stream) => Ok((stream, ([127, 0, 0, 1], 2).into())),
                None => std::future::pending().await,
            }
        })
    }
}

#[test]
fn nobody_needs_to_flush_what_the_socket_did_not_take() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers");
    let files = authority.issue("server", &[SERVER]).write(dir.path());
    let configs = Reloading::<ClientConfigs>::for_clients(files, ClientCertificates::Off).unwrap();
    let entrance = Entrance {
        proxy_protocol: false,
        tls: Some(Arc::new(move || Arc::clone(&configs.current().mqtt))),
    };
    let (near, far) = tokio::io::duplex(1024);
    let mut listener = entrance.guard(Box::new(One(Some(Box::new(far)))));
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[7; 100_000]).await.unwrap();
        // Holds the connection and does nothing for it.
        std::future::pending::<()>().await;
    };
    let read = async {
        let config = authority.client(None, &[&TLS13], &[]);
        let mut stream = tunnel::tls_over(near, config).await.unwrap();
        stream.read_exact(&mut vec![0; 100_000]).await.unwrap();
    };
    tunnel::run(async {
        tokio::select! {
            () = serve => {}
            () = read => {}
        }
    });
}

#[test]
fn a_client_that_offers_no_protocol_is_served_one_that_offers_another_is_not() {
    let secure = Secure::start();
    tunnel::run(async {
        let plain = secure.authority.client(None, &[&TLS13], &[]);
        let stream = tunnel::tls(secure.mqtts(), plain).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        let wrong = secure.authority.client(None, &[&TLS13], &["http/1.1"]);
        let error = tunnel::tls(secure.mqtts(), wrong).await.unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    });
}

#[test]
fn a_client_that_trusts_another_ca_does_not_connect() {
    let secure = Secure::start();
    let foreign = Authority::new("foreign");
    let config = foreign.client(None, &[&TLS13], &[]);
    let error = tunnel::run(tunnel::tls(secure.mqtts(), config)).unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[test]
fn what_is_no_tls_is_closed_and_the_slow_hold_up_nobody() {
    let secure = Secure::start();
    tunnel::run(async {
        let mut silent = Vec::new();
        for _ in 0..50 {
            silent.push(tokio::net::TcpStream::connect(secure.mqtts()).await.unwrap());
        }
        let mut plain = tokio::net::TcpStream::connect(secure.mqtts()).await.unwrap();
        let said = tunnel::say(&mut plain, CONNECT).await.unwrap_or_default();
        assert!(!said.starts_with(&[0x20]), "CONNACK without TLS");
        let config = secure.authority.client(None, &[&TLS13], &[]);
        tunnel::tls(secure.mqtts(), config).await.unwrap();
        // Those that say nothing are closed in the end.
        assert_eq!(tunnel::say(&mut silent[0], b"").await.unwrap(), b"");
    });
}

#[test]
fn clients_certificates_as_they_are_asked_for() {
    let (clients, foreign) = (Authority::new("clients"), Authority::new("foreign"));
    let good = clients.issue("client", &[CLIENT]);
    let expired = clients.issue_with("client", &[CLIENT], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let bad = [
        ("foreign", foreign.issue("client", &[CLIENT])),
        ("expired", expired),
        ("of a server", clients.issue("server", &[SERVER])),
    ];
    // Whoever gets a CONNACK has been let in, whatever it says.
    let connects = |secure: &Secure, identity| {
        let connected = Client::connect(secure.tunnel(identity), &ConnectOptions::v5("c"));
        matches!(connected, Ok(_) | Err(ClientError::Refused(_)))
    };

    let required = Secure::start_with(ClientCertificates::Required, Some(&clients));
    exercise(required.tunnel(Some(&good)));
    assert!(!connects(&required, None), "without a certificate");
    let optional = Secure::start_with(ClientCertificates::Optional, Some(&clients));
    assert!(connects(&optional, Some(&good)) && connects(&optional, None));
    for (what, identity) in &bad {
        assert!(!connects(&required, Some(identity)), "a certificate that is {what}");
        assert!(!connects(&optional, Some(identity)), "a certificate that is {what}");
    }
    // In TLS 1.2 the client learns it within the handshake.
    let config = required.authority.client(None, &[&TLS12], &[]);
    tunnel::run(tunnel::tls(required.mqtts(), config)).unwrap_err();
}

/// The certificate that new connections are shown.
fn shown(secure: &Secure) -> Vec<u8> {
    let config = secure.authority.client(None, &[&TLS13], &[]);
    let stream = tunnel::run(tunnel::tls(secure.mqtts(), config)).expect("a connection");
    let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
    chain[0].to_vec()
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_the_old_ones_live() {
    let secure = Secure::start();
    let first = shown(&secure);
    let mut old = Client::connect_soon(secure.tunnel(None), &ConnectOptions::v5("old"));

    // A certificate whose key is not there yet changes nothing, asked for or not.
    let key = fs::read(secure.dir.path().join("key.pem")).unwrap();
    let second = secure.authority.issue("second", &[SERVER]);
    second.write(secure.dir.path());
    fs::write(secure.dir.path().join("key.pem"), &key).unwrap();
    secure.node.server().reload_certificates();
    assert_eq!(shown(&secure), first);
    fs::remove_file(secure.dir.path().join("key.pem")).unwrap();
    secure.node.server().reload_certificates();
    assert_eq!(shown(&secure), first);

    second.write(secure.dir.path());
    wait::until("second certificate", wait_timeout(), || {
        (shown(&secure) == *second.der()).then_some(())
    });
    let third = secure.authority.issue("third", &[SERVER]);
    third.write(secure.dir.path());
    secure.node.server().reload_certificates();
    wait::until("third certificate", wait_timeout(), || {
        (shown(&secure) == *third.der()).then_some(())
    });

    old.subscribe(&SubscribeOptions::new("a")).unwrap();
    old.publish(message("a", "still here", QoS::AtLeastOnce, false))
        .unwrap();
    assert_eq!(old.next_message(wait_timeout()).unwrap().payload, "still here");
}

fn wait_timeout() -> std::time::Duration {
    std::time::Duration::from_secs(30)
}

/// Why a node with changed settings does not start.
fn refused(change: impl FnOnce(&mut Settings)) -> String {
    let data = tempfile::tempdir().unwrap();
    let member = Member::parse("1@127.0.0.1:7400").unwrap();
    let mut settings = Settings {
        entry: Entry::Bootstrap(vec![member]),
        ..Settings::defaults(1, data.path())
    };
    change(&mut settings);
    let components = components();
    let error = tunnel::run(Server::start(settings, components))
        .err()
        .expect("no start");
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn a_listener_with_tls_is_never_one_without() {
    let said = refused(|settings| settings.https = vec![Address::parse("127.0.0.1:0").unwrap()]);
    assert!(said.contains("`tls_certificate`"), "{said}");
}

#[test]
fn files_that_cannot_be_used_stop_the_start_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers");
    let (one, other) = (authority.issue("one", &[SERVER]), authority.issue("other", &[SERVER]));
    let files = one.write(dir.path());
    let refused = |files: TlsFiles| refused(|settings| set_tls(settings, files));
    let with_key = |name: &str, contents: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let key = dir.path().join(name);
        fs::write(&key, contents).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        refused(TlsFiles { key, ..files.clone() })
    };
    let missing = TlsFiles {
        certificate: dir.path().join("nowhere"),
        ..files.clone()
    };
    assert!(refused(missing).contains("nowhere cannot be read"));
    assert!(with_key("open.pem", &one.key, 0o644).contains("chmod o-rwx"));
    assert!(with_key("empty.pem", "", 0o600).contains("empty.pem holds no private key"));
    assert!(with_key("cut.pem", &one.key[..60], 0o600).contains("cut.pem holds no private key"));
    assert!(with_key("other.pem", &other.key, 0o600).contains("cannot be used together"));
    let swapped = TlsFiles {
        certificate: files.key.clone(),
        ..files.clone()
    };
    assert!(refused(swapped).contains("key.pem holds no certificate"));
}
