//! A WebSocket as a stream of bytes: what comes in binary messages, and what goes out as such.
//!
//! Where messages begin and end means nothing: packets may share them or span them [MQTT-6.0.0-2]. A text message ends the
//! connection [MQTT-6.0.0-1], and so does everything that RFC 6455 does not allow, with the status code that says why.
//! Pings are answered by the library underneath. Compression is never agreed to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocket, close_code};
use bytes::{Buf, Bytes};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Largest message sent.
pub(super) const MESSAGE_BYTES: usize = 64 * 1024;
/// Time for a client to take notice that it was refused, before the connection is cut.
const LINGER: Duration = Duration::from_secs(2);

/// See the module. A write is done once all of it has left for the socket, so there is nothing to flush; after `Pending` the
/// same bytes must be offered again.
pub(super) struct ByteStream {
    socket: WebSocket,
    /// The rest of the message that came last.
    unread: Bytes,
    /// Bytes of a message that is on its way.
    taken: usize,
    /// A close frame was sent.
    is_closed: bool,
    /// The client did what it must not do: nothing that it sends counts any more, and at the latest then it is over.
    refused: Option<Pin<Box<Sleep>>>,
}

impl ByteStream {
    pub(super) fn new(socket: WebSocket) -> Self {
        Self {
            socket,
            unread: Bytes::new(),
            taken: 0,
            is_closed: false,
            refused: None,
        }
    }

    /// Sends a close frame, if none was sent, as far as that is possible at once.
    fn close(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &'static str) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        // Whoever does not take it finds out by the end of the connection.
        let _ = self.socket.start_send_unpin(Message::Close(Some(frame)));
        let _ = self.socket.poll_flush_unpin(cx);
    }

    fn refuse(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &'static str) {
        self.close(cx, code, reason);
        self.refused = Some(Box::pin(tokio::time::sleep(LINGER)));
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.unread.is_empty() {
                let count = this.unread.len().min(buffer.remaining());
                buffer.put_slice(&this.unread.split_to(count));
                return Poll::Ready(Ok(()));
            }
            if let Some(until) = &mut this.refused
                && until.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.socket.poll_next_unpin(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) if this.refused.is_none() => this.unread = bytes,
                Some(Ok(Message::Text(_))) if this.refused.is_none() => {
                    this.refuse(cx, close_code::UNSUPPORTED, "MQTT packets travel in binary messages");
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    let error = error.into_inner();
                    if let Some((code, reason)) = status_of(&*error) {
                        this.close(cx, code, reason);
                    }
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
        }
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            ready!(self.socket.poll_ready_unpin(cx)).map_err(io::Error::other)?;
            let mut rest = bytes;
            let message = rest.copy_to_bytes(bytes.len().min(MESSAGE_BYTES));
            if message.is_empty() {
                return Poll::Ready(Ok(0));
            }
            self.taken = message.len();
            let sent = self.socket.start_send_unpin(Message::Binary(message));
            sent.map_err(io::Error::other)?;
        }
        ready!(self.socket.poll_flush_unpin(cx)).map_err(io::Error::other)?;
        Poll::Ready(Ok(std::mem::take(&mut self.taken).min(bytes.len())))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush_unpin(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close(cx, close_code::NORMAL, "");
        self.socket.poll_flush_unpin(cx).map_err(io::Error::other)
    }
}

/// The status code for what a client did wrong; `None` if the connection just broke.
fn status_of(error: &(dyn std::error::Error + 'static)) -> Option<(CloseCode, &'static str)> {
    match error.downcast_ref::<tungstenite::Error>()? {
        tungstenite::Error::Capacity(_) => Some((close_code::SIZE, "the message is too large")),
        tungstenite::Error::Utf8(_) => Some((close_code::INVALID, "the text is no UTF-8")),
        tungstenite::Error::Protocol(_) => Some((close_code::PROTOCOL, "RFC 6455 does not allow this")),
        _ => None,
    }
}
