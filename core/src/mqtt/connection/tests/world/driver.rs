//! The part of driver and cluster.

use super::*;

impl World {
    /// As a driver: hands over what has arrived for as long as the connection takes some.
    pub(super) fn read(&mut self) {
        let mut out = Vec::new();
        self.connection.on_bytes(&mut self.arrived, self.now_ms, &mut out);
        self.carry_out(out);
    }

    pub(super) fn outcome(&mut self, token: Token, mut result: ProposeResult) {
        let Some(proposal) = self.proposals.remove(&token) else {
            return;
        };
        match (&mut result, proposal) {
            (ProposeResult::Outcome(Outcome::TooLate | Outcome::Fenced), _) => {}
            (ProposeResult::Outcome(outcome), Proposal::Release) => *outcome = Outcome::Released { known: true },
            (ProposeResult::Outcome(outcome @ Outcome::Duplicate), Proposal::Publish { qos: 0 | 1 }) => {
                *outcome = Outcome::NotFound;
            }
            _ => {}
        }
        self.answered += 1;
        let fenced = result == ProposeResult::Outcome(Outcome::Fenced);
        let lost = fenced || !matches!(&result, ProposeResult::Outcome(outcome) if *outcome != Outcome::TooLate);
        let mut out = Vec::new();
        self.connection.on_outcome(token, result, &mut out);
        let acknowledges = out.iter().any(|effect| {
            matches!(
                effect,
                Effect::Send(Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_))
            )
        });
        self.carry_out(out);
        if lost && (fenced || proposal != (Proposal::Publish { qos: 0 })) {
            assert!(
                self.closed && !acknowledges,
                "acknowledged although nothing is known to be applied"
            );
        }
        self.read();
    }

    pub(super) fn subscribe_result(&mut self, token: Token, result: SubscribeResult) {
        let request = self.subscribe_requests.remove(&token).unwrap();
        if matches!(result, SubscribeResult::Subscribed { .. }) && !self.closed {
            self.subscribed
                .extend(request.subscriptions.into_iter().map(|new| new.filter));
        }
        let mut out = Vec::new();
        self.connection.on_subscribed(token, result, &mut out);
        self.carry_out(out);
        self.read();
    }

    pub(super) fn unsubscribe_result(&mut self, token: Token, removed: bool) {
        let filters = self.unsubscribe_requests.remove(&token).unwrap();
        let mut result = UnsubscribeResult::Unavailable("no quorum".to_owned());
        if removed && !self.closed {
            result = UnsubscribeResult::Unsubscribed;
            for filter in filters {
                assert!(self.subscribed.remove(&filter));
            }
        }
        let mut out = Vec::new();
        self.connection.on_unsubscribed(token, result, &mut out);
        self.carry_out(out);
        self.read();
    }

    pub(super) fn deliver(&mut self, name: &str, qos: QoS) {
        let can_deliver = self.connection.can_deliver(qos);
        if self.is_replicated && qos != QoS::AtMostOnce {
            match self.connection.reserve(qos) {
                Some(packet_id) => {
                    assert!(can_deliver && self.open.insert(packet_id)); // [MQTT-2.2.1-4]
                    self.reserved.push(packet_id);
                }
                None => assert!(!can_deliver),
            }
            return;
        }
        let Ok(topic) = TopicName::parse(name) else { return };
        let mut out = BytesMut::new();
        let result = self.connection.deliver(&outgoing(&topic, qos), &mut out);
        match result {
            DeliverResult::Sent { packet_id } => {
                assert!(can_deliver);
                if let Some(packet_id) = packet_id {
                    assert!(self.open.insert(packet_id)); // [MQTT-2.2.1-4]
                }
            }
            DeliverResult::TooLarge => assert!(can_deliver),
            DeliverResult::WindowFull | DeliverResult::NotConnected => assert!(!can_deliver),
            DeliverResult::NotReserved => panic!("nothing was reserved"),
        }
        self.delivered(result, out);
    }

    /// The cluster knows a packet identifier.
    pub(super) fn commit(&mut self, index: usize, sends: bool) {
        let Some(index) = index.checked_rem(self.reserved.len()) else {
            return;
        };
        let packet_id = self.reserved.remove(index);
        if !sends {
            self.connection.cancel(packet_id);
            if !self.closed {
                self.open.remove(&packet_id);
            }
            return;
        }
        let mut out = BytesMut::new();
        let topic = topic("a");
        let message = outgoing(&topic, QoS::AtLeastOnce);
        let result = self.connection.deliver_reserved(packet_id, &message, &mut out);
        match result {
            DeliverResult::Sent { packet_id: sent } => assert_eq!(sent, Some(packet_id)),
            DeliverResult::TooLarge => assert!(self.open.remove(&packet_id)),
            DeliverResult::WindowFull | DeliverResult::NotReserved => panic!("{result:?} of {packet_id}"),
            DeliverResult::NotConnected => assert!(self.closed),
        }
        self.delivered(result, out);
    }

    /// What was written is a PUBLISH, if it is sent, and nothing else.
    pub(super) fn delivered(&mut self, result: DeliverResult, mut out: BytesMut) {
        assert!(out.len() <= self.packet_bytes_max); // [MQTT-3.1.2-24]
        let DeliverResult::Sent { packet_id } = result else {
            assert!(out.is_empty());
            return;
        };
        assert!(!self.closed);
        let Packet::Publish(publish) = self.client_reads(&mut out) else {
            panic!("no PUBLISH")
        };
        assert_eq!(publish.packet_id, packet_id);
        if let Some(packet_id) = packet_id {
            let owed = match publish.qos {
                QoS::ExactlyOnce => Owed::PubRec,
                _ => Owed::PubAck,
            };
            // Neither of a message in flight, nor again behind PUBREC [MQTT-4.3.3-6].
            assert_eq!(self.inflight.insert(packet_id, owed), None);
        }
        assert!(self.inflight.len() <= usize::from(CLIENT_RECEIVE_MAXIMUM)); // [MQTT-3.3.4-9]
    }

    /// The cluster knows that the client has received a message.
    pub(super) fn release(&mut self, index: usize) {
        let Some(index) = index.checked_rem(self.received.len()) else {
            return;
        };
        let packet_id = self.received.remove(index);
        let mut out = Vec::new();
        self.connection.release(packet_id, &mut out);
        self.carry_out(out);
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            assert!(!self.closed, "{effect:?} after Close");
            match effect {
                Effect::Send(packet) => self.sent(&packet),
                Effect::Authenticated(_) => {
                    let result = RegisterResult::Registered(Registered {
                        fence: FENCE,
                        replicated: self.is_replicated,
                        resumed: self.is_replicated.then(resumed),
                    });
                    let mut out = Vec::new();
                    self.connection.on_registered(result, self.now_ms, &mut out);
                    self.carry_out(out);
                    self.read();
                }
                Effect::Propose { token, command } => {
                    let proposal = self.proposal(&command);
                    assert!(self.proposals.insert(token, proposal).is_none());
                }
                Effect::PublishEvent(event) => assert_eq!(event.qos, 0),
                Effect::Subscribe(request) => assert!(self.subscribe_requests.insert(request.token, request).is_none()),
                Effect::Unsubscribe { token, filters } => {
                    assert!(self.unsubscribe_requests.insert(token, filters).is_none());
                }
                Effect::Acknowledged { packet_id, kind } => match kind {
                    AckKind::Done => assert!(self.open.remove(&packet_id)),
                    AckKind::Received => {
                        assert!(self.is_replicated && !self.received.contains(&packet_id));
                        self.received.push(packet_id);
                    }
                },
                Effect::Close(_) => self.closed = true,
            }
        }
    }

    /// The sender is right, and no QoS 2 message is proposed twice.
    pub(super) fn proposal(&mut self, command: &Command) -> Proposal {
        let sender = command.sender.unwrap();
        assert_eq!(sender.fence, FENCE);
        let (qos, payload) = match &command.operation {
            Operation::Put(put) => (put.qos, &put.payload),
            Operation::Event(event) => (event.qos, &event.payload),
            Operation::Release(_) => {
                assert!(self.is_replicated && sender.packet_id.is_none());
                return Proposal::Release;
            }
            other => panic!("no packet here asks for {other:?}"),
        };
        assert_eq!(sender.packet_id.is_some(), self.is_replicated && qos == 2);
        if qos == 2 {
            let packet_id = std::str::from_utf8(payload).unwrap().parse().unwrap();
            assert!(sender.packet_id.is_none_or(|sent| sent == packet_id));
            assert!(self.proposed.insert(packet_id), "{packet_id} twice"); // [MQTT-4.3.3-10]
        }
        Proposal::Publish { qos }
    }
}
