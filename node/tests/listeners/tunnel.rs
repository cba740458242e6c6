//! Local ports that lead through TLS or a WebSocket, for clients that speak neither.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Runs what is asynchronous about the tests.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
/// For anything that a node should do at once.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs `work`, which must not hang.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async { tokio::time::timeout(TIMEOUT, work).await.expect("done in time") })
}

/// A local port; each connection to it goes on over what `connect` gives.
pub fn open<S, F>(connect: impl Fn() -> F + Send + 'static) -> SocketAddr
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let listener = run(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    RUNTIME.spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let connecting = connect();
            tokio::spawn(async move {
                let mut far = connecting.await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    address
}

/// A connection with TLS. A server that refuses the client's certificate may do so only afterwards.
pub async fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    tls_over(stream, config).await
}

/// TLS over a connection that is open already.
pub async fn tls_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(config).connect(name, stream).await
}

/// What the server says after `bytes`, until it closes: an error is one of the connection.
pub async fn say(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await?;
    Ok(said)
}

/// A pipe whose far end `serve` serves.
pub fn pipe<F: Future<Output = io::Result<()>> + Send + 'static>(
    serve: impl FnOnce(DuplexStream) -> F,
) -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 * 1024);
    RUNTIME.spawn(serve(far));
    near
}
