//! One HTTP/1.1 client of one node: a connection that is kept while it works, and calls that become answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use banyan_node::net::{BoxStream, Net};
use bytes::BytesMut;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::http_message::{self, Response};
use super::mqtt::seconds;
use crate::history::{Answer, Call, Condition, Consistency, Seen, Serial};

/// A client of one node.
pub struct HttpClient {
    net: Arc<dyn Net>,
    address: String,
    connection: Option<Connection>,
}

struct Connection {
    stream: BoxStream,
    received: BytesMut,
}

/// Why there is no response.
enum Failure {
    /// Nothing was sent.
    NotSent(String),
    /// The request may have arrived.
    Lost(String),
}

/// How a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Page by page, with this many records each.
    Pages(usize),
    /// As one stream of lines.
    Stream,
}

impl HttpClient {
    /// A client of the node at `address` (`host:port`). Connects with the first call.
    #[must_use]
    pub fn new(net: Arc<dyn Net>, address: &str) -> Self {
        Self {
            net,
            address: address.to_owned(),
            connection: None,
        }
    }

    /// Carries out a call. A put's payload has at least `payload_bytes` bytes. Every answer comes within `deadline`, be it
    /// [`Answer::Unknown`].
    ///
    /// Cancelling is as if the client were killed: whether a write takes effect is unknown, and the connection is gone.
    pub async fn call(&mut self, call: &Call, payload_bytes: usize, listing: Listing, deadline: Duration) -> Answer {
        let until = Instant::now() + deadline;
        if let Call::List { filter, consistency } = call {
            return match self.list(filter, *consistency, listing, until).await {
                Ok(answer) => answer,
                Err(Failure::NotSent(reason) | Failure::Lost(reason)) => Answer::Refused(reason),
            };
        }
        let (method, target, headers, body) = match request_of(call, payload_bytes) {
            Some(request) => request,
            None => return Answer::Refused("HTTP has no such call".to_owned()),
        };
        match self.exchange(method, &target, &headers, &body, until).await {
            Ok(response) => answer_of(call, &response),
            Err(Failure::NotSent(reason)) => Answer::Refused(reason),
            // A read does nothing, whatever became of it.
            Err(Failure::Lost(reason)) if call.is_read() => Answer::Refused(reason),
            Err(Failure::Lost(reason)) => Answer::Unknown(reason),
        }
    }

    async fn list(
        &mut self,
        filter: &str,
        consistency: Consistency,
        listing: Listing,
        until: Instant,
    ) -> Result<Answer, Failure> {
        let query = format!("filter={}&{}", encoded(filter), consistency_query(consistency));
        match listing {
            Listing::Stream => {
                let accept = [("accept", "application/x-ndjson".to_owned())];
                let target = format!("/v1/topics?{query}");
                let response = self.exchange("GET", &target, &accept, &[], until).await?;
                Ok(rows_of_lines(&response).unwrap_or_else(|| failure_of_read(&response)))
            }
            Listing::Pages(limit) => {
                let (mut rows, mut revision) = (Vec::new(), None);
                let mut target = format!("/v1/topics?{query}&limit={limit}");
                loop {
                    let response = self.exchange("GET", &target, &[], &[], until).await?;
                    let Some(page) = json(&response) else {
                        return Ok(failure_of_read(&response));
                    };
                    let (Some(of), Some(items)) = (page["revision"].as_u64(), page["items"].as_array()) else {
                        return Ok(Answer::Refused("a page without revision or items".to_owned()));
                    };
                    if *revision.get_or_insert(of) != of {
                        // Kept as it is: no state of one revision has rows of which one is newer than the revision.
                        rows.push((
                            format!("page of revision {of}"),
                            Seen {
                                serial: None,
                                revision: of,
                            },
                        ));
                    }
                    rows.extend(items.iter().filter_map(row_of));
                    match page["next"].as_str() {
                        Some(cursor) => target = format!("/v1/topics?cursor={}&limit={limit}", encoded(cursor)),
                        None => break,
                    }
                }
                Ok(Answer::Rows {
                    revision: revision.unwrap_or(0),
                    rows,
                })
            }
        }
    }

    /// Sends a request and waits for its response. A connection that fails is not used again.
    async fn exchange(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, String)],
        body: &[u8],
        until: Instant,
    ) -> Result<Response, Failure> {
        // Taken out, so that a call that is cancelled leaves no connection with half a response.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match timeout_at(until, self.net.connect(&self.address)).await {
                Ok(Ok(stream)) => Connection {
                    stream,
                    received: BytesMut::new(),
                },
                Ok(Err(error)) => return Err(Failure::NotSent(format!("cannot connect: {}", error.kind()))),
                Err(_) => return Err(Failure::NotSent("cannot connect in time".to_owned())),
            },
        };
        let request = http_message::request(method, target, headers, body);
        let response = match timeout_at(until, connection.exchange(&request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Failure::Lost(format!("connection lost: {}", error.kind()))),
            Err(_) => return Err(Failure::Lost("no answer in time".to_owned())),
        };
        if !response.closes() {
            self.connection = Some(connection);
        }
        Ok(response)
    }
}

impl Connection {
    async fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        loop {
            if let Some((response, taken)) = http_message::response(&self.received).map_err(io::Error::other)? {
                let _ = self.received.split_to(taken);
                return Ok(response);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

type Request = (&'static str, String, Vec<(&'static str, String)>, Vec<u8>);

fn request_of(call: &Call, payload_bytes: usize) -> Option<Request> {
    let of_topic = |topic: &str| format!("/v1/topics/{}", encoded(topic));
    match call {
        Call::Put {
            topic,
            serial,
            timestamp_us,
            condition,
            expiry_s,
        } => {
            let mut headers = write_headers(*timestamp_us, *condition);
            if let Some(expiry_s) = expiry_s {
                headers.push(("banyan-expiry", expiry_s.to_string()));
            }
            Some(("PUT", of_topic(topic), headers, serial.payload(payload_bytes)))
        }
        Call::Delete {
            topic,
            timestamp_us,
            condition,
        } => Some((
            "DELETE",
            of_topic(topic),
            write_headers(*timestamp_us, *condition),
            Vec::new(),
        )),
        Call::DeleteFilter { filter } => {
            let target = format!("/v1/topics?filter={}", encoded(filter));
            Some(("DELETE", target, Vec::new(), Vec::new()))
        }
        Call::Get { topic, consistency } => {
            let target = format!("{}?{}", of_topic(topic), consistency_query(*consistency));
            Some(("GET", target, Vec::new(), Vec::new()))
        }
        Call::List { .. } | Call::Event { .. } => None,
    }
}

fn write_headers(timestamp_us: Option<u64>, condition: Condition) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    if let Some(timestamp_us) = timestamp_us {
        headers.push(("banyan-timestamp", seconds(timestamp_us)));
    }
    match condition {
        Condition::None => {}
        Condition::Absent | Condition::Revision(0) => headers.push(("if-none-match", "*".to_owned())),
        Condition::Present => headers.push(("if-match", "*".to_owned())),
        Condition::Revision(revision) => headers.push(("if-match", format!("\"{revision}\""))),
    }
    headers
}

fn consistency_query(consistency: Consistency) -> String {
    match consistency {
        Consistency::Linearizable => "consistency=linearizable".to_owned(),
        Consistency::Local => "consistency=local".to_owned(),
        Consistency::AtLeast(revision) => format!("at_least={revision}"),
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn json(response: &Response) -> Option<Value> {
    (response.status / 100 == 2)
        .then(|| serde_json::from_slice(&response.body).ok())
        .flatten()
}

fn answer_of(call: &Call, response: &Response) -> Answer {
    match (call, response.status) {
        (Call::Get { .. }, 200) => value_of(response),
        (Call::Get { .. }, 404) => Answer::Value(None),
        (Call::Get { .. }, _) => failure_of_read(response),
        (_, 412) => match problem(response)["current_revision"].as_u64() {
            Some(current) => Answer::ConditionFailed { current },
            None => Answer::Unknown("412 without a current revision".to_owned()),
        },
        (Call::Put { .. }, 200 | 201) => written(response),
        (Call::Delete { .. }, 200) => deleted(response),
        (Call::Delete { .. }, 404) => Answer::Deleted { revision: None },
        (Call::DeleteFilter { .. }, 200) => deleted_many(response),
        // 4xx, 503 and 507 promise that nothing happened. 500 and 504 do not.
        (_, 400..=499 | 503 | 507) => Answer::Refused(describe(response)),
        _ => Answer::Unknown(describe(response)),
    }
}

fn failure_of_read(response: &Response) -> Answer {
    Answer::Refused(describe(response))
}

fn describe(response: &Response) -> String {
    match problem(response)["detail"].as_str() {
        Some(detail) => format!("{}: {detail}", response.status),
        None => response.status.to_string(),
    }
}

fn problem(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_default()
}

fn value_of(response: &Response) -> Answer {
    match response.header("banyan-revision").and_then(|text| text.parse().ok()) {
        Some(revision) => Answer::Value(Some(Seen {
            serial: Serial::of_payload(&response.body),
            revision,
        })),
        None => Answer::Refused("a value without a revision".to_owned()),
    }
}

fn written(response: &Response) -> Answer {
    let body = problem(response);
    match (
        body["applied"].as_bool(),
        body["revision"].as_u64(),
        body["superseded_by"].as_u64(),
    ) {
        (Some(true), Some(revision), None) => Answer::Written {
            revision,
            superseded_by: None,
        },
        (Some(false), _, Some(winner)) => Answer::Written {
            revision: winner,
            superseded_by: Some(winner),
        },
        _ => Answer::Unknown("an answer to a put that says nothing".to_owned()),
    }
}

fn deleted(response: &Response) -> Answer {
    let body = problem(response);
    match (body["deleted"].as_bool(), body["revision"].as_u64()) {
        (Some(true), Some(revision)) => Answer::Deleted {
            revision: Some(revision),
        },
        (Some(false), _) => Answer::Deleted { revision: None },
        _ => Answer::Unknown("an answer to a delete that says nothing".to_owned()),
    }
}

fn deleted_many(response: &Response) -> Answer {
    let body = problem(response);
    match (body["deleted"].as_u64(), body["revision"].as_u64()) {
        (Some(0), Some(_)) => Answer::Deleted { revision: None },
        (Some(_), Some(revision)) => Answer::Deleted {
            revision: Some(revision),
        },
        _ => Answer::Unknown("an answer to a delete that says nothing".to_owned()),
    }
}

fn row_of(item: &Value) -> Option<(String, Seen)> {
    let seen = Seen {
        serial: Serial::of_payload(item["payload"].as_str().unwrap_or_default().as_bytes()),
        revision: item["revision"].as_u64()?,
    };
    Some((item["topic"].as_str()?.to_owned(), seen))
}

/// The rows of a streamed list; `None` if it is no list, or was cut off before its last line.
fn rows_of_lines(response: &Response) -> Option<Answer> {
    if response.status != 200 {
        return None;
    }
    let text = std::str::from_utf8(&response.body).ok()?;
    let mut rows = Vec::new();
    for line in text.lines() {
        let item: Value = serde_json::from_str(line).ok()?;
        if item["end"] == Value::Bool(true) {
            let revision = item["revision"].as_u64()?;
            return Some(Answer::Rows { revision, rows });
        }
        rows.push(row_of(&item)?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &str, body: &str) -> Response {
        let bytes = format!(
            "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        http_message::response(bytes.as_bytes()).unwrap().unwrap().0
    }

    fn put() -> Call {
        Call::Put {
            topic: "a/b".to_owned(),
            serial: Serial { client: 1, counter: 2 },
            timestamp_us: Some(1_500_000),
            condition: Condition::Revision(7),
            expiry_s: Some(60),
        }
    }

    #[test]
    fn a_put_as_a_request() {
        let (method, target, headers, body) = request_of(&put(), 0).unwrap();
        assert_eq!(
            (method, target.as_str(), &body[..]),
            ("PUT", "/v1/topics/a%2Fb", &b"c1-2"[..])
        );
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let expected = [
            ("banyan-timestamp", "1.500000"),
            ("if-match", "\"7\""),
            ("banyan-expiry", "60"),
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn answers_to_writes() {
        let of_put = |status, body| answer_of(&put(), &response(status, "", body));
        let written = |revision, superseded_by| Answer::Written {
            revision,
            superseded_by,
        };
        assert_eq!(of_put(201, r#"{"revision":9,"applied":true}"#), written(9, None));
        assert_eq!(
            of_put(200, r#"{"applied":false,"superseded_by":8}"#),
            written(8, Some(8))
        );
        let failed = of_put(412, r#"{"status":412,"current_revision":5}"#);
        assert_eq!(failed, Answer::ConditionFailed { current: 5 });
        assert!(matches!(of_put(503, "{}"), Answer::Refused(_)));
        assert!(matches!(of_put(422, "{}"), Answer::Refused(_)));
        assert!(matches!(of_put(504, "{}"), Answer::Unknown(_)));
        assert!(matches!(of_put(500, ""), Answer::Unknown(_)));
        assert!(matches!(of_put(200, "{}"), Answer::Unknown(_)));
        let delete = Call::DeleteFilter { filter: "#".to_owned() };
        let nothing = answer_of(
            &delete,
            &response(200, "", r#"{"revision":4,"deleted":0,"more":false}"#),
        );
        assert_eq!(nothing, Answer::Deleted { revision: None });
    }

    #[test]
    fn answers_to_reads() {
        let get = Call::Get {
            topic: "a".to_owned(),
            consistency: Consistency::Local,
        };
        let seen = Seen {
            serial: Some(Serial { client: 1, counter: 2 }),
            revision: 3,
        };
        let value = answer_of(&get, &response(200, "Banyan-Revision: 3\r\n", "c1-2 ...."));
        assert_eq!(value, Answer::Value(Some(seen)));
        assert_eq!(answer_of(&get, &response(404, "", "")), Answer::Value(None));
        // What became of a read is of no consequence.
        assert!(matches!(answer_of(&get, &response(504, "", "")), Answer::Refused(_)));
    }

    #[test]
    fn streamed_lists_end_with_their_revision() {
        let item = r#"{"topic":"a/b","revision":3,"payload":"c1-2"}"#;
        let whole = response(200, "", &format!("{item}\n{{\"revision\":9,\"end\":true}}\n"));
        let seen = Seen {
            serial: Some(Serial { client: 1, counter: 2 }),
            revision: 3,
        };
        let rows = vec![("a/b".to_owned(), seen)];
        assert_eq!(rows_of_lines(&whole), Some(Answer::Rows { revision: 9, rows }));
        assert_eq!(rows_of_lines(&response(200, "", item)), None);
    }
}
