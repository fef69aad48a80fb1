//! How many requests does a server have in flight, and may it take one more?

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::Tally;

/// A limit that no count reaches.
const NO_LIMIT: u32 = u32::MAX;

/// One server's counters, seen and changed by all workers.
///
/// Two neighbours never share a cache line: 128 bytes, because x86 processors fetch lines in pairs.
///
/// *Ordering*: every access is sequentially consistent, which lets a queue be built on it without a lost wake-up:
/// a request that announces that it waits and then looks for a place once more, and a worker that gives a place
/// back and then looks for waiters, cannot both see nothing. On x86 this costs nothing over weaker orderings.
#[derive(Debug)]
#[repr(align(128))]
pub struct ServerState {
    in_flight: AtomicU32,
    limit: AtomicU32,
    /// Counts the requests of all servers it belongs to.
    tally: Option<Arc<Tally>>,
}

impl ServerState {
    /// A server with nothing in flight and room for `limit` requests; none: any number.
    #[must_use]
    pub const fn new(limit: Option<u32>) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(stored(limit)),
            tally: None,
        }
    }

    /// A server as [`new`](Self::new) makes it, whose requests are counted in a tally too.
    ///
    /// *Cost*: each take and each release write the tally's cache line as well.
    #[must_use]
    pub const fn counted_in(tally: Arc<Tally>, limit: Option<u32>) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(stored(limit)),
            tally: Some(tally),
        }
    }

    /// Where its requests are counted beside here.
    pub(crate) const fn tally(&self) -> Option<&Arc<Tally>> {
        self.tally.as_ref()
    }

    /// Requests in flight, over all workers.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// The number of requests it takes at once; none: any number.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Ordering::SeqCst)).filter(|&limit| limit != NO_LIMIT)
    }

    /// Sets the number of requests it takes at once; requests in flight past a lower limit finish undisturbed.
    pub fn set_limit(&self, limit: Option<u32>) {
        self.limit.store(stored(limit), Ordering::SeqCst);
    }

    /// Whether it can take no further request now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.in_flight_with_room().is_none()
    }

    /// Requests in flight, when it can take one more.
    #[must_use]
    pub fn in_flight_with_room(&self) -> Option<u32> {
        Some(self.in_flight()).filter(|&count| count < self.limit.load(Ordering::SeqCst))
    }

    /// Takes one place if the limit allows it; each success is owed one [`release`](Self::release).
    ///
    /// Exact: however many workers call at once, no more succeed than there are places.
    #[must_use]
    pub fn try_acquire(&self) -> bool {
        self.try_acquire_within(u32::MAX)
    }

    /// Takes one place as [`try_acquire`](Self::try_acquire) does, if there are then no more than `cap` in flight.
    pub(crate) fn try_acquire_within(&self, cap: u32) -> bool {
        match &self.tally {
            None => self.take(cap),
            Some(tally) => {
                tally.enter();
                let taken = self.take(cap);
                if !taken {
                    tally.leave();
                }
                taken
            }
        }
    }

    /// Takes one place for a request that has entered the tally already, under the limit and a cap.
    pub(crate) fn take(&self, cap: u32) -> bool {
        let limit = self.limit.load(Ordering::SeqCst).min(cap);
        let one_more = |count: u32| (count < limit).then_some(count.saturating_add(1));
        self.in_flight
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }

    /// Gives a place back.
    ///
    /// A release that nobody owed is a bug in the caller: the count stays at zero rather than wrapping to a server
    /// that is full for ever, and a debug build panics.
    pub fn release(&self) {
        let one_less = |count: u32| count.checked_sub(1);
        let released = self
            .in_flight
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        debug_assert!(released.is_ok(), "a place was released that nobody had acquired");
        if let (Ok(_), Some(tally)) = (released, &self.tally) {
            tally.leave();
        }
    }
}

const fn stored(limit: Option<u32>) -> u32 {
    match limit {
        Some(limit) => limit,
        None => NO_LIMIT,
    }
}

#[cfg(test)]
mod tests {
    use super::ServerState;
    use crate::Tally;
    use alloc::sync::Arc;

    #[test]
    fn takes_as_many_as_the_limit_allows() {
        let check = |limit, attempts, expected| {
            let server = ServerState::new(limit);
            let taken = (0..attempts).filter(|_| server.try_acquire()).count();
            assert_eq!(taken, expected, "limit {limit:?}");
            assert_eq!(server.in_flight() as usize, expected);
            assert_eq!(server.is_full(), limit == Some(server.in_flight()));
        };
        check(None, 1000, 1000);
        check(Some(0), 3, 0);
        check(Some(1), 3, 1);
        check(Some(5), 3, 3);
        check(Some(5), 9, 5);
    }

    #[test]
    fn a_changed_limit_holds_from_the_next_request() {
        let server = ServerState::new(None);
        assert!(server.try_acquire() && server.try_acquire());
        server.set_limit(Some(1));
        assert_eq!(server.limit(), Some(1));
        assert!(server.is_full() && !server.try_acquire());
        server.release();
        assert!(!server.try_acquire(), "one is still in flight");
        server.release();
        assert!(server.try_acquire());
        server.set_limit(None);
        assert_eq!(server.limit(), None);
        assert!(server.try_acquire());
    }

    #[test]
    fn a_tally_counts_what_its_servers_count() {
        let tally = Arc::new(Tally::new());
        let servers = [Some(1), None].map(|limit| ServerState::counted_in(Arc::clone(&tally), limit));
        assert!(servers[0].try_acquire() && servers[1].try_acquire());
        assert!(!servers[0].try_acquire(), "it is full");
        assert!(!servers[1].try_acquire_within(1), "it is at the cap");
        assert!(servers[1].try_acquire_within(2));
        assert_eq!(tally.in_flight(), 3);
        servers[0].release();
        servers[1].release();
        assert_eq!(tally.in_flight(), 1);
    }

    #[test]
    fn neighbours_share_no_cache_line() {
        assert_eq!(align_of::<ServerState>(), 128);
        assert_eq!(size_of::<ServerState>(), 128);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "nobody had acquired")]
    fn releasing_what_nobody_acquired_is_a_bug() {
        ServerState::new(None).release();
    }
}
