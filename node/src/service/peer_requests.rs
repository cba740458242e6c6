//! What other nodes ask of this one, beside Raft's own requests: read indexes, origins, batches, events, status.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Service;
use super::drain::DRAIN_REQUEST;
use super::first_status::FirstStatus;
use super::members::{ADDRESS_REQUEST, MEMBERS_REQUEST};
use super::status::{FIRST_STATUS_REQUEST, STATUS_REQUEST};
use crate::alarms::Alarms;
use crate::alarms::vitals::{DIVERGED_REQUEST, VITALS_REQUEST};
use crate::broker::Broker;
use crate::consensus::intake::Submission;
use crate::consensus::network::RaftServer;
use crate::consensus::replica::request;
use crate::consensus::state_machine::StateMachine;
use crate::consensus::{Replica, wire};
use crate::origin::{Origin, message};
use crate::peer::{Lane, PeerHandler, PeerStream, Standing};

/// Kind of the control request that asks for a page of a list whose view this node keeps.
pub const PAGE_REQUEST: u8 = 0x43;

/// Answers [`PAGE_REQUEST`]s.
pub type AnswerPage = Box<dyn Fn(Bytes) -> BoxFuture<'static, Bytes> + Send + Sync>;

/// Answers peers. The peer port is open before the service is, so it may have to say that it is not there yet.
pub struct PeerRequests {
    raft: RaftServer<StateMachine>,
    replica: Arc<Replica>,
    origin: Origin,
    broker: Arc<Broker>,
    alarms: Alarms,
    service: OnceLock<(Service, AnswerPage)>,
}

impl PeerRequests {
    /// Answers for `replica`.
    #[must_use]
    pub fn new(
        raft: RaftServer<StateMachine>,
        replica: Arc<Replica>,
        origin: Origin,
        broker: Arc<Broker>,
        alarms: Alarms,
    ) -> Arc<Self> {
        Arc::new(Self {
            raft,
            replica,
            origin,
            broker,
            alarms,
            service: OnceLock::new(),
        })
    }

    /// From now on, status and pages too.
    pub fn set_service(&self, service: Service, answer_page: AnswerPage) {
        let _ = self.service.set((service, answer_page));
    }
}

impl PeerRequests {
    /// Lets the service answer, once it is there. On a task of its own: what was begun is brought to its end though nobody
    /// waits any more.
    fn ask_service<F>(&self, ask: impl FnOnce(Service) -> F) -> BoxFuture<'static, Result<Bytes, String>>
    where
        F: Future<Output = Result<Bytes, String>> + Send + 'static,
    {
        let Some((service, _)) = self.service.get() else {
            return Box::pin(std::future::ready(Err("the node is starting".to_owned())));
        };
        let answer = tokio::spawn(ask(service.clone()));
        Box::pin(async move { answer.await.unwrap_or_else(|error| Err(error.to_string())) })
    }
}

impl PeerHandler for PeerRequests {
    fn standing(&self) -> &dyn Standing {
        self.replica.standing()
    }

    fn on_request(&self, from: u64, lane: Lane, kind: u8, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        match kind {
            request::READ_INDEX => {
                let replica = Arc::clone(&self.replica);
                Box::pin(async move {
                    let index = replica.confirm_read_index().await.map_err(|error| error.to_string())?;
                    Ok(Bytes::copy_from_slice(&index.to_be_bytes()))
                })
            }
            request::OPEN_ORIGIN => {
                let opened = body.as_ref().try_into().map(u64::from_be_bytes).map(|nonce| {
                    self.replica.submit(Submission::OpenOrigin { node_id: from, nonce });
                });
                Box::pin(std::future::ready(
                    opened.map(|()| Bytes::new()).map_err(|_| "unreadable".to_owned()),
                ))
            }
            STATUS_REQUEST | FIRST_STATUS_REQUEST => {
                let status = self.service.get().map(|(service, _)| service.node_status());
                Box::pin(std::future::ready(match (status, kind) {
                    (Some(status), STATUS_REQUEST) => serde_json::to_vec(&status)
                        .map(Bytes::from)
                        .map_err(|error| error.to_string()),
                    (Some(status), _) => wire::encode(&FirstStatus::from(status)).map_err(|error| error.to_string()),
                    (None, _) => Err("the node is starting".to_owned()),
                }))
            }
            VITALS_REQUEST => {
                let mut vitals = self.alarms.vitals();
                vitals.is_draining = self
                    .service
                    .get()
                    .is_some_and(|(service, _)| service.drain().is_draining());
                let encoded = vitals.encode().map_err(|error| error.to_string());
                Box::pin(std::future::ready(encoded))
            }
            DIVERGED_REQUEST => {
                self.alarms.on_diverged(from, &body);
                Box::pin(std::future::ready(Ok(Bytes::new())))
            }
            DRAIN_REQUEST => match self.service.get() {
                Some((service, _)) => {
                    let service = service.clone();
                    Box::pin(async move { service.answer_drain(body).await })
                }
                None => Box::pin(std::future::ready(Err("the node is starting".to_owned()))),
            },
            PAGE_REQUEST => match self.service.get() {
                Some((_, answer_page)) => {
                    let answer = answer_page(body);
                    Box::pin(async move { Ok(answer.await) })
                }
                None => Box::pin(std::future::ready(Err("the node is starting".to_owned()))),
            },
            MEMBERS_REQUEST => self.ask_service(move |service| async move { service.answer_members(body).await }),
            ADDRESS_REQUEST => self.ask_service(move |service| async move { service.answer_address(from, body).await }),
            _ => self.raft.on_request(from, lane, kind, body),
        }
    }

    fn on_join(&self, from: u64, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        self.ask_service(move |service| async move { service.answer_join(from, body).await })
    }

    fn is_removed(&self, node: u64) -> bool {
        self.replica.member_goals().is_gone(node)
    }

    fn on_message(&self, from: u64, _lane: Lane, kind: u8, mut body: Bytes) {
        match kind {
            message::BATCH if body.len() >= 8 => {
                let term = bytes::Buf::get_u64(&mut body);
                self.replica.submit(Submission::Batch {
                    from,
                    term,
                    batch: body,
                });
            }
            message::REJECT => self.origin.on_rejected(),
            message::EVENT => match message::decode_event(body) {
                Ok(event) => self.broker.dispatch_event(event, self.replica.log_time_us()),
                Err(error) => tracing::warn!(from, %error, "a peer sent an event that cannot be read"),
            },
            message::SHARED_EVENT => match message::decode_shared_event(body) {
                Ok((fence, subscription_id, event)) => {
                    let log_time_us = self.replica.log_time_us();
                    self.broker.deliver_event(fence, subscription_id, event, log_time_us);
                }
                Err(error) => tracing::warn!(from, %error, "a peer sent an event that cannot be read"),
            },
            _ => tracing::warn!(from, kind, "a peer sent a message of an unknown kind"),
        }
    }

    fn on_stream(&self, from: u64, lane: Lane, kind: u8, stream: PeerStream) {
        self.raft.on_stream(from, lane, kind, stream);
    }
}
