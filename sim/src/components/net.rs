//! The network of a host: turmoil's TCP. Between nodes, bytes may flip.
//!
//! Everything that is sent goes into one running digest: two runs that differ in a single byte anywhere differ in it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use banyan_node::net::{BoxStream, Listener, Net};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// Port on which nodes listen for each other.
pub const PEER_PORT: u16 = 7400;
/// Port on which nodes listen for MQTT.
pub const MQTT_PORT: u16 = 1883;
/// Port on which nodes listen for HTTP.
pub const HTTP_PORT: u16 = 8080;

/// All cables of the simulation.
pub struct Wire(Mutex<State>);

struct State {
    random: StdRng,
    digest: u64,
    bytes: u64,
    /// Probability that a write between nodes has a byte flipped.
    flip: f64,
    flips: u64,
}

impl Wire {
    /// Cables whose chance is `random`.
    #[must_use]
    pub fn new(random: StdRng) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            random,
            digest: 0,
            bytes: 0,
            flip: 0.0,
            flips: 0,
        })))
    }

    /// Sets the probability that a write between nodes has a byte flipped.
    pub fn set_flip(&self, probability: f64) {
        self.0.lock().flip = probability;
    }

    /// Flipped bytes so far.
    #[must_use]
    pub fn flips(&self) -> u64 {
        self.0.lock().flips
    }

    /// Digest and number of all bytes sent so far.
    #[must_use]
    pub fn sent(&self) -> (u64, u64) {
        let state = self.0.lock();
        (state.digest, state.bytes)
    }

    /// Notes that `bytes` were sent.
    fn add(&self, bytes: &[u8]) {
        const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
        let mut state = self.0.lock();
        let (words, rest) = bytes.as_chunks::<8>();
        let mut digest = state.digest;
        for word in words {
            digest = (digest.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        }
        for byte in rest {
            digest = (digest.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(FACTOR);
        }
        state.digest = (digest.rotate_left(5) ^ bytes.len() as u64).wrapping_mul(FACTOR);
        state.bytes += bytes.len() as u64;
    }

    /// `bytes` with one flipped bit, if chance wants so.
    fn flipped(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut state = self.0.lock();
        let probability = state.flip;
        if probability == 0.0 || bytes.is_empty() || !state.random.random_bool(probability) {
            return None;
        }
        state.flips += 1;
        let mut flipped = bytes.to_vec();
        let at = state.random.random_range(0..flipped.len());
        flipped[at] ^= 1 << state.random.random_range(0..8);
        Some(flipped)
    }
}

/// The network as one host sees it.
#[derive(Clone)]
pub struct SimNet(Arc<Wire>);

impl SimNet {
    /// A host's end of `wire`.
    #[must_use]
    pub fn new(wire: Arc<Wire>) -> Self {
        Self(wire)
    }

    fn stream(&self, stream: TcpStream, between_nodes: bool) -> BoxStream {
        Box::new(SimStream {
            stream,
            wire: Arc::clone(&self.0),
            between_nodes,
        })
    }
}

impl Net for SimNet {
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(SimListener {
                listener,
                net: self.clone(),
            }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let between_nodes = stream.peer_addr()?.port() == PEER_PORT;
            Ok(self.stream(stream, between_nodes))
        })
    }
}

struct SimListener {
    listener: TcpListener,
    net: SimNet,
}

impl Listener for SimListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async {
            let (stream, peer) = self.listener.accept().await?;
            let between_nodes = stream.local_addr()?.port() == PEER_PORT;
            Ok((self.net.stream(stream, between_nodes), peer))
        })
    }
}

struct SimStream {
    stream: TcpStream,
    wire: Arc<Wire>,
    between_nodes: bool,
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let flipped = self.between_nodes.then(|| self.wire.flipped(bytes)).flatten();
        let sent = Pin::new(&mut self.stream).poll_write(cx, flipped.as_deref().unwrap_or(bytes));
        if let Poll::Ready(Ok(written)) = &sent {
            self.wire.add(&bytes[..*written]);
        }
        sent
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
