//! What a connection asks of the cluster, and what it does with the answer.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use banyan_core::command::{Command, Connect, Disconnect, Operation, Progress, Sender};
use banyan_core::mqtt::codec;
use banyan_core::mqtt::connection::effect::{
    Authenticated, Effect, ProposeResult, RegisterResult, Registered, SubscribeRequest, SubscribeResult, Token,
};
use banyan_core::mqtt::reason::ReasonCode;
use banyan_core::state::Outcome;
use tokio::time::Instant;

use super::attached::Attached;
use super::buffers;
use super::live::Live;
use super::task::{ASKED, Task};
use crate::broker::Outbox;
use crate::service::{Completion, Connecting, ProposeError, Reply};
use crate::session::pace::ReplayPace;
use crate::session::resume;

/// What waits for an answer.
pub(super) enum Asked {
    Connect(Connecting, Box<Authenticated>),
    /// With when it came.
    Subscribe(SubscribeRequest, Instant),
    Unsubscribe(Token),
    Progress,
}

impl Task {
    pub(super) fn carry_out(&mut self) {
        buffers::lend(&mut self.write);
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send(packet) => codec::encode(&packet, self.connection.version(), &mut self.write),
                Effect::Authenticated(authenticated) => self.connect(authenticated),
                Effect::Propose { token, command } => {
                    let completion = Completion::channel(self.answer_sender.clone(), token);
                    self.service.propose(command, completion);
                }
                Effect::PublishEvent(event) => self.service.publish_event(event),
                Effect::Subscribe(request) => self.ask_to_subscribe(request),
                Effect::Unsubscribe { token, filters } => self.ask_to_unsubscribe(token, filters),
                Effect::Acknowledged { packet_id, kind } => {
                    if let Some(attached) = &mut self.attached {
                        attached.acknowledge(packet_id, kind);
                    }
                }
                Effect::Close(disconnect) => {
                    self.leave(disconnect);
                    self.close();
                }
            }
        }
        // Handling an effect may have caused others; keep the allocation of whichever list is used on.
        if self.effects.is_empty() {
            self.effects = effects;
        } else {
            self.carry_out();
        }
    }

    /// The outcome of something that the client has published.
    pub(super) fn on_outcome(&mut self, token: Token, reply: Reply) {
        let result = match reply {
            Ok(outcome) => ProposeResult::Outcome(outcome),
            Err(ProposeError::Unavailable(reason)) => ProposeResult::Unavailable(reason),
            Err(ProposeError::Full(reason)) => ProposeResult::Full(reason.to_string()),
            Err(ProposeError::Unknown(reason)) => ProposeResult::Unknown(reason),
        };
        self.connection.on_outcome(token, result, &mut self.effects);
    }

    /// Asks for `operation` in the name of this connection.
    pub(super) fn ask(&mut self, operation: Operation, asked: Asked) {
        let fence = self.attached.as_ref().map(|attached| attached.outbox().id());
        let command = Command {
            sender: fence.map(|fence| Sender { fence, packet_id: None }),
            operation,
        };
        let number = self.asked_count;
        self.asked_count += 1;
        self.asked.insert(number, asked);
        self.service
            .propose(command, Completion::channel(self.answer_sender.clone(), ASKED | number));
    }

    pub(super) fn ask_progress(&mut self, progress: Progress) {
        self.ask(Operation::Progress(progress), Asked::Progress);
    }

    /// An answer has come.
    ///
    /// # Errors
    /// The state could not be read.
    pub(super) fn on_answer(&mut self, number: u64, reply: Reply) -> io::Result<()> {
        let Some(asked) = self.asked.remove(&number) else {
            return Ok(());
        };
        match (asked, reply) {
            (Asked::Connect(connecting, authenticated), reply) => {
                return self.connected(connecting, &authenticated, reply);
            }
            (_, Ok(Outcome::Fenced)) => self.end(ReasonCode::SessionTakenOver, ""),
            (_, Ok(Outcome::TooLate)) => self.end(ReasonCode::ServerBusy, "the cluster was too slow; connect again"),
            (Asked::Progress, Ok(_)) => {
                if let Some(attached) = &mut self.attached {
                    attached.committed(&mut self.connection, &self.service, &mut self.effects, &mut self.write);
                }
                self.carry_out();
            }
            (Asked::Subscribe(request, received), Ok(_)) => self.subscribed(request, received),
            (Asked::Subscribe(request, _), Err(ProposeError::Unavailable(reason))) => {
                let result = SubscribeResult::Unavailable(reason);
                self.connection.on_subscribed(request.token, result, &mut self.effects);
            }
            (Asked::Unsubscribe(token), Ok(_)) => {
                let unsubscribed = self.unsubscribed(token);
                unsubscribed.map_err(|error| io::Error::other(error.to_string()))?;
            }
            // What the state holds is not known here any more, or acknowledgements may be missing in it.
            (_, Err(error)) => self.end(ReasonCode::ServerBusy, &error.to_string()),
        }
        Ok(())
    }

    fn end(&mut self, reason: ReasonCode, text: &str) {
        self.connection.on_shutdown(reason, text, &mut self.effects);
        self.carry_out();
    }

    /// A CONNECT that only the cluster can still refuse: it takes the client identifier there.
    fn connect(&mut self, authenticated: Box<Authenticated>) {
        if let Some(hand_over) = self.service.drain().hand_over(self.settings.reached) {
            let now_ms = self.now_ms();
            let result = RegisterResult::Elsewhere(hand_over);
            return self.connection.on_registered(result, now_ms, &mut self.effects);
        }
        if let Err(reason) = self.service.is_ready() {
            return self.refuse(reason);
        }
        let connect = Connect {
            client_id: authenticated.client_id.clone(),
            clean_start: authenticated.clean_start,
            expiry_s: authenticated.session_expiry_s,
            will: authenticated.will.clone(),
        };
        let connecting = self.service.connecting(authenticated.client_id.clone());
        self.ask(Operation::Connect(connect), Asked::Connect(connecting, authenticated));
    }

    fn refuse(&mut self, reason: String) {
        let now_ms = self.now_ms();
        let result = RegisterResult::Unavailable(reason);
        self.connection.on_registered(result, now_ms, &mut self.effects);
    }

    fn connected(&mut self, connecting: Connecting, authenticated: &Authenticated, reply: Reply) -> io::Result<()> {
        let result = match reply {
            Ok(Outcome::Connected { fence, session_present }) => self.attach(fence, session_present, authenticated)?,
            Ok(other) => RegisterResult::Unavailable(format!("an outcome that no CONNECT has: {other:?}")),
            Err(ProposeError::Unavailable(reason)) => RegisterResult::Unavailable(reason),
            Err(ProposeError::Full(reason)) => RegisterResult::Unavailable(reason.to_string()),
            Err(ProposeError::Unknown(reason)) => {
                // Whatever it has begun ends with `connecting`.
                self.refuse(reason);
                return Ok(());
            }
        };
        connecting.resolve();
        let now_ms = self.now_ms();
        self.connection.on_registered(result, now_ms, &mut self.effects);
        Ok(())
    }

    /// The state has accepted the connection as `fence`: takes it up here.
    fn attach(
        &mut self,
        fence: u64,
        session_present: bool,
        authenticated: &Authenticated,
    ) -> io::Result<RegisterResult> {
        // A session that is resumed to end with this connection has messages waiting all the same.
        let replicated = session_present || authenticated.session_expiry_s > 0;
        let broker = Arc::clone(self.service.broker());
        let client_id = authenticated.client_id.clone();
        let bytes_max = self.settings.outbox_bytes_max;
        let outbox = if replicated {
            Outbox::persistent(fence, client_id, bytes_max, Arc::clone(broker.backlog()))
        } else {
            Outbox::new(fence, client_id, bytes_max)
        };
        let registry = self.service.registry();
        let view = registry.register(&outbox, || self.service.local_view());
        let session = view.session(&authenticated.client_id);
        let Some(session) = session.filter(|session| resume::is_of(session, fence)) else {
            registry.depart(fence, LOST);
            return Ok(RegisterResult::Unavailable("the client has connected again".to_owned()));
        };
        let read = resume::begin_assigned(&session, &outbox, &view, &BTreeSet::new());
        self.service.broker().traffic().connected();
        let pace = ReplayPace::new(self.settings.replay_rate_max);
        self.attached = Some(if replicated {
            Attached::Persistent(Box::new(resume::resume(
                &session,
                &outbox,
                &broker,
                self.settings.view_lease,
                pace,
            )))
        } else {
            broker.attach(&outbox, [], []);
            Attached::Clean(Box::new(Live::new(outbox, pace)))
        });
        read.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(RegisterResult::Registered(Registered {
            fence,
            replicated,
            resumed: session_present.then(|| resume::resumed(&session)),
        }))
    }

    /// The connection ends, by `disconnect`: the state will hear of it, after the last acknowledgements. Only the first farewell
    /// counts.
    pub(super) fn leave(&mut self, disconnect: Disconnect) {
        if let Some(progress) = self.attached.as_mut().and_then(Attached::last_words) {
            self.ask_progress(progress);
        }
        if let Some(attached) = self.attached.take() {
            self.service.registry().depart(attached.outbox().id(), disconnect);
        }
    }
}

/// Of a connection that ended without a word.
pub(super) const LOST: Disconnect = Disconnect {
    expiry_s: None,
    publishes_will: true,
};
