//! Directories that nobody wrote: well-formed without sense, and without form.

use std::path::Path;

use banyan_node::storage::log::EntryId;

use super::format::{header, optional_ids, slot_file, write_record};
use super::{DIR, Files, PAGE, id};
use crate::choices::Choices;

/// One or two segments of batches of records, all sound in themselves.
pub(super) fn log(choices: &mut Choices<'_>) -> Files {
    let mut files = Files::new();
    let form = choices.u8();
    let mark = [
        1 + u64::from(form >> 1 & 1),
        PAGE as u64 + u64::from(form >> 2 & 7) * 56,
    ];
    let vote = [u64::from(form >> 5 & 3), 5];
    let sequence = if form & 0x60 == 0x60 { number(choices) } else { 2 };
    files.insert(
        Path::new(DIR).join("vote"),
        slot_file(b"BNYvote", [(sequence, vote), (sequence, vote)]),
    );
    files.insert(
        Path::new(DIR).join("mark"),
        slot_file(b"BNYmark", [(1, [1, 0]), (sequence, mark)]),
    );
    let (mut previous_end, mut batch, mut ids) = (0, 1, [None; 3]);
    if form & 0x80 != 0 {
        batch = number(choices);
    }
    let first = match form & 1 {
        0 => 1,
        _ => number(choices),
    };
    for place in 0..=choices.below(2) as u64 {
        let segment = first.wrapping_add(place);
        let form = choices.u8();
        if form & 0x0F == 1 {
            previous_end = number(choices);
        }
        if form & 0xF0 == 0x10 {
            batch = number(choices);
        }
        if place == 0 && form & 0x40 != 0 || form & 0xF0 == 0x20 {
            ids = std::array::from_fn(|_| optional_id(choices));
        }
        let mut bytes = header(segment, 2 * PAGE as u64, previous_end, batch, ids);
        bytes.resize(PAGE, 0);
        for _ in 0..choices.below(6) {
            forge_batch(choices, segment, &mut batch, &mut ids, &mut bytes);
        }
        previous_end = bytes.len() as u64;
        bytes.extend_from_slice(choices.bytes());
        bytes.resize(bytes.len().max(2 * PAGE), 0);
        files.insert(Path::new(DIR).join(format!("{segment:016x}.log")), bytes);
    }
    files
}

/// A number that is likely to matter. Not one just below the greatest that a log reads: one could not write on from there.
fn number(choices: &mut Choices<'_>) -> u64 {
    let number = match choices.u8() {
        0xFF => choices.u64(),
        0xFE => u64::MAX,
        0xFD => u64::MAX - 1,
        0xFC => u64::from(u32::MAX),
        small => u64::from(small),
    };
    if (u64::MAX / 2).wrapping_sub(number) < 1000 {
        0
    } else {
        number
    }
}

fn optional_id(choices: &mut Choices<'_>) -> Option<EntryId> {
    choices.bool().then(|| EntryId {
        term: number(choices),
        node_id: 1,
        index: number(choices),
    })
}

/// Appends a batch; `ids` are last, purged and committed, followed as a log follows them.
fn forge_batch(
    choices: &mut Choices<'_>,
    segment: u64,
    batch: &mut u64,
    ids: &mut [Option<EntryId>; 3],
    bytes: &mut Vec<u8>,
) {
    let form = choices.u8();
    let mut records = Vec::new();
    for _ in 0..choices.below(4) {
        let kind = choices.u8();
        let next = ids[0].map_or(0, |last| last.index.wrapping_add(1));
        let own = EntryId {
            term: u64::from(choices.u8()),
            node_id: 1,
            index: if kind & 0x80 == 0 { next } else { number(choices) },
        };
        // Entries are most likely.
        let kind = match kind & 0x0F {
            kind @ 1..=7 => kind,
            _ => 3,
        };
        match kind {
            2..=4 => ids[0] = Some(own),
            5 => ids[0] = Some(own),
            6 => ids[0] = ids[1],
            _ => {}
        }
        let body = if kind == 3 { choices.bytes() } else { &[] };
        write_record(&mut records, segment, kind, *batch, own, body);
    }
    if form & 1 != 0 {
        ids[1] = optional_id(choices);
        ids[0] = ids[0].max(ids[1]);
    }
    if form & 2 != 0 {
        ids[2] = optional_id(choices);
    }
    let length = match form & 0xF0 {
        0xF0 => number(choices),
        _ => 112 + records.len() as u64,
    };
    let mut body = [batch.to_le_bytes(), length.to_le_bytes()].concat();
    body.extend_from_slice(&optional_ids(&ids[1..]));
    write_record(bytes, segment, 1, *batch, id(0, 0), &body);
    bytes.extend_from_slice(&records);
    *batch = batch.wrapping_add(1);
}

/// Files of the right names, some of them sound.
pub(super) fn garbage(choices: &mut Choices<'_>) -> Files {
    let mut files = Files::new();
    let mut add = |name: &str, bytes: Vec<u8>| files.insert(Path::new(DIR).join(name), bytes);
    let form = choices.u8();
    let slots = |magic, content: [u64; 2]| slot_file(magic, [(1, content), (1, content)]);
    let (vote, mark) = match form & 3 {
        // Both are sound.
        0 => (slots(b"BNYvote", [0, 0]), slots(b"BNYmark", [1, PAGE as u64])),
        1 => (choices.bytes().to_vec(), slots(b"BNYmark", [1, PAGE as u64])),
        2 => (slots(b"BNYvote", [1, 5]), choices.bytes().to_vec()),
        _ => (Vec::new(), Vec::new()),
    };
    add("vote", vote);
    add("mark", mark);
    let mut segment = match form & 4 {
        0 => Vec::new(),
        _ => header(1, 2 * PAGE as u64, 0, 1, [None; 3]),
    };
    segment.extend_from_slice(choices.rest());
    if form & 8 != 0 {
        segment.resize(segment.len().max(2 * PAGE), 0);
    }
    add("0000000000000001.log", segment);
    files
}
