//! `POST /v1/publish`: events, and retained messages, as MQTT would publish them.

use serde::{Deserialize, Serialize};

use crate::record::Payload;

/// Most events of one request.
pub const EVENTS_MAX: usize = 256;

/// One message to publish.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Publish {
    /// The topic name.
    pub topic: String,
    /// 0: best effort, no revision; 1: through the log (the default).
    #[serde(default = "qos_default")]
    pub qos: u8,
    /// Whether the message becomes the value of the topic. An empty payload deletes it then.
    #[serde(default)]
    pub retain: bool,
    /// What MQTT would carry as properties.
    #[serde(default)]
    pub properties: Properties,
    /// The payload, in one of three forms; `payload: ""` is an empty one.
    #[serde(flatten)]
    pub payload: Payload,
}

const fn qos_default() -> u8 {
    1
}

/// The properties of a message.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Properties {
    /// What the payload is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// 1 if the payload is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_format: Option<u8>,
    /// Where answers are expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    /// What an answer must carry, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_data_base64: Option<String>,
    /// Seconds until the message expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_expiry_s: Option<u32>,
    /// Name and value of each user property, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user_properties: Vec<(String, String)>,
}

/// Answer to one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishAnswer {
    /// The revision of the event or write; `null` for QoS 0 and for a delete of a topic that held nothing.
    pub revision: Option<u64>,
    /// The revision with the newer timestamp that stands instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<u64>,
}
