//! Reading a backup. What comes is checked before it is believed; nothing here panics on any bytes.

use std::io::{self, Read};

use banyan_core::state::{ImageError, ImageSum};
use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::format::{
    Header, MAGIC, SECTION_BYTES_MAX, SECTION_CRC_BYTES, SECTION_HEAD_BYTES, SectionKind, Trailer, section_crc,
    take_row,
};

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("is no Banyan snapshot")]
    NotABackup,
    /// A newer program wrote it.
    #[error("is of format version {0}, which this program does not know; use a newer one")]
    Version(u16),
    /// It ends before its end.
    #[error("is cut short after {0} bytes")]
    Cut(u64),
    /// Bytes are not what they were.
    #[error("is damaged in the section at byte {at}: {why}")]
    Damaged {
        /// Where the section begins.
        at: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The rows are not those of the state that it tells of.
    #[error("does not hold the state that it tells of: {0}")]
    Image(#[from] ImageError),
}

/// A backup that is being read. The rows are to be believed once [`next_rows`](Self::next_rows) has returned `None`: only
/// then is it known that all are there.
pub struct Reader<R> {
    source: R,
    header: Header,
    sum: ImageSum,
    hash: Xxh3,
    sections: u32,
    bytes: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads up to the first rows.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn open(source: R) -> Result<Self, BackupError> {
        let none = Header {
            cluster_id: 0,
            node_id: 0,
            taken_at_us: 0,
            position: banyan_core::keyspace::meta::Position::default(),
            program: String::new(),
        };
        let mut reader = Self {
            source,
            header: none,
            sum: ImageSum::default(),
            hash: Xxh3::new(),
            sections: 0,
            bytes: 0,
            ended: false,
        };
        let mut magic = [0; MAGIC.len()];
        if reader.fill(&mut magic)? < magic.len() || magic != MAGIC {
            return Err(BackupError::NotABackup);
        }
        reader.hash.update(&magic);
        match reader.section()? {
            (SectionKind::Header, body) => match Header::parse(&body) {
                Ok(header) => reader.header = header,
                Err(Some(version)) => return Err(BackupError::Version(version)),
                Err(None) => return Err(reader.damaged("the header is malformed")),
            },
            _ => return Err(reader.damaged("it does not begin with a header")),
        }
        Ok(reader)
    }

    /// What the backup says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the rows read so far come to.
    pub fn sum(&self) -> &ImageSum {
        &self.sum
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows of the next section; `None` at the end, when all of it has been checked.
    ///
    /// # Errors
    /// See [`BackupError`]. Nothing may follow.
    pub fn next_rows(&mut self) -> Result<Option<Vec<(Bytes, Bytes)>>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let (at, hash) = (self.bytes, self.hash.digest128());
        match self.section()? {
            (SectionKind::Rows, body) => self.rows(body).map(Some),
            (SectionKind::Trailer, body) => self.end(&body, at, hash).map(|()| None),
            (SectionKind::Header, _) => Err(self.damaged("there is a second header")),
        }
    }

    /// Reads all that is left and forgets it.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn verify(&mut self) -> Result<(), BackupError> {
        while self.next_rows()?.is_some() {}
        Ok(())
    }

    fn rows(&mut self, mut body: Bytes) -> Result<Vec<(Bytes, Bytes)>, BackupError> {
        let mut rows = Vec::new();
        while !body.is_empty() {
            let row = take_row(&mut body).ok_or_else(|| self.damaged("a row is malformed"))?;
            self.sum.add(&row.0, &row.1)?;
            rows.push(row);
        }
        Ok(rows)
    }

    /// `at` is where the trailer's section begins, `hash` that of all before it.
    fn end(&mut self, body: &[u8], at: u64, hash: u128) -> Result<(), BackupError> {
        let trailer = Trailer::parse(body).ok_or_else(|| self.damaged("the trailer is malformed"))?;
        let found = Trailer {
            rows: self.sum.row_count,
            sections: self.sections - 1,
            bytes: at,
            data_digest: self.sum.data_digest().as_u128(),
            hash,
        };
        if trailer != found {
            return Err(self.damaged("the trailer is of something else"));
        }
        if self.fill(&mut [0])? > 0 {
            return Err(self.damaged("something follows the trailer"));
        }
        self.sum.check(&self.header.position)?;
        self.ended = true;
        Ok(())
    }

    fn section(&mut self) -> Result<(SectionKind, Bytes), BackupError> {
        let at = self.bytes;
        let damaged = |why| BackupError::Damaged { at, why };
        let mut head = [0; SECTION_HEAD_BYTES];
        if self.fill(&mut head)? < head.len() {
            return Err(BackupError::Cut(self.bytes));
        }
        let [kind, length @ ..] = head;
        let kind = SectionKind::from_u8(kind).ok_or_else(|| damaged("it is of an unknown kind"))?;
        let length = u32::from_be_bytes(length) as usize;
        if length > SECTION_BYTES_MAX {
            return Err(damaged("it is too long"));
        }
        // Grows as bytes arrive: a length alone takes no memory.
        let mut body = Vec::new();
        let wanted = (length + SECTION_CRC_BYTES) as u64;
        let read = self.source.by_ref().take(wanted).read_to_end(&mut body)?;
        self.bytes += read as u64;
        if (read as u64) < wanted {
            return Err(BackupError::Cut(self.bytes));
        }
        let (bytes, crc) = body.split_at(length);
        if section_crc(self.sections, &head, bytes).to_be_bytes() != crc {
            return Err(damaged("its checksum is wrong"));
        }
        self.hash.update(&head);
        self.hash.update(&body);
        self.sections += 1;
        body.truncate(length);
        Ok((kind, Bytes::from(body)))
    }

    /// Reads as much of `buffer` as there is.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, BackupError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.bytes += filled as u64;
        Ok(filled)
    }

    fn damaged(&self, why: &'static str) -> BackupError {
        BackupError::Damaged { at: self.bytes, why }
    }
}
