//! The views that cursors read: kept for a while after the last use, bounded in number, one per revision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::state::StateView;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::page;

/// Views by the revision they show. Cheap to clone; clones share the views.
///
/// A view holds back what the state has replaced since, in memory and on disk. So there are at most `count_max` of them (the
/// least recently used goes first), and a task drops each once nobody has used it for `idle`.
#[derive(Clone)]
pub struct ListViews(Arc<Shared>);

struct Shared {
    idle: Duration,
    count_max: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    views: BTreeMap<u64, Kept>,
    /// A task is there that will drop idle views. It ends when there are none.
    sweeping: bool,
}

struct Kept {
    view: StateView,
    used: Instant,
}

impl Default for ListViews {
    fn default() -> Self {
        Self::new(Duration::from_secs(60), 64)
    }
}

impl ListViews {
    /// No views yet. Each is kept for `idle` after its last use, at most `count_max` at a time.
    #[must_use]
    pub fn new(idle: Duration, count_max: usize) -> Self {
        Self(Arc::new(Shared {
            idle,
            count_max,
            table: Mutex::default(),
        }))
    }

    /// Keeps a view, so that cursors can name its revision.
    pub(super) fn keep(&self, view: StateView) {
        let mut table = self.0.table.lock();
        table.views.insert(
            view.revision,
            Kept {
                view,
                used: Instant::now(),
            },
        );
        if table.views.len() > self.0.count_max
            && let Some(oldest) = table
                .views
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(revision, _)| *revision)
        {
            table.views.remove(&oldest);
        }
        if !table.sweeping {
            table.sweeping = true;
            tokio::spawn(sweep(Arc::clone(&self.0)));
        }
    }

    /// The view of a revision, if it is still kept. Counts as a use.
    pub(super) fn get(&self, revision: u64) -> Option<StateView> {
        let mut table = self.0.table.lock();
        let kept = table.views.get_mut(&revision)?;
        kept.used = Instant::now();
        // Between its time running out and the sweep a view is still good.
        Some(kept.view.clone())
    }

    /// Answers a page that another node asks for on behalf of its client. `request` and the answer are opaque to whatever
    /// carries them; the answer is at most about 5 MiB long. A request that cannot be read is answered as an expired cursor.
    pub async fn answer(&self, request: Bytes) -> Bytes {
        page::answer(self, &request).await
    }

    /// How many views are kept.
    pub(super) fn len(&self) -> usize {
        self.0.table.lock().views.len()
    }
}

/// Drops views as they become idle.
async fn sweep(shared: Arc<Shared>) {
    loop {
        let next = {
            let mut table = shared.table.lock();
            let now = Instant::now();
            table.views.retain(|_, kept| kept.used + shared.idle > now);
            let Some(oldest) = table.views.values().map(|kept| kept.used).min() else {
                table.sweeping = false;
                return;
            };
            oldest + shared.idle
        };
        tokio::time::sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use banyan_core::state::State;
    use banyan_core::store::MemoryStore;

    use super::*;

    /// A view that says it is of `revision`.
    fn view(revision: u64) -> StateView {
        let mut view = State::open(Arc::new(MemoryStore::new())).unwrap().view();
        view.revision = revision;
        view
    }

    #[tokio::test]
    async fn the_least_recently_used_goes_first() {
        let views = ListViews::new(Duration::from_secs(3600), 2);
        views.keep(view(1));
        views.keep(view(2));
        assert!(views.get(1).is_some());
        views.keep(view(3));
        assert!(views.get(2).is_none());
        assert!(views.get(1).is_some() && views.get(3).is_some());
        views.keep(view(3));
        assert_eq!(views.len(), 2, "one view per revision");
    }

    #[tokio::test]
    async fn idle_views_are_dropped_without_being_asked_for() {
        let views = ListViews::new(Duration::ZERO, 2);
        for revision in 1..3 {
            views.keep(view(revision));
            while views.len() > 0 {
                tokio::task::yield_now().await;
            }
            assert!(views.get(revision).is_none());
        }
    }
}
