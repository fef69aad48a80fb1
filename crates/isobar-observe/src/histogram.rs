//! How are durations spread?
//!
//! Bounds are fixed at compile time, so that shards of different workers, restarts and machines can be added up.

use core::time::Duration;

use crate::Counter;

const BUCKETS: usize = Histogram::BOUNDS_SECONDS.len() + 1;

/// The bounds as whole nanoseconds, so that observing needs no floating point.
const BOUNDS_NANOS: [u64; BUCKETS - 1] = {
    let mut nanos = [0; BUCKETS - 1];
    let mut i = 0;
    while i < nanos.len() {
        // Bounds are multiples of a microsecond; half a microsecond makes up for 0.0025 and its like in binary.
        #[expect(clippy::cast_possible_truncation, reason = "the largest bound is a minute")]
        let micros = (Histogram::BOUNDS_SECONDS[i] * 1e6 + 0.5) as u64;
        nanos[i] = micros * 1_000;
        i += 1;
    }
    nanos
};

/// How many bounds have fewer binary digits than a number of so many. None has as many as another one, so that one comparison is left.
const BOUNDS_BELOW: [u8; u64::BITS as usize + 1] = {
    let mut below = [0; u64::BITS as usize + 1];
    let mut i = 0;
    while i < BOUNDS_NANOS.len() {
        let digits = u64::BITS - BOUNDS_NANOS[i].leading_zeros();
        assert!(
            i == 0 || BOUNDS_NANOS[i - 1].leading_zeros() > BOUNDS_NANOS[i].leading_zeros(),
            "a bound has more binary digits than the one before"
        );
        let mut more = digits as usize + 1;
        while more < below.len() {
            below[more] += 1;
            more += 1;
        }
        i += 1;
    }
    below
};

/// Durations counted in buckets, written by one thread and read by any.
///
/// *Shape*: bucket `i` counts durations up to and including bound `i`; one more bucket counts the longer ones.
/// *Cost*: 144 bytes; observing is a look into a small table, a comparison and two plain stores.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_nanos: Counter,
}

impl Histogram {
    /// The upper bounds of the buckets in seconds, ascending: from what a proxy on a local network adds up to what a
    /// patient client waits.
    pub const BOUNDS_SECONDS: [f64; 16] = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ];

    /// Counts one duration; only the owning thread may call it.
    #[inline]
    pub fn observe(&self, duration: Duration) {
        let whole = duration.as_secs().saturating_mul(1_000_000_000);
        let nanos = whole.saturating_add(duration.subsec_nanos().into());
        let digits = u64::BITS - nanos.leading_zeros();
        let below = BOUNDS_BELOW.get(digits as usize).map_or(0, |&below| usize::from(below));
        let is_above = BOUNDS_NANOS.get(below).is_some_and(|&bound| nanos > bound);
        let bucket = below + usize::from(is_above);
        // There is one more of them than bounds.
        if let Some(count) = self.buckets.get(bucket) {
            count.increment();
        }
        self.sum_nanos.add(nanos);
    }

    /// What was counted so far. A reader beside the writer may miss the newest durations.
    #[must_use]
    pub fn snapshot(&self) -> HistogramTotals {
        let mut totals = HistogramTotals::default();
        totals.add(self);
        totals
    }
}

/// The sum of one or more histograms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistogramTotals {
    /// How many durations fell into each bucket (not into those below); the last one has no bound.
    pub buckets: [u64; BUCKETS],
    /// All durations together.
    ///
    /// *Range*: a shard wraps after 584 years of accumulated duration, which monitoring sees as a restarted counter.
    pub sum: Duration,
}

impl HistogramTotals {
    /// Adds what a histogram counted.
    pub fn add(&mut self, shard: &Histogram) {
        for (total, count) in self.buckets.iter_mut().zip(&shard.buckets) {
            *total = total.wrapping_add(count.value());
        }
        self.sum = self.sum.saturating_add(Duration::from_nanos(shard.sum_nanos.value()));
    }

    /// How many durations were counted; always the sum of the buckets.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.wrapping_add(*bucket))
    }

    /// The buckets with their upper bounds in seconds, the last one infinite.
    pub fn bounded(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        Histogram::BOUNDS_SECONDS
            .into_iter()
            .chain([f64::INFINITY])
            .zip(self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{BOUNDS_NANOS, Histogram, HistogramTotals};

    #[test]
    fn bounds_are_exact_and_ascend() {
        let seconds: Vec<Duration> = Histogram::BOUNDS_SECONDS
            .iter()
            .map(|&s| Duration::from_secs_f64(s))
            .collect();
        let nanos: Vec<Duration> = BOUNDS_NANOS.iter().map(|&n| Duration::from_nanos(n)).collect();
        assert_eq!(seconds, nanos);
        assert!(BOUNDS_NANOS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let check = |nanos: u64, bucket: usize| {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_nanos(nanos));
            let hit = histogram.snapshot().buckets.iter().position(|&count| count == 1);
            assert_eq!(hit, Some(bucket), "{nanos} ns");
        };
        check(0, 0);
        for (bucket, bound) in BOUNDS_NANOS.into_iter().enumerate() {
            check(bound - 1, bucket);
            check(bound, bucket);
            check(bound + 1, bucket + 1);
        }
        // Where the number of binary digits changes.
        for power in (0..u64::BITS).map(|digits| 1 << digits) {
            for nanos in [power - 1, power] {
                check(nanos, BOUNDS_NANOS.iter().filter(|&&bound| nanos > bound).count());
            }
        }
        check(u64::MAX, 16);
    }

    #[test]
    fn the_longest_duration_is_counted() {
        let histogram = Histogram::default();
        histogram.observe(Duration::MAX);
        assert_eq!(histogram.snapshot().count(), 1);
    }

    proptest! {
        /// Two shards say what one would have said.
        #[test]
        fn shards_add_up(durations in prop::collection::vec((0u64..100_000_000_000, any::<bool>()), 0..50)) {
            let (one, left, right) = (Histogram::default(), Histogram::default(), Histogram::default());
            for &(nanos, side) in &durations {
                let shard = if side { &left } else { &right };
                shard.observe(Duration::from_nanos(nanos));
                one.observe(Duration::from_nanos(nanos));
            }
            let mut totals = HistogramTotals::default();
            totals.add(&left);
            totals.add(&right);
            prop_assert_eq!(totals, one.snapshot());
            prop_assert_eq!(totals.count(), durations.len() as u64);
            prop_assert_eq!(totals.sum, durations.iter().map(|&(nanos, _)| Duration::from_nanos(nanos)).sum());
        }
    }
}
