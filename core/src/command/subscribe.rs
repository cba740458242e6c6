//! A session subscribes.

use super::DecodeError;
use super::wire::{Reader, put_count, put_field, put_position};
use crate::keyspace::MessagePosition;
use crate::topic::{SubscriptionFilter, TopicName};

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const LATEST: u8 = 0b0001_0000;
const ID: u8 = 0b0010_0000;
const REPLAY_SHIFT: u8 = 6;

/// Greatest subscription identifier: a variable byte integer (§3.8.2.1.2).
const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

const NO_REPLAY: u8 = 0;
const ALL_TOPICS: u8 = 1;
const TOPICS_AFTER: u8 = 2;
const CHANGES: u8 = 3;

/// Adds subscriptions to the sender's session, or replaces those with the very same filter [MQTT-3.8.4-3].
///
/// Of a session that ends with its connection, only shared subscriptions: the others are its node's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// In the order of the SUBSCRIBE.
    pub subscriptions: Vec<SessionSubscription>,
}

/// A subscription of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSubscription {
    /// What it is for: a filter, alone or shared.
    pub filter: SubscriptionFilter,
    /// The subscription options (§3.8.3.1).
    pub options: SubscriptionOptions,
    /// Only the latest value of each topic is delivered after an absence (`deliver=latest`).
    pub latest: bool,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// Retained messages that have yet to be sent.
    pub replay: Option<ReplayFrom>,
}

/// Options of a subscription that outlive the SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS, 0 to 2.
    pub qos: u8,
    /// Messages of the subscriber's own are not delivered; never with a shared subscription [MQTT-3.8.3-4].
    pub no_local: bool,
    /// The RETAIN flag is delivered as it was published.
    pub retain_as_published: bool,
}

/// Where a replay of retained messages goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayFrom {
    /// All that are retained, in the order of topics.
    Topics {
        /// Those behind this topic; all if there is none.
        after: Option<TopicName>,
    },
    /// The latest change of each topic, in the order of positions (`since`).
    Changes {
        /// Those behind this position.
        after: MessagePosition,
    },
}

impl Subscribe {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.subscriptions.len());
        self.subscriptions
            .iter()
            .for_each(|subscription| subscription.encode(out));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let subscriptions = reader.list(SessionSubscription::decode)?;
        reader.finish()?;
        Ok(Self { subscriptions })
    }
}

impl SessionSubscription {
    /// Appends the encoding.
    ///
    /// # Panics
    /// If the QoS is above 2, the identifier is out of its range, or a shared subscription has no local.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
        } = self.options;
        assert!(qos <= 2, "QoS {qos} does not exist");
        assert!(self.is_legal(), "{self:?}");
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            qos | flag(no_local, NO_LOCAL)
                | flag(retain_as_published, RETAIN_AS_PUBLISHED)
                | flag(self.latest, LATEST)
                | flag(self.subscription_id.is_some(), ID)
                | replay_kind(self.replay.as_ref()) << REPLAY_SHIFT,
        );
        put_field(out, self.filter.as_str().as_bytes());
        if let Some(subscription_id) = self.subscription_id {
            out.extend_from_slice(&subscription_id.to_be_bytes());
        }
        encode_replay(self.replay.as_ref(), out);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        let subscription = Self {
            filter: reader.subscription_filter()?,
            options: SubscriptionOptions {
                qos: flags & QOS,
                no_local: flags & NO_LOCAL != 0,
                retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
            },
            latest: flags & LATEST != 0,
            subscription_id: if flags & ID != 0 { Some(reader.u32()?) } else { None },
            replay: decode_replay(flags >> REPLAY_SHIFT, reader)?,
        };
        if subscription.options.qos <= 2 && subscription.is_legal() {
            Ok(subscription)
        } else {
            Err(DecodeError::Flags(flags))
        }
    }

    fn is_legal(&self) -> bool {
        let shared = matches!(self.filter, SubscriptionFilter::Shared(_));
        !(shared && self.options.no_local)
            && self
                .subscription_id
                .is_none_or(|id| (1..=SUBSCRIPTION_ID_MAX).contains(&id))
    }
}

/// The two bits that say what of a replay follows.
pub(super) const fn replay_kind(replay: Option<&ReplayFrom>) -> u8 {
    match replay {
        None => NO_REPLAY,
        Some(ReplayFrom::Topics { after: None }) => ALL_TOPICS,
        Some(ReplayFrom::Topics { after: Some(_) }) => TOPICS_AFTER,
        Some(ReplayFrom::Changes { .. }) => CHANGES,
    }
}

pub(super) fn encode_replay(replay: Option<&ReplayFrom>, out: &mut Vec<u8>) {
    match replay {
        None | Some(ReplayFrom::Topics { after: None }) => {}
        Some(ReplayFrom::Topics { after: Some(topic) }) => put_field(out, topic.as_bytes()),
        Some(ReplayFrom::Changes { after }) => put_position(out, *after),
    }
}

pub(super) fn decode_replay(kind: u8, reader: &mut Reader<'_>) -> Result<Option<ReplayFrom>, DecodeError> {
    Ok(match kind {
        NO_REPLAY => None,
        ALL_TOPICS => Some(ReplayFrom::Topics { after: None }),
        TOPICS_AFTER => Some(ReplayFrom::Topics {
            after: Some(reader.topic()?),
        }),
        CHANGES => Some(ReplayFrom::Changes {
            after: reader.position()?,
        }),
        other => return Err(DecodeError::Flags(other)),
    })
}
