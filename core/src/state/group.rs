//! Groups of shared subscriptions (§4.8.2): who is next.
//!
//! A group's members are the sessions that have its subscription, in the order of their client identifiers; turns go round
//! in that order, from behind whoever got the latest message. A member has *room* while it is connected and has fewer than
//! [`GROUP_UNACKNOWLEDGED_MAX`] messages of the group that it has not acknowledged. What no member has room for waits behind
//! the group's cursor: kept once, as for a session that is away.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use crate::keyspace::MessagePosition;
use crate::limits::GROUP_UNACKNOWLEDGED_MAX;
use crate::topic::{FilterTrie, SharedFilter, TopicName};

/// A session in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    /// QoS of its subscription: the most with which it gets messages.
    qos: u8,
    is_connected: bool,
    /// Messages of this group that it is to send or has sent, and that are not finished.
    unacknowledged: u32,
}

impl Member {
    const fn has_room(self) -> bool {
        self.is_connected && self.unacknowledged < GROUP_UNACKNOWLEDGED_MAX
    }
}

/// A group of a shared subscription.
#[derive(Debug, Clone)]
pub struct Group {
    pub(super) filter: SharedFilter,
    members: OrdMap<Bytes, Member>,
    /// Members that are connected.
    connected: OrdSet<Bytes>,
    /// Those of them that have room.
    ready: OrdSet<Bytes>,
    /// Members with QoS 1 or 2: without them nothing waits.
    acknowledging: usize,
    /// Who got the latest message.
    pub(super) latest: Bytes,
    /// Messages behind here wait; `None`: none waits.
    pub(super) cursor: Option<MessagePosition>,
    /// Messages that a lost member had. They go before those behind the cursor.
    pub(super) returned: OrdSet<MessagePosition>,
}

impl Group {
    pub(super) fn new(filter: SharedFilter) -> Self {
        Self {
            filter,
            members: OrdMap::new(),
            connected: OrdSet::new(),
            ready: OrdSet::new(),
            acknowledging: 0,
            latest: Bytes::new(),
            cursor: None,
            returned: OrdSet::new(),
        }
    }

    /// The connected member whose turn is behind `latest`: for a message of QoS 0, whatever the member has not acknowledged.
    #[must_use]
    pub fn next_connected(&self, latest: &[u8]) -> Option<&Bytes> {
        next_of(&self.connected, latest)
    }

    /// QoS of the subscription of `client_id`, a member.
    #[must_use]
    pub fn qos_of(&self, client_id: &[u8]) -> Option<u8> {
        self.members.get(client_id).map(|member| member.qos)
    }

    /// How many messages the member has not acknowledged; 0 if it is none.
    #[must_use]
    pub fn unacknowledged(&self, client_id: &[u8]) -> u32 {
        self.members.get(client_id).map_or(0, |member| member.unacknowledged)
    }

    /// Members, connected or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member with room whose turn it is.
    pub(super) fn next_ready(&self) -> Option<&Bytes> {
        next_of(&self.ready, &self.latest)
    }

    /// Whether messages wait for a member to have room.
    pub(super) fn is_behind(&self) -> bool {
        self.cursor.is_some() || !self.returned.is_empty()
    }

    /// Whether something waits and somebody has room for it.
    pub(super) fn is_due(&self) -> bool {
        self.is_behind() && !self.ready.is_empty()
    }

    /// Whether a message of QoS 1 or 2 waits if no member has room.
    pub(super) const fn is_patient(&self) -> bool {
        self.acknowledging > 0
    }

    /// A session subscribes, or subscribes again with another QoS. `unacknowledged`: messages of this group that it has not
    /// finished, from an earlier subscription too.
    pub(super) fn join(&mut self, client_id: &Bytes, qos: u8, is_connected: bool, unacknowledged: u32) {
        self.leave(client_id);
        let member = Member {
            qos,
            is_connected,
            unacknowledged,
        };
        self.acknowledging += usize::from(qos > 0);
        self.set(client_id, member);
    }

    pub(super) fn leave(&mut self, client_id: &[u8]) {
        self.connected.remove(client_id);
        self.ready.remove(client_id);
        if let Some(member) = self.members.remove(client_id) {
            self.acknowledging -= usize::from(member.qos > 0);
        }
    }

    pub(super) fn set_connected(&mut self, client_id: &Bytes, is_connected: bool) {
        self.change(client_id, |member| member.is_connected = is_connected);
    }

    /// The member got a message that it has to acknowledge.
    pub(super) fn assigned(&mut self, client_id: &Bytes) {
        self.change(client_id, |member| member.unacknowledged += 1);
    }

    /// The member has finished a message that it had to acknowledge, or has lost it. Nothing, if it is no member any more.
    pub(super) fn finished(&mut self, client_id: &Bytes) {
        self.change(client_id, |member| member.unacknowledged -= 1);
    }

    fn change(&mut self, client_id: &Bytes, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get(client_id) {
            let mut member = *member;
            change(&mut member);
            self.set(client_id, member);
        }
    }

    fn set(&mut self, client_id: &Bytes, member: Member) {
        put_or_take(&mut self.connected, client_id, member.is_connected);
        put_or_take(&mut self.ready, client_id, member.has_room());
        self.members.insert(client_id.clone(), member);
    }
}

/// The first behind `latest`, and round from the beginning.
fn next_of<'a>(clients: &'a OrdSet<Bytes>, latest: &[u8]) -> Option<&'a Bytes> {
    let behind = (Bound::Excluded(latest), Bound::Unbounded);
    clients.range::<_, [u8]>(behind).next().or_else(|| clients.get_min())
}

fn put_or_take(clients: &mut OrdSet<Bytes>, client_id: &Bytes, is_in: bool) {
    if is_in != clients.contains(client_id) {
        if is_in {
            clients.insert(client_id.clone());
        } else {
            clients.remove(client_id);
        }
    }
}

/// All groups, by the text of their subscription. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    by_text: OrdMap<Bytes, Arc<Group>>,
    /// Copied when a group begins or ends while a view shares it.
    filters: Arc<FilterTrie<Bytes, ()>>,
}

impl Groups {
    pub(super) fn get(&self, text: &[u8]) -> Option<&Group> {
        self.by_text.get(text).map(|group| &**group)
    }

    pub(super) fn get_mut(&mut self, text: &[u8]) -> Option<&mut Group> {
        self.by_text.get_mut(text).map(Arc::make_mut)
    }

    /// The group of `filter`, maybe a new one.
    pub(super) fn open(&mut self, filter: &SharedFilter) -> &mut Group {
        let text = filter.as_bytes();
        if !self.by_text.contains_key(text) {
            Arc::make_mut(&mut self.filters).insert(filter.filter(), text.clone(), ());
        }
        let group = self.by_text.entry(text.clone());
        Arc::make_mut(group.or_insert_with(|| Arc::new(Group::new(filter.clone()))))
    }

    pub(super) fn remove(&mut self, text: &Bytes) -> Option<Arc<Group>> {
        let group = self.by_text.remove(text)?;
        Arc::make_mut(&mut self.filters).remove(group.filter.filter(), text);
        Some(group)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Texts of the groups that `topic` is for.
    pub(super) fn matching(&self, topic: &TopicName) -> BTreeSet<Bytes> {
        let mut texts = BTreeSet::new();
        if !self.filters.is_empty() {
            self.filters.for_each_match(topic, &mut |text, ()| {
                texts.insert(text.clone());
            });
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::SubscriptionFilter;

    fn shared(text: &str) -> SharedFilter {
        match SubscriptionFilter::parse(text).unwrap() {
            SubscriptionFilter::Shared(shared) => shared,
            SubscriptionFilter::Plain(_) => panic!("{text} is not shared"),
        }
    }

    fn client(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn group(members: &[&'static str]) -> Group {
        let mut group = Group::new(shared("$share/g/a"));
        for member in members {
            group.join(&client(member), 1, true, 0);
        }
        group
    }

    fn turn(group: &mut Group) -> Option<Bytes> {
        let next = group.next_ready().cloned()?;
        group.latest = next.clone();
        group.assigned(&next);
        Some(next)
    }

    #[test]
    fn turns_go_round() {
        let mut group = group(&["b", "a", "c"]);
        let turns: Vec<_> = (0..5).map(|_| turn(&mut group).unwrap()).collect();
        assert_eq!(turns, ["a", "b", "c", "a", "b"]);
        group.leave(b"b");
        group.join(&client("bb"), 1, true, 0);
        assert_eq!(turn(&mut group).unwrap(), "bb");
        assert_eq!(turn(&mut group).unwrap(), "c");
        group.set_connected(&client("a"), false);
        assert_eq!(turn(&mut group).unwrap(), "bb");
        assert_eq!(group.next_connected(b"c").unwrap(), "bb");
    }

    #[test]
    fn a_member_has_room_for_so_many() {
        let mut group = group(&["a", "b"]);
        group.set_connected(&client("b"), false);
        for _ in 0..GROUP_UNACKNOWLEDGED_MAX {
            assert_eq!(turn(&mut group).unwrap(), "a");
        }
        assert_eq!(turn(&mut group), None);
        assert_eq!(group.next_connected(b"a").unwrap(), "a");
        // Another subscription with the same filter is the same member.
        group.join(&client("a"), 2, true, GROUP_UNACKNOWLEDGED_MAX);
        assert_eq!(turn(&mut group), None);
        group.finished(&client("a"));
        assert_eq!(turn(&mut group).unwrap(), "a");
    }

    #[test]
    fn nothing_waits_for_members_of_qos_0() {
        let mut group = group(&[]);
        assert!(!group.is_patient());
        group.join(&client("a"), 0, true, 0);
        assert!(!group.is_patient());
        group.join(&client("a"), 2, true, 0);
        assert!(group.is_patient());
        group.leave(b"a");
        assert!(!group.is_patient() && group.is_empty());
    }

    #[test]
    fn groups_are_found_by_topic() {
        let mut groups = Groups::default();
        for text in ["$share/g/a", "$share/h/+", "$share/g/b"] {
            groups.open(&shared(text)).join(&client("x"), 1, true, 0);
        }
        let topic = TopicName::parse("a").unwrap();
        let view = groups.clone();
        assert_eq!(
            groups.matching(&topic).into_iter().collect::<Vec<_>>(),
            ["$share/g/a", "$share/h/+"]
        );
        groups.remove(&client("$share/h/+"));
        assert_eq!(groups.matching(&topic).len(), 1);
        assert_eq!(view.matching(&topic).len(), 2);
    }
}
