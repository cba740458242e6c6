//! The layered map against an ordinary one: every operation, both directions, views that stay as they were.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::store::MemoryStore;

type Model = BTreeMap<Bytes, Bytes>;

fn key(number: u8) -> Bytes {
    // Of different lengths, so that some are prefixes of others.
    Bytes::from(match number % 3 {
        0 => vec![number / 3],
        1 => vec![number / 3, 0],
        _ => vec![number / 3, 0, 1],
    })
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn rows(view: &dyn ReadView, lower: &[u8], upper: Option<&[u8]>, direction: Direction) -> Vec<(Bytes, Bytes)> {
    view.range(lower, upper, direction).map(Result::unwrap).collect()
}

fn expected(model: &Model, lower: &[u8], upper: Option<&[u8]>, direction: Direction) -> Vec<(Bytes, Bytes)> {
    let inside = |key: &Bytes| key[..] >= *lower && upper.is_none_or(|upper| key[..] < *upper);
    let mut rows: Vec<_> = model
        .iter()
        .filter(|(key, _)| inside(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if direction == Direction::Descending {
        rows.reverse();
    }
    rows
}

/// The value of `active_bytes`, counted afresh.
fn counted_bytes<N>(layered: &Layered<N>) -> usize {
    let hot = layered.hot.iter().map(|row| (&row.key, row.value.as_ref()));
    let ordered = layered.active.iter().map(|(key, slot)| (key, slot.value()));
    ordered
        .chain(hot)
        .map(|(key, value)| entry_bytes(key.len(), value))
        .sum()
}

/// What is noted of a row is its value, to be compared.
fn layered() -> Layered<Bytes> {
    Layered::new(Arc::new(MemoryStore::new()))
}

fn put_hot(layered: &mut Layered<Bytes>, key: Bytes, value: Bytes) -> Bytes {
    let hash = hash_of_key(&key);
    layered.put_hot(key, hash, value.clone(), value)
}

fn note(layered: &Layered<Bytes>, key: &Bytes) -> Option<Bytes> {
    layered.note(key, hash_of_key(key)).cloned()
}

#[test]
fn the_uppermost_layer_decides() {
    let mut layered = layered();
    for (number, text) in [(0, "base"), (3, "base"), (6, "base"), (9, "base")] {
        layered.put(key(number), value(text));
    }
    let batch = layered.freeze().to_batch();
    layered.base().write(batch).unwrap();
    layered.thaw();
    layered.put(key(3), value("frozen"));
    layered.delete(key(6));
    layered.put(key(9), value("frozen"));
    layered.freeze();
    layered.put(key(6), value("active"));
    layered.delete(key(9));
    let expected = [
        (key(0), value("base")),
        (key(3), value("frozen")),
        (key(6), value("active")),
    ];
    assert_eq!(rows(&layered.view(), &[], None, Direction::Ascending), expected);
    assert_eq!(layered.get(&key(9)).unwrap(), None);
    assert_eq!(layered.get(&key(6)).unwrap(), Some(value("active")));
}

#[test]
fn hot_rows_are_above_the_ordered_ones_until_a_view_folds_them() {
    let mut layered = layered();
    layered.put(key(0), value("ordered"));
    put_hot(&mut layered, key(0), value("hot"));
    put_hot(&mut layered, key(3), value("hot"));
    assert_eq!(layered.get(&key(0)).unwrap(), Some(value("hot")));
    assert_eq!(note(&layered, &key(0)), Some(value("hot")));
    let settled = layered.settled_view();
    assert_eq!(
        rows(&settled, &[], None, Direction::Ascending),
        [(key(0), value("ordered"))]
    );
    let expected = [(key(0), value("hot")), (key(3), value("hot"))];
    assert_eq!(rows(&layered.view(), &[], None, Direction::Ascending), expected);
    assert!(layered.hot.is_empty());
    put_hot(&mut layered, key(0), value("hotter"));
    layered.put(key(0), value("put"));
    assert_eq!(
        note(&layered, &key(0)),
        None,
        "nothing was noted of what was put otherwise"
    );
    put_hot(&mut layered, key(3), value("hotter"));
    layered.delete(key(3));
    assert_eq!(
        rows(&layered.view(), &[], None, Direction::Ascending),
        [(key(0), value("put"))]
    );
}

#[test]
fn a_hot_key_is_kept_once() {
    let mut layered = layered();
    let first = put_hot(&mut layered, key(1), value("x"));
    let second = put_hot(&mut layered, key(1), value("y"));
    assert_eq!(first.as_ptr(), second.as_ptr());
}

#[test]
fn hot_rows_are_folded_when_they_are_many() {
    let mut layered = layered();
    let key = |number: usize| Bytes::copy_from_slice(&number.to_be_bytes());
    for number in 0..=HOT_ROWS_MAX {
        put_hot(&mut layered, key(number), value("x"));
    }
    assert_eq!((layered.hot.len(), layered.active.len()), (1, HOT_ROWS_MAX));
    assert_eq!(layered.get(&key(0)).unwrap(), Some(value("x")));
    assert_eq!(layered.freeze().len(), HOT_ROWS_MAX + 1);
}

#[test]
fn what_came_and_went_between_two_checkpoints_is_not_written() {
    let mut layered = layered();
    layered.put_new(key(0), value("short"));
    layered.put_new(key(3), value("long"));
    assert_eq!(layered.get(&key(0)).unwrap(), Some(value("short")));
    layered.delete(key(0));
    assert_eq!(layered.get(&key(0)).unwrap(), None);
    assert_eq!(layered.freeze().to_batch(), [(key(3), Some(value("long")))]);
    // The checkpoint being written has it: that it is gone must be written too, and stays so if it comes again.
    layered.delete(key(3));
    layered.put_new(key(3), value("again"));
    layered.delete(key(3));
    layered.base().write(vec![(key(3), Some(value("long")))]).unwrap();
    layered.thaw();
    assert_eq!(layered.freeze().to_batch(), [(key(3), None)]);
}

#[test]
fn bytes_count_what_is_there() {
    let mut layered = layered();
    layered.put(key(0), value("12345"));
    assert_eq!(layered.active_bytes(), 1 + 5 + ENTRY_OVERHEAD_BYTES);
    layered.put(key(0), value("1"));
    assert_eq!(layered.active_bytes(), 1 + 1 + ENTRY_OVERHEAD_BYTES);
    layered.delete(key(0));
    assert_eq!(layered.active_bytes(), 1 + ENTRY_OVERHEAD_BYTES);
    assert_eq!(layered.freeze().bytes(), 1 + ENTRY_OVERHEAD_BYTES);
    assert_eq!(layered.active_bytes(), 0);
}

#[test]
#[should_panic(expected = "frozen already")]
fn only_one_layer_is_frozen() {
    let mut layered = layered();
    layered.freeze();
    layered.freeze();
}

#[test]
fn nothing_follows_an_error_of_the_base() {
    struct Failing;
    impl ReadView for Failing {
        fn get(&self, _: &[u8]) -> Result<Option<Bytes>, StoreError> {
            Err(StoreError(String::from("lost")))
        }
        fn range<'a>(&'a self, _: &[u8], _: Option<&[u8]>, _: Direction) -> RangeIter<'a> {
            let failure = std::iter::once(Err(StoreError(String::from("lost"))));
            Box::new(std::iter::once(Ok((key(3), Bytes::new()))).chain(failure))
        }
    }
    let mut layered = layered();
    for number in [0, 6, 9] {
        layered.put(key(number), Bytes::new());
    }
    let view = LayeredView {
        base: Arc::new(Failing),
        ..layered.view()
    };
    let keys: Vec<_> = view
        .range(&[], None, Direction::Ascending)
        .map(|row| row.map(|(key, _)| key))
        .collect();
    assert_eq!(keys, [Ok(key(0)), Ok(key(3)), Err(StoreError(String::from("lost")))]);
}

/// One step of the model test.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    PutHot(u8, u8),
    /// If the key has no value.
    PutNew(u8, u8),
    Delete(u8),
    Freeze,
    Write,
    Thaw,
    View,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..40_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        8 => (0..40_u8, any::<u8>()).prop_map(|(key, value)| Step::PutHot(key, value)),
        8 => (0..40_u8, any::<u8>()).prop_map(|(key, value)| Step::PutNew(key, value)),
        8 => (0..40_u8).prop_map(Step::Delete),
        1 => Just(Step::Freeze),
        1 => Just(Step::Write),
        1 => Just(Step::Thaw),
        1 => Just(Step::View),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn behaves_as_one_map(
        steps in steps(),
        bounds in prop::collection::vec((0..44_u8, prop::option::of(0..44_u8)), 1..6),
    ) {
        let store = MemoryStore::new();
        let mut layered = Layered::<Bytes>::new(Arc::new(store.clone()));
        let mut model = Model::new();
        let mut frozen: Option<(FrozenLayer, Model)> = None;
        let mut written = false;
        let mut views = vec![(layered.view(), model.clone())];
        for step in steps {
            match step {
                Step::Put(number, content) => {
                    layered.put(key(number), Bytes::from(vec![content; usize::from(content % 5)]));
                    model.insert(key(number), Bytes::from(vec![content; usize::from(content % 5)]));
                }
                Step::PutHot(number, content) => {
                    put_hot(&mut layered, key(number), Bytes::from(vec![content; usize::from(content % 5)]));
                    model.insert(key(number), Bytes::from(vec![content; usize::from(content % 5)]));
                }
                Step::PutNew(number, content) if !model.contains_key(&key(number)) => {
                    layered.put_new(key(number), Bytes::from(vec![content; usize::from(content % 5)]));
                    model.insert(key(number), Bytes::from(vec![content; usize::from(content % 5)]));
                }
                Step::Delete(number) => {
                    layered.delete(key(number));
                    model.remove(&key(number));
                }
                Step::Freeze if !layered.is_frozen() => {
                    frozen = Some((layered.freeze(), model.clone()));
                    written = false;
                }
                Step::Write => if let Some((layer, at)) = &frozen {
                    store.write(layer.to_batch()).unwrap();
                    written = true;
                    // The checkpoint alone is the state at the moment of the freeze.
                    prop_assert_eq!(
                        rows(&*store.view(), &[], None, Direction::Ascending),
                        expected(at, &[], None, Direction::Ascending)
                    );
                },
                Step::Thaw if written => {
                    layered.thaw();
                    frozen = None;
                    written = false;
                }
                Step::View => views.push((layered.view(), model.clone())),
                _ => {}
            }
            prop_assert_eq!(layered.is_frozen(), frozen.is_some());
            prop_assert_eq!(layered.active_bytes(), counted_bytes(&layered));
            for number in 0..40 {
                let noted = note(&layered, &key(number));
                prop_assert!(noted.is_none() || noted.as_ref() == model.get(&key(number)));
            }
        }
        views.push((layered.view(), model.clone()));
        for (view, model) in &views {
            for number in 0..44 {
                prop_assert_eq!(view.get(&key(number)).unwrap(), model.get(&key(number)).cloned());
            }
            for direction in [Direction::Ascending, Direction::Descending] {
                for (lower, upper) in &bounds {
                    let (lower, upper) = (key(*lower), upper.map(key));
                    prop_assert_eq!(
                        rows(view, &lower, upper.as_deref(), direction),
                        expected(model, &lower, upper.as_deref(), direction)
                    );
                }
                prop_assert_eq!(rows(view, &[], None, direction), expected(model, &[], None, direction));
            }
        }
        for number in 0..44 {
            prop_assert_eq!(layered.get(&key(number)).unwrap(), model.get(&key(number)).cloned());
        }
    }
}
