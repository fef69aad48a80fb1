//! How many requests have all servers of an upstream in flight together?
//!
//! Only a bound on the load by key asks, and asks at every pick: to add up the counts of ten thousand servers each time
//! would cost more than the request.

use core::sync::atomic::{AtomicU64, Ordering};

/// Requests in flight at all servers that were [made with it](crate::ServerState::counted_in), over all workers.
///
/// It is never below what the counts of those of them add up to that [count](crate::ServerState::start_counting) in it; above it only by requests that arrive or leave at this
/// moment. A cache line of its own, which every pick and every release of its servers write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    /// The lower half is how many there are, the upper how many left so far.
    state: AtomicU64,
}

/// What a tally says at one moment; of two that are equal nobody came or went in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(u64);

/// One that left, in the upper half.
const LEFT: u64 = 1 << 32;

impl Tally {
    /// Nothing in flight.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
        }
    }

    /// Requests in flight, those included that look for a place.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.count().in_flight()
    }

    pub(crate) fn count(&self) -> Count {
        Count(self.state.load(Ordering::SeqCst))
    }

    /// Counts a request before it looks for a place.
    pub(crate) fn enter(&self) {
        self.state.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts several that have their places already.
    pub(crate) fn enter_all(&self, requests: u32) {
        self.state.fetch_add(requests.into(), Ordering::SeqCst);
    }

    /// Counts several out that keep their places.
    pub(crate) fn leave_all(&self, requests: u32) {
        self.state.fetch_add(u64::from(requests) * (LEFT - 1), Ordering::SeqCst);
    }

    /// Counts it out after its place was given back, or when it found none.
    pub(crate) fn leave(&self) {
        let before = self.state.fetch_add(LEFT - 1, Ordering::SeqCst);
        debug_assert!(Count(before).in_flight() > 0, "a request left that had not entered");
    }
}

impl Count {
    /// What adding up gave; nothing is known of who left.
    pub(crate) const fn added_up(in_flight: u64) -> Self {
        Self(in_flight)
    }

    pub(crate) const fn in_flight(self) -> u64 {
        self.0 % LEFT
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_count_tells_that_somebody_came_and_went() {
        let tally = Tally::new();
        let before = tally.count();
        assert_eq!(before, tally.count());
        tally.enter();
        tally.enter();
        assert_eq!(tally.in_flight(), 2);
        tally.leave();
        tally.leave();
        assert_eq!(tally.in_flight(), 0);
        assert_ne!(before, tally.count());
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "had not entered")]
    fn leaving_without_entering_is_a_bug() {
        Tally::new().leave();
    }
}
