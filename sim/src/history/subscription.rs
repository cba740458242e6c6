//! One subscription, and what was delivered to it.

use super::{Serial, Time};

/// One message delivered to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// When it arrived.
    pub at: Time,
    /// The topic.
    pub topic: String,
    /// What stood in the payload; `None`: a deletion.
    pub serial: Option<Serial>,
    /// User property `revision`.
    pub revision: Option<u64>,
    /// The retain flag. Clients of the run subscribe with Retain As Published, so it tells state from events.
    pub retain: bool,
}

/// One subscription of one connection, at QoS 1, with Retain As Published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The client.
    pub client: u32,
    /// The node.
    pub node: u64,
    /// The topic filter.
    pub filter: String,
    /// When SUBSCRIBE was sent.
    pub subscribed_at: Time,
    /// When SUBACK was there, and the revision R that it names: the moment of the retained messages.
    pub granted: Option<(Time, u64)>,
    /// What was delivered, in order of arrival.
    pub deliveries: Vec<Delivery>,
    /// When the connection ended.
    pub ended_at: Option<Time>,
    /// SUBSCRIBE user property `since`.
    pub since: Option<u64>,
    /// Whether SUBSCRIBE asked for `consistency=local`: then R may be old.
    pub local: bool,
    /// Where the retained messages began anew at a newer moment (`reset=on`): the number of deliveries before it, and
    /// the new R if it was said.
    pub resets: Vec<(usize, Option<u64>)>,
    /// The number of deliveries before the marker that ends the retained messages, once it was seen, and its revision.
    pub marker: Option<(usize, u64)>,
    /// The client ended it because the run is over, reading without delay and with the connection alive: everything
    /// committed must have arrived.
    pub alive_at_end: bool,
}

impl Subscription {
    /// A subscription that is asked for now.
    #[must_use]
    pub fn new(client: u32, node: u64, filter: &str, subscribed_at: Time) -> Self {
        Self {
            client,
            node,
            filter: filter.to_owned(),
            subscribed_at,
            granted: None,
            deliveries: Vec::new(),
            ended_at: None,
            since: None,
            local: false,
            resets: Vec::new(),
            marker: None,
            alive_at_end: false,
        }
    }
}
