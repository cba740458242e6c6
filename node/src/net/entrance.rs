//! What a connection passes before it is served: a PROXY header, then the handshake of TLS, each where its listener asks for
//! it.
//!
//! Whoever is slow here holds up nobody: each connection passes on a task of its own, within [`ENTRANCE_TIMEOUT`], and
//! [`Listener::accept`] gives those that have passed, in the order in which they did.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustls::ServerConfig;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::settled::Settled;
use super::{BoxStream, Listener, proxy};
use crate::log_limit::LogLimit;

/// Time to pass.
pub const ENTRANCE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most connections of a listener that are passing; more wait in its backlog.
const ENTERING_MAX: usize = 1000;

/// Gives the TLS configuration for the next connection, since certificates may be replaced.
pub type PickConfig = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// What a listener asks of each connection. By default nothing.
#[derive(Clone, Default)]
pub struct Entrance {
    /// A PROXY header comes first, and the client is where it says.
    pub proxy_protocol: bool,
    /// The handshake of TLS.
    pub tls: Option<PickConfig>,
}

impl Entrance {
    /// `listener`, giving only connections that have passed.
    #[must_use]
    pub fn guard(self, listener: Box<dyn Listener>) -> Box<dyn Listener> {
        if !self.proxy_protocol && self.tls.is_none() {
            return listener;
        }
        Box::new(Guarded {
            listener,
            entrance: Arc::new(self),
            entering: JoinSet::new(),
            log: LogLimit::default(),
        })
    }

    /// Leads a connection through. `client` is where it comes from, until a PROXY header says otherwise.
    async fn pass(&self, mut stream: BoxStream, client: &mut SocketAddr) -> io::Result<BoxStream> {
        if self.proxy_protocol {
            match proxy::read(&mut stream).await {
                Ok(named) => *client = named.unwrap_or(*client),
                Err(proxy::ProxyError::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        match &self.tls {
            None => Ok(stream),
            Some(pick) => {
                let encrypted = TlsAcceptor::from(pick()).accept(stream).await?;
                Ok(Box::new(Settled::new(encrypted)))
            }
        }
    }
}

type Entered = (SocketAddr, io::Result<BoxStream>);

struct Guarded {
    listener: Box<dyn Listener>,
    entrance: Arc<Entrance>,
    entering: JoinSet<Entered>,
    log: LogLimit,
}

impl Guarded {
    fn begin(&mut self, stream: BoxStream, peer: SocketAddr) {
        let entrance = Arc::clone(&self.entrance);
        self.entering.spawn(async move {
            let mut client = peer;
            let passed = tokio::time::timeout(ENTRANCE_TIMEOUT, entrance.pass(stream, &mut client)).await;
            (client, passed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
        });
    }

    fn refused(&self, client: SocketAddr, error: &io::Error) {
        match error.kind() {
            // Whoever probes whether the port is open goes like this.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                tracing::debug!(%client, %error, "a connection ended before it was served");
            }
            _ => {
                if let Some(more) = self.log.pass() {
                    tracing::warn!(%client, %error, more, "closed a connection before it was served");
                }
            }
        }
    }
}

impl Listener for Guarded {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            loop {
                tokio::select! {
                    biased;
                    Some(entered) = self.entering.join_next() => match entered {
                        Ok((client, Ok(stream))) => return Ok((stream, client)),
                        Ok((client, Err(error))) => self.refused(client, &error),
                        Err(error) => tracing::error!(%error, "a connection was lost before it was served"),
                    },
                    accepted = self.listener.accept(), if self.entering.len() < ENTERING_MAX => {
                        let (stream, peer) = accepted?;
                        self.begin(stream, peer);
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    /// A PROXY header that names nobody.
    const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

    fn somewhere() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    struct Given(mpsc::UnboundedReceiver<DuplexStream>);

    impl Listener for Given {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(somewhere())
        }

        fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
            Box::pin(async {
                match self.0.recv().await {
                    Some(stream) => Ok((Box::new(stream) as BoxStream, somewhere())),
                    None => std::future::pending().await,
                }
            })
        }
    }

    /// Who says nothing holds up nobody, and is let go when the time to pass is over.
    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_let_go() {
        let (give, given) = mpsc::unbounded_channel();
        let entrance = Entrance {
            proxy_protocol: true,
            tls: None,
        };
        let mut listener = entrance.guard(Box::new(Given(given)));
        let [mut silent, mut quick] = std::array::from_fn(|_| {
            let (near, far) = tokio::io::duplex(64);
            give.send(near).unwrap();
            far
        });
        quick.write_all(LOCAL).await.unwrap();
        let start = Instant::now();
        listener.accept().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        let mut byte = [0];
        tokio::select! {
            _ = listener.accept() => panic!("nobody else has passed"),
            read = silent.read(&mut byte) => assert_eq!(read.unwrap(), 0),
        }
        assert_eq!(start.elapsed(), ENTRANCE_TIMEOUT);
    }
}
