//! The PROXY protocol: a connection without a header is closed; with one it is served as any other.

use std::net::SocketAddr;

use banyan_node::settings::ClientListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::{Authority, SERVER};
use crate::support::Node;
use crate::{exercise, tls, tunnel};

/// From 192.0.2.7:40000 to 198.51.100.1:1883.
const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x9c\x40\x07\x5b";
/// A load balancer that looks whether the node lives.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
/// MQTT 5.0 CONNECT of client `c`.
const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c";

fn start() -> Node {
    Node::start_with(|settings| settings.proxy_protocol = vec![ClientListener::Mqtt])
}

/// Connects and sends `header`.
async fn connect(address: SocketAddr, header: &'static [u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(header).await?;
    Ok(stream)
}

#[test]
fn a_client_behind_a_load_balancer_is_served() {
    let node = start();
    for header in [HEADER, LOCAL] {
        let address = node.mqtt();
        exercise(tunnel::open(move || connect(address, header)));
    }
    // The other listeners ask for no header.
    assert_eq!(node.get("/health/live").0, 200);
}

#[test]
fn a_header_in_pieces_is_one_too() {
    let node = start();
    tunnel::run(async {
        let mut stream = TcpStream::connect(node.mqtt()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in HEADER.iter().chain(CONNECT) {
            stream.write_all(&[*byte]).await.unwrap();
        }
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await.unwrap();
        assert_eq!((connack[0], connack[3]), (0x20, 0x00));
    });
}

#[test]
fn without_a_right_header_nothing_is_served() {
    let node = start();
    let wrong_family = [&HEADER[..13], &[0x12], &HEADER[14..]].concat();
    let version_1 = [b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 1883\r\n", CONNECT].concat();
    let too_long = [&HEADER[..14], &[0xff, 0xff], CONNECT].concat();
    let cut_off = [&HEADER[..14], &[0, 4], &HEADER[16..20], CONNECT].concat();
    for (what, bytes) in [
        ("absent", CONNECT.to_vec()),
        ("of version 1", version_1),
        ("for datagrams", [&wrong_family, CONNECT].concat()),
        ("too long", too_long),
        ("too short for its addresses", cut_off),
        ("garbage", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("never finished", HEADER[..20].to_vec()),
    ] {
        let said = tunnel::run(async {
            let mut stream = TcpStream::connect(node.mqtt()).await.unwrap();
            tunnel::say(&mut stream, &bytes).await.unwrap_or_default()
        });
        assert!(said.is_empty(), "a header that is {what}: {said:x?}");
    }
}

#[test]
fn the_header_comes_before_tls() {
    let secure_dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers");
    let files = authority.issue("server", &[SERVER]).write(secure_dir.path());
    let node = Node::start_with(|settings| {
        tls::set_tls(settings, files.clone());
        settings.proxy_protocol = vec![ClientListener::Mqtts];
    });
    let address = node.server().mqtts_addresses()[0];
    let config = authority.client(None, &[&rustls::version::TLS13], &["mqtt"]);
    exercise(tunnel::open(move || {
        let config = std::sync::Arc::clone(&config);
        async move { tunnel::tls_over(connect(address, HEADER).await?, config).await }
    }));
}
