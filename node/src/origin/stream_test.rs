//! The origin stream against a log that takes, loses, doubles and reorders what it is handed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use banyan_core::command::{Batch, BatchId, Command, Condition, Disconnect, Operation, Put, Sender};
use banyan_core::metadata::Metadata;
use banyan_core::state::{BatchOutcome, Disposition, OriginOpened, Outcome};
use banyan_core::topic::TopicName;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::completion::{Completion, ProposeError, Reply};
use super::stream::{IN_FLIGHT_MAX, Queued, Reserved, Stream};
use crate::trace::Watch;

const NODE: u64 = 7;
const NONCE: u64 = 99;

fn command(deadline: Instant) -> (Queued, oneshot::Receiver<Reply>) {
    let operation = Operation::Put(Put {
        topic: TopicName::parse("a").expect("a topic"),
        payload: Bytes::from("1"),
        metadata: Metadata::default(),
        publisher: Bytes::from("test"),
        timestamp_us: None,
        expiry_s: None,
        condition: Condition::None,
        qos: 1,
    });
    let (completion, reply) = Completion::oneshot();
    let reserved = Reserved::try_new(1, &Arc::default(), 1).expect("room");
    (
        Queued {
            command: operation.into(),
            completion,
            reserved,
            received: deadline,
            deadline,
        },
        reply,
    )
}

fn opened(incarnation: u64) -> OriginOpened {
    OriginOpened {
        node_id: NODE,
        nonce: NONCE,
        incarnation,
        next_sequence: 1,
    }
}

fn open_stream() -> Stream {
    let mut stream = Stream::new(NODE, NONCE, Arc::default(), Watch::default());
    assert!(stream.on_opened(&opened(3)));
    stream
}

fn taken(sequence: u64, outcomes: Vec<Outcome>) -> BatchOutcome {
    BatchOutcome {
        id: BatchId {
            node_id: NODE,
            incarnation: 3,
            sequence,
        },
        disposition: Disposition::Taken(outcomes),
    }
}

fn sequence_of(batch: Bytes) -> u64 {
    Batch::parse(batch).expect("a batch").id().sequence
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Enqueues one command, seals it and hands it over.
fn send_one(stream: &mut Stream) -> (Bytes, oneshot::Receiver<Reply>) {
    let (queued, reply) = command(later());
    stream.enqueue(vec![queued]);
    let batch = stream.next_batch(Instant::now(), 0).expect("a batch");
    stream.mark_newest_handed();
    (batch, reply)
}

#[test]
fn nothing_is_sealed_before_the_stream_is_open() {
    let mut stream = Stream::new(NODE, NONCE, Arc::default(), Watch::default());
    let (queued, _reply) = command(later());
    stream.enqueue(vec![queued]);
    assert!(stream.next_batch(Instant::now(), 0).is_none());
    assert!(
        !stream.on_opened(&OriginOpened {
            nonce: NONCE + 1,
            ..opened(2)
        }),
        "another life of this node"
    );
    assert!(stream.on_opened(&opened(3)));
    assert_eq!(sequence_of(stream.next_batch(Instant::now(), 0).expect("a batch")), 1);
}

#[test]
fn batches_grow_while_others_are_in_flight() {
    let mut stream = open_stream();
    for _ in 0..IN_FLIGHT_MAX {
        send_one(&mut stream);
    }
    let waiting: Vec<_> = (0..10).map(|_| command(later()).0).collect();
    stream.enqueue(waiting);
    assert!(stream.next_batch(Instant::now(), 0).is_none(), "the window is full");
    assert!(!stream.on_outcome(taken(1, vec![Outcome::NotFound])));
    let batch = Batch::parse(stream.next_batch(Instant::now(), 0).expect("a batch")).expect("readable");
    assert_eq!((batch.id().sequence, batch.count()), (IN_FLIGHT_MAX as u64 + 1, 10));
}

#[test]
fn every_waiter_gets_the_outcome_of_its_own_command() {
    let mut stream = open_stream();
    let (first, first_reply) = command(later());
    let (second, second_reply) = command(later());
    stream.enqueue(vec![first, second]);
    stream.next_batch(Instant::now(), 0).expect("a batch");
    stream.mark_newest_handed();
    stream.on_outcome(taken(1, vec![Outcome::Deleted { revision: 5 }, Outcome::NotFound]));
    assert_eq!(first_reply.blocking_recv(), Ok(Ok(Outcome::Deleted { revision: 5 })));
    assert_eq!(second_reply.blocking_recv(), Ok(Ok(Outcome::NotFound)));
    assert_eq!(stream.in_flight().count(), 0);
}

#[test]
fn a_resend_is_the_identical_bytes_from_the_first_unapplied_batch_on() {
    let mut stream = open_stream();
    let sent: Vec<_> = (0..3).map(|_| send_one(&mut stream).0).collect();
    stream.on_outcome(taken(1, vec![Outcome::NotFound]));
    assert_eq!(stream.in_flight().collect::<Vec<_>>(), sent[1..]);
}

#[test]
fn a_gap_in_the_own_apply_asks_for_a_resend_and_a_duplicate_does_not() {
    let mut stream = open_stream();
    send_one(&mut stream);
    let outcome = |disposition| BatchOutcome {
        id: BatchId {
            node_id: NODE,
            incarnation: 3,
            sequence: 2,
        },
        disposition,
    };
    assert!(stream.on_outcome(outcome(Disposition::Gap { expected: 1 })));
    assert!(!stream.on_outcome(outcome(Disposition::Duplicate)));
}

#[test]
fn a_batch_that_could_not_be_handed_over_holds_up_later_ones() {
    let mut stream = open_stream();
    stream.enqueue(vec![command(later()).0]);
    stream.next_batch(Instant::now(), 0).expect("a batch");
    stream.enqueue(vec![command(later()).0]);
    assert!(
        stream.next_batch(Instant::now(), 0).is_none(),
        "a later batch would leave a gap"
    );
    assert!(stream.is_stalled(Instant::now()));
    stream.mark_oldest_handed(1);
    assert_eq!(sequence_of(stream.next_batch(Instant::now(), 0).expect("the next")), 2);
}

#[test]
fn a_batch_that_no_leader_has_is_taken_back_at_its_deadline() {
    let mut stream = open_stream();
    let (_, kept) = send_one(&mut stream);
    let (queued, reply) = command(Instant::now());
    stream.enqueue(vec![queued]);
    stream.next_batch(Instant::now(), 0).expect("a batch");
    assert_eq!(
        stream.expire(Instant::now()),
        BTreeSet::new(),
        "it was nobody's connection"
    );
    assert!(matches!(reply.blocking_recv(), Ok(Err(ProposeError::Unavailable(_)))));
    assert_eq!(
        stream.in_flight().map(sequence_of).collect::<Vec<_>>(),
        [1],
        "it cannot take effect any more"
    );
    assert_eq!(sequence_of(send_one(&mut stream).0), 2, "its sequence is free");
    stream.on_outcome(taken(1, vec![Outcome::NotFound]));
    assert_eq!(kept.blocking_recv(), Ok(Ok(Outcome::NotFound)));
}

#[test]
fn a_batch_cannot_take_effect_after_its_first_client_was_answered() {
    let mut stream = open_stream();
    let now = Instant::now();
    let at = |seconds: u64| command(now + Duration::from_secs(seconds)).0;
    stream.enqueue(vec![at(3), at(4), at(9)]);
    let batch = Batch::parse(stream.next_batch(now, 1_000_000).expect("a batch")).expect("readable");
    assert_eq!(
        (batch.deadline_us(), batch.count()),
        (4_000_000, 2),
        "the third has much longer"
    );
    stream.mark_newest_handed();
    let batch = Batch::parse(stream.next_batch(now, 1_000_000).expect("a batch")).expect("readable");
    assert_eq!((batch.deadline_us(), batch.count()), (10_000_000, 1));
}

#[test]
fn batches_that_do_not_move_are_sent_again() {
    let mut stream = open_stream();
    send_one(&mut stream);
    let now = Instant::now();
    assert!(!stream.is_stalled(now));
    assert!(stream.is_stalled(now + Duration::from_secs(1)));
    stream.mark_sent(now + Duration::from_secs(1));
    assert!(!stream.is_stalled(now + Duration::from_secs(1)));
}

#[test]
fn what_waits_is_counted_until_it_is_sealed_or_given_up() {
    let total = Arc::new(AtomicUsize::new(0));
    let reserved = Reserved::try_new(6, &total, 10).expect("room");
    assert!(Reserved::try_new(5, &total, 10).is_none());
    assert_eq!(total.load(Ordering::Relaxed), 6);
    let mut stream = open_stream();
    let (mut queued, _reply) = command(later());
    queued.reserved = reserved;
    stream.enqueue(vec![queued]);
    stream.next_batch(Instant::now(), 0).expect("a batch");
    assert_eq!(total.load(Ordering::Relaxed), 0);
}

#[test]
fn what_was_handed_over_and_not_seen_applied_is_unknown() {
    let mut stream = open_stream();
    let (queued, reply) = command(Instant::now());
    stream.enqueue(vec![queued]);
    stream.next_batch(Instant::now(), 0).expect("a batch");
    stream.mark_newest_handed();
    assert_eq!(stream.expire(Instant::now()), BTreeSet::new());
    assert!(matches!(reply.blocking_recv(), Ok(Err(ProposeError::Unknown(_)))));
    assert!(
        !stream.on_outcome(taken(1, vec![Outcome::NotFound])),
        "its outcome may still come"
    );
    assert_eq!(stream.in_flight().count(), 0);
}

#[test]
fn what_waits_for_a_leader_past_its_deadline_is_unavailable() {
    let mut stream = open_stream();
    let (queued, reply) = command(Instant::now());
    stream.enqueue(vec![queued]);
    assert_eq!(stream.expire(Instant::now()), BTreeSet::new());
    assert!(matches!(reply.blocking_recv(), Ok(Err(ProposeError::Unavailable(_)))));
    assert!(
        stream.next_batch(Instant::now(), 0).is_none(),
        "it must not take effect later"
    );
}

/// Of connection `fence`.
fn sent_by(fence: u64, operation: Operation, deadline: Instant) -> (Queued, oneshot::Receiver<Reply>) {
    let (mut queued, reply) = command(deadline);
    queued.command = Command {
        sender: Some(Sender { fence, packet_id: None }),
        operation,
    };
    (queued, reply)
}

#[test]
fn nothing_of_a_connection_overtakes_what_was_given_up() {
    let write = command(later()).0.command.operation;
    let end = Operation::Disconnect(Disconnect {
        expiry_s: None,
        publishes_will: false,
    });
    for is_sealed in [false, true] {
        let mut stream = open_stream();
        let (late, _late) = sent_by(1, write.clone(), Instant::now());
        stream.enqueue(vec![late]);
        if is_sealed {
            stream.next_batch(Instant::now(), 0).expect("a batch");
        }
        let (behind, given_up) = sent_by(1, write.clone(), later());
        let (ended, _ended) = sent_by(1, end.clone(), later());
        let (other, _other) = sent_by(2, write.clone(), later());
        stream.enqueue(vec![behind, ended, other]);
        let cut_off = stream.expire(Instant::now());
        assert_eq!(cut_off, BTreeSet::from([1]));
        stream.give_up_all_of(&cut_off);
        assert!(matches!(
            given_up.blocking_recv(),
            Ok(Err(ProposeError::Unavailable(_)))
        ));
        let batch = Batch::parse(stream.next_batch(Instant::now(), 0).expect("a batch")).expect("readable");
        let commands = batch.commands().map(|command| command.expect("readable"));
        let left: Vec<_> = commands
            .map(|command| (command.sender.map(|sender| sender.fence), command.operation))
            .collect();
        assert_eq!(left, [(Some(1), end.clone()), (Some(2), write.clone())]);
    }
}

#[test]
fn a_command_that_came_to_the_log_too_late_did_not_happen() {
    let mut stream = open_stream();
    let (_, reply) = send_one(&mut stream);
    stream.on_outcome(taken(1, vec![Outcome::TooLate]));
    assert!(matches!(reply.blocking_recv(), Ok(Err(ProposeError::Unavailable(_)))));
}

#[test]
fn an_installed_snapshot_makes_what_it_skips_unknown_and_keeps_the_rest() {
    let mut stream = open_stream();
    let replies: Vec<_> = (0..3).map(|_| send_one(&mut stream).1).collect();
    stream.on_installed(3, 3);
    let mut replies = replies.into_iter();
    for skipped in replies.by_ref().take(2) {
        assert!(matches!(skipped.blocking_recv(), Ok(Err(ProposeError::Unknown(_)))));
    }
    assert_eq!(stream.in_flight().map(sequence_of).collect::<Vec<_>>(), [3]);
    stream.on_outcome(taken(3, vec![Outcome::NotFound]));
    assert_eq!(
        replies.next().expect("the third").blocking_recv(),
        Ok(Ok(Outcome::NotFound))
    );
}

#[test]
fn a_fenced_stream_answers_everyone_and_opens_anew() {
    let mut stream = open_stream();
    let (_, reply) = send_one(&mut stream);
    assert!(!stream.on_opened(&OriginOpened { nonce: 1, ..opened(4) }));
    assert!(stream.is_fenced());
    assert!(matches!(reply.blocking_recv(), Ok(Err(ProposeError::Unknown(_)))));
    stream.reopen(NONCE);
    assert!(stream.on_opened(&opened(5)));
    assert_eq!(sequence_of(send_one(&mut stream).0), 1);
}

#[test]
fn a_dropped_command_is_unknown() {
    let (queued, reply) = command(later());
    drop(queued);
    assert!(matches!(reply.blocking_recv(), Ok(Err(ProposeError::Unknown(_)))));
}
