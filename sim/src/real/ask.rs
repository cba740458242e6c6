//! Questions to a node over HTTP, each on a connection of its own.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use banyan_api::cluster::ClusterStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `GET path`: status and body, or the error of not getting them within `timeout`.
///
/// # Errors
/// The connection's; `TimedOut`; `InvalidData` if the answer is not HTTP.
pub(super) async fn get(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<(u16, Vec<u8>)> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = tokio::time::timeout(timeout, asked).await??;
    parse(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let head_bytes = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..head_bytes]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer[head_bytes + 4..].to_vec()))
}

/// `GET /v1/cluster`; `None` if there is no such answer within `timeout`.
pub(super) async fn status(address: SocketAddr, timeout: Duration) -> Option<ClusterStatus> {
    let (status, body) = get(address, "/v1/cluster", timeout).await.ok()?;
    (status == 200).then(|| serde_json::from_slice(&body).ok())?
}

/// Whether it says that it can serve.
pub(super) async fn is_ready(address: SocketAddr, timeout: Duration) -> bool {
    get(address, "/health/ready", timeout)
        .await
        .is_ok_and(|(status, _)| status == 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_at_the_empty_line() {
        let answer = b"HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\nbody\r\n\r\n";
        assert_eq!(parse(answer), Some((503, b"body\r\n\r\n".to_vec())));
        assert_eq!(parse(b"HTTP/1.0 200"), None);
        assert_eq!(parse(b"\r\n\r\n"), None);
    }
}
