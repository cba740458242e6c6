//! Pairs as they travel.

use banyan_core::limits::SNAPSHOT_CHUNK_BYTES;
use banyan_core::store::{Direction, ReadView, Replacement, StoreError};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{TransferError, tag};
use crate::consensus::unfinished::Sum;
use crate::simulation::{self, Site};

pub(super) struct Chunk {
    /// Tag and pairs.
    pub(super) message: Bytes,
    pub(super) pairs: u64,
    /// First key that is not in it; `None` at the end.
    pub(super) next: Option<Bytes>,
}

/// The pairs of `view` from `lower` on, as many as a chunk takes but at least one.
pub(super) fn read_chunk(view: &dyn ReadView, lower: &[u8]) -> Result<Chunk, StoreError> {
    let mut message = BytesMut::with_capacity(SNAPSHOT_CHUNK_BYTES);
    message.put_u8(tag::CHUNK);
    let bytes_max = match simulation::happens(Site::SmallChunk) {
        true => 0,
        false => SNAPSHOT_CHUNK_BYTES,
    };
    let (mut pairs, mut next) = (0, None);
    let len = |bytes: &Bytes| u32::try_from(bytes.len()).map_err(|error| StoreError(error.to_string()));
    for pair in view.range(lower, None, Direction::Ascending) {
        let (key, value) = pair?;
        if pairs > 0 && message.len() + 8 + key.len() + value.len() > bytes_max {
            next = Some(key);
            break;
        }
        message.put_u32(len(&key)?);
        message.put_u32(len(&value)?);
        message.extend_from_slice(&key);
        message.extend_from_slice(&value);
        pairs += 1;
    }
    Ok(Chunk {
        message: message.freeze(),
        pairs,
        next,
    })
}

/// Adds the pairs of a chunk to `replacement`, and what they come to to `sum`.
pub(super) fn push_chunk(
    mut replacement: Box<dyn Replacement>,
    mut sum: Sum,
    mut chunk: Bytes,
) -> Result<(Box<dyn Replacement>, Sum), TransferError> {
    let encoded = chunk.clone();
    let mut pairs = 0;
    while !chunk.is_empty() {
        let cut = |_| TransferError::Protocol("a chunk that is cut short");
        let key_len = chunk.try_get_u32().map_err(cut)? as usize;
        let value_len = chunk.try_get_u32().map_err(cut)? as usize;
        if key_len.saturating_add(value_len) > chunk.len() {
            return Err(TransferError::Protocol("a chunk that is cut short"));
        }
        let key = chunk.split_to(key_len);
        let value = chunk.split_to(value_len);
        replacement.push(key, value)?;
        pairs += 1;
    }
    sum.add(pairs, &encoded);
    Ok((replacement, sum))
}

#[cfg(test)]
mod tests {
    use banyan_core::store::{MemoryStore, Store};

    use super::*;

    fn store_of(sizes: &[usize]) -> MemoryStore {
        let store = MemoryStore::new();
        let pairs = (0_u32..).zip(sizes);
        let pair = |(n, size): (u32, &usize)| (Bytes::copy_from_slice(&n.to_be_bytes()), Some(vec![1; *size].into()));
        store.write(pairs.map(pair).collect()).unwrap();
        store
    }

    fn chunks_of(store: &MemoryStore) -> Vec<Chunk> {
        let (view, mut from, mut chunks) = (store.view(), Some(Bytes::new()), Vec::new());
        while let Some(lower) = from {
            let chunk = read_chunk(&*view, &lower).unwrap();
            from = chunk.next.clone();
            chunks.push(chunk);
        }
        chunks
    }

    #[test]
    fn chunks_are_bounded_but_hold_at_least_one_pair() {
        let sizes = [
            10,
            2 * SNAPSHOT_CHUNK_BYTES,
            10,
            SNAPSHOT_CHUNK_BYTES / 2,
            SNAPSHOT_CHUNK_BYTES / 2,
            0,
        ];
        let pairs: Vec<_> = chunks_of(&store_of(&sizes)).iter().map(|chunk| chunk.pairs).collect();
        assert_eq!(pairs, [1, 1, 2, 2]);
        let empty = chunks_of(&MemoryStore::new());
        assert_eq!((empty.len(), empty[0].pairs), (1, 0));
    }

    #[test]
    fn what_is_pushed_is_what_was_read() {
        let source = store_of(&[3, 0, SNAPSHOT_CHUNK_BYTES, 5, 700_000, 700_000]);
        let target = MemoryStore::new();
        let (mut replacement, mut received, mut sent) =
            (target.begin_replacement().unwrap(), Sum::default(), Sum::default());
        for chunk in chunks_of(&source) {
            sent.add(chunk.pairs, &chunk.message[1..]);
            (replacement, received) = push_chunk(replacement, received, chunk.message.slice(1..)).unwrap();
        }
        assert_eq!(sent, received);
        replacement.install().unwrap();
        let pairs = |store: &MemoryStore| -> Vec<_> {
            store
                .view()
                .range(&[], None, Direction::Ascending)
                .map(Result::unwrap)
                .collect()
        };
        assert!(pairs(&source) == pairs(&target));
    }

    #[test]
    fn a_chunk_that_is_cut_short_is_refused() {
        let chunk = chunks_of(&store_of(&[5])).remove(0).message.slice(1..);
        for len in 1..chunk.len() {
            let replacement = MemoryStore::new().begin_replacement().unwrap();
            assert!(
                push_chunk(replacement, Sum::default(), chunk.slice(..len)).is_err(),
                "{len}"
            );
        }
    }
}
