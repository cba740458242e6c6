//! The unit in which a node sends its clients' commands to the leader.

use bytes::Bytes;

use super::wire::{Reader, put_block};
use super::{Command, DecodeError};
use crate::feature::FeatureLevel;
use crate::limits::BATCH_COMMANDS_MAX;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 4 * 8 + 4;

/// Which batch of which life of which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId {
    /// The node whose clients asked.
    pub node_id: u64,
    /// Its life, counted by [`super::Item::OpenOrigin`].
    pub incarnation: u64,
    /// Number of the batch in that life, from 1 without gaps.
    pub sequence: u64,
}

/// Collects commands into the bytes of a batch.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            count: 0,
        }
    }

    /// Adds a command after those already there.
    ///
    /// # Panics
    /// If there are [`BATCH_COMMANDS_MAX`] already, a put has no payload, a QoS is above 2, a field is longer than 65,535
    /// bytes, or the sender is none that the operation allows.
    pub fn push(&mut self, command: &Command) {
        assert!(
            self.len() < BATCH_COMMANDS_MAX,
            "a batch takes at most {BATCH_COMMANDS_MAX} commands"
        );
        put_block(&mut self.bytes, |out| command.encode(out));
        self.count += 1;
    }

    /// Commands so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no command yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Encoded bytes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The encoded batch. It is never changed again: a node resends these very bytes.
    ///
    /// `deadline_us`: log time after which the commands must not be applied any more.
    #[must_use]
    pub fn finish(mut self, id: BatchId, deadline_us: u64) -> Bytes {
        self.bytes[0] = VERSION;
        for (at, number) in [
            (1, id.node_id),
            (9, id.incarnation),
            (17, id.sequence),
            (25, deadline_us),
        ] {
            self.bytes[at..at + 8].copy_from_slice(&number.to_be_bytes());
        }
        self.bytes[33..37].copy_from_slice(&self.count.to_be_bytes());
        Bytes::from(self.bytes)
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// An encoded batch whose head was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    id: BatchId,
    deadline_us: u64,
    count: u32,
}

impl Batch {
    /// Reads the head. The commands are read by [`commands`](Self::commands) only.
    ///
    /// # Errors
    /// The head is cut short, of an unknown version, or announces too many commands.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&bytes, 0..bytes.len());
        match reader.u8()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let id = BatchId {
            node_id: reader.u64()?,
            incarnation: reader.u64()?,
            sequence: reader.u64()?,
        };
        let deadline_us = reader.u64()?;
        let count = reader.u32()?;
        if count as usize > BATCH_COMMANDS_MAX {
            return Err(DecodeError::TooManyOperations(count));
        }
        Ok(Self {
            id,
            deadline_us,
            count,
            bytes,
        })
    }

    /// Reads everything once. A leader does this before it lets a batch into the log. Returns the feature level that the cluster
    /// must have.
    ///
    /// # Errors
    /// The first command that is malformed.
    pub fn validate(&self) -> Result<FeatureLevel, DecodeError> {
        self.commands().try_fold(FeatureLevel::FIRST, |level, command| {
            Ok(level.max(command?.operation.feature_level()))
        })
    }

    /// Which batch it is.
    #[must_use]
    pub const fn id(&self) -> BatchId {
        self.id
    }

    /// Log time after which its commands must not be applied any more, microseconds.
    #[must_use]
    pub const fn deadline_us(&self) -> u64 {
        self.deadline_us
    }

    /// Number of commands.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// The encoded batch.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The commands, in order. Ends after the first error. What they hold are slices of the batch's bytes.
    #[must_use]
    pub fn commands(&self) -> Commands<'_> {
        Commands {
            reader: Reader::new(&self.bytes, HEADER_BYTES..self.bytes.len()),
            left: self.count,
            done: false,
        }
    }
}

/// Iterator over the commands of a [`Batch`].
#[derive(Debug, Clone)]
pub struct Commands<'a> {
    reader: Reader<'a>,
    left: u32,
    done: bool,
}

impl Commands<'_> {
    fn read(&mut self) -> Result<Option<Command>, DecodeError> {
        if self.left == 0 {
            self.reader.finish()?;
            return Ok(None);
        }
        self.left -= 1;
        let body = self.reader.block()?;
        Command::decode(self.reader.within(body)).map(Some)
    }
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let command = self.read().transpose();
        self.done = !matches!(command, Some(Ok(_)));
        command
    }
}
