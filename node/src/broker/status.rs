//! What a node tells of itself: topics that are this node's alone. They are not in the log, and not in the state.

use std::sync::Arc;

use banyan_core::command::Event;
use banyan_core::metadata::Metadata;
use banyan_core::mqtt::packet::QoS;
use banyan_core::topic::{TopicFilter, TopicName};
use bytes::Bytes;

use super::{Broker, Delivery, Message, Outbox, SubscriptionOptions};

impl Broker {
    /// Lets `topic` hold `payload`, and tells subscribers if that is new.
    pub fn publish_status(&self, topic: &TopicName, payload: Bytes) {
        let former = self.status.lock().insert(topic.clone(), payload.clone());
        if former.as_ref() != Some(&payload) {
            self.dispatch_event(event(topic, payload), 0);
        }
    }

    /// Sends what such topics hold, to a connection that has just subscribed to `filters`, as retained messages.
    pub fn send_status<'a>(
        &self,
        outbox: &Outbox,
        filters: impl IntoIterator<Item = (&'a TopicFilter, SubscriptionOptions)>,
    ) {
        for (filter, options) in filters {
            let matching: Vec<_> = self
                .status
                .lock()
                .iter()
                .filter(|(topic, _)| filter.matches(topic))
                .map(|(topic, payload)| Delivery {
                    message: Arc::new(Message::of_event(event(topic, payload.clone()), 0)),
                    qos: QoS::AtMostOnce,
                    retain: true,
                    subscription_ids: options.subscription_id.into_iter().collect(),
                    shared: false,
                })
                .collect();
            if !matching.is_empty() {
                outbox.push(matching);
            }
        }
    }
}

fn event(topic: &TopicName, payload: Bytes) -> Event {
    Event {
        topic: topic.clone(),
        payload,
        metadata: Metadata::empty(),
        publisher: Bytes::new(),
        qos: QoS::AtMostOnce as u8,
        expiry_s: None,
    }
}
