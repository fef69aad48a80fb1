//! How much did a key take that nobody remembers?
//!
//! A count-min sketch: each key adds to a counter of every row, and has taken no more than the least of its counters says.
//! A counter has two windows of time, and moves on by itself when it is next touched, so that nothing ever has to be swept.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use isobar_balance::Moment;

use crate::memory::filled;
use crate::rate::nanoseconds;
use crate::{Key, TableSettings};

/// Rows. An estimate is more than 8 shares too high, where a share is what all keys took for a counter of a row, for one key
/// in 4,096 (each row is by Markov's inequality for one in 8).
const ROWS: usize = 4;

/// Bits of a window's count.
const COUNT_BITS: u32 = 28;
const MOST: u64 = (1 << COUNT_BITS) - 1;

/// Bits of the window's number, above both counts.
const WINDOW_BITS: u32 = 8;

/// What keys took in this window and the one before, over all workers: so all that was taken within the length of a window
/// counts, and nothing that is older than two.
///
/// *Cost*: 8 bytes a counter; four atomic operations to add. No lock. While several add to one counter just when its window
/// moves on nothing is lost.
#[derive(Debug)]
pub(crate) struct Sketch {
    rows: [Box<[AtomicU64]>; ROWS],
    /// Nanoseconds of a window.
    window: u64,
    /// When all that was ever added is forgotten, in nanoseconds.
    forgotten: AtomicU64,
}

/// A counter, taken apart.
#[derive(Debug, Clone, Copy)]
struct Counter {
    window: u64,
    before: u64,
    taken: u64,
}

impl Sketch {
    /// A sketch with so many counters in a row that remembers for as long as a table does.
    pub(crate) fn new(width: usize, settings: &TableSettings) -> Self {
        Self {
            rows: core::array::from_fn(|_| filled(width.max(1), settings.advise)),
            window: nanoseconds(settings.memory).max(1),
            forgotten: AtomicU64::new(0),
        }
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.iter().map(|row| size_of_val(&**row)).sum()
    }

    /// At least what a key took in this window and the one before.
    pub(crate) fn estimate(&self, key: Key, now: Moment) -> u64 {
        let of = |counter: &AtomicU64| {
            let counter = Counter::of(counter.load(Ordering::Relaxed)).at(self.number(now));
            counter.taken + counter.before
        };
        self.counters(key).map(of).min().unwrap_or(0)
    }

    /// Whether there is anything to estimate.
    #[inline]
    pub(crate) fn remembers(&self, now: Moment) -> bool {
        now.nanoseconds() < self.forgotten.load(Ordering::Relaxed)
    }

    /// Adds what a key took: *returns* the number of the window for [`take_back`](Self::take_back).
    pub(crate) fn add(&self, key: Key, amount: u64, now: Moment) -> u64 {
        let number = self.number(now);
        let forgotten = (now.nanoseconds() / self.window)
            .saturating_add(2)
            .saturating_mul(self.window);
        // All workers look at it, and it changes once in a window.
        if self.forgotten.load(Ordering::Relaxed) < forgotten {
            self.forgotten.fetch_max(forgotten, Ordering::Relaxed);
        }
        for counter in self.counters(key) {
            let add = |bits| {
                let mut counter = Counter::of(bits).at(number);
                counter.taken = counter.taken.saturating_add(amount).min(MOST);
                Some(counter.bits())
            };
            let _always = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
        number
    }

    /// Takes back what was added in a window, if it still counts.
    pub(crate) fn take_back(&self, key: Key, amount: u64, number: u64) {
        for counter in self.counters(key) {
            let subtract = |bits| {
                let mut counter = Counter::of(bits);
                if counter.window == number {
                    counter.taken = counter.taken.saturating_sub(amount);
                } else if counter.window == following(number) {
                    counter.before = counter.before.saturating_sub(amount);
                } else {
                    return None;
                }
                Some(counter.bits())
            };
            let _gone = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
        }
    }

    /// Until the present window ends, in nanoseconds.
    pub(crate) const fn left(&self, now: Moment) -> u64 {
        self.window - now.nanoseconds() % self.window
    }

    const fn number(&self, now: Moment) -> u64 {
        (now.nanoseconds() / self.window) % (1 << WINDOW_BITS)
    }

    fn counters(&self, key: Key) -> impl Iterator<Item = &AtomicU64> {
        let width = self.rows.first().map_or(0, |row| row.len() as u64);
        let places: [u64; ROWS] = key.numbers(width);
        #[expect(clippy::cast_possible_truncation, reason = "a place is below a length")]
        let places = places.map(|place| place as usize);
        self.rows.iter().zip(places).filter_map(|(row, place)| row.get(place))
    }
}

const fn following(number: u64) -> u64 {
    (number + 1) % (1 << WINDOW_BITS)
}

impl Counter {
    const fn of(bits: u64) -> Self {
        Self {
            window: bits >> (2 * COUNT_BITS),
            before: bits >> COUNT_BITS & MOST,
            taken: bits & MOST,
        }
    }

    const fn bits(self) -> u64 {
        self.window << (2 * COUNT_BITS) | self.before << COUNT_BITS | self.taken
    }

    /// What it says in a window. One whose number is just behind its own is of a clock that is late, and stands still; a
    /// counter that nobody touched for 128 windows may look like that, and count as if it had just been.
    const fn at(self, number: u64) -> Self {
        let passed = number.wrapping_sub(self.window) % (1 << WINDOW_BITS);
        match passed {
            0 => self,
            1 => Self {
                window: number,
                before: self.taken,
                taken: 0,
            },
            255 => self,
            _ => Self {
                window: number,
                before: 0,
                taken: 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::vec::Vec;

    use isobar_balance::Chance;
    use proptest::prelude::*;

    use super::{Key, Moment, Sketch, TableSettings};

    const SECOND: u64 = 1_000_000_000;

    /// One that remembers for a second.
    fn sketch(width: usize) -> Sketch {
        let settings = TableSettings {
            max_keys: 1,
            memory: Duration::from_secs(1),
            relax: std::thread::yield_now,
            advise: |_, _| (),
        };
        Sketch::new(width, &settings)
    }

    #[test]
    fn what_was_taken_is_forgotten_after_two_windows() {
        let sketch = sketch(1 << 10);
        let key = Key::new(7);
        let number = sketch.add(key, 100, Moment::new(0));
        let check = |at, expected| assert_eq!(sketch.estimate(key, Moment::new(at)), expected, "{at}");
        check(0, 100);
        check(SECOND - 1, 100);
        check(SECOND, 100);
        check(2 * SECOND - 1, 100);
        check(2 * SECOND, 0);
        assert!(sketch.remembers(Moment::new(2 * SECOND - 1)) && !sketch.remembers(Moment::new(2 * SECOND)));
        let _later = sketch.add(key, 1, Moment::new(SECOND));
        check(2 * SECOND - 1, 101);
        sketch.take_back(key, 100, number);
        check(2 * SECOND - 1, 1);
    }

    /// As many keys as there are counters in all: what the rows promise, with seed 5.
    #[test]
    fn estimates_are_hardly_too_high() {
        let sketch = sketch(1 << 12);
        let mut chance = Chance::new(5);
        let keys: Vec<Key> = (0..1 << 14).map(|_| Key::new(chance.bits())).collect();
        for &key in &keys {
            sketch.add(key, 1, Moment::new(0));
        }
        let over = |key: &&Key| sketch.estimate(**key, Moment::new(0)) > 1 + 8 * 4;
        assert_eq!(keys.iter().filter(over).count(), 0);
        let sum: u64 = keys.iter().map(|key| sketch.estimate(*key, Moment::new(0))).sum();
        let mean = sum as f64 / keys.len() as f64;
        assert!((1.5..3.5).contains(&mean), "seed 5: {mean}");
    }

    proptest! {
        /// No key ever looks as if it had taken less than it did in the last two windows.
        #[test]
        fn never_too_low(adds in prop::collection::vec((0u64..40, 0u64..1000, 0u64..SECOND / 10), 1..200)) {
            let sketch = sketch(8);
            let mut taken = Vec::new();
            let mut now = 0;
            for (key, amount, pause) in adds {
                now += pause;
                sketch.add(Key::new(key), amount, Moment::new(now));
                taken.push((key, amount, now / SECOND));
                let window = now / SECOND;
                let sum: u64 = taken.iter().filter(|it| it.0 == key && it.2 + 1 >= window).map(|it| it.1).sum();
                prop_assert!(sketch.estimate(Key::new(key), Moment::new(now)) >= sum);
            }
        }
    }
}
