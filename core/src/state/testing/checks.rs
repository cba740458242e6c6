//! What must hold of any state, between any two entries.

use super::*;

/// All rows but those of origins and meta, the indexes as they would be stored.
pub(in crate::state) fn rows(state: &mut State) -> Vec<(Bytes, Bytes)> {
    let ages = tombstone_ages(state);
    let view = state.view();
    let changes = view.changes_after(0, 0, usize::MAX).unwrap();
    let changes = changes
        .iter()
        .map(|change| (change_key(change.revision, change.ordinal), stored_topic(&change.topic)));
    let ages = ages
        .into_iter()
        .map(|((revision, ordinal), stored)| (tombstone_age_key(revision, ordinal), stored));
    let mut rows: Vec<_> = stored_rows(view.read_view())
        .into_iter()
        .filter(|(key, _)| !matches!(KeyKind::of_key(key), Some(KeyKind::Change | KeyKind::TombstoneAge)))
        .chain(changes)
        .chain(ages)
        .collect();
    rows.sort();
    rows
}

fn stored_rows(view: &dyn ReadView) -> Vec<(Bytes, Bytes)> {
    view.range(&[KeyKind::Topic as u8], None, Direction::Ascending)
        .collect::<Result<_, _>>()
        .unwrap()
}

/// The index of tombstones by age, whatever their age.
fn tombstone_ages(state: &mut State) -> Vec<((u64, u32), Bytes)> {
    let none = TombstoneBounds {
        age_us: 0,
        revisions: 0,
    };
    let bounds = std::mem::replace(&mut state.tombstone_bounds, none);
    let due = state.due_tombstones(u32::MAX).unwrap();
    state.tombstone_bounds = bounds;
    due.into_iter()
        .map(|(stored, tombstone)| ((tombstone.revision, tombstone.ordinal), stored))
        .collect()
}

/// Checks what must hold between any two entries: indexes, counts and digest follow from the topic rows.
pub(in crate::state) fn verify(state: &mut State) {
    let revision = state.revision();
    let (topic_count, tombstone_count) = verify_rows(&rows(state), revision);
    let view = state.view();
    assert_eq!((view.topic_count, view.tombstone_count), (topic_count, tombstone_count));
    verify_messages(state, &view);
    verify_sessions(state, &view);
    assert_eq!(view.full_digest().unwrap(), state.digest());
}

/// Checks that sessions in memory are those of the rows, that each has been somewhere, and that wills are there exactly for
/// those that have one.
fn verify_sessions(state: &State, view: &StateView) {
    let rows = view.read_view();
    let opened = opened_sessions(rows);
    assert_eq!(state.sessions.contents(), opened.sessions.contents());
    let (lower, upper) = KeyKind::Will.range();
    let wills = rows.range(&lower, Some(&upper), Direction::Ascending);
    let wills: Vec<Bytes> = wills.map(|row| row.unwrap().0.slice(1..)).collect();
    let sessions = view.sessions_after(None, usize::MAX);
    let with_will = sessions.iter().filter(|session| session.has_will);
    assert_eq!(
        wills,
        with_will.map(|session| session.client_id.clone()).collect::<Vec<_>>()
    );
    for session in sessions {
        assert_ne!(session.connection.is_some(), session.disconnected_at_us.is_some());
        assert!(
            session
                .connection
                .is_none_or(|connection| connection.fence <= state.fence())
        );
        assert!(session.connection.is_some() || session.expiry_s > 0);
    }
}

/// A state that has only the sessions that `rows` tell of.
fn opened_sessions(rows: &dyn ReadView) -> State {
    let mut state = open(&MemoryStore::new());
    state.open_sessions(rows).unwrap();
    state
}

/// Checks that what is kept for whom follows from the sessions alone.
pub(in crate::state) fn verify_interest(state: &mut State) {
    let store = MemoryStore::new();
    let view = state.view();
    let rows = view.read_view().range(&[], None, Direction::Ascending);
    let rows = rows.map(|row| row.map(|(key, value)| (key, Some(value))).unwrap());
    let position = (Bytes::from_static(&POSITION_KEY), Some(state.position.encode()));
    let without_meta = rows.filter(|(key, _)| KeyKind::of_key(key) != Some(KeyKind::Meta));
    store.write(without_meta.chain([position]).collect()).unwrap();
    let opened = open(&store);
    assert_eq!(format!("{:?}", state.interest), format!("{:?}", opened.interest));
    assert_eq!(format!("{:?}", state.groups), format!("{:?}", opened.groups));
}

/// Checks that kept messages are counted, and that up to where they were trimmed only held ones are left.
fn verify_messages(state: &State, view: &StateView) {
    let (lower, upper) = KeyKind::Message.range();
    let (mut count, mut bytes, mut held_bytes) = (0, 0, 0);
    for row in view.read_view().range(&lower, Some(&upper), Direction::Ascending) {
        let (key, row) = row.unwrap();
        let position = message_of_key(&key).unwrap();
        count += 1;
        bytes += row.len() as u64;
        if position <= state.position.trimmed_through {
            assert!(
                state.interest.held.contains(position),
                "{position:?} is kept for nobody"
            );
            held_bytes += row.len() as u64;
        }
    }
    let Position {
        message_count,
        message_bytes,
        ..
    } = state.position;
    assert_eq!((message_count, message_bytes), (count, bytes));
    assert_eq!(state.position.held_bytes, held_bytes);
    assert_eq!((view.message_count, view.message_bytes), (count, bytes));
}

/// Checks what must hold of a store after a checkpoint: no index has a row too many or too few.
pub(in crate::state) fn verify_store(store: &MemoryStore) {
    verify_rows(&stored_rows(&*store.view()), u64::MAX);
}

/// Checks that the indexes follow from the topics and tombstones; returns how many of these there are.
fn verify_rows(rows: &[(Bytes, Bytes)], revision_max: u64) -> (u64, u64) {
    let (mut positions, mut expiries, mut ages) = (Vec::new(), Vec::new(), Vec::new());
    let (mut changes, mut expiry_rows, mut age_rows) = (Vec::new(), Vec::new(), Vec::new());
    let (mut topics, mut tombstones) = (Vec::new(), Vec::new());
    for (key, value) in rows {
        let stored = key.slice(1..);
        match KeyKind::of_key(key).unwrap() {
            KeyKind::Topic => {
                let record = TopicRecord::parse(value.clone()).unwrap();
                assert!(record.revision() <= revision_max);
                assert!(record.created_revision() <= record.revision());
                positions.push(((record.revision(), record.ordinal()), stored.clone()));
                expiries.extend(record.expires_at_us().map(|time| (time, stored.clone())));
                topics.push(stored);
            }
            KeyKind::Tombstone => {
                let tombstone = Tombstone::parse(value).unwrap();
                positions.push(((tombstone.revision, tombstone.ordinal), stored.clone()));
                ages.push(((tombstone.revision, tombstone.ordinal), stored.clone()));
                assert!(!topics.contains(&stored), "record and tombstone of one topic");
                tombstones.push(stored);
            }
            KeyKind::Change => changes.push((change_of_key(key).unwrap(), value.clone())),
            KeyKind::Expiry => {
                let (time, stored) = expiry_of_key(key).unwrap();
                expiry_rows.push((time, Bytes::copy_from_slice(stored)));
            }
            KeyKind::TombstoneAge => age_rows.push((tombstone_age_of_key(key).unwrap(), value.clone())),
            KeyKind::Group => match group_of_key(key).unwrap().1 {
                GroupKey::Group => drop(GroupRow::parse(value).unwrap()),
                GroupKey::Returned(_) => assert!(value.is_empty()),
            },
            KeyKind::Message => {
                let position = message_of_key(key).unwrap();
                let message = Message::parse(value).unwrap();
                if let MessageContent::Put(record) = message.content {
                    assert_eq!(
                        (record.revision(), record.ordinal()),
                        (position.revision, position.ordinal)
                    );
                }
            }
            // Looked at by `verify_sessions`.
            KeyKind::Session | KeyKind::Subscription | KeyKind::Will => {}
            KeyKind::Member => match member_of_key(key).unwrap() {
                MemberKey::Member(_) => drop(MemberRow::parse(value).unwrap()),
                MemberKey::Token(_) => drop(TokenRow::parse(value).unwrap()),
            },
            KeyKind::Meta | KeyKind::Origin => unreachable!("not among these rows"),
        }
    }
    positions.sort();
    expiries.sort();
    ages.sort();
    assert_eq!(changes, positions);
    assert_eq!(expiry_rows, expiries);
    assert_eq!(age_rows, ages);
    (topics.len() as u64, tombstones.len() as u64)
}

/// Checks that the image of a state is all of it: a state made of those rows is the same, founded at another log entry.
pub(in crate::state) fn verify_image(state: &mut State, chunk_bytes: usize) {
    let view = state.view();
    let (sum, batch) = image(&view, chunk_bytes);
    sum.check(view.position()).unwrap();
    assert_eq!((sum.digest(), sum.data_digest()), (view.digest, view.data_digest()));
    assert_eq!(sum.session_count, view.session_count() as u64);
    let mut founded = founded(batch, *view.position());
    assert_eq!(founded.view().full_digest().unwrap(), view.digest);
    assert_eq!(founded.origins, state.origins);
    assert_eq!(rows(&mut founded), rows(state));
}

/// The rows of the image with their indexes, read in chunks, and what they come to.
pub(in crate::state) fn image(view: &StateView, chunk_bytes: usize) -> (ImageSum, WriteBatch) {
    let (mut sum, mut batch, mut last) = (ImageSum::default(), WriteBatch::new(), None::<Bytes>);
    loop {
        let chunk = view.image_after(last.as_deref(), chunk_bytes).unwrap();
        let bytes: usize = chunk.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes <= chunk_bytes || chunk.len() == 1);
        let Some((key, _)) = chunk.last() else {
            return (sum, batch);
        };
        last = Some(key.clone());
        for (key, value) in chunk {
            sum.add(&key, &value).unwrap();
            push_indexed(key, value, &mut batch).unwrap();
        }
    }
}

/// A state of these rows, founded where `position` is.
pub(in crate::state) fn founded(mut batch: WriteBatch, position: Position) -> State {
    let applied = position.applied.map(|applied| founding_id(applied.index));
    let position = Position { applied, ..position };
    batch.push((Bytes::from_static(&POSITION_KEY), Some(position.encode())));
    let store = MemoryStore::new();
    store.write(batch).unwrap();
    verify_store(&store);
    let mut state = open(&store);
    assert_eq!(state.applied(), applied);
    verify(&mut state);
    state
}
