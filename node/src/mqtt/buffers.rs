//! Buffers that connections have only while they need them: one that is idle holds none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// Most bytes of one read.
const READ_BYTES: usize = 16 * 1024;
/// What a buffer that is lent has room for.
const WRITE_BYTES: usize = 16 * 1024;
/// Buffers kept to be lent again, by each thread.
const SPARE_COUNT: usize = 16;
/// Larger ones are let go.
const SPARE_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Waits for bytes and appends them to `to`; 0: there will be no more. Cancelling loses nothing.
///
/// They are read into a buffer of the thread first, so that who waits has none.
pub(super) async fn read(reader: &mut (impl AsyncRead + Unpin), to: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        READ.with_borrow_mut(|bytes| {
            let mut bytes = ReadBuf::new(bytes);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut bytes))?;
            to.extend_from_slice(bytes.filled());
            Poll::Ready(Ok(bytes.filled().len()))
        })
    })
    .await
}

/// Gives `buffer` room, if it has none at all.
pub(super) fn lend(buffer: &mut BytesMut) {
    if buffer.capacity() == 0 {
        *buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        buffer.reserve(WRITE_BYTES);
    }
}

/// Takes the room of `buffer` back, if nothing is in it.
pub(super) fn give_back(buffer: &mut BytesMut) {
    if !buffer.is_empty() {
        return;
    }
    // What was written out of it is room again only after this.
    buffer.reserve(WRITE_BYTES);
    if buffer.capacity() <= SPARE_BYTES_MAX {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_COUNT {
                spare.push(std::mem::take(buffer));
            }
        });
    }
    *buffer = BytesMut::new();
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_is_read_is_appended() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        let mut read_so_far = BytesMut::from("a");
        far.write_all(b"bc").await.unwrap();
        assert_eq!(read(&mut near, &mut read_so_far).await.unwrap(), 2);
        drop(far);
        assert_eq!(read(&mut near, &mut read_so_far).await.unwrap(), 0);
        assert_eq!(read_so_far, "abc");
    }

    #[test]
    fn a_buffer_is_lent_until_it_is_empty() {
        let mut buffer = BytesMut::new();
        lend(&mut buffer);
        buffer.extend_from_slice(b"packet");
        give_back(&mut buffer);
        assert_eq!(buffer, "packet", "it is needed");
        let all = buffer.split_to(6);
        drop(all);
        give_back(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
        let mut other = BytesMut::new();
        lend(&mut other);
        assert!(other.is_empty() && other.capacity() >= WRITE_BYTES);
    }

    #[test]
    fn few_and_small_ones_are_kept() {
        for bytes in std::iter::repeat_n(WRITE_BYTES, 2 * SPARE_COUNT).chain([2 * SPARE_BYTES_MAX]) {
            give_back(&mut BytesMut::with_capacity(bytes));
        }
        let kept = SPARE.with_borrow(|spare| spare.iter().map(BytesMut::capacity).collect::<Vec<_>>());
        assert_eq!(kept.len(), SPARE_COUNT);
        assert!(kept.iter().all(|bytes| *bytes <= SPARE_BYTES_MAX));
    }
}
