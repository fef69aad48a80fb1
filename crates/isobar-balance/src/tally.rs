//! How many requests have all servers of an upstream in flight together?
//!
//! Only a bound on the load by key asks, and asks at every pick: to add up the counts of ten thousand servers each time
//! would cost more than the request.

use core::sync::atomic::{AtomicU64, Ordering};

/// Requests in flight at all servers that were [made with it](crate::ServerState::counted_in), over all workers.
///
/// It is never below what the servers' own counts add up to; above it only by requests that arrive or leave at this
/// moment. A cache line of its own, which every pick and every release of its servers write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    in_flight: AtomicU64,
}

impl Tally {
    /// Nothing in flight.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            in_flight: AtomicU64::new(0),
        }
    }

    /// Requests in flight, those included that look for a place.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts a request before it looks for a place.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts it out after its place was given back, or when it found none.
    pub(crate) fn leave(&self) {
        let one_less = |count: u64| count.checked_sub(1);
        let left = self
            .in_flight
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        debug_assert!(left.is_ok(), "a request left that had not entered");
    }
}
