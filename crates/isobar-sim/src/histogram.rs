//! How are times distributed, in bounded memory?

use alloc::boxed::Box;
use alloc::vec;

/// Buckets between two powers of two.
const STEPS: usize = 128;

/// Powers of two that have buckets of their own: up to 2^48 ns, more than three days.
const OCTAVES: usize = 42;

/// Values of at most this many bits are counted one by one.
const EXACT_BITS: u32 = STEPS.trailing_zeros();

/// Counts of nanoseconds in buckets that grow with the value: each is at most 1/128 of what it holds wide, and a
/// value is told as its bucket's middle, so that it is wrong by 0.4 % at most.
///
/// *Cost*: 43 KiB; a value is one addition. *Source*: the layout of HdrHistogram (Tene, 2012), rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    greatest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; STEPS * OCTAVES].into(),
            total: 0,
            greatest: 0,
        }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count += 1;
        }
        self.total += 1;
        self.greatest = self.greatest.max(value);
    }

    /// How many values it holds.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The greatest value, exactly; 0 when there is none.
    #[must_use]
    pub const fn greatest(&self) -> u64 {
        self.greatest
    }

    /// The value that this part of all values does not exceed, within 0.4 %; 0 when there is none.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a part of a count is a count")]
    pub fn quantile(&self, part: f64) -> u64 {
        let rank = libm::ceil(part.clamp(0.0, 1.0) * self.total as f64) as u64;
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += count;
            if count > 0 && seen >= rank {
                return middle(bucket).min(self.greatest);
            }
        }
        self.greatest
    }

    /// Each value that occurs, with the part of all that exceeds it: falling from below 1 to 0.
    pub fn tail(&self) -> impl Iterator<Item = (u64, f64)> {
        let mut above = self.total;
        let buckets = self.counts.iter().enumerate();
        buckets.filter(|&(_, &count)| count > 0).map(move |(bucket, &count)| {
            above -= count;
            (middle(bucket), above as f64 / self.total as f64)
        })
    }
}

/// Values below 128 have a bucket each; from there on 128 buckets halve into each power of two.
fn bucket(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(EXACT_BITS + 1);
    let step = usize::try_from(value >> shift).unwrap_or(usize::MAX);
    (shift as usize * STEPS + step).min(STEPS * OCTAVES - 1)
}

fn middle(bucket: usize) -> u64 {
    let (octave, step) = (bucket / STEPS, bucket % STEPS);
    // The first two rows are exact; in the others the steps run from 128 to 255.
    match octave.checked_sub(1) {
        None => step as u64,
        Some(shift) => {
            let least = ((STEPS + step) as u64) << shift;
            least + ((1u64 << shift) - 1) / 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, middle};
    use proptest::prelude::*;

    #[test]
    fn small_values_are_exact() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|value| histogram.record(value));
        assert_eq!(histogram.quantile(0.5), 50);
        assert_eq!(histogram.quantile(0.99), 99);
        assert_eq!(histogram.quantile(1.0), 100);
        assert_eq!(histogram.quantile(0.0), 1);
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }

    #[test]
    fn the_tail_is_what_lies_above() {
        let mut histogram = Histogram::default();
        for value in [10, 10, 20, 40] {
            histogram.record(value);
        }
        let tail: std::vec::Vec<_> = histogram.tail().collect();
        assert_eq!(tail, [(10, 0.5), (20, 0.25), (40, 0.0)]);
    }

    proptest! {
        #[test]
        fn buckets_are_near_what_they_hold(value in 0u64..1 << 47) {
            let told = middle(bucket(value));
            prop_assert!(told.abs_diff(value) as f64 <= value as f64 * 0.004, "{} for {}", told, value);
        }

        #[test]
        fn greater_values_have_greater_buckets(value: u64, other: u64) {
            prop_assert!(bucket(value.min(other)) <= bucket(value.max(other)));
        }
    }
}
