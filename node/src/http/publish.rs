//! `POST /v1/publish`: one message, or an array of messages, each on its own and answered in order.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::IntoResponse;
use banyan_api::problem::{Problem, ProblemKind};
use banyan_api::publish::{EVENTS_MAX, Properties, Publish, PublishAnswer};
use banyan_api::record::{decode_base64, within_bounds};
use banyan_core::command::{Condition, Delete, Event, Operation, Put};
use banyan_core::metadata::{Metadata, MetadataBuilder};
use banyan_core::state::Outcome;
use banyan_core::topic::TopicName;
use bytes::Bytes;
use futures_util::future::join_all;
use serde::Serialize;

use super::problem::{Answer, Failure};
use super::query::Query;
use super::topics::{PUBLISHER, refuse_reserved, refuse_too_large};
use super::{Http, body, not_implemented};

/// The answer to one message of several: what it would have been answered alone.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOfMany {
    Answer(PublishAnswer),
    Problem(Problem),
}

/// Publishes. A message of several that fails is answered with its problem in place; the status is 200 then.
pub(super) async fn post(State(http): State<Http>, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    Query::parse(uri.query(), &[])?;
    not_implemented::refuse_idempotency_key(&headers)?;
    let body = body::read(&http, &headers, body).await?;
    let invalid = |detail: String| Failure::new(ProblemKind::InvalidBody, detail);
    let text = std::str::from_utf8(&body).map_err(|_| invalid("The body is not UTF-8.".to_owned()))?;
    if !within_bounds(text) {
        return Err(invalid(
            "The body is nested too deeply or holds too long a number.".to_owned(),
        ));
    }
    if !text.trim_start().starts_with('[') {
        let message = serde_json::from_str(text).map_err(|error| invalid(format!("Not a message: {error}.")))?;
        return Ok(Json(publish(&http, message).await?).into_response());
    }
    let messages: Vec<Publish> =
        serde_json::from_str(text).map_err(|error| invalid(format!("Not an array of messages: {error}.")))?;
    if messages.len() > EVENTS_MAX {
        return Err(invalid(format!("At most {EVENTS_MAX} messages at a time.")));
    }
    // Polled in order, and each is proposed when first polled: so they enter the order of this node as they stand here.
    let answers = join_all(messages.into_iter().map(|message| publish(&http, message))).await;
    let answers: Vec<OneOfMany> = answers
        .into_iter()
        .map(|answer| answer.map_or_else(|failure| OneOfMany::Problem(failure.into_problem()), OneOfMany::Answer))
        .collect();
    Ok(Json(answers).into_response())
}

async fn publish(http: &Http, message: Publish) -> Result<PublishAnswer, Failure> {
    let topic = TopicName::parse(&message.topic)?;
    refuse_reserved(&topic)?;
    let invalid = |detail: String| Failure::new(ProblemKind::InvalidBody, detail);
    if message.qos > 1 {
        return Err(invalid("qos must be 0 or 1.".to_owned()));
    }
    let payload = message
        .payload
        .to_bytes()
        .map_err(|error| invalid(format!("{error}.")))?;
    let payload = Bytes::from(payload);
    let metadata = metadata(&message.properties)?;
    refuse_too_large(http, &topic, &metadata, &payload)?;
    let (qos, expiry_s) = (message.qos, message.properties.message_expiry_s);
    let operation = match (message.retain, payload.is_empty()) {
        (false, _) => {
            let event = Event {
                topic,
                payload,
                metadata,
                publisher: PUBLISHER,
                qos,
                expiry_s,
            };
            if qos == 0 {
                http.service.publish_event(event);
                return Ok(PublishAnswer {
                    revision: None,
                    superseded_by: None,
                });
            }
            Operation::Event(event)
        }
        (true, true) => {
            let (timestamp_us, condition) = (None, Condition::None);
            Operation::Delete(Delete {
                topic,
                publisher: PUBLISHER,
                timestamp_us,
                condition,
                metadata,
                qos,
            })
        }
        (true, false) => {
            let (timestamp_us, condition) = (None, Condition::None);
            Operation::Put(Put {
                topic,
                payload,
                metadata,
                publisher: PUBLISHER,
                timestamp_us,
                expiry_s,
                condition,
                qos,
            })
        }
    };
    match http.service.write(operation).await? {
        Outcome::Published { revision }
        | Outcome::Applied { revision, .. }
        | Outcome::Unchanged { revision }
        | Outcome::Deleted { revision } => Ok(PublishAnswer {
            revision: Some(revision),
            superseded_by: None,
        }),
        Outcome::Superseded { winner } => Ok(PublishAnswer {
            revision: None,
            superseded_by: Some(winner),
        }),
        // As in MQTT: to delete what is not there succeeds.
        Outcome::NotFound => Ok(PublishAnswer {
            revision: None,
            superseded_by: None,
        }),
        other => Err(Failure::of_outcome(&other)),
    }
}

fn metadata(properties: &Properties) -> Result<Metadata, Failure> {
    let invalid = |detail: String| Failure::new(ProblemKind::InvalidBody, detail);
    let mut builder = MetadataBuilder::new();
    if let Some(format) = properties.payload_format {
        builder.payload_format(format);
    }
    if let Some(content_type) = &properties.content_type {
        builder.content_type(content_type);
    }
    if let Some(topic) = &properties.response_topic {
        builder.response_topic(topic);
    }
    if let Some(text) = &properties.correlation_data_base64 {
        let data = decode_base64(text).map_err(|_| invalid("correlation_data_base64 is not base64.".to_owned()))?;
        builder.correlation_data(&data);
    }
    for (name, value) in &properties.user_properties {
        builder.user_property(name, value);
    }
    builder
        .build()
        .map_err(|error| invalid(format!("properties: {error}.")))
}
