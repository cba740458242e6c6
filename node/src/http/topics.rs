//! One topic: GET, HEAD, PUT, DELETE, with the topic in the path or in `?topic=`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use banyan_api::RECORD_JSON;
use banyan_api::problem::ProblemKind;
use banyan_api::write::{DeleteAnswer, PutAnswer};
use banyan_core::command::{Delete, Operation, Put};
use banyan_core::metadata::Metadata;
use banyan_core::state::Outcome;
use banyan_core::topic::TopicName;
use bytes::Bytes;

use super::headers::{self, View};
use super::problem::{Answer, Failure};
use super::query::{self, Query};
use super::{Http, body, consistency, not_implemented, problem, render};

/// The writer of everything that comes over HTTP, until there are users.
pub(super) const PUBLISHER: Bytes = Bytes::from_static(b"anonymous");

/// What is in front of the topic in a path.
const PATH_PREFIX: &str = "/v1/topics/";

/// The parameters of a read of one topic, beside `topic` itself.
const READ_PARAMETERS: &[&str] = &["view", "consistency", "at_least"];

/// Bytes of a PUBLISH beside topic, metadata and payload, at most: fixed header, topic length, packet identifier, property
/// length, message expiry, and the properties that a delivery adds.
const PUBLISH_OVERHEAD_BYTES_MAX: usize = 128;

pub(super) async fn get_by_path(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let query = Query::parse(uri.query(), READ_PARAMETERS)?;
    read(&http, &topic_of_path(&uri)?, &query, &headers).await
}

pub(super) async fn put_by_path(State(http): State<Http>, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    Query::parse(uri.query(), &[])?;
    put(&http, topic_of_path(&uri)?, &headers, body).await
}

pub(super) async fn put_by_query(State(http): State<Http>, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    let query = Query::parse(uri.query(), &["topic"])?;
    let topic = query
        .topic("topic")?
        .ok_or_else(|| Failure::parameter("topic", "missing: which topic to write?"))?;
    put(&http, topic, &headers, body).await
}

pub(super) async fn delete_by_path(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    Query::parse(uri.query(), &[])?;
    delete(&http, topic_of_path(&uri)?, &headers).await
}

/// The rest of the path, percent-decoded once. `%2F` is a level separator like `/`; `..` is a level like any other.
fn topic_of_path(uri: &Uri) -> Result<TopicName, Failure> {
    let raw = uri.path().strip_prefix(PATH_PREFIX).unwrap_or_default();
    let decoded =
        query::percent_decode(raw).ok_or_else(|| Failure::new(ProblemKind::InvalidTopic, query::NOT_DECODABLE))?;
    Ok(TopicName::from_utf8(Bytes::from(decoded))?)
}

/// Refuses topics that only the cluster itself writes.
pub(super) fn refuse_reserved(topic: &TopicName) -> Result<(), Failure> {
    if topic.is_reserved() {
        return Err(Failure::new(
            ProblemKind::ReservedTopic,
            "Topics that begin with $ are read-only. Use another name.",
        ));
    }
    Ok(())
}

/// Answers with the record in the view asked for.
pub(super) async fn read(http: &Http, topic: &TopicName, query: &Query, request: &HeaderMap) -> Answer {
    let view = match query.get("view") {
        None if accepts_record(request) => View::Record,
        None | Some("payload") => View::Payload,
        Some("record") => View::Record,
        Some(_) => return Err(Failure::parameter("view", "write record or payload.")),
    };
    let read = consistency::read(http, query).await?;
    let record = read.view.get(topic)?.ok_or_else(problem::topic_not_found)?;
    let mut response = if headers::not_modified(request, record.revision(), view)? {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        match view {
            View::Payload => {
                let mut response = Response::new(Body::from(record.payload()));
                headers::describe_payload(&record.metadata(), response.headers_mut());
                response
            }
            View::Record => Json(render::whole(topic, &record)).into_response(),
        }
    };
    headers::describe(&record, view, response.headers_mut());
    read.annotate(response.headers_mut());
    Ok(response)
}

/// Whether the client names the record's media type. Plain JSON does not ask for it, since payloads may be JSON too.
fn accepts_record(headers: &HeaderMap) -> bool {
    let mut types = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    types.any(|accepted| {
        accepted
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case(RECORD_JSON)
    })
}

/// Writes a topic.
async fn put(http: &Http, topic: TopicName, request: &HeaderMap, body: Body) -> Answer {
    refuse_reserved(&topic)?;
    not_implemented::refuse_idempotency_key(request)?;
    let metadata = headers::metadata(request)?;
    let condition = headers::condition(request)?;
    let timestamp_us = headers::timestamp_us(request)?;
    let expiry_s = headers::expiry_s(request)?;
    let payload = body::read(http, request, body).await?;
    if payload.is_empty() {
        return Err(Failure::new(
            ProblemKind::EmptyPayload,
            "Send at least one byte, or DELETE the topic.",
        ));
    }
    refuse_too_large(http, &topic, &metadata, &payload)?;
    let put = Put {
        topic,
        payload,
        metadata,
        publisher: PUBLISHER,
        timestamp_us,
        expiry_s,
        condition,
        qos: 1,
    };
    let (status, answer) = match http.service.write(Operation::Put(put)).await? {
        Outcome::Applied { revision, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            (
                status,
                PutAnswer {
                    revision: Some(revision),
                    applied: true,
                    superseded_by: None,
                },
            )
        }
        Outcome::Unchanged { revision } => (
            StatusCode::OK,
            PutAnswer {
                revision: Some(revision),
                applied: true,
                superseded_by: None,
            },
        ),
        Outcome::Superseded { winner } => (
            StatusCode::OK,
            PutAnswer {
                revision: None,
                applied: false,
                superseded_by: Some(winner),
            },
        ),
        other => return Err(Failure::of_outcome(&other)),
    };
    let mut response = (status, Json(&answer)).into_response();
    if let Some(revision) = answer.revision {
        response
            .headers_mut()
            .insert(ETAG, headers::entity_tag(revision, View::Payload));
        response
            .headers_mut()
            .insert(headers::BANYAN_REVISION, HeaderValue::from(revision));
    }
    Ok(response)
}

/// Refuses what could not be delivered as one packet.
pub(super) fn refuse_too_large(
    http: &Http,
    topic: &TopicName,
    metadata: &Metadata,
    payload: &Bytes,
) -> Result<(), Failure> {
    let bytes_max = (http.settings.packet_bytes_max as usize).saturating_sub(PUBLISH_OVERHEAD_BYTES_MAX);
    if topic.len() + metadata.as_bytes().len() + payload.len() > bytes_max {
        return Err(body::too_large(bytes_max));
    }
    Ok(())
}

/// Deletes a topic.
pub(super) async fn delete(http: &Http, topic: TopicName, request: &HeaderMap) -> Answer {
    refuse_reserved(&topic)?;
    not_implemented::refuse_idempotency_key(request)?;
    let delete = Delete {
        topic,
        publisher: PUBLISHER,
        timestamp_us: headers::timestamp_us(request)?,
        condition: headers::condition(request)?,
        metadata: Metadata::empty(),
        qos: 1,
    };
    let answer = match http.service.write(Operation::Delete(delete)).await? {
        Outcome::Deleted { revision } | Outcome::Unchanged { revision } => DeleteAnswer {
            revision: Some(revision),
            deleted: true,
            superseded_by: None,
        },
        Outcome::Superseded { winner } => DeleteAnswer {
            revision: None,
            deleted: false,
            superseded_by: Some(winner),
        },
        other => return Err(Failure::of_outcome(&other)),
    };
    let mut response = Json(&answer).into_response();
    if let Some(revision) = answer.revision {
        response
            .headers_mut()
            .insert(headers::BANYAN_REVISION, HeaderValue::from(revision));
    }
    Ok(response)
}
