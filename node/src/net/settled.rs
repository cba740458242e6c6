//! Writes that have left.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose inner layer keeps what it is given, as TLS keeps what the socket did not take: a write is done only once
/// that has been passed on as well.
///
/// So whoever writes has no need to flush, nothing is ever left behind in the layer, and one who reads slowly holds up the
/// writer just as over plain TCP. The price is a rule of its own: after `Pending` the same bytes must be offered again,
/// followed by others or not. Everyone who writes out of a buffer does.
pub struct Settled<S> {
    inner: S,
    /// Bytes that the layer took and that are still on their way.
    taken: usize,
}

impl<S> Settled<S> {
    /// Settles the writes of `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, taken: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Settled<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Settled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            self.taken = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        }
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.taken).min(bytes.len())))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

    use super::*;

    #[tokio::test]
    async fn nothing_stays_behind() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Settled::new(BufWriter::new(near));
        let bytes = b"more than the pipe holds";
        let reading = async {
            let mut read = vec![0; bytes.len()];
            far.read_exact(&mut read).await.unwrap();
            read
        };
        let (written, read) = tokio::join!(near.write_all(bytes), reading);
        written.unwrap();
        assert_eq!(read, bytes);
    }
}
