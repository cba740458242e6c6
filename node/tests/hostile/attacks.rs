//! What hostile clients do: each kind in a thread of its own, again and again.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use banyan_core::mqtt::packet::{Packet, QoS};
use tempfile::TempDir;

use crate::bytes::{self, PACKET_BYTES_MAX, PINGREQ, UPGRADE};
use crate::common::client::{Client, ClientError, ConnectOptions, message};
use crate::common::wait::let_run;

/// Time for a connection, for what is sent on it, and for its end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Connections that one kind of attack opens at a time before it looks after the others.
const OPENED_AT_ONCE: usize = 10;
/// What those who read nothing subscribe to.
const FLOOD: &str = "flood";

/// Where the attacked node listens.
pub struct Target {
    pub mqtt: SocketAddr,
    pub mqtts: SocketAddr,
    pub http: SocketAddr,
    pub dir: TempDir,
}

impl Target {
    /// A node that serves TLS at `mqtts`; the other addresses are given later.
    pub fn new(mqtts: u16) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            mqtt: nowhere,
            mqtts: (Ipv4Addr::LOCALHOST, mqtts).into(),
            http: nowhere,
            dir: tempfile::tempdir().expect("a directory"),
        }
    }
}

/// Clients that stay: they say something at once, and then little by little something else. They read nothing.
struct Held {
    count: usize,
    to: SocketAddr,
    /// What the client of a number begins with.
    opening: fn(usize) -> Vec<u8>,
    /// What follows, over and over, so many bytes at each `tick`.
    drip: Vec<u8>,
    drip_bytes: usize,
    tick: Duration,
}

/// Clients that come with something wrong, wait for the end, and come again.
struct Repeated {
    to: SocketAddr,
    /// One after the other.
    sent: Vec<Vec<u8>>,
    /// Whether they wait for the end.
    waits: bool,
    pause: Duration,
}

enum Attack {
    Held(Held),
    Repeated(Repeated),
}

fn all(target: &Target, attackers: usize) -> Vec<(&'static str, Attack)> {
    let Target { mqtt, mqtts, http, .. } = *target;
    let ms = Duration::from_millis;
    let long_connect = bytes::connect("slow", 60, &bytes::user_properties(30)).repeat(2);
    let slow_publish = bytes::publish("hostile/slow", &[], &[b'.'; 20_000]);
    let held = |to, opening, drip: &[u8], tick| Held {
        count: attackers,
        to,
        opening,
        drip: drip.to_vec(),
        drip_bytes: 1,
        tick,
    };
    let repeated = |to, sent, pause| Repeated {
        to,
        sent,
        waits: true,
        pause,
    };
    let hello = bytes::client_hello();
    vec![
        (
            "CONNECT byte by byte",
            Attack::Held(held(mqtt, |_| Vec::new(), &long_connect, ms(100))),
        ),
        (
            "PUBLISH byte by byte",
            Attack::Held(held(
                mqtt,
                |at| bytes::connect(&format!("slow publisher {at}"), 5, &[]),
                &slow_publish,
                ms(100),
            )),
        ),
        (
            "a packet of nearly 1 MiB that never ends",
            Attack::Held(Held {
                count: attackers.div_ceil(4),
                ..held(mqtt, endless, &[], ms(500))
            }),
        ),
        (
            "stuck readers, clean sessions",
            Attack::Held(Held {
                drip_bytes: PINGREQ.len(),
                ..held(mqtt, stuck_clean, &PINGREQ, ms(200))
            }),
        ),
        (
            "stuck readers, persistent sessions",
            Attack::Held(Held {
                drip_bytes: PINGREQ.len(),
                ..held(mqtt, stuck_persistent, &PINGREQ, ms(200))
            }),
        ),
        (
            "TLS handshakes byte by byte",
            Attack::Held(held(mqtts, |_| Vec::new(), &hello, ms(100))),
        ),
        (
            "HTTP requests byte by byte",
            Attack::Held(held(http, |_| Vec::new(), UPGRADE, ms(100))),
        ),
        (
            "huge and impossible lengths",
            Attack::Repeated(repeated(mqtt, lengths(), ms(10))),
        ),
        (
            "floods of properties",
            Attack::Repeated(repeated(mqtt, properties(), ms(50))),
        ),
        (
            "packets before CONNECT",
            Attack::Repeated(repeated(mqtt, early(), ms(10))),
        ),
        (
            "TLS handshakes that are aborted",
            Attack::Repeated(Repeated {
                waits: false,
                ..repeated(mqtts, aborted(&hello), ms(10))
            }),
        ),
        (
            "TLS that is none",
            Attack::Repeated(repeated(
                mqtts,
                vec![bytes::connect("plain", 0, &[]), vec![0x16; 20_000]],
                ms(50),
            )),
        ),
        (
            "WebSockets with wrong frames",
            Attack::Repeated(repeated(http, frames(), ms(50))),
        ),
    ]
}

/// Announces almost the largest packet, and keeps its last bytes back.
fn endless(at: usize) -> Vec<u8> {
    let bytes = PACKET_BYTES_MAX - 16;
    let mut sent = bytes::connect(&format!("endless {at}"), 5, &[]);
    sent.extend(bytes::announced(0x30, bytes));
    sent.extend(bytes::field("hostile/endless"));
    sent.resize(sent.len() + bytes - 1_000, 0);
    sent
}

fn stuck_clean(at: usize) -> Vec<u8> {
    let client_id = format!("stuck {at}");
    let filter = format!("{FLOOD}/#");
    [
        bytes::connect(&client_id, 0, &[]),
        bytes::subscribe(&filter, at as u8 % 2),
    ]
    .concat()
}

fn stuck_persistent(at: usize) -> Vec<u8> {
    let client_id = format!("stuck session {at}");
    let connect = bytes::connect(&client_id, 0, &bytes::session_expiry());
    [connect, bytes::subscribe(&format!("{FLOOD}/#"), 1)].concat()
}

fn lengths() -> Vec<Vec<u8>> {
    let connect = bytes::connect("lengths", 0, &[]);
    let behind_connect = [
        bytes::announced(0x30, 268_435_455),
        vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
        vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        bytes::announced(0x30, PACKET_BYTES_MAX + 1),
        // A topic, and properties, longer than their packet.
        vec![0x30, 4, 0xFF, 0xFF, b'a', b'b'],
        vec![0x30, 8, 0, 1, b'a', 0xFF, 0xFF, 0xFF, 0x7F, 0],
    ];
    let mut all: Vec<_> = behind_connect
        .into_iter()
        .map(|sent| [connect.clone(), sent].concat())
        .collect();
    all.push(bytes::announced(0x10, 268_435_455));
    all.push(bytes::announced(0x10, 33 * 1024));
    all.push(vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
    all
}

fn properties() -> Vec<Vec<u8>> {
    let connect = bytes::connect("properties", 0, &[]);
    let many = bytes::user_properties(60_000);
    let with_will = bytes::connect("properties", 0, &bytes::user_properties(2_000));
    vec![
        bytes::connect("properties", 0, &bytes::user_properties(33)),
        with_will,
        [connect.clone(), bytes::publish("hostile/p", &many, b"")].concat(),
        [
            connect.clone(),
            bytes::publish("hostile/p", &bytes::user_properties(33), b""),
        ]
        .concat(),
        // SUBSCRIBE, and DISCONNECT, with as many.
        [connect.clone(), bytes::packet(0x82, &[&[0, 1][..], &many].concat())].concat(),
        [connect, bytes::packet(0xE0, &[&[0][..], &many].concat())].concat(),
    ]
}

fn early() -> Vec<Vec<u8>> {
    let body = [0; 4];
    (0..=15_u8)
        .filter(|kind| *kind != 1)
        .map(|kind| bytes::packet(kind << 4, &body))
        .chain([bytes::publish("hostile/early", &[], &[b'.'; 30_000])])
        .collect()
}

fn aborted(hello: &[u8]) -> Vec<Vec<u8>> {
    let cuts = [0, 1, 5, 6, hello.len() / 2, hello.len() - 1, hello.len()];
    cuts.into_iter().map(|cut| hello[..cut].to_vec()).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let endless = [&[0x82, 0xFF][..], &[0x7F; 8], &[0; 4]].concat();
    let all = [
        &b"\x81\x80\0\0\0\0"[..],
        b"\x82\x01\xC0",
        b"\x09\x80\0\0\0\0",
        b"\xC2\x80\0\0\0\0",
        &endless,
    ];
    all.into_iter().map(|frame| [UPGRADE, frame].concat()).collect()
}

/// Begins those whose names contain `only`; each ends with the number of connections it has made.
pub fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    target: &Target,
    attackers: usize,
    only: &str,
    stop: &'scope AtomicBool,
) -> Vec<(&'static str, ScopedJoinHandle<'scope, u64>)> {
    let begin = |(name, attack)| {
        let thread = scope.spawn(move || match attack {
            Attack::Held(held) => hold(&held, stop),
            Attack::Repeated(repeated) => repeat(&repeated, stop),
        });
        (name, thread)
    };
    let mut all = all(target, attackers);
    all.retain(|(name, _)| name.contains(only));
    all.into_iter().map(begin).collect()
}

fn connect(to: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

fn hold(held: &Held, stop: &AtomicBool) -> u64 {
    let mut count = 0;
    let mut places: Vec<Option<(TcpStream, usize)>> = (0..held.count).map(|_| None).collect();
    while !stop.load(Ordering::Relaxed) {
        let mut opened = 0;
        for (at, place) in places.iter_mut().enumerate() {
            if let Some((stream, sent)) = place
                && drip(held, stream, sent)
            {
                continue;
            }
            *place = None;
            if opened < OPENED_AT_ONCE {
                opened += 1;
                *place = open(held, at).map(|stream| (stream, 0));
                count += u64::from(place.is_some());
            }
        }
        let_run(held.tick);
    }
    count
}

fn open(held: &Held, at: usize) -> Option<TcpStream> {
    let mut stream = connect(held.to)?;
    stream.write_all(&(held.opening)(at)).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}

/// Says a little more; returns whether the connection is still there.
fn drip(held: &Held, stream: &mut TcpStream, sent: &mut usize) -> bool {
    if held.drip.is_empty() {
        // Nothing is said; the end shows in what there is to read, if anything is.
        let mut byte = [0; 64];
        return match stream.read(&mut byte) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
    }
    let from = *sent % held.drip.len();
    let to = (from + held.drip_bytes).min(held.drip.len());
    match stream.write(&held.drip[from..to]) {
        Ok(written) => {
            *sent += written;
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn repeat(repeated: &Repeated, stop: &AtomicBool) -> u64 {
    let mut count = 0;
    for sent in repeated.sent.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let_run(repeated.pause);
        let Some(mut stream) = connect(repeated.to) else {
            continue;
        };
        count += 1;
        // The node may well have closed before it has got everything.
        let _refused = stream.write_all(sent);
        let mut ignored = [0; 4096];
        while repeated.waits && !stop.load(Ordering::Relaxed) {
            match stream.read(&mut ignored) {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    count
}

/// Publishes, at another node, what stuck readers subscribe to: until `stop`, before and during the attacks alike.
pub fn feed_readers(node: SocketAddr, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // A machine that stands still may cost a connection.
        let _lost = feed(node, stop);
    }
}

fn feed(node: SocketAddr, stop: &AtomicBool) -> Result<(), ClientError> {
    let mut client = Client::connect(node, &ConnectOptions::v5("feeds readers"))?;
    let payload = [b'.'; 1_000];
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let topic = format!("{FLOOD}/{}", number % 100);
        for _ in 0..4 {
            let event = message(&topic, payload, QoS::AtMostOnce, false);
            client.queue(&Packet::Publish(Box::new(event)));
        }
        client.publish(message(&topic, payload, QoS::AtLeastOnce, number % 2 == 0))?;
        let_run(Duration::from_millis(10));
    }
    Ok(())
}
