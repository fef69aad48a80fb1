//! How many requests was a server given in about the last second?
//!
//! Two counts, of this window and of the one before, in one word: the estimate is the first plus that part of the
//! second that a second reaches back to, as if the requests of a window came evenly (HAProxy's `freq_ctr` has the
//! same two counts). Kept on the line of the requests in flight, which a worker that takes a place writes anyway.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::Moment;

/// A window is 2^30 nanoseconds, 1.07 s.
const WINDOW_BITS: u32 = 30;

/// A count is kept in 20 bits and stays at its largest value: above a million a second servers count as equal.
const COUNT_BITS: u32 = 20;
const MOST: u64 = (1 << COUNT_BITS) - 1;

/// Windows are told apart modulo 2^24: one that comes again after 208 days without a request is taken for the same.
const WINDOWS: u64 = 1 << 24;

/// From the highest bit: the window, its count, the count of the one before.
#[derive(Debug)]
pub(super) struct Recent(AtomicU64);

/// What the word says at a moment.
#[derive(Debug, Clone, Copy)]
struct Counts {
    window: u64,
    current: u64,
    last: u64,
}

impl Recent {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more. *Cost*: one compare-and-swap, and another for each worker that came in between.
    pub(super) fn count(&self, now: Moment) {
        let one_more = |word| {
            let counts = Counts::at(word, now);
            let current = (counts.current + 1).min(MOST);
            Some(Counts { current, ..counts }.word())
        };
        let _always = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }

    /// The estimate, in 1/1024 of a request per window.
    pub(super) fn rate(&self, now: Moment) -> u64 {
        let counts = Counts::at(self.0.load(Ordering::Relaxed), now);
        let passed = (now.nanoseconds() >> (WINDOW_BITS - 10)) & 1023;
        counts.current * 1024 + counts.last * (1024 - passed)
    }
}

impl Counts {
    /// The counts as they are when windows have passed since the word was written; none have when time went back.
    const fn at(word: u64, now: Moment) -> Self {
        let written = word >> (2 * COUNT_BITS);
        let window = (now.nanoseconds() >> WINDOW_BITS) % WINDOWS;
        let (current, last) = ((word >> COUNT_BITS) & MOST, word & MOST);
        let (window, current, last) = match (window + WINDOWS - written) % WINDOWS {
            0 => (window, current, last),
            1 => (window, 0, current),
            passed if passed < WINDOWS / 2 => (window, 0, 0),
            _ => (written, current, last),
        };
        Self { window, current, last }
    }

    const fn word(self) -> u64 {
        (self.window << (2 * COUNT_BITS)) | (self.current << COUNT_BITS) | self.last
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Recent, WINDOW_BITS, WINDOWS};
    use crate::Moment;

    /// A moment in windows, in quarters.
    const fn quarter(quarters: u64) -> Moment {
        Moment::new(quarters << (WINDOW_BITS - 2))
    }

    fn after(picks: &[(u64, u32)], now: Moment) -> u64 {
        let recent = Recent::new();
        for &(moment, count) in picks {
            (0..count).for_each(|_| recent.count(quarter(moment)));
        }
        recent.rate(now) / 1024
    }

    #[test]
    fn counts_about_the_last_second() {
        let check = |picks: &[(u64, u32)], now, expected| {
            assert_eq!(after(picks, quarter(now)), expected, "{picks:?} at {now}");
        };
        check(&[], 0, 0);
        check(&[(0, 8)], 0, 8);
        check(&[(0, 8)], 3, 8);
        check(&[(0, 8)], 4, 8);
        check(&[(0, 8)], 5, 6);
        check(&[(0, 8)], 7, 2);
        check(&[(0, 8)], 8, 0);
        check(&[(0, 8), (4, 4)], 6, 8);
        check(&[(0, 8), (4, 4), (8, 2)], 8, 6);
        check(&[(0, 8), (400, 4)], 400, 4);
        check(&[(4 * (WINDOWS - 1), 8), (4 * WINDOWS, 4)], 4 * WINDOWS, 12);
    }

    #[test]
    fn time_that_goes_back_stands_still() {
        assert_eq!(after(&[(40, 8), (8, 2)], quarter(40)), 10);
        assert_eq!(after(&[(40, 8)], quarter(0)), 8);
    }

    #[test]
    fn a_count_stays_at_its_largest_value() {
        let recent = Recent::new();
        (0..MOST + 5).for_each(|_| recent.count(quarter(0)));
        assert_eq!(recent.rate(quarter(0)), MOST * 1024);
    }
}
