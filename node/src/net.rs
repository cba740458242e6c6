//! Listening and connecting, as one trait: TCP here, simulated links in the simulator.
//!
//! | module | responsibility |
//! |---|---|
//! | [`counted`] | how many are open |
//! | [`entrance`] | what a connection passes before it is served |
//! | [`proxy`] | the PROXY protocol's header |
//! | [`tls`] | certificates from files, read again when they change; mutual TLS between nodes |
//! | [`settled`] | layers over TCP that need no flushing |

pub mod counted;
pub mod entrance;
pub mod proxy;
pub mod settled;
pub mod tls;

use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream between two programs.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A byte stream of whatever kind.
pub type BoxStream = Box<dyn Stream>;

/// Something that accepts connections.
pub trait Listener: Send {
    /// The address that is listened on, with the port the system chose if 0 was asked for.
    ///
    /// # Errors
    /// The socket is gone.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection and where it comes from. Cancelling loses no connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>>;
}

/// The network of a node.
pub trait Net: Send + Sync {
    /// Listens on `address` (`host:port`).
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Connects to `address` (`host:port`). The caller sets the deadline.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>>;
}

/// TCP of the operating system, without Nagle's delay.
#[derive(Debug, Default)]
pub struct Tcp;

struct TcpListener(tokio::net::TcpListener);

impl Listener for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as BoxStream, peer))
        })
    }
}

impl Net for Tcp {
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = tokio::net::TcpListener::bind(address).await?;
            Ok(Box::new(TcpListener(listener)) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }
}
