//! Linearizable reads on any node (Raft thesis §6.4): ask the leader how far the log is committed, wait until this node has
//! applied as much, and read here.
//!
//! Many waiting reads share one round. A read that arrives while a round is under way must not use its answer, which may be
//! older than the read; it joins the next round.

use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

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
}
