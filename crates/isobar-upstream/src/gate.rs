//! How many requests may all servers of an upstream have in flight together?

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the requests in flight of an upstream that has a limit for them, over all workers and exactly.
///
/// Requests that were in flight when the limit was set are not among them; all later ones are.
///
/// *Ordering*: as in [`ServerState`](isobar_balance::ServerState), so that no wake-up of the queue is lost.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gate(AtomicU32);

impl Gate {
    /// Counts one more, if there are no more than `most` then.
    #[must_use]
    pub(crate) fn enter(&self, most: u32) -> bool {
        let one_more = |count: u32| (count < most).then_some(count.saturating_add(1));
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }

    /// One that was counted ended.
    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// How many more could enter.
    pub(crate) fn room(&self, most: u32) -> u32 {
        most.saturating_sub(self.0.load(Ordering::SeqCst))
    }
}
