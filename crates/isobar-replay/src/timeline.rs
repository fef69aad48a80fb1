//! When did things happen, in so many intervals and no more?
//!
//! Intervals are a second long at first. When there are too many of them, every two become one, so that memory does not grow with
//! the time that a log is about.

use std::collections::VecDeque;

/// Intervals at most.
const MOST: usize = 720;

const SECOND: u64 = 1_000_000_000;

/// What happened in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Requests that were asked about.
    pub asked: u64,
    /// Those that were refused, or would have been.
    pub refused: u64,
    /// Those that had to wait.
    pub delayed: u64,
}

impl Bucket {
    const fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.refused += other.refused;
        self.delayed += other.delayed;
    }
}

/// Counts by interval.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// Nanoseconds of an interval.
    width: u64,
    /// The number of the first interval since 1970.
    first: u64,
    buckets: VecDeque<Bucket>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            width: SECOND,
            first: 0,
            buckets: VecDeque::new(),
        }
    }
}

impl Timeline {
    /// Adds what happened at a time in nanoseconds since 1970.
    pub fn add(&mut self, at: u64, what: Bucket) {
        if self.buckets.is_empty() {
            self.first = at / self.width;
        }
        loop {
            let number = at / self.width;
            let last = self.first + self.buckets.len() as u64;
            let reach = last.max(number + 1) - self.first.min(number);
            if reach <= MOST as u64 {
                break;
            }
            self.widen();
        }
        let number = at / self.width;
        while number < self.first {
            self.buckets.push_front(Bucket::default());
            self.first -= 1;
        }
        let place = usize::try_from(number - self.first).unwrap_or(MOST);
        while self.buckets.len() <= place {
            self.buckets.push_back(Bucket::default());
        }
        if let Some(bucket) = self.buckets.get_mut(place) {
            bucket.add(what);
        }
    }

    /// Makes one interval of every two.
    fn widen(&mut self) {
        let mut wider = VecDeque::with_capacity(self.buckets.len() / 2 + 1);
        let first = self.first / 2;
        for (number, bucket) in (self.first..).zip(&self.buckets) {
            let place = usize::try_from(number / 2 - first).unwrap_or(MOST);
            while wider.len() <= place {
                wider.push_back(Bucket::default());
            }
            if let Some(wide) = wider.get_mut(place) {
                wide.add(*bucket);
            }
        }
        (self.first, self.width, self.buckets) = (first, self.width * 2, wider);
    }

    /// How long an interval is, in seconds.
    #[must_use]
    pub const fn interval(&self) -> u64 {
        self.width / SECOND
    }

    /// Each interval with its beginning, in seconds since 1970, without a gap.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, Bucket)> {
        let starts = (self.first..).map(|number| number * self.interval());
        starts.zip(self.buckets.iter().copied())
    }

    /// The interval in which most was refused; none: nothing was.
    #[must_use]
    pub fn worst(&self) -> Option<(u64, Bucket)> {
        let worst = self
            .buckets()
            .max_by_key(|(start, bucket)| (bucket.refused, u64::MAX - start));
        worst.filter(|(_, bucket)| bucket.refused > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, MOST, SECOND, Timeline};

    const ONE: Bucket = Bucket {
        asked: 1,
        refused: 0,
        delayed: 0,
    };

    #[test]
    fn nothing_is_lost_and_intervals_stay_few() {
        let mut timeline = Timeline::default();
        for at in (0..400_000).step_by(7) {
            timeline.add((1_000_000 + at) * SECOND, ONE);
        }
        timeline.add(999_000 * SECOND, ONE);
        let buckets: Vec<_> = timeline.buckets().collect();
        assert!(buckets.len() <= MOST && buckets.len() > MOST / 4, "{}", buckets.len());
        assert_eq!(
            buckets.iter().map(|(_, bucket)| bucket.asked).sum::<u64>(),
            400_000u64.div_ceil(7) + 1
        );
        assert_eq!(timeline.interval(), 1024);
        let starts: Vec<_> = buckets.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(starts.iter().all(|step| *step == 1024));
        assert!(buckets[0].0 <= 999_000 && buckets[0].0 + 1024 > 999_000);
    }

    #[test]
    fn the_worst_is_the_first_of_its_kind() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.worst(), None);
        for (at, refused) in [(5, 0), (6, 2), (9, 2)] {
            timeline.add(at * SECOND, Bucket { refused, ..ONE });
        }
        assert_eq!(timeline.worst(), Some((6, Bucket { refused: 2, ..ONE })));
    }
}
