//! Many topic filters at once: who subscribed to what matches a topic.

use std::collections::BTreeMap;

use super::{FilterLevel, LEVEL_SEPARATOR, TopicFilter, TopicName};

/// Topic filters as a tree of levels, each with its subscribers (`K`) and what they said about it (`T`).
///
/// Matching follows at most two branches per level, the level's own and `+`, so its cost does not depend on how many
/// filters there are beside those that match or share a beginning with the topic.
#[derive(Debug, Clone)]
pub struct FilterTrie<K: Ord + Clone, T> {
    root: Branch<K, T>,
    len: usize,
}

/// What is below one sequence of filter levels.
#[derive(Debug, Clone)]
struct Branch<K, T> {
    literals: BTreeMap<Box<str>, Branch<K, T>>,
    single: Option<Box<Branch<K, T>>>,
    /// Filters that end here.
    here: BTreeMap<K, T>,
    /// Filters that end here with `#`.
    multi: BTreeMap<K, T>,
}

impl<K, T> Branch<K, T> {
    fn new() -> Self {
        Self {
            literals: BTreeMap::new(),
            single: None,
            here: BTreeMap::new(),
            multi: BTreeMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.single.is_none() && self.here.is_empty() && self.multi.is_empty()
    }
}

impl<K: Ord + Clone, T> FilterTrie<K, T> {
    /// An empty trie.
    pub fn new() -> Self {
        Self {
            root: Branch::new(),
            len: 0,
        }
    }

    /// Subscribes `key` to `filter`; what it had said before about the very same filter is replaced and returned
    /// [MQTT-3.8.4-3].
    pub fn insert(&mut self, filter: &TopicFilter, key: K, value: T) -> Option<T> {
        let mut branch = &mut self.root;
        let mut multi = false;
        for level in filter.levels() {
            match level {
                FilterLevel::Single => branch = branch.single.get_or_insert_with(|| Box::new(Branch::new())),
                FilterLevel::Multi => multi = true,
                FilterLevel::Literal(text) => branch = branch.literals.entry(text.into()).or_insert_with(Branch::new),
            }
        }
        let subscribers = if multi { &mut branch.multi } else { &mut branch.here };
        let replaced = subscribers.insert(key, value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Ends the subscription of `key` to the very same filter [MQTT-3.10.4-1], and returns what it had said about it.
    pub fn remove(&mut self, filter: &TopicFilter, key: &K) -> Option<T> {
        let removed = remove_below(&mut self.root, &mut filter.levels(), key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Calls `visit` for every subscription whose filter matches `topic`: several times for one key whose filters
    /// overlap. The order is the same for the same trie, and means nothing else.
    pub fn for_each_match(&self, topic: &TopicName, visit: &mut dyn FnMut(&K, &T)) {
        let mut visit_all = |key: &K, value: &T| {
            visit(key, value);
            false
        };
        any_below(&self.root, Some(topic.as_str()), topic.is_reserved(), &mut visit_all);
    }

    /// Whether `accept` takes a subscription whose filter matches `topic`. The first that it takes ends the search.
    pub fn any_match(&self, topic: &TopicName, accept: &mut dyn FnMut(&K, &T) -> bool) -> bool {
        any_below(&self.root, Some(topic.as_str()), topic.is_reserved(), accept)
    }

    /// What `key` said about the very same filter.
    pub fn get_mut(&mut self, filter: &TopicFilter, key: &K) -> Option<&mut T> {
        let mut branch = &mut self.root;
        for level in filter.levels() {
            branch = match level {
                FilterLevel::Multi => return branch.multi.get_mut(key),
                FilterLevel::Single => branch.single.as_deref_mut()?,
                FilterLevel::Literal(text) => branch.literals.get_mut(text)?,
            };
        }
        branch.here.get_mut(key)
    }

    /// Whether there is no subscription.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of subscriptions.
    pub fn len(&self) -> usize {
        self.len
    }
}

impl<K: Ord + Clone, T> Default for FilterTrie<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Removes, and prunes what became empty on the way back. Recursion ends with the levels of a filter, which are
/// bounded.
fn remove_below<'a, K: Ord, T>(
    branch: &mut Branch<K, T>,
    levels: &mut dyn Iterator<Item = FilterLevel<'a>>,
    key: &K,
) -> Option<T> {
    match levels.next() {
        None => branch.here.remove(key),
        Some(FilterLevel::Multi) => branch.multi.remove(key),
        Some(FilterLevel::Single) => {
            let next = branch.single.as_mut()?;
            let removed = remove_below(next, levels, key);
            if next.is_empty() {
                branch.single = None;
            }
            removed
        }
        Some(FilterLevel::Literal(text)) => {
            let next = branch.literals.get_mut(text)?;
            let removed = remove_below(next, levels, key);
            if next.is_empty() {
                branch.literals.remove(text);
            }
            removed
        }
    }
}

/// Whether `accept` takes a subscription below `branch` that matches.
///
/// `rest` is what of the topic lies below `branch`; `None` if the topic ends here. `reserved` only at the root, of a
/// topic that no leading wildcard sees [MQTT-4.7.2-1]. Recursion ends with the levels of a topic, which are bounded.
fn any_below<K, T>(
    branch: &Branch<K, T>,
    rest: Option<&str>,
    reserved: bool,
    accept: &mut dyn FnMut(&K, &T) -> bool,
) -> bool {
    // `a/#` matches `a` itself as well as what is below (§4.7.1.2).
    if !reserved && branch.multi.iter().any(|(key, value)| accept(key, value)) {
        return true;
    }
    let Some(rest) = rest else {
        return branch.here.iter().any(|(key, value)| accept(key, value));
    };
    let (level, below) = match rest.split_once(LEVEL_SEPARATOR) {
        Some((level, below)) => (level, Some(below)),
        None => (rest, None),
    };
    if let Some(next) = branch.literals.get(level)
        && any_below(next, below, false, accept)
    {
        return true;
    }
    match &branch.single {
        Some(next) if !reserved => any_below(next, below, false, accept),
        _ => false,
    }
}

#[cfg(test)]
#[path = "trie_test.rs"]
mod tests;
