//! In which time do most answers begin?
//!
//! A quantile of what was seen of late, for whoever wants to act on what takes unusually long. It counts durations in
//! buckets and knows nothing of what they are of.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

/// Buckets per doubling, as a power of two.
const STEP_BITS: u32 = 3;

/// Durations below 2^13 ns (8 µs) are all one.
const LEAST_BITS: u32 = 13;

/// Durations of 2^37 ns (137 s) and more are all one.
const DOUBLINGS: u32 = 24;

const BUCKETS: usize = (DOUBLINGS << STEP_BITS) as usize + 1;

/// How many samples are looked at before anything is said.
const ENOUGH: u64 = 100;

/// After so many samples, all counts are halved, so that old ones count less and less.
const RENEWAL: u32 = 4_096;

/// The quantile is worked out anew after so many samples.
const FRESH: u32 = 64;

/// A quantile of recent durations.
///
/// *Shape*: 193 buckets, eight to each doubling. *Error*: the duration it says is at most 12.5 % above that of the
/// quantile among the samples it has, and never below it; with 4,096 of them, the 95th percentile itself is uncertain by a third of a percentage point.
/// *Cost*: 1 KiB; a sample is an addition or two, every 64th looks at all buckets. Samples of several threads at once may be
/// counted in either half of a renewal, which moves nothing worth speaking of.
#[derive(Debug)]
pub struct Usual {
    counts: [AtomicU32; BUCKETS],
    /// Samples since the last renewal, and since the quantile was worked out.
    seen: AtomicU32,
    /// The quantile that is known, in the upper 16 bits the thousandths it is for; 0: none is.
    known: AtomicU64,
}

impl Default for Usual {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU32::new(0) }; BUCKETS],
            seen: AtomicU32::new(0),
            known: AtomicU64::new(0),
        }
    }
}

impl Usual {
    /// Takes in a duration; `thousandths` is the quantile that will be asked for.
    pub fn see(&self, sample: Duration, thousandths: u16) {
        if let Some(count) = self.counts.get(bucket(sample)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        if seen.is_multiple_of(FRESH) {
            let quantile = self
                .quantile(thousandths)
                .map_or(0, |quantile| pack(quantile, thousandths));
            self.known.store(quantile, Ordering::Relaxed);
        }
        if seen == RENEWAL {
            self.seen.store(0, Ordering::Relaxed);
            for count in &self.counts {
                let half = count.load(Ordering::Relaxed).div_ceil(2);
                count.fetch_sub(half, Ordering::Relaxed);
            }
        }
    }

    /// The duration within which so many thousandths of the recent samples were; none: too few were seen.
    ///
    /// *Cost*: a load, while the quantile that is asked for is the one that samples came with.
    #[must_use]
    pub fn within(&self, thousandths: u16) -> Option<Duration> {
        let known = self.known.load(Ordering::Relaxed);
        let (quantile, of) = (known & MASK, known >> 48);
        if known != 0 && of == u64::from(thousandths) {
            return Some(Duration::from_nanos(quantile));
        }
        self.quantile(thousandths)
    }

    fn quantile(&self, thousandths: u16) -> Option<Duration> {
        let counts = || self.counts.iter().map(|count| u64::from(count.load(Ordering::Relaxed)));
        let total: u64 = counts().sum();
        if total < ENOUGH {
            return None;
        }
        let wanted = (total * u64::from(thousandths)).div_ceil(1_000);
        let mut so_far = 0;
        let within = |count: u64| {
            so_far += count;
            so_far >= wanted
        };
        let index = counts().map(within).position(core::convert::identity);
        Some(upper(index.unwrap_or(BUCKETS - 1)))
    }
}

const MASK: u64 = (1 << 48) - 1;

/// 2^48 ns are three days; the last bucket ends long before.
fn pack(quantile: Duration, thousandths: u16) -> u64 {
    let nanoseconds = u64::try_from(quantile.as_nanos()).unwrap_or(MASK).min(MASK);
    u64::from(thousandths) << 48 | nanoseconds
}

fn bucket(sample: Duration) -> usize {
    let nanoseconds = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
    let scaled = nanoseconds >> (LEAST_BITS - STEP_BITS);
    let doubling = scaled.checked_ilog2().unwrap_or(0).saturating_sub(STEP_BITS);
    let step = (scaled >> doubling).saturating_sub(1 << STEP_BITS);
    let index = (u64::from(doubling) << STEP_BITS) + step;
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// What is just above everything in a bucket.
fn upper(index: usize) -> Duration {
    let next = index as u64 + 1;
    let (doubling, step) = (next >> STEP_BITS, next & ((1 << STEP_BITS) - 1));
    Duration::from_nanos(((1 << STEP_BITS) + step) << doubling << (LEAST_BITS - STEP_BITS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::{BUCKETS, Duration, Usual, bucket, upper};
    use crate::Chance;

    #[test]
    fn buckets_follow_each_other() {
        for index in 0..BUCKETS - 1 {
            let end = upper(index);
            let last = end.saturating_sub(Duration::from_nanos(1));
            assert_eq!((bucket(last), bucket(end)), (index, index + 1), "{end:?}");
        }
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn nothing_is_said_of_a_few_samples() {
        let usual = Usual::default();
        for _ in 0..99 {
            usual.see(Duration::from_millis(1), 950);
            assert_eq!(usual.within(950), None);
        }
        usual.see(Duration::from_millis(1), 950);
        assert!(usual.within(950).is_some());
    }

    #[test]
    fn it_follows_a_change() {
        let usual = Usual::default();
        (0..100_000).for_each(|_| usual.see(Duration::from_millis(1), 950));
        (0..16_000).for_each(|_| usual.see(Duration::from_millis(40), 500));
        let now = usual.within(500).unwrap();
        assert!(
            (Duration::from_millis(40)..Duration::from_millis(46)).contains(&now),
            "{now:?}"
        );
    }

    proptest! {
        /// Never below the quantile, and by an eighth above it at most.
        #[test]
        fn the_error_is_as_stated(seed: u64, thousandths in 500u16..1_000, count in 100usize..4_000) {
            let usual = Usual::default();
            let mut chance = Chance::new(seed);
            let draw = |_| Duration::from_nanos(10_000 + (chance.below(1 << 20) * chance.below(1 << 12)));
            let mut samples: Vec<Duration> = (0..count).map(draw).collect();
            samples.iter().for_each(|&sample| usual.see(sample, 1));
            samples.sort_unstable();
            let exact = samples[(count * usize::from(thousandths)).div_ceil(1_000) - 1];
            let said = usual.within(thousandths).unwrap();
            prop_assert!(said > exact && said <= exact.mul_f64(1.1251), "{said:?} for {exact:?}");
        }
    }
}
