//! The store in memory, for tests and simulation.

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use imbl::OrdMap;

use super::{Direction, RangeIter, ReadView, Replacement, Store, StoreError, WriteBatch};

type Contents = OrdMap<Bytes, Bytes>;

/// A [`Store`] in memory. Every write is durable in the sense that it survives for as long as a handle does.
///
/// A clone is another handle to the same contents: what a restarted node opens. [`MemoryStore::fork`] is what a crash
/// leaves: later writes to the one do not reach the other.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    contents: Arc<Mutex<Contents>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with the present contents. O(1).
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            contents: Arc::new(Mutex::new(self.snapshot())),
        }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.snapshot().len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn snapshot(&self) -> Contents {
        self.with(|contents| contents.clone())
    }

    fn with<R>(&self, access: impl FnOnce(&mut Contents) -> R) -> R {
        // No access leaves the map half changed, so a panic elsewhere takes nothing from it.
        access(&mut self.contents.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.with(|contents| contents.get(key).cloned()))
    }

    fn view(&self) -> Arc<dyn ReadView> {
        Arc::new(MemoryView(self.snapshot()))
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.with(|contents| {
            for (key, value) in batch {
                match value {
                    Some(value) => contents.insert(key, value),
                    None => contents.remove(&key),
                };
            }
        });
        Ok(())
    }

    fn begin_replacement(&self) -> Result<Box<dyn Replacement>, StoreError> {
        Ok(Box::new(MemoryReplacement {
            store: self.clone(),
            contents: Contents::new(),
        }))
    }
}

/// A frozen state of a [`MemoryStore`].
struct MemoryView(Contents);

impl ReadView for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn range<'a>(&'a self, lower: &[u8], upper: Option<&[u8]>, direction: Direction) -> RangeIter<'a> {
        let upper = upper.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.0.range::<_, [u8]>((Bound::Included(lower), upper));
        let row = |(key, value): (&Bytes, &Bytes)| Ok((key.clone(), value.clone()));
        match direction {
            Direction::Ascending => Box::new(rows.map(row)),
            Direction::Descending => Box::new(rows.rev().map(row)),
        }
    }
}

/// New contents, apart from the store until installed.
struct MemoryReplacement {
    store: MemoryStore,
    contents: Contents,
}

impl Replacement for MemoryReplacement {
    fn push(&mut self, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        if self.contents.get_max().is_some_and(|(last, _)| *last >= key) {
            return Err(StoreError(String::from("replacement: keys do not increase")));
        }
        self.contents.insert(key, value);
        Ok(())
    }

    fn install(self: Box<Self>) -> Result<(), StoreError> {
        let Self { store, contents: new } = *self;
        store.with(|contents| *contents = new);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn filled(keys: &[&'static str]) -> MemoryStore {
        let store = MemoryStore::new();
        store
            .write(keys.iter().map(|text| (key(text), Some(key("value")))).collect())
            .unwrap();
        store
    }

    fn keys(view: &dyn ReadView, lower: &str, upper: Option<&str>, direction: Direction) -> Vec<Bytes> {
        view.range(lower.as_bytes(), upper.map(str::as_bytes), direction)
            .map(|row| row.unwrap().0)
            .collect()
    }

    #[test]
    fn ranges_include_lower_and_exclude_upper() {
        let view = filled(&["a", "b", "c"]).view();
        assert_eq!(keys(&*view, "a", Some("c"), Direction::Ascending), ["a", "b"]);
        assert_eq!(keys(&*view, "a", Some("c"), Direction::Descending), ["b", "a"]);
        assert_eq!(keys(&*view, "b", None, Direction::Descending), ["c", "b"]);
        assert_eq!(keys(&*view, "", Some(""), Direction::Ascending), [""; 0]);
    }

    #[test]
    fn an_inverted_range_is_empty() {
        let view = filled(&["a", "b", "c"]).view();
        for direction in [Direction::Ascending, Direction::Descending] {
            assert_eq!(keys(&*view, "c", Some("a"), direction), [""; 0]);
            assert_eq!(keys(&*view, "bb", Some("b"), direction), [""; 0]);
        }
    }

    #[test]
    fn views_stay_as_they_were() {
        let store = filled(&["a", "b"]);
        let view = store.view();
        store
            .write(vec![(key("a"), None), (key("c"), Some(key("new")))])
            .unwrap();
        assert_eq!(keys(&*view, "", None, Direction::Ascending), ["a", "b"]);
        assert_eq!(keys(&*store.view(), "", None, Direction::Ascending), ["b", "c"]);
        assert_eq!(view.get(b"a").unwrap(), Some(key("value")));
        assert_eq!(store.get(b"a").unwrap(), None);
    }

    #[test]
    fn clones_share_and_forks_do_not() {
        let store = filled(&["a"]);
        let (clone, fork) = (store.clone(), store.fork());
        store.write(vec![(key("b"), Some(key("new")))]).unwrap();
        assert_eq!(clone.get(b"b").unwrap(), Some(key("new")));
        assert_eq!(fork.get(b"b").unwrap(), None);
    }

    #[test]
    fn a_replacement_takes_place_at_once_or_not_at_all() {
        let store = filled(&["a", "b"]);
        let old = store.view();
        let mut abandoned = store.begin_replacement().unwrap();
        abandoned.push(key("x"), key("1")).unwrap();
        drop(abandoned);
        let mut replacement = store.begin_replacement().unwrap();
        replacement.push(key("b"), key("1")).unwrap();
        replacement.push(key("c"), key("2")).unwrap();
        assert!(replacement.push(key("c"), key("3")).is_err());
        assert_eq!(keys(&*store.view(), "", None, Direction::Ascending), ["a", "b"]);
        replacement.install().unwrap();
        assert_eq!(keys(&*store.view(), "", None, Direction::Ascending), ["b", "c"]);
        assert_eq!(keys(&*old, "", None, Direction::Ascending), ["a", "b"]);
    }
}
