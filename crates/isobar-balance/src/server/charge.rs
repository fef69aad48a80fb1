//! How many requests does a server count as having, because it failed some a moment ago?
//!
//! A server that fails fast has little in flight and short answers: to whoever looks at load and latency it is the
//! best of all, and most traffic goes where it fails. Therefore a failure stays in flight for a while as a *phantom*:
//! for the server's own `Retry-After` or a second, whichever is longer, and ten seconds at most. Phantoms count in
//! every choice by load or latency, and never against a server's limit.
//!
//! A failure comes at a moment, stays for a time of its own and leaves alone, so a single number that fades will not
//! do. The phantoms are kept by the tick in which they leave, and who first looks in a later tick lets them go. What a
//! choice reads is one counter, which is zero for a server without recent failures.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use crate::Moment;

/// The least time a failure is charged for.
const SHORTEST: Duration = Duration::from_secs(1);

/// The most, whatever the server asks for: a mistaken header must not take a server out for a day.
const LONGEST: Duration = Duration::from_secs(10);

/// Phantoms that one server has at most; failures past that are not charged. More than any server has in flight, so
/// that the bound never makes a failing server look better than a working one.
const MOST: u32 = 1 << 20;

/// A tick is 2^28 nanoseconds, 0.27 s: by how much a phantom may stay too long.
const TICK_BITS: u32 = 28;

/// Ticks that are told apart, 17 s: more than the longest charge.
const TICKS: usize = 64;

/// The time that a failed request is charged for.
pub(crate) fn duration(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or(SHORTEST).clamp(SHORTEST, LONGEST)
}

/// How many phantoms there are now: of one server, and of all those it is looked at with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charges<'a> {
    pub(super) own: &'a AtomicU32,
    pub(super) all: &'a AtomicU32,
}

impl Charges<'_> {
    pub(super) fn count(self) -> u32 {
        self.own.load(Ordering::Relaxed)
    }

    /// Adds one; *returns* how many there were. All are counted first, so that they are never less than one's own.
    fn add(self) -> u32 {
        self.all.fetch_add(1, Ordering::Relaxed);
        self.own.fetch_add(1, Ordering::Relaxed)
    }

    fn sub(self, gone: u32) {
        self.own.fetch_sub(gone, Ordering::Relaxed);
        self.all.fetch_sub(gone, Ordering::Relaxed);
    }
}

/// When the phantoms of one server leave; how many there are is counted beside the server's requests in flight.
///
/// *Clock*: time that goes backwards stands still; what is charged meanwhile leaves when the clock has caught up.
#[derive(Debug)]
pub(super) struct Phantoms {
    /// The latest tick anybody has seen; whatever leaves up to it has left.
    seen: AtomicU64,
    /// How many leave in each tick, by its remainder.
    leaving: [AtomicU32; TICKS],
}

impl Phantoms {
    pub(super) const fn new() -> Self {
        Self {
            seen: AtomicU64::new(0),
            leaving: [const { AtomicU32::new(0) }; TICKS],
        }
    }

    /// Adds one to `count` that leaves after `time`, at most a tick later.
    pub(super) fn add(&self, count: Charges<'_>, now: Moment, time: Duration) {
        self.let_go(count, now);
        if count.add() >= MOST {
            count.sub(1);
            return;
        }
        let seen = self.seen.load(Ordering::Relaxed);
        let start = now.nanoseconds().max(seen << TICK_BITS);
        let leaves = (Moment::new(start).after(time).nanoseconds() >> TICK_BITS) + 1;
        // Counted before it is put down to leave, so that `count` never falls below zero.
        self.at(leaves.min(seen.saturating_add(TICKS as u64 - 1)))
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Takes those from `count` whose time is over. *Cost*: a load and a comparison within a tick.
    pub(super) fn let_go(&self, count: Charges<'_>, now: Moment) {
        let tick = now.nanoseconds() >> TICK_BITS;
        let seen = self.seen.load(Ordering::Relaxed);
        if tick <= seen {
            return;
        }
        let advance = self
            .seen
            .compare_exchange(seen, tick, Ordering::Relaxed, Ordering::Relaxed);
        if advance.is_err() {
            return;
        }
        for passed in seen + 1..=tick.min(seen + TICKS as u64) {
            let gone = self.at(passed).swap(0, Ordering::Relaxed);
            count.sub(gone);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of 64")]
    fn at(&self, tick: u64) -> &AtomicU32 {
        &self.leaving[tick as usize % TICKS]
    }
}

#[cfg(test)]
mod tests {
    use super::{Charges, LONGEST, MOST, Phantoms, SHORTEST, TICK_BITS, duration};
    use crate::Moment;
    use core::sync::atomic::{AtomicU32, Ordering};
    use core::time::Duration;

    /// The counters of one server beside another with 5.
    struct Counters {
        own: AtomicU32,
        all: AtomicU32,
    }

    impl Counters {
        const fn new() -> Self {
            Self {
                own: AtomicU32::new(0),
                all: AtomicU32::new(5),
            }
        }

        const fn charges(&self) -> Charges<'_> {
            Charges {
                own: &self.own,
                all: &self.all,
            }
        }

        fn count(&self) -> u32 {
            let own = self.charges().count();
            assert_eq!(self.all.load(Ordering::Relaxed), own + 5);
            own
        }
    }

    const fn at_ms(milliseconds: u64) -> Moment {
        Moment::new(milliseconds * 1_000_000)
    }

    #[test]
    fn a_failure_is_charged_for_what_the_server_asks_within_bounds() {
        let check = |retry_after: Option<u64>, expected| {
            assert_eq!(duration(retry_after.map(Duration::from_millis)), expected);
        };
        check(None, SHORTEST);
        check(Some(0), SHORTEST);
        check(Some(2_500), Duration::from_millis(2_500));
        check(Some(86_400_000), LONGEST);
    }

    /// Each leaves after its own time and at most a tick later, whatever came before and after it.
    #[test]
    fn each_leaves_by_itself() {
        let tick = (1 << TICK_BITS) / 1_000_000 + 1;
        for start in [0, 7, 100_000, 999_999_999] {
            let (phantoms, count) = (Phantoms::new(), Counters::new());
            let times = [1_000, 1_000, 2_000, 5_000, 10_000];
            for time in times {
                phantoms.add(count.charges(), at_ms(start), Duration::from_millis(time));
            }
            for passed in (0..12_000).step_by(50) {
                phantoms.let_go(count.charges(), at_ms(start + passed));
                let left = count.count();
                let surely = times.iter().filter(|&&time| time > passed).count();
                let possibly = times.iter().filter(|&&time| time + tick > passed).count();
                assert!(
                    (surely..=possibly).contains(&(left as usize)),
                    "{left} after {passed} ms"
                );
            }
            assert_eq!(count.count(), 0);
        }
    }

    #[test]
    fn a_clock_that_goes_back_keeps_them_until_it_has_caught_up() {
        let (phantoms, count) = (Phantoms::new(), Counters::new());
        phantoms.add(count.charges(), at_ms(60_000), SHORTEST);
        phantoms.add(count.charges(), at_ms(0), SHORTEST);
        for (now, expected) in [(0, 2), (60_900, 2), (61_400, 0), (0, 0)] {
            phantoms.let_go(count.charges(), at_ms(now));
            assert_eq!(count.count(), expected, "at {now} ms");
        }
    }

    #[test]
    fn there_is_a_most_and_a_silence_however_long_ends_all() {
        let (phantoms, count) = (Phantoms::new(), Counters::new());
        for _ in 0..MOST + 9 {
            phantoms.add(count.charges(), at_ms(5), LONGEST);
        }
        assert_eq!(count.count(), MOST);
        phantoms.let_go(count.charges(), Moment::new(u64::MAX));
        assert_eq!(count.count(), 0);
    }
}
