//! How many requests may all servers of an upstream have in flight together?

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::Sharded;

/// Counts the requests in flight of an upstream, over all workers and exactly.
///
/// While there is a limit they are in one count, which no two requests can pass at once. While there is none each worker
/// counts for itself, on a line of its own, and nobody reads it: a limit that a reload sets holds for these too, until
/// the last of them has ended.
///
/// *Ordering*: as in [`ServerState`](isobar_balance::ServerState), so that no wake-up of the queue is lost.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Gate {
    limited: AtomicU32,
    unlimited: Sharded<AtomicU32>,
    next_shard: AtomicUsize,
    shards: usize,
}

/// Where somebody counts requests that no limit holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard(usize);

impl Gate {
    pub(crate) fn new(workers: usize) -> Self {
        let shards = workers.max(1);
        Self {
            limited: AtomicU32::new(0),
            unlimited: Sharded::new(shards),
            next_shard: AtomicUsize::new(0),
            shards,
        }
    }

    /// A shard that nobody else has, as long as no more ask than there are workers.
    pub(crate) fn shard(&self) -> Shard {
        Shard(self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards)
    }

    /// Counts one more, if there are no more than `most` then.
    ///
    /// *Cost*: a load for each worker, and an atomic operation.
    #[must_use]
    pub(crate) fn enter(&self, most: u32) -> bool {
        // Read before the others are: those without a limit only become fewer while there is one.
        let most = most.saturating_sub(self.unlimited());
        let one_more = |count: u32| (count < most).then_some(count.saturating_add(1));
        self.limited
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }

    /// One that was counted ended.
    pub(crate) fn leave(&self) {
        self.limited.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts one more while there is no limit. Whoever does looks afterwards whether there is one by now.
    ///
    /// *Cost*: an atomic operation on a line that no other worker writes.
    pub(crate) fn enter_unlimited(&self, shard: Shard) {
        self.unlimited.of(shard.0).fetch_add(1, Ordering::SeqCst);
    }

    /// One ended that was counted while there was no limit.
    pub(crate) fn leave_unlimited(&self, shard: Shard) {
        self.unlimited.of(shard.0).fetch_sub(1, Ordering::SeqCst);
    }

    /// How many more could enter.
    pub(crate) fn room(&self, most: u32) -> u32 {
        most.saturating_sub(self.unlimited())
            .saturating_sub(self.limited.load(Ordering::SeqCst))
    }

    fn unlimited(&self) -> u32 {
        let each = self.unlimited.iter().map(|count| count.load(Ordering::SeqCst));
        each.fold(0, u32::saturating_add)
    }
}
