//! A body that may take any time, but not stop.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// A node that sends nothing for this long is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes read at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces read ahead.
const PIECES_AHEAD: usize = 16;

/// The bytes of a body, read ahead by a thread: a read of a socket cannot be given up otherwise.
pub(crate) struct Incoming {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
    stall_timeout: Duration,
}

impl Incoming {
    /// Reads `body`.
    pub(super) fn new(body: impl Read + Send + 'static) -> Self {
        Self::with_timeout(body, STALL_TIMEOUT)
    }

    fn with_timeout(mut body: impl Read + Send + 'static, stall_timeout: Duration) -> Self {
        let (sender, pieces) = sync_channel(PIECES_AHEAD);
        std::thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE_BYTES];
                let read = body.read(&mut piece).map(|count| {
                    piece.truncate(count);
                    piece
                });
                let is_last = read.as_ref().is_ok_and(Vec::is_empty) || read.is_err();
                // Nobody reads any more, or all has been read.
                if sender.send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Self {
            pieces,
            piece: io::Cursor::default(),
            stall_timeout,
        }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.pieces.recv_timeout(self.stall_timeout) {
                Ok(piece) => {
                    let piece = piece?;
                    if piece.is_empty() {
                        return Ok(0);
                    }
                    self.piece = io::Cursor::new(piece);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let text = format!("the node has sent nothing for {} s", self.stall_timeout.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_as_it_was_sent_and_its_end_stays_the_end() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        let mut incoming = Incoming::new(io::Cursor::new(bytes.clone()));
        let mut read = Vec::new();
        incoming.read_to_end(&mut read).unwrap();
        assert!(read == bytes);
        assert_eq!(incoming.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_body_that_stops_is_given_up() {
        let (reader, _open_but_silent) = std::io::pipe().unwrap();
        let mut incoming = Incoming::with_timeout(reader, Duration::from_millis(20));
        assert_eq!(incoming.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
