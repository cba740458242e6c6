//! Writing a backup.

use banyan_core::state::{ImageError, ImageSum, StateView};
use banyan_core::store::StoreError;
use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::format::{Header, MAGIC, ROWS_BYTES, SectionKind, Trailer, put_row, section};

/// Why a backup could not be written to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriterError {
    /// The state could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was read is not the state that this node says it has: it is damaged, and no backup may be made of it.
    #[error("the state of this node is damaged: {0}")]
    Image(#[from] ImageError),
}

/// A backup of one view, to be written piece by piece: what is in memory is one piece, however large the state.
pub struct Writer {
    view: StateView,
    header: Header,
    sum: ImageSum,
    last_key: Option<Bytes>,
    hash: Xxh3,
    sections: u32,
    bytes: u64,
    ended: bool,
}

impl Writer {
    /// A backup of `view`, of the cluster `cluster_id`, by the node `node_id`, taken at `now_us`.
    #[must_use]
    pub fn new(view: StateView, cluster_id: u64, node_id: u64, now_us: u64) -> Self {
        let header = Header {
            cluster_id,
            node_id,
            taken_at_us: now_us,
            position: *view.position(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Self {
            view,
            header,
            sum: ImageSum::default(),
            last_key: None,
            hash: Xxh3::new(),
            sections: 0,
            bytes: 0,
            ended: false,
        }
    }

    /// What the backup says about itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next piece of the file, or `None` at its end. Blocks while the state is read. Nothing may follow an error.
    ///
    /// # Errors
    /// See [`WriterError`].
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, WriterError> {
        if self.ended {
            return Ok(None);
        }
        let piece = if self.sections == 0 {
            let mut first = MAGIC.to_vec();
            first.extend(section(0, SectionKind::Header, &self.header.encode()));
            first
        } else {
            match self.rows()? {
                Some(body) => section(self.sections, SectionKind::Rows, &body),
                None => self.end()?,
            }
        };
        self.sections += 1;
        self.bytes += piece.len() as u64;
        self.hash.update(&piece);
        Ok(Some(piece))
    }

    fn rows(&mut self) -> Result<Option<Vec<u8>>, WriterError> {
        let rows = self.view.image_after(self.last_key.as_deref(), ROWS_BYTES)?;
        let mut body = Vec::with_capacity(ROWS_BYTES + ROWS_BYTES / 8);
        for (key, value) in &rows {
            self.sum.add(key, value)?;
            put_row(key, value, &mut body);
        }
        self.last_key = rows.last().map(|(key, _)| key.clone());
        Ok((!rows.is_empty()).then_some(body))
    }

    fn end(&mut self) -> Result<Vec<u8>, WriterError> {
        self.sum.check(&self.header.position)?;
        self.ended = true;
        let trailer = Trailer {
            rows: self.sum.row_count,
            sections: self.sections,
            bytes: self.bytes,
            data_digest: self.sum.data_digest().as_u128(),
            hash: self.hash.digest128(),
        };
        Ok(section(self.sections, SectionKind::Trailer, &trailer.encode()))
    }
}
