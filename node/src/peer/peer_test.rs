//! Nodes talking over real sockets, and misbehaving programs on raw ones.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, BytesMut};
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame::{FRAME_HEADER_BYTES, Frame, FrameType};
use super::handshake::{Hello, Purpose};
use super::*;
use crate::net::Tcp;
use banyan_core::limits::PEER_FRAME_BYTES_MAX;

const CLUSTER: u64 = 77;
const LONG: Duration = Duration::from_secs(60);

const ECHO: u8 = 1;
const NEVER: u8 = 2;
const FAIL: u8 = 3;
const HUGE: u8 = 4;

/// Numbers that differ: enough to spread attempts.
struct Counter(AtomicU64);

impl Random for Counter {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

struct Handler {
    messages: mpsc::UnboundedSender<(u64, u8, Bytes)>,
    requests: AtomicU64,
}

impl PeerHandler for Handler {
    fn on_request(&self, _from: u64, _lane: Lane, kind: u8, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match kind {
            ECHO => async move {
                tokio::task::yield_now().await;
                Ok(body)
            }
            .boxed(),
            NEVER => std::future::pending().boxed(),
            HUGE => async { Ok(Bytes::from(vec![0; PEER_FRAME_BYTES_MAX])) }.boxed(),
            _ => async { Err("no such thing".to_owned()) }.boxed(),
        }
    }

    fn on_message(&self, from: u64, _lane: Lane, kind: u8, body: Bytes) {
        let _ = self.messages.send((from, kind, body));
    }

    /// Sends everything back.
    fn on_stream(&self, _from: u64, _lane: Lane, _kind: u8, mut stream: PeerStream) {
        tokio::spawn(async move {
            while let Some(Ok(body)) = stream.receiver.recv().await {
                if body == "fail" {
                    return stream.sender.fail("as you wish");
                }
                if stream.sender.send(body).is_err() {
                    return;
                }
            }
        });
    }
}

struct Server {
    address: String,
    handler: Arc<Handler>,
    messages: mpsc::UnboundedReceiver<(u64, u8, Bytes)>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(node: u64) -> Self {
        Self::start_at(node, "127.0.0.1:0").await
    }

    async fn start_at(node: u64, address: &str) -> Self {
        let listener = Tcp.bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, messages) = mpsc::unbounded_channel();
        let handler = Arc::new(Handler {
            messages: sender,
            requests: AtomicU64::new(0),
        });
        let shutdown = CancellationToken::new();
        let served = serve(
            listener,
            node,
            CLUSTER,
            Arc::clone(&handler) as Arc<dyn PeerHandler>,
            shutdown.clone(),
        );
        Self {
            address,
            handler,
            messages,
            shutdown,
            task: tokio::spawn(served),
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    fn requests(&self) -> u64 {
        self.handler.requests.load(Ordering::Relaxed)
    }
}

fn peers(local: u64, cluster_id: u64, net: impl Net + 'static) -> Peers {
    Peers::new(
        local,
        cluster_id,
        Arc::new(net),
        Arc::new(Counter(AtomicU64::new(local))),
    )
}

async fn pair() -> (Peers, Server) {
    let server = Server::start(2).await;
    let peers = peers(1, CLUSTER, Tcp);
    peers.set_address(2, server.address.clone());
    (peers, server)
}

async fn ask(peers: &Peers, kind: u8, body: impl Into<Bytes>) -> Result<Bytes, PeerError> {
    peers.request(2, Lane::Control, kind, body.into(), LONG).await
}

#[tokio::test]
async fn many_requests_in_flight_each_get_their_answer() {
    let (peers, _server) = pair().await;
    let asked = (0..200_u32).map(|number| {
        let body = Bytes::from(number.to_be_bytes().repeat(1 + number as usize * 20));
        let peers = &peers;
        async move { assert_eq!(ask(peers, ECHO, body.clone()).await, Ok(body)) }
    });
    futures_util::future::join_all(asked).await;
}

#[tokio::test]
async fn large_bodies_travel_whole() {
    let (peers, _server) = pair().await;
    let body: Bytes = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    assert_eq!(ask(&peers, ECHO, body.clone()).await, Ok(body));
}

#[tokio::test]
async fn failures_reach_the_asker() {
    let (peers, server) = pair().await;
    assert_eq!(
        ask(&peers, FAIL, "").await,
        Err(PeerError::Failed("no such thing".into()))
    );
    assert_eq!(
        ask(&peers, HUGE, "").await,
        Err(PeerError::Failed("the answer is too large".into()))
    );
    assert_eq!(
        ask(&peers, ECHO, vec![0; PEER_FRAME_BYTES_MAX]).await,
        Err(PeerError::TooLarge(PEER_FRAME_BYTES_MAX))
    );
    let unknown = peers.request(9, Lane::Control, ECHO, Bytes::new(), LONG).await;
    assert!(matches!(unknown, Err(PeerError::Unreachable(_))), "{unknown:?}");
    let asked = server.requests();
    let late = peers
        .request(2, Lane::Control, NEVER, Bytes::new(), Duration::from_millis(20))
        .await;
    assert_eq!(late, Err(PeerError::Timeout));
    assert_eq!(ask(&peers, ECHO, "still there").await, Ok(Bytes::from("still there")));
    assert_eq!(server.requests(), asked + 2);
}

#[tokio::test]
async fn too_many_requests_in_hand_are_refused_and_a_lost_connection_fails_the_rest() {
    let (peers, server) = pair().await;
    let mut asked: futures_util::stream::FuturesUnordered<_> = (0..300).map(|_| ask(&peers, NEVER, "")).collect();
    for _ in 0..300 - 256 {
        assert_eq!(asked.next().await, Some(Err(PeerError::Busy)));
    }
    server.stop().await;
    while let Some(answer) = asked.next().await {
        assert_eq!(answer, Err(PeerError::Disconnected));
    }
}

#[tokio::test]
async fn messages_arrive_in_order() {
    let (peers, mut server) = pair().await;
    let mut epoch = peers.link_epoch(2, Lane::Origin);
    epoch.wait_for(|epoch| *epoch == 1).await.unwrap();
    for number in 0..10_000_u32 {
        assert!(peers.send(2, Lane::Origin, 5, Bytes::copy_from_slice(&number.to_be_bytes())));
    }
    for number in 0..10_000_u32 {
        let received = server.messages.recv().await.unwrap();
        assert_eq!(received, (1, 5, Bytes::copy_from_slice(&number.to_be_bytes())));
    }
}

#[tokio::test]
async fn a_link_reconnects_and_counts() {
    let (peers, server) = pair().await;
    let mut epoch = peers.link_epoch(2, Lane::Origin);
    // An attempt that breaks at once counts, too, and a watcher sees the latest number only.
    epoch.wait_for(|epoch| *epoch >= 1).await.unwrap();
    assert!(peers.is_connected(2, Lane::Origin));
    let address = server.address.clone();
    server.stop().await;
    let former = *epoch.borrow();
    let mut server = Server::start_at(2, &address).await;
    epoch.wait_for(|epoch| *epoch > former).await.unwrap();
    assert!(peers.send(2, Lane::Origin, 5, Bytes::from("again")));
    assert_eq!(server.messages.recv().await.unwrap().2, "again");
    // The same after a move.
    server.stop().await;
    let former = *epoch.borrow();
    let moved = Server::start(2).await;
    peers.set_address(2, moved.address.clone());
    epoch.wait_for(|epoch| *epoch > former).await.unwrap();
    peers.remove(2);
    assert!(matches!(ask(&peers, ECHO, "").await, Err(PeerError::Unreachable(_))));
}

#[tokio::test]
async fn streams_carry_messages_both_ways_until_either_side_ends_them() {
    let (peers, server) = pair().await;
    let mut stream = peers.open_stream(2, Lane::Append, 1, LONG).await.unwrap();
    for number in 0..100_u8 {
        stream.sender.send(Bytes::from(vec![number; 100_000])).unwrap();
    }
    for number in 0..100_u8 {
        assert_eq!(stream.receiver.recv().await.unwrap().unwrap(), vec![number; 100_000]);
    }
    drop(stream.sender);
    assert_eq!(stream.receiver.recv().await, None);

    let mut failing = peers.open_stream(2, Lane::Append, 1, LONG).await.unwrap();
    failing.sender.send(Bytes::from("fail")).unwrap();
    assert_eq!(
        failing.receiver.recv().await,
        Some(Err(PeerError::Failed("as you wish".into())))
    );
    assert_eq!(failing.receiver.recv().await, None);

    let mut broken = peers.open_stream(2, Lane::Append, 1, LONG).await.unwrap();
    server.stop().await;
    assert_eq!(broken.receiver.recv().await, Some(Err(PeerError::Disconnected)));
}

#[tokio::test]
async fn strangers_are_refused() {
    let server = Server::start(2).await;
    for (local, cluster, to, expected) in [
        (1, 78, 2, "another cluster"),
        (1, CLUSTER, 3, "another node"),
        (2, CLUSTER, 2, "its own peer"),
    ] {
        let stranger = peers(local, cluster, Tcp);
        stranger.set_address(to, server.address.clone());
        let error = stranger
            .request(to, Lane::Control, ECHO, Bytes::new(), LONG)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, PeerError::Unreachable(reason) if reason.contains(expected)),
            "{error}"
        );
    }
    assert_eq!(server.requests(), 0);
    assert_eq!(peers(1, CLUSTER, Tcp).identify(&server.address, LONG).await, Ok(2));
    assert!(peers(1, 78, Tcp).identify(&server.address, LONG).await.is_err());
}

/// A connection that has shaken hands as node 1, by hand.
async fn raw(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let hello = Hello {
        cluster_id: CLUSTER,
        from: 1,
        to: 2,
        purpose: Purpose::Lane(Lane::Control),
    };
    stream.write_all(&encode(&hello.encode())).await.unwrap();
    let mut welcome = [0; FRAME_HEADER_BYTES + 8 + 2];
    stream.read_exact(&mut welcome).await.unwrap();
    stream
}

fn encode(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame.encode_header(&mut bytes);
    bytes.extend_from_slice(&frame.body);
    bytes
}

fn request(body: &'static [u8]) -> BytesMut {
    encode(&Frame {
        frame_type: FrameType::Request,
        kind: ECHO,
        id: 1,
        timeout_ms: 60_000,
        body: Bytes::from_static(body),
    })
}

/// Sends `bytes` and returns once the server has closed the connection.
async fn is_closed_after(server: &Server, bytes: &[u8]) {
    let mut stream = raw(server).await;
    stream.write_all(bytes).await.unwrap();
    // A reset also is an end.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn damaged_oversized_and_misplaced_frames_close_the_connection_and_reach_nobody() {
    let server = Server::start(2).await;
    let good = request(b"body");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        is_closed_after(&server, &bad).await;
    }
    let mut oversized = BytesMut::new();
    oversized.put_u32(u32::try_from(PEER_FRAME_BYTES_MAX - FRAME_HEADER_BYTES + 1).unwrap());
    oversized.extend_from_slice(&good[4..22]);
    let check = crc32c::crc32c(&oversized);
    oversized.put_u32(check);
    is_closed_after(&server, &oversized).await;
    is_closed_after(&server, &encode(&Frame::new(FrameType::Welcome, Bytes::new()))).await;
    is_closed_after(&server, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n").await;
    assert_eq!(server.requests(), 0);
    // A good one still gets through.
    let mut stream = raw(&server).await;
    stream.write_all(&good).await.unwrap();
    let mut response = vec![0; good.len()];
    stream.read_exact(&mut response).await.unwrap();
    assert!(response.ends_with(b"body"));
}

#[tokio::test]
async fn a_newer_connection_of_a_lane_replaces_the_older() {
    let server = Server::start(2).await;
    let mut older = raw(&server).await;
    let _newer = raw(&server).await;
    assert_eq!(older.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}
