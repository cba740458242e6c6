//! How members of groups get messages: by the log ([`super::shared`]), and with QoS 0 beside it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Group, Session, StateView};
use crate::topic::TopicName;

/// The connection that is to send a message of QoS 0 to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    /// The node that holds the connection.
    pub node_id: u64,
    /// Which connection.
    pub fence: u64,
    /// Identifier of the subscription.
    pub subscription_id: Option<u32>,
    /// The RETAIN flag is delivered as it was published.
    pub retain_as_published: bool,
}

impl StateView {
    /// Who gets a message of `topic` with QoS 0 that did not go through the log: of each group one connected member.
    /// `latest` is whose turn it was, by group, as the caller keeps it: turns go round in each node by themselves.
    #[must_use]
    pub fn shared_receivers(&self, topic: &TopicName, latest: &mut BTreeMap<Bytes, Bytes>) -> Vec<Receiver> {
        let mut receivers = Vec::new();
        for text in self.groups.matching(topic) {
            let former = latest.get(&text).cloned().unwrap_or_default();
            let next = self.groups.get(&text).and_then(|group| group.next_connected(&former));
            let Some(client_id) = next else {
                latest.remove(&text);
                continue;
            };
            let session = self.sessions.get(client_id);
            receivers.extend(session.and_then(|session| receiver(session, &text)));
            latest.insert(text, client_id.clone());
        }
        receivers
    }

    /// The group of the shared subscription with this text, `$share/GROUP/FILTER`.
    #[must_use]
    pub fn group(&self, text: &str) -> Option<&Group> {
        self.groups.get(text.as_bytes())
    }
}

/// How a member of the group with `text` gets its messages; `None` while it is not connected.
pub(super) fn receiver(session: &Session, text: &Bytes) -> Option<Receiver> {
    let connection = session.connection.as_ref()?;
    let subscription = &session.subscriptions.get(text)?.subscription;
    Some(Receiver {
        node_id: connection.node_id,
        fence: connection.fence,
        subscription_id: subscription.subscription_id,
        retain_as_published: subscription.options.retain_as_published,
    })
}
