//! Backup files: a recorded one that was damaged, sections with right checksums around anything, and garbage.
//!
//! Input: form u8 and what it needs.
//!
//! | form | the file |
//! |---|---|
//! | 0 | a recorded one, cut or with up to 64 bytes changed |
//! | 1 | sections of any kind, with right checksums: a body as it comes, or rows of any keys and values |
//! | 2 | any bytes |
//!
//! What must hold: no panic; a damaged file is refused; rows that were read can be restored or are refused.

use std::sync::{Arc, LazyLock};

use banyan_core::command::{BatchBuilder, BatchId, EntryBuilder, Item};
use banyan_core::state::{State, founding_id, push_indexed};
use banyan_core::store::MemoryStore;
use banyan_node::backup::{BackupError, Reader, Writer};

use crate::choices::Choices;
use crate::seeds;

/// Not more than this is changed in a row.
const DAMAGE_BYTES_MAX: usize = 64;

static RECORDED: LazyLock<Vec<u8>> = LazyLock::new(record);

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(3) {
        0 => check_damaged(&mut choices),
        1 => check_any(&sections(&mut choices)),
        _ => check_any(choices.rest()),
    }
}

/// A backup of a state with one of everything that operations make.
fn record() -> Vec<u8> {
    let mut batch = BatchBuilder::new();
    for operation in seeds::operations() {
        batch.push(&operation.into());
    }
    let id = BatchId {
        node_id: 1,
        incarnation: 1,
        sequence: 1,
    };
    let mut entry = EntryBuilder::new();
    entry.push_item(&Item::OpenOrigin { node_id: 1, nonce: 2 });
    entry.push_batch(batch.finish(id, u64::MAX));
    let mut state = State::open(Arc::new(MemoryStore::new())).expect("an empty store");
    state
        .apply(founding_id(0), &entry.finish(1_000_000))
        .expect("a legal entry");
    let mut writer = Writer::new(state.view(), 7, 1, 5);
    let mut file = Vec::new();
    while let Some(piece) = writer.next_piece().expect("a sound state") {
        file.extend(piece);
    }
    file
}

/// Reads all of it; what was read is restored.
fn read(file: &[u8]) -> Result<(), BackupError> {
    let mut reader = Reader::open(file)?;
    let mut batch = Vec::new();
    while let Some(rows) = reader.next_rows()? {
        for (key, value) in rows {
            // Refused or not: both are answers.
            let _ = push_indexed(key, value, &mut batch);
        }
    }
    Ok(())
}

fn check_damaged(choices: &mut Choices<'_>) {
    let mut file = RECORDED.clone();
    let at = usize::from(choices.u16()) % file.len();
    if choices.bool() {
        file.truncate(at);
    } else {
        let damage = choices.take(DAMAGE_BYTES_MAX);
        for (byte, change) in file[at..].iter_mut().zip(damage) {
            *byte ^= change;
        }
    }
    let is_whole = read(&file).is_ok();
    assert_eq!(is_whole, file == *RECORDED, "damaged at {at}");
}

fn check_any(file: &[u8]) {
    // Refused or not: both are answers.
    let _ = read(file);
}

/// Sections with right checksums, by the documented format.
fn sections(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut file = b"banyan\0S".to_vec();
    if choices.bool() {
        // The recorded header, so that what follows is read.
        let header_bytes = u32::from_be_bytes(RECORDED[9..13].try_into().expect("four bytes")) as usize;
        file.extend_from_slice(&RECORDED[8..8 + 5 + header_bytes + 4]);
    }
    let mut number = u32::from(file.len() > 8);
    while !choices.is_empty() {
        let kind = choices.one_of(&[1, 2, 2, 2, 3, 4]);
        let mut body = Vec::new();
        if choices.bool() {
            body.extend_from_slice(choices.bytes());
        } else {
            for _ in 0..choices.below(4) {
                let (key, value) = (choices.bytes(), choices.bytes());
                body.extend_from_slice(&(key.len() as u32).to_be_bytes());
                body.extend_from_slice(&(value.len() as u32).to_be_bytes());
                body.extend_from_slice(key);
                body.extend_from_slice(value);
            }
        }
        let mut head = vec![kind];
        head.extend_from_slice(&(body.len() as u32).to_be_bytes());
        let crc = [&number.to_be_bytes()[..], &head, &body]
            .into_iter()
            .fold(0, crc32c::crc32c_append);
        file.extend([head, body].concat());
        file.extend_from_slice(&crc.to_be_bytes());
        number += 1;
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format written here is the one that is read: rows of the recorded file get as far as the missing trailer.
    #[test]
    fn what_is_laid_here_is_read() {
        read(&RECORDED).expect("as it was written");
        let mut reader = Reader::open(&RECORDED[..]).expect("a header");
        let rows = reader.next_rows().expect("rows").expect("some");
        let (key, value) = &rows[0];
        let mut input = vec![1, 1, 0, 1, key.len() as u8];
        input.extend_from_slice(key);
        input.push(value.len() as u8);
        input.extend_from_slice(value);
        let file = sections(&mut Choices::new(&input));
        match read(&file) {
            Err(BackupError::Cut(at)) => assert_eq!(at, file.len() as u64),
            other => panic!("{other:?}"),
        }
    }
}
