//! Records as JSON.

use banyan_api::record::{Payload, Record, encode_base64};
use banyan_core::keyspace::TopicRecord;
use banyan_core::topic::TopicName;

/// A record as it stands in a list.
pub(super) fn item(topic: &TopicName, record: &TopicRecord, values: bool) -> Record {
    let metadata = record.metadata();
    let content_type = metadata.content_type();
    Record {
        topic: topic.as_str().to_owned(),
        revision: record.revision(),
        timestamp: record.timestamp_us(),
        expires_at: record.expires_at_us(),
        payload: if values {
            Payload::of(&record.payload(), content_type)
        } else {
            Payload::default()
        },
        content_type: content_type.map(str::to_owned),
        ..Record::default()
    }
}

/// A record with all its fields.
pub(super) fn whole(topic: &TopicName, record: &TopicRecord) -> Record {
    let metadata = record.metadata();
    Record {
        created_revision: Some(record.created_revision()),
        payload_format: Some(metadata.payload_format()),
        response_topic: metadata.response_topic().map(str::to_owned),
        correlation_data_base64: metadata.correlation_data().map(encode_base64),
        user_properties: metadata
            .user_properties()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        publisher: Some(record.publisher().to_owned()),
        ..item(topic, record, true)
    }
}

/// Appends `value` and a line end.
pub(super) fn json_line<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    serde_json::to_writer(&mut *out, value)?;
    out.push(b'\n');
    Ok(())
}
