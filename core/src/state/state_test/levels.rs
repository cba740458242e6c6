//! The feature level: raised by an entry, kept, and never taken back.

use super::*;
use crate::feature::FeatureLevel;
use crate::keyspace::meta::{POSITION_KEY, Position};

fn raise(level: FeatureLevel) -> Item {
    Item::RaiseLevel(level)
}

/// The format version of the position in the store.
fn stored_version(store: &MemoryStore) -> u8 {
    store.view().get(&POSITION_KEY).unwrap().unwrap()[0]
}

#[test]
fn a_level_is_kept_and_never_falls() {
    let mut h = Harness::at(FeatureLevel::FIRST);
    assert_eq!(h.state.feature_level(), FeatureLevel::FIRST);
    h.checkpoint();
    assert_eq!(stored_version(&h.store), 2, "what the version before reads");
    h.items(&[raise(FeatureLevel::KNOWN), raise(FeatureLevel::FIRST)]);
    assert_eq!(h.state.feature_level(), FeatureLevel::KNOWN);
    h.checkpoint();
    assert_eq!(stored_version(&h.store), 3, "what the version before does not open");
    assert_eq!(open(&h.store).feature_level(), FeatureLevel::KNOWN);
}

#[test]
fn a_level_that_is_not_known_stops_the_node() {
    let mut h = Harness::at(FeatureLevel::FIRST);
    let next = FeatureLevel::KNOWN.next();
    let entry = entry(h.now_us, &[raise(next)]);
    let refused = h.state.apply(next_id(&h.state), &entry);
    assert!(matches!(refused, Err(ApplyError::Level(unknown)) if unknown.level == next));

    let mut h = Harness::at(FeatureLevel::KNOWN);
    h.checkpoint();
    let row = h.store.view().get(&POSITION_KEY).unwrap().unwrap();
    let position = Position {
        feature_level: next,
        ..Position::parse(&row).unwrap()
    };
    let rows = vec![(Bytes::from_static(&POSITION_KEY), Some(position.encode()))];
    h.store.write(rows).unwrap();
    let refused = State::open(Arc::new(h.store.clone()));
    assert!(matches!(refused, Err(OpenError::Level(unknown)) if unknown.level == next));
}
