//! MQTT over WebSocket. The client here builds its frames by hand, since most of them are ones that no library sends.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;

use crate::support::Node;
use crate::tls::Secure;
use crate::{exercise, tunnel};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// MQTT 5.0 CONNECT of client `c`.
const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c";
/// SUBSCRIBE to `a`, and PINGREQ.
const SUBSCRIBE_AND_PING: &[u8] = b"\x82\x07\x00\x01\x00\x00\x01a\x01\xc0\x00";
const PINGREQ: &[u8] = b"\xc0\x00";

/// How a client cuts the bytes of its packets.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// A message for what there is.
    Whole,
    /// A message for every so many bytes.
    Messages(usize),
    /// One message of frames of so many bytes, with a ping after each.
    Frames(usize),
}

/// A frame as a client must send it: masked.
fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
    let mut frame = vec![opcode | if is_last { 0x80 } else { 0 }];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        medium @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn cut(bytes: &[u8], cut: Cut) -> Vec<u8> {
    match cut {
        Cut::Whole => frame(BINARY, true, bytes),
        Cut::Messages(size) => bytes
            .chunks(size)
            .flat_map(|chunk| frame(BINARY, true, chunk))
            .collect(),
        Cut::Frames(size) => {
            let mut frames = frame(BINARY, false, b"");
            for chunk in bytes.chunks(size) {
                frames.extend(frame(CONTINUATION, false, chunk));
                frames.extend(frame(PING, true, b"?"));
            }
            frames.extend(frame(CONTINUATION, true, b""));
            frames
        }
    }
}

/// A connection after its upgrade.
struct WebSocket<S> {
    stream: S,
    received: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Asks for an upgrade with `headers`; gives the connection, and the head of the answer.
    async fn ask(mut stream: S, headers: &str) -> io::Result<(Self, String)> {
        let request = format!("GET /mqtt HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut received = BytesMut::new();
        loop {
            if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&received.split_to(end + 4)).to_lowercase();
                return Ok((Self { stream, received }, head));
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// An upgraded connection.
    async fn open(stream: S) -> io::Result<Self> {
        let (socket, head) = Self::ask(stream, &headers("mqtt")).await?;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
        Ok(socket)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Opcode and payload of the next frame. Cancelling loses nothing.
    async fn next(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = self.buffered() {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn buffered(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut bytes = &self.received[..];
        let opcode = bytes.try_get_u8().ok()?;
        assert_eq!(opcode & 0xf0, 0x80, "a fragment, or compressed");
        let length = match bytes.try_get_u8().ok()? {
            126 => bytes.try_get_u16().ok()?.into(),
            127 => usize::try_from(bytes.try_get_u64().ok()?).unwrap(),
            short => {
                assert!(short < 126, "a server masks nothing");
                short.into()
            }
        };
        let payload = bytes.get(..length)?.to_vec();
        let rest = bytes.len() - length;
        self.received.advance(self.received.len() - rest);
        Some((opcode & 0x0f, payload))
    }

    /// The status code with which the server closes, after whatever else it says.
    async fn close_code(&mut self) -> u16 {
        loop {
            if let (CLOSE, payload) = self.next().await.expect("a close frame") {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    /// Lets a client of plain MQTT use the connection.
    async fn carry(mut self, mut near: DuplexStream, how: Cut) -> io::Result<()> {
        let mut read = vec![0; 30_000];
        loop {
            tokio::select! {
                count = near.read(&mut read) => match count? {
                    0 => self.send(&frame(CLOSE, true, &1000_u16.to_be_bytes())).await?,
                    count => self.send(&cut(&read[..count], how)).await?,
                },
                frame = self.next() => match frame? {
                    (BINARY, payload) => near.write_all(&payload).await?,
                    (CLOSE, _) => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}

/// The headers of an upgrade, offering `protocols`.
fn headers(protocols: &str) -> String {
    format!(
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocols}\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    )
}

async fn connect(node: &Node) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(http(node)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    WebSocket::open(stream).await.unwrap()
}

fn http(node: &Node) -> SocketAddr {
    node.server().http_addresses()[0]
}

/// Shows [MQTT-6.0.0-2]; 3.1.1 [MQTT-6.0.0-2].
#[test]
fn packets_may_share_or_span_messages_and_frames() {
    let node = Node::start();
    let address = http(&node);
    for how in [Cut::Whole, Cut::Messages(20_001), Cut::Frames(9_000)] {
        exercise(tunnel::open(move || async move {
            let socket = WebSocket::open(TcpStream::connect(address).await?).await?;
            Ok(tunnel::pipe(move |near| socket.carry(near, how)))
        }));
    }
    tunnel::run(async {
        for how in [Cut::Whole, Cut::Messages(1), Cut::Frames(1)] {
            let mut socket = connect(&node).await;
            let packets = [CONNECT, SUBSCRIBE_AND_PING].concat();
            socket.send(&cut(&packets, how)).await.unwrap();
            let mut said = Vec::new();
            while !said.ends_with(b"\xd0\x00") {
                match socket.next().await.unwrap() {
                    (BINARY, payload) => said.extend(payload),
                    (opcode, payload) => assert_eq!((opcode, &payload[..]), (PONG, &b"?"[..])),
                }
            }
            assert_eq!(said[0], 0x20, "{how:?}: {said:x?}");
        }
    });
}

#[test]
fn over_tls_as_well() {
    let secure = Secure::start();
    for version in [&TLS12, &TLS13] {
        let (address, config) = (secure.https(), secure.authority.client(None, &[version], &["http/1.1"]));
        exercise(tunnel::open(move || {
            let config = std::sync::Arc::clone(&config);
            async move {
                let socket = WebSocket::open(tunnel::tls(address, config).await?).await?;
                Ok(tunnel::pipe(move |near| socket.carry(near, Cut::Messages(777))))
            }
        }));
    }
}

/// Shows [MQTT-6.0.0-3], [MQTT-6.0.0-4]; 3.1.1 [MQTT-6.0.0-3], [MQTT-6.0.0-4].
#[test]
fn the_subprotocol_is_mqtt_or_there_is_no_connection() {
    let node = Node::start();
    tunnel::run(async {
        let stream = || async { TcpStream::connect(http(&node)).await.unwrap() };
        for (offered, status) in [
            ("mqtt", 101),
            ("chat, mqtt", 101),
            ("mqttv3.1", 400),
            ("MQTT", 400),
            ("", 400),
        ] {
            let (_, head) = WebSocket::ask(stream().await, &headers(offered)).await.unwrap();
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{offered}: {head}");
            assert!(status == 101 || head.contains("application/problem+json"), "{head}");
        }
        let without = headers("mqtt").replace("Sec-WebSocket-Protocol: mqtt\r\n", "");
        let old = headers("mqtt").replace("Version: 13", "Version: 8");
        for wrong in [without.as_str(), &old, ""] {
            let (_, head) = WebSocket::ask(stream().await, wrong).await.unwrap();
            assert!(head.starts_with("http/1.1 400 "), "{head}");
        }
    });
}

/// Shows [MQTT-6.0.0-1]; 3.1.1 [MQTT-6.0.0-1].
#[test]
fn what_is_not_allowed_is_refused_with_the_code_that_says_why() {
    let node = Node::start();
    let unmasked = [0x80 | BINARY, 1, 0xc0];
    let compressed = {
        let mut frame = frame(BINARY, true, CONNECT);
        frame[0] |= 0x40;
        frame
    };
    let endless = [&[0x80 | BINARY, 0x80 | 127][..], &[0x7f; 8], &[0; 4]].concat();
    let invalid = frame(TEXT, true, &[0xff, 0xfe]);
    tunnel::run(async {
        for (what, bytes, code) in [
            ("a text message", frame(TEXT, true, CONNECT), 1003),
            ("text that is none", invalid, 1007),
            ("a frame without a mask", unmasked.to_vec(), 1002),
            ("a compressed frame", compressed, 1002),
            ("a ping in fragments", frame(PING, false, b"?"), 1002),
            ("a continuation of nothing", frame(CONTINUATION, true, b"?"), 1002),
            ("an opcode that is none", frame(5, true, b""), 1002),
            ("a message without end", endless, 1009),
        ] {
            let mut socket = connect(&node).await;
            socket.send(&bytes).await.unwrap();
            assert_eq!(socket.close_code().await, code, "{what}");
        }
        // Also in the middle of a session, whose last packets still arrive.
        let mut socket = connect(&node).await;
        socket.send(&cut(CONNECT, Cut::Whole)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().1[0], 0x20);
        socket.send(&frame(TEXT, true, b"hello")).await.unwrap();
        assert_eq!(socket.close_code().await, 1003);
    });
}

/// Browsers say which page connects: where origins are named, others may not. Who sends none is no page.
#[test]
fn pages_of_other_origins_are_refused() {
    let strict = Node::start_with(|settings| {
        settings.websocket_origins = vec!["https://app.example.org".to_owned(), "http://localhost:3000".to_owned()];
    });
    let open = Node::start();
    tunnel::run(async {
        for (origin, status) in [
            ("Origin: https://app.example.org\r\n", 101),
            ("Origin: HTTPS://App.Example.Org\r\n", 101),
            ("Origin: http://localhost:3000\r\n", 101),
            ("", 101),
            ("Origin: https://evil.example.org\r\n", 403),
            ("Origin: https://app.example.org.evil.org\r\n", 403),
            ("Origin: http://app.example.org\r\n", 403),
            ("Origin: http://localhost\r\n", 403),
            ("Origin: null\r\n", 403),
            (
                "Origin: https://app.example.org\r\nOrigin: https://evil.example.org\r\n",
                403,
            ),
        ] {
            let asked = headers("mqtt") + origin;
            for (node, status) in [(&strict, status), (&open, 101)] {
                let stream = TcpStream::connect(http(node)).await.unwrap();
                let (_, head) = WebSocket::ask(stream, &asked).await.unwrap();
                assert!(head.starts_with(&format!("http/1.1 {status} ")), "{origin}: {head}");
                assert!(status == 101 || head.contains("application/problem+json"), "{head}");
            }
        }
    });
}

#[test]
fn both_sides_may_close() {
    let mut node = Node::start();
    tunnel::run(async {
        let mut socket = connect(&node).await;
        socket.send(&frame(CLOSE, true, &1000_u16.to_be_bytes())).await.unwrap();
        assert_eq!(socket.close_code().await, 1000);
        assert!(socket.next().await.is_err(), "the connection ends");

        // A packet that is none: DISCONNECT, then the close.
        let mut socket = connect(&node).await;
        socket.send(&cut(CONNECT, Cut::Whole)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().1[0], 0x20);
        socket.send(&cut(b"\x00\x00", Cut::Whole)).await.unwrap();
        let (opcode, disconnect) = socket.next().await.unwrap();
        assert_eq!((opcode, disconnect[0], disconnect[2]), (BINARY, 0xe0, 0x81));
        assert_eq!(socket.close_code().await, 1000);
    });
    let mut socket = tunnel::run(async {
        let mut socket = connect(&node).await;
        socket
            .send(&cut(&[CONNECT, PINGREQ].concat(), Cut::Whole))
            .await
            .unwrap();
        assert_eq!(socket.next().await.unwrap().1[0], 0x20);
        socket
    });
    let stopping = node.begin_stop();
    assert_eq!(tunnel::run(socket.close_code()), 1000, "a node that stops says so");
    node.finish_stop(stopping);
}
