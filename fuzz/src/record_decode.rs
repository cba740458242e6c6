//! What is kept under the keys: records, tombstones, origins, the position, metadata, and keys themselves.
//!
//! Input: which format u8 | the stored bytes. So that the search need not find the version first, formats 0 to 3 come a
//! second time with the version put in front.
//!
//! What must hold: no panic, also not in what reads the fields, and what is accepted encodes to the very same bytes.

use banyan_core::keyspace::change::{change_key, change_of_key};
use banyan_core::keyspace::expiry::{expiry_key, expiry_of_key};
use banyan_core::keyspace::meta::Position;
use banyan_core::keyspace::origin::{origin_key, origin_of_key};
use banyan_core::keyspace::tombstone::{tombstone_age_key, tombstone_age_of_key};
use banyan_core::keyspace::{KeyKind, OriginRow, RecordFields, Tombstone, TopicRecord, topic_key, topic_of_key};
use banyan_core::metadata::{Metadata, MetadataBuilder};
use bytes::Bytes;

use crate::choices::Choices;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let format = choices.below(10);
    let rest = choices.rest();
    let stored = match format {
        6.. => [&[1], rest].concat(),
        _ => rest.to_vec(),
    };
    match format {
        0 | 6 => check_record(Bytes::from(stored)),
        1 | 7 => check_tombstone(&stored),
        2 | 8 => check_origin(&stored),
        3 | 9 => check_position(&stored),
        4 => check_metadata(Bytes::from(stored)),
        _ => check_key(&Bytes::from(stored)),
    }
}

fn check_record(stored: Bytes) {
    let Ok(record) = TopicRecord::parse(stored.clone()) else {
        return;
    };
    assert!(!record.payload().is_empty());
    assert_eq!(record.payload(), record.payload_bytes());
    assert_eq!(record.publisher_bytes(), record.publisher().as_bytes());
    // Metadata are not checked again when a record is read: they may be anything, and must be harmless.
    let (metadata, payload) = (record.metadata(), record.payload());
    assert_eq!(metadata.as_bytes(), record.metadata_bytes());
    read_all(&metadata);
    let fields = RecordFields {
        revision: record.revision(),
        ordinal: record.ordinal(),
        created_revision: record.created_revision(),
        timestamp_us: record.timestamp_us(),
        expires_at_us: record.expires_at_us(),
        qos: record.qos(),
        publisher: record.publisher().as_bytes(),
        metadata: &metadata,
        payload: &payload,
    };
    assert_eq!(fields.encode().as_bytes(), &stored, "{record:?}");
}

fn check_tombstone(stored: &[u8]) {
    if let Ok(tombstone) = Tombstone::parse(stored) {
        assert_eq!(tombstone.encode(), stored, "{tombstone:?}");
    }
}

fn check_origin(stored: &[u8]) {
    if let Ok(row) = OriginRow::parse(stored) {
        assert_eq!(row.encode(), stored, "{row:?}");
    }
}

fn check_position(stored: &[u8]) {
    if let Ok(position) = Position::parse(stored) {
        assert_eq!(Position::parse(&position.encode()), Ok(position));
        // Without an applied entry its place is not looked at.
        if position.applied.is_some() {
            assert_eq!(position.encode(), stored, "{position:?}");
        }
    }
}

fn check_metadata(stored: Bytes) {
    let Ok(metadata) = Metadata::from_canonical(stored.clone()) else {
        return;
    };
    read_all(&metadata);
    let mut builder = MetadataBuilder::new();
    builder.payload_format(metadata.payload_format());
    if let Some(text) = metadata.content_type() {
        builder.content_type(text);
    }
    if let Some(text) = metadata.response_topic() {
        builder.response_topic(text);
    }
    if let Some(data) = metadata.correlation_data() {
        builder.correlation_data(data);
    }
    for (name, value) in metadata.user_properties() {
        builder.user_property(name, value);
    }
    let built = builder.build();
    assert_eq!(built.as_ref(), Ok(&metadata));
    assert_eq!(metadata.as_bytes(), &stored);
    assert_eq!(metadata.detach(), metadata);
}

fn read_all(metadata: &Metadata) {
    assert!(metadata.payload_format() == 0 || !metadata.is_empty());
    let mut length = metadata.content_type().map_or(0, str::len);
    length += metadata.response_topic().map_or(0, str::len);
    length += metadata.correlation_data().map_or(0, <[u8]>::len);
    length += metadata
        .user_properties()
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>();
    assert!(length <= metadata.as_bytes().len());
    assert!(
        metadata
            .user_property("\u{1}")
            .is_none_or(|value| value.len() <= length)
    );
    assert!(!format!("{metadata:?}").is_empty());
}

fn check_key(key: &Bytes) {
    if let Ok((revision, ordinal)) = change_of_key(key) {
        assert_eq!(change_key(revision, ordinal), key);
    }
    if let Ok((expires_at_us, stored_topic)) = expiry_of_key(key) {
        assert_eq!(expiry_key(expires_at_us, stored_topic), key);
    }
    if let Ok(node_id) = origin_of_key(key) {
        assert_eq!(origin_key(node_id), key);
    }
    if let Ok((revision, ordinal)) = tombstone_age_of_key(key) {
        assert_eq!(tombstone_age_key(revision, ordinal), key);
    }
    if let Some(topic) = topic_of_key(key) {
        assert_eq!(topic_key(&topic), key);
    }
    if let Some(kind) = KeyKind::of_key(key) {
        let (lower, upper) = kind.range();
        assert!(lower[..] <= key[..] && key[..] < upper[..], "{kind:?}");
        assert_eq!(KeyKind::from_u8(kind as u8), Some(kind));
    }
}
