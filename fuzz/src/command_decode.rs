//! Commands: entries, batches and operations.
//!
//! Input: form u8 | bytes.
//!
//! | form | the bytes are |
//! |---|---|
//! | 0 | an entry |
//! | 1 | a batch, given as the one item of an entry |
//! | 2 | operations, each after its length u8, in a batch of an entry with the right counts and lengths |
//!
//! What must hold: no panic; what decodes encodes to the very same bytes; and a state takes an entry whose parts all
//! decode, and calls every other one it looks into corrupt.

use std::sync::Arc;

use banyan_core::command::{Batch, BatchBuilder, BatchId, Command, DecodeError, Entry, EntryBuilder, Item};
use banyan_core::limits::BATCH_COMMANDS_MAX;
use banyan_core::state::{AppliedId, ApplyError, State};
use banyan_core::store::MemoryStore;
use bytes::Bytes;

use crate::choices::Choices;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let entry = match choices.below(3) {
        0 => Bytes::copy_from_slice(choices.rest()),
        1 => entry_of(Bytes::copy_from_slice(choices.rest())),
        _ => entry_of(batch_of(&mut choices)),
    };
    let items = check_entry(&entry);
    check_apply(&entry, items);
}

/// An entry that makes node 1 an origin and brings its first batch.
fn entry_of(batch: Bytes) -> Bytes {
    let mut builder = EntryBuilder::new();
    builder.push_item(&Item::OpenOrigin { node_id: 1, nonce: 1 });
    builder.push_batch(batch);
    builder.finish(1_000_000)
}

/// The first batch of node 1, laid by hand since the operations may be anything.
fn batch_of(choices: &mut Choices<'_>) -> Bytes {
    let id = BatchId {
        node_id: 1,
        incarnation: 1,
        sequence: 1,
    };
    let mut bytes = BatchBuilder::new().finish(id, u64::MAX).to_vec();
    let mut count = 0_u32;
    while !choices.is_empty() && (count as usize) < BATCH_COMMANDS_MAX {
        let operation = choices.bytes();
        bytes.extend_from_slice(&(operation.len() as u32).to_be_bytes());
        bytes.extend_from_slice(operation);
        count += 1;
    }
    bytes[33..37].copy_from_slice(&count.to_be_bytes());
    Bytes::from(bytes)
}

/// What of an entry is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// Everything.
    All,
    /// The items, but not all that is in their batches.
    Items,
    /// Not even the items.
    Nothing,
}

fn check_entry(bytes: &Bytes) -> Whole {
    let Ok(entry) = Entry::parse(bytes.clone()) else {
        return Whole::Nothing;
    };
    let items: Result<Vec<Item>, DecodeError> = entry.items().collect();
    let Ok(items) = items else { return Whole::Nothing };
    let mut builder = EntryBuilder::new();
    items.iter().for_each(|item| builder.push_item(item));
    assert_eq!(builder.is_empty(), items.is_empty());
    assert_eq!(builder.bytes(), bytes.len());
    assert_eq!(&builder.finish(entry.time_us()), bytes);
    let is_whole = |item: &Item| match item {
        Item::Batch(batch) => check_batch(batch),
        _ => true,
    };
    // Not `all`, which stops at the first that is not.
    let broken = items.iter().filter(|item| !is_whole(item)).count();
    if broken == 0 { Whole::All } else { Whole::Items }
}

fn check_batch(bytes: &Bytes) -> bool {
    let Ok(batch) = Batch::parse(bytes.clone()) else {
        return false;
    };
    let commands: Result<Vec<Command>, DecodeError> = batch.commands().collect();
    assert_eq!(batch.validate().is_ok(), commands.is_ok());
    let Ok(commands) = commands else { return false };
    assert_eq!(commands.len(), batch.count());
    let mut builder = BatchBuilder::new();
    commands.iter().for_each(|command| builder.push(command));
    assert_eq!((builder.len(), builder.bytes()), (commands.len(), bytes.len()));
    assert_eq!(&builder.finish(batch.id(), batch.deadline_us()), bytes);
    true
}

fn check_apply(entry: &Bytes, whole: Whole) {
    let mut state = State::open(Arc::new(MemoryStore::new())).expect("an empty store");
    let id = AppliedId {
        term: 1,
        node_id: 1,
        index: 0,
    };
    match (state.apply(id, entry), whole) {
        (Ok(_), Whole::All) => {
            let digest = state.view().full_digest().expect("memory");
            assert_eq!(state.digest(), digest);
        }
        // A batch that is not taken is not read.
        (Ok(_), Whole::Items) | (Err(ApplyError::Corrupt(_)), Whole::Items | Whole::Nothing) => {}
        (result, whole) => panic!("{whole:?} of {entry:02X?} is whole: {result:?}"),
    }
}
