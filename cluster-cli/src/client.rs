//! Requests to the cluster: to the first node that can be reached and serve them.

mod incoming;

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use self::incoming::Incoming;

use banyan_api::problem::Problem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body};

use crate::error::CliError;

/// Time to reach a node before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for a node to begin its answer: longer than it waits for the cluster.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that one body may take. A feed is opened anew after it, so that a dead connection is not waited on for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// What stands for itself in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The nodes of a cluster.
pub(crate) struct Client {
    agent: Agent,
    /// For bodies that take as long as they take.
    streams: Agent,
    endpoints: Vec<String>,
    authorization: Option<String>,
}

/// An answer that is no problem.
pub(crate) struct Answer(Body);

/// A request to be sent.
#[derive(Debug, Default)]
pub(crate) struct Call<'a> {
    /// `GET` unless given.
    pub(crate) method: Method,
    /// The path, beginning with `/`.
    pub(crate) path: &'a str,
    /// Parameters, not encoded yet; those that are `None` are left out.
    pub(crate) query: Vec<(&'a str, Option<String>)>,
    /// Headers; those that are `None` are left out.
    pub(crate) headers: Vec<(&'a str, Option<String>)>,
    /// The body, with `PUT`.
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// A client of the nodes at `endpoints`: URLs, or `host:port` alone.
    pub(crate) fn new(endpoints: &[String], token: Option<&str>) -> Result<Self, CliError> {
        let endpoints = endpoints
            .iter()
            .map(|endpoint| normalise(endpoint))
            .collect::<Result<Vec<_>, _>>()?;
        let agent = |body_timeout| {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .timeout_connect(Some(CONNECT_TIMEOUT))
                .timeout_recv_response(Some(RESPONSE_TIMEOUT))
                .timeout_recv_body(body_timeout)
                .max_redirects(0);
            config.build().into()
        };
        Ok(Self {
            agent: agent(Some(BODY_TIMEOUT)),
            streams: agent(None),
            endpoints,
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// The same cluster, by nodes at `more` too, which are asked last; what is no address is left out.
    pub(crate) fn or_else(&self, more: impl Iterator<Item = String>) -> Self {
        let mut endpoints = self.endpoints.clone();
        for endpoint in more.filter_map(|address| normalise(&address).ok()) {
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        Self {
            agent: self.agent.clone(),
            streams: self.streams.clone(),
            endpoints,
            authorization: self.authorization.clone(),
        }
    }

    /// Sends `call` to the nodes in turn until one answers. Another is tried only if nothing can have happened: the node could
    /// not be reached, or says that it cannot serve at present.
    pub(crate) fn send(&self, call: &Call<'_>) -> Result<Answer, CliError> {
        self.send_with(&self.agent, call)
    }

    /// As [`Self::send`], for a body that may take any time as long as it goes on coming.
    pub(crate) fn send_for_stream(&self, call: &Call<'_>) -> Result<Incoming, CliError> {
        let answer = self.send_with(&self.streams, call)?;
        Ok(Incoming::new(answer.0.into_with_config().limit(u64::MAX).reader()))
    }

    fn send_with(&self, agent: &Agent, call: &Call<'_>) -> Result<Answer, CliError> {
        let mut last = CliError::Usage("give an --endpoint".to_owned());
        for endpoint in &self.endpoints {
            last = match self.send_to(agent, endpoint, call) {
                Err(CliError::Unavailable(reason)) => CliError::Unavailable(format!("{endpoint}: {reason}")),
                other => return other,
            };
        }
        Err(last)
    }

    /// As [`Self::send`], and reads the answer as JSON.
    pub(crate) fn fetch<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, CliError> {
        Ok(serde_json::from_slice(&self.send(call)?.into_bytes()?)?)
    }

    fn send_to(&self, agent: &Agent, endpoint: &str, call: &Call<'_>) -> Result<Answer, CliError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{endpoint}{}", target(call)));
        for (name, value) in &call.headers {
            if let Some(value) = value {
                request = request.header(*name, value.as_bytes());
            }
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let usage = |error: ureq::http::Error| CliError::Usage(format!("{endpoint}: {error}"));
        let response = if call.method == Method::PUT {
            agent.run(request.body(call.body.as_slice()).map_err(usage)?)
        } else {
            agent.run(request.body(()).map_err(usage)?)
        };
        answer(response.map_err(|error| not_answered(&error, &call.method))?)
    }
}

/// Turns a problem into an error.
fn answer(response: Response<Body>) -> Result<Answer, CliError> {
    let (parts, body) = response.into_parts();
    let answer = Answer(body);
    if parts.status.is_success() {
        return Ok(answer);
    }
    let body = answer.into_bytes()?;
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(problem.into()),
        Err(_) => Err(CliError::Failed(format!(
            "answered {}; is this a Banyan node?",
            parts.status
        ))),
    }
}

/// Why there is no answer. A write that may have been sent is not sent again.
fn not_answered(error: &ureq::Error, method: &Method) -> CliError {
    let never_sent = match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(when) => matches!(when, ureq::Timeout::Connect | ureq::Timeout::Resolve),
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    };
    let text = error.to_string();
    match error {
        ureq::Error::BadUri(_) | ureq::Error::TlsRequired => CliError::Usage(text),
        _ if never_sent || *method == Method::GET => CliError::Unavailable(text),
        _ => CliError::Failed(format!("{text}. The write may or may not have taken effect.")),
    }
}

impl Answer {
    /// The whole body.
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, CliError> {
        let mut bytes = Vec::new();
        self.0
            .into_with_config()
            .limit(u64::MAX)
            .reader()
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::Unavailable(format!("the answer broke off: {error}")))?;
        Ok(bytes)
    }

    /// The lines of the body as they arrive.
    pub(crate) fn into_lines(self) -> impl Iterator<Item = std::io::Result<String>> {
        BufReader::new(self.0.into_with_config().limit(u64::MAX).reader()).lines()
    }
}

/// Path and query, encoded.
fn target(call: &Call<'_>) -> String {
    let mut target = call.path.to_owned();
    let mut separator = '?';
    for (name, value) in &call.query {
        if let Some(value) = value {
            target.push(separator);
            target.push_str(name);
            target.push('=');
            target.extend(utf8_percent_encode(value, QUERY));
            separator = '&';
        }
    }
    target
}

/// An endpoint without trailing slash, with a scheme.
fn normalise(endpoint: &str) -> Result<String, CliError> {
    let endpoint = endpoint.trim();
    let url = if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("http://{endpoint}")
    };
    let url = url.strip_suffix('/').map(str::to_owned).unwrap_or(url);
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match rest {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#']) => Ok(url),
        _ => Err(CliError::Usage(format!(
            "--endpoint {endpoint}: write http://HOST:PORT"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_completed() {
        assert_eq!(normalise("127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(normalise("http://node-1:8080/").unwrap(), "http://node-1:8080");
        assert_eq!(normalise("[::1]:8080").unwrap(), "http://[::1]:8080");
        for wrong in ["", "ftp://x", "http://", "http://x/path", "http://x?y"] {
            assert_eq!(normalise(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn parameters_are_encoded() {
        let call = Call {
            path: "/v1/topics",
            query: vec![
                ("filter", Some("a b/+/ß/#%".into())),
                ("limit", None),
                ("order", Some("desc".into())),
            ],
            ..Call::default()
        };
        assert_eq!(target(&call), "/v1/topics?filter=a%20b/%2B/%C3%9F/%23%25&order=desc");
    }

    #[test]
    fn a_cluster_that_cannot_be_reached_is_unavailable() {
        // Nobody listens there, and no other test can be given that port.
        let client = Client::new(&["127.0.0.1:1".to_owned()], None).unwrap();
        let call = Call {
            path: "/v1/topics",
            method: Method::PUT,
            body: b"x".to_vec(),
            ..Call::default()
        };
        assert_eq!(client.send(&call).err().unwrap().exit_code(), 4);
    }
}
