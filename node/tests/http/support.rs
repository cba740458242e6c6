//! Nodes to talk to, and requests in one line each.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::state::TombstoneBounds;
use banyan_node::components::{Components, SystemClock, SystemRandom};
use banyan_node::net::Tcp;
use banyan_node::server::Server;
use banyan_node::settings::{Address, Entry, Member, Settings};
use banyan_node::storage::disk::SystemDisk;
use banyan_node::storage::lsm::LsmStores;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use ureq::http::{HeaderMap, Method, Request, Response};
use ureq::{Agent, Body};

use crate::common::ports::{ReservedPort, members, reserve};

/// A node that serves HTTP until dropped.
pub(crate) struct Node {
    pub(crate) url: String,
    agent: Agent,
    server: Option<Server>,
    runtime: Runtime,
    _data: TempDir,
    _peer_ports: Arc<[ReservedPort]>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Node {
    /// A node alone, with nothing in it, once it serves.
    pub(crate) fn start() -> Self {
        let [node] = Self::cluster();
        node
    }

    /// A node alone with other settings, once it serves.
    pub(crate) fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let node = Self::member_with(&reserve(1), 0, change);
        node.wait_until_ready();
        node
    }

    /// The nodes of a new cluster, once they serve.
    pub(crate) fn cluster<const N: usize>() -> [Self; N] {
        let ports = reserve(N);
        let nodes = std::array::from_fn(|at| Self::member(&ports, at));
        nodes.iter().for_each(Self::wait_until_ready);
        nodes
    }

    /// A member of a cluster whose others are not there.
    pub(crate) fn without_quorum() -> Self {
        Self::member(&reserve(3), 0)
    }

    /// Starts the member whose peers listen at one of `ports`.
    fn member(ports: &Arc<[ReservedPort]>, at: usize) -> Self {
        Self::member_with(ports, at, |_| {})
    }

    fn member_with(ports: &Arc<[ReservedPort]>, at: usize, change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let any_port = Address::parse("127.0.0.1:0").unwrap();
        let members = members(ports);
        let Member { node_id, address: peer } = members[at].clone();
        let mut settings = Settings {
            mqtt: vec![any_port.clone()],
            http: vec![any_port],
            peer: peer.clone(),
            peer_advertise: peer,
            entry: Entry::Bootstrap(members),
            disk_reserve_bytes: 0,
            ..Settings::defaults(node_id, data.path())
        };
        change(&mut settings);
        let components = Components {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            net: Arc::new(Tcp),
            disk: Arc::new(SystemDisk),
            stores: Arc::new(LsmStores),
            tombstone_bounds: TombstoneBounds::default(),
        };
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(Server::start(settings, components)).unwrap();
        let url = format!("http://{}", server.http_addresses()[0]);
        let agent = Agent::config_builder().http_status_as_error(false).build().into();
        Self {
            url,
            agent,
            server: Some(server),
            runtime,
            _data: data,
            _peer_ports: Arc::clone(ports),
        }
    }

    /// Returns once the node serves.
    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.get("/health/ready").status != 200 {
            assert!(Instant::now() < deadline, "{} does not become ready", self.url);
            std::thread::yield_now();
        }
    }

    /// Sends a request.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Body> {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        if body.is_empty() && matches!(method, "GET" | "HEAD" | "DELETE") {
            self.agent.run(request.body(()).unwrap()).unwrap()
        } else {
            self.agent.run(request.body(body).unwrap()).unwrap()
        }
    }

    /// Sends a request and reads the answer.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let response = self.send(method, path, headers, body);
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_with_config()
            .limit(u64::MAX)
            .reader()
            .read_to_end(&mut bytes)
            .unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: bytes,
        }
    }

    /// Where it serves MQTT.
    pub(crate) fn mqtt(&self) -> std::net::SocketAddr {
        self.server.as_ref().unwrap().mqtt_addresses()[0]
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }

    /// Writes a topic and returns its revision.
    pub(crate) fn put(&self, topic: &str, payload: &str) -> u64 {
        let answer = self.call("PUT", &format!("/v1/topics/{topic}"), &[], payload.as_bytes());
        assert!(answer.status < 300, "{answer:?}");
        answer.json()["revision"].as_u64().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts that this is a problem of the kind `name`, and returns its detail.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, name: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let json = self.json();
        assert_eq!(json["type"], format!("/problems/{name}"));
        assert_eq!(json["status"], status);
        assert!(json["title"].as_str().is_some_and(|title| !title.is_empty()));
        json["detail"].as_str().unwrap().to_owned()
    }

    /// The topics of a list page.
    pub(crate) fn topics(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        let json = self.json();
        json["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["topic"].as_str().unwrap().to_owned())
            .collect()
    }
}
