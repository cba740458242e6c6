//! A file is read back as it was written, and whatever happens to its bytes is found.

use std::sync::Arc;

use banyan_core::command::{BatchBuilder, BatchId, Command, Condition, EntryBuilder, Item, Operation, Put};
use banyan_core::metadata::Metadata;
use banyan_core::state::{State, StateView, founding_id};
use banyan_core::store::MemoryStore;
use banyan_core::topic::TopicName;
use bytes::Bytes;

use super::*;

/// A state with `count` topics, their payloads so long that they fill sections.
pub(crate) fn view_of(count: u32, payload_bytes: usize) -> StateView {
    let mut state = State::open(Arc::new(MemoryStore::new())).unwrap();
    let mut builder = BatchBuilder::new();
    for number in 0..count {
        builder.push(&Command::from(Operation::Put(Put {
            topic: TopicName::parse(&format!("t/{number}")).unwrap(),
            payload: vec![b'x'; payload_bytes].into(),
            metadata: Metadata::empty(),
            publisher: Bytes::from_static(b"test"),
            timestamp_us: None,
            expiry_s: None,
            condition: Condition::None,
            qos: 1,
        })));
    }
    let id = BatchId {
        node_id: 1,
        incarnation: 1,
        sequence: 1,
    };
    let mut entry = EntryBuilder::new();
    entry.push_item(&Item::OpenOrigin { node_id: 1, nonce: 9 });
    entry.push_batch(builder.finish(id, u64::MAX));
    state.apply(founding_id(0), &entry.finish(1_000_000)).unwrap();
    state.view()
}

pub(crate) fn file_of(view: &StateView) -> Vec<u8> {
    let mut writer = Writer::new(view.clone(), 11, 1, 5);
    let mut file = Vec::new();
    while let Some(piece) = writer.next_piece().unwrap() {
        file.extend(piece);
    }
    file
}

fn verify(file: &[u8]) -> Result<(), BackupError> {
    Reader::open(file)?.verify()
}

#[test]
fn what_is_written_is_read_back() {
    let view = view_of(200, 3_000);
    let file = file_of(&view);
    let mut reader = Reader::open(&file[..]).unwrap();
    let header = reader.header().clone();
    assert_eq!((header.cluster_id, header.node_id, header.taken_at_us), (11, 1, 5));
    assert_eq!(header.position, *view.position());
    let (mut rows, mut sections) = (Vec::new(), 0);
    while let Some(more) = reader.next_rows().unwrap() {
        rows.extend(more);
        sections += 1;
    }
    assert!(sections > 2, "{sections} sections");
    assert_eq!(rows, view.image_after(None, usize::MAX).unwrap());
    assert_eq!(reader.bytes(), file.len() as u64);
    assert_eq!(reader.sum().digest(), view.digest);
    assert_eq!(reader.sum().topic_count, 200);
    assert!(reader.next_rows().unwrap().is_none(), "the end stays the end");
}

#[test]
fn a_state_without_topics_is_a_state() {
    let file = file_of(&view_of(0, 1));
    verify(&file).unwrap();
}

/// Every byte of a small file, every bit of it, and every length.
#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let file = file_of(&view_of(3, 20));
    verify(&file).unwrap();
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            assert!(verify(&damaged).is_err(), "bit {bit} of byte {at} of {}", file.len());
        }
        assert!(verify(&file[..at]).is_err(), "cut to {at} of {} bytes", file.len());
    }
    assert!(verify(&[&file[..], b"\0"].concat()).is_err(), "one byte more");
}

/// The same, sampled, where there are many sections.
#[test]
fn damage_in_a_file_of_many_sections_is_found() {
    let file = file_of(&view_of(250, 2_400));
    for at in (0..file.len()).step_by(9_973) {
        let mut damaged = file.clone();
        damaged[at] = !damaged[at];
        assert!(verify(&damaged).is_err(), "byte {at} of {}", file.len());
        assert!(verify(&file[..at]).is_err(), "cut to {at} of {} bytes", file.len());
    }
}

/// Sections that are whole but not where they belong: exchanged, missing, twice.
#[test]
fn sections_have_their_places() {
    let file = file_of(&view_of(250, 2_400));
    let mut sections = Vec::new();
    let mut at = format::MAGIC.len();
    while at < file.len() {
        let length = u32::from_be_bytes(file[at + 1..at + 5].try_into().unwrap()) as usize;
        let end = at + format::SECTION_HEAD_BYTES + length + format::SECTION_CRC_BYTES;
        sections.push(&file[at..end]);
        at = end;
    }
    let joined = |sections: &[&[u8]]| [&format::MAGIC[..], &sections.concat()].concat();
    verify(&joined(&sections)).unwrap();
    for section in 0..sections.len() {
        let mut missing = sections.clone();
        missing.remove(section);
        assert!(verify(&joined(&missing)).is_err(), "without section {section}");
        let mut twice = sections.clone();
        twice.insert(section, sections[section]);
        assert!(verify(&joined(&twice)).is_err(), "section {section} twice");
        if section > 0 {
            let mut exchanged = sections.clone();
            exchanged.swap(section - 1, section);
            assert!(
                verify(&joined(&exchanged)).is_err(),
                "sections before {section} exchanged"
            );
        }
    }
}

#[test]
fn other_files_and_other_versions_are_told_apart() {
    assert!(matches!(verify(b""), Err(BackupError::NotABackup)));
    assert!(matches!(
        verify(b"something else entirely"),
        Err(BackupError::NotABackup)
    ));
    let mut header = Writer::new(view_of(0, 1), 1, 1, 1).header().encode();
    header[1] = 2;
    let newer = format::section(0, format::SectionKind::Header, &header);
    let newer = [&format::MAGIC[..], &newer].concat();
    assert!(matches!(verify(&newer), Err(BackupError::Version(2))));
}
