//! Linearizable reads on any node (Raft thesis §6.4): ask the leader how far the log is committed, wait until this node has
//! applied as much, and read here.
//!
//! Many waiting reads share one round. A read that arrives while a round is under way must not use its answer, which may be
//! older than the read; it joins the next round.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

/// How long a reader waits for a change of leader before it asks again.
const RETRY: Duration = Duration::from_millis(50);

/// Why no read index could be had. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadIndexError(pub String);

type Answer = Result<u64, ReadIndexError>;
/// One round: asks the leader, within a deadline of its own.
pub type Round = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Shares rounds between readers.
#[derive(Clone)]
pub struct ReadIndex(Arc<Inner>);

struct Inner {
    round: Round,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    under_way: bool,
    readers: Vec<oneshot::Sender<Answer>>,
}

impl ReadIndex {
    /// Shares rounds of `round`.
    #[must_use]
    pub fn new(round: Round) -> Self {
        Self(Arc::new(Inner {
            round,
            waiting: Mutex::default(),
        }))
    }

    /// A log index that covers every write acknowledged anywhere before this call.
    ///
    /// # Errors
    /// No leader, or it could not confirm that it leads.
    pub async fn get(&self) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let start = {
            let mut waiting = self.0.waiting.lock();
            waiting.readers.push(sender);
            !std::mem::replace(&mut waiting.under_way, true)
        };
        if start {
            tokio::spawn(Self::rounds(Arc::clone(&self.0)));
        }
        receiver
            .await
            .unwrap_or_else(|_| Err(ReadIndexError("the node is stopping".to_owned())))
    }

    /// As [`get`](Self::get), again and again: at every change of the leadership, and now and then, for an election may be under
    /// way. Never returns without an index; what kept it from one is in `last_error`.
    pub async fn until_had<T>(&self, mut leadership: watch::Receiver<T>, last_error: &mut ReadIndexError) -> u64 {
        loop {
            match self.get().await {
                Ok(index) => return index,
                Err(error) => *last_error = error,
            }
            let changed = tokio::time::timeout(RETRY, leadership.changed()).await;
            if let Ok(Err(_)) = changed {
                // Consensus has ended, and answers at once that it has: to ask again would only spin.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn rounds(inner: Arc<Inner>) {
        loop {
            let readers = {
                let mut waiting = inner.waiting.lock();
                if waiting.readers.is_empty() {
                    waiting.under_way = false;
                    return;
                }
                std::mem::take(&mut waiting.readers)
            };
            let answer = (inner.round)().await;
            for reader in readers {
                // A reader that is gone needs no answer.
                let _ = reader.send(answer.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn readers_share_rounds_but_never_one_that_began_before_them() {
        let rounds = Arc::new(AtomicU64::new(0));
        let (started, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let round = {
            let (rounds, started, release) = (Arc::clone(&rounds), Arc::clone(&started), Arc::clone(&release));
            Box::new(move || {
                let (rounds, started, release) = (Arc::clone(&rounds), Arc::clone(&started), Arc::clone(&release));
                Box::pin(async move {
                    let number = rounds.fetch_add(1, Ordering::SeqCst) + 1;
                    started.notify_one();
                    release.notified().await;
                    Ok(number)
                }) as Pin<Box<dyn Future<Output = Answer> + Send>>
            })
        };
        let read_index = ReadIndex::new(round);
        let get = |read_index: &ReadIndex| {
            let read_index = read_index.clone();
            tokio::spawn(async move { read_index.get().await })
        };
        let first = get(&read_index);
        started.notified().await;
        let late: Vec<_> = (0..10).map(|_| get(&read_index)).collect();
        tokio::task::yield_now().await;
        release.notify_one();
        assert_eq!(first.await.expect("runs"), Ok(1));
        started.notified().await;
        release.notify_one();
        for reader in late {
            assert_eq!(reader.await.expect("runs"), Ok(2));
        }
        assert_eq!(rounds.load(Ordering::SeqCst), 2);
    }

    /// Answers `answers` one by one, then that there is no leader; counts the rounds. After a thousand it answers no more, so
    /// that what spins comes to an end.
    fn answering(answers: Vec<Answer>, rounds: &Arc<AtomicU64>) -> ReadIndex {
        let rounds = Arc::clone(rounds);
        ReadIndex::new(Box::new(move || {
            let number = rounds.fetch_add(1, Ordering::SeqCst);
            let no_leader = || Err(ReadIndexError("no leader is known".to_owned()));
            let answer = answers.get(number as usize).cloned().unwrap_or_else(no_leader);
            Box::pin(async move {
                if number > 1_000 {
                    std::future::pending::<()>().await;
                }
                answer
            })
        }))
    }

    fn none() -> ReadIndexError {
        ReadIndexError("nobody was asked".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_end_of_consensus_a_reader_does_not_spin() {
        let rounds = Arc::default();
        let read_index = answering(Vec::new(), &rounds);
        let (leadership, told) = watch::channel(());
        drop(leadership);
        let mut last_error = none();
        let had = read_index.until_had(told, &mut last_error);
        let ended = tokio::time::timeout(Duration::from_secs(10), had).await;
        assert!(ended.is_err(), "there was no index");
        assert_eq!(rounds.load(Ordering::SeqCst), 1);
        assert_eq!(last_error.to_string(), "no leader is known");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_asks_again_during_an_election() {
        let rounds = Arc::default();
        let no_leader = || Err(none());
        let read_index = answering(vec![no_leader(), no_leader(), Ok(7)], &rounds);
        let (_leadership, told) = watch::channel(());
        assert_eq!(read_index.until_had(told, &mut none()).await, 7);
        assert_eq!(rounds.load(Ordering::SeqCst), 3);
    }
}
