//! What do the visitors see?

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::chapter::Totals;
use super::servers::SERVERS;

/// How far back percentiles look.
const LATELY: Duration = Duration::from_secs(5);
/// Answers remembered per server; at 200 a second more than [`LATELY`] needs.
const MAX_SAMPLES: usize = 2048;

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit {
    /// Which server gave it.
    pub(super) server: usize,
    /// How long it took, as the visitor sees it.
    pub(super) took: Duration,
    /// What it was.
    pub(super) outcome: Outcome,
}

/// What an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What was asked for.
    Answered,
    /// An excuse.
    Failed,
}

/// What all visitors saw.
#[derive(Debug, Default)]
pub(super) struct Statistics(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    seen: Seen,
    chapter: Totals,
}

/// What all visitors saw until a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The last answers of each server.
    pub(super) samples: [Samples; SERVERS.len()],
    /// Answers since the start.
    pub(super) answers: u64,
    /// Failures since the start.
    pub(super) failures: u64,
}

/// Durations of the last seconds, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(VecDeque<(Instant, Duration)>);

impl Statistics {
    /// Remembers an answer.
    pub(super) fn add(&self, visit: Visit) {
        let mut inner = self.lock();
        inner.chapter.add(&visit);
        match visit.outcome {
            Outcome::Answered => {
                inner.seen.answers += 1;
                inner.seen.samples[visit.server].add(visit.took, Instant::now());
            }
            Outcome::Failed => inner.seen.failures += 1,
        }
    }

    /// Remembers that no answer came.
    pub(super) fn add_failure(&self) {
        let mut inner = self.lock();
        inner.seen.failures += 1;
        inner.chapter.add_unanswered();
    }

    /// What was seen so far.
    pub(super) fn take(&self) -> Seen {
        self.lock().seen.clone()
    }

    /// What was seen since the last time, or since the start; the next chapter begins.
    pub(super) fn end_chapter(&self) -> Totals {
        std::mem::take(&mut self.lock().chapter)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Samples {
    fn add(&mut self, took: Duration, now: Instant) {
        if self.0.len() == MAX_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((now, took));
    }

    /// The duration that so many percent did not exceed lately (nearest rank); none: there was none.
    pub(super) fn percentile(&self, percent: usize, now: Instant) -> Option<Duration> {
        let lately = self
            .0
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) <= LATELY);
        let mut sorted: Vec<_> = lately.map(|(_, took)| *took).collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let (mut samples, now) = (Samples::default(), Instant::now());
        assert_eq!(samples.percentile(50, now), None);
        for millis in (1..=100).rev() {
            samples.add(Duration::from_millis(millis), now);
        }
        let check = |percent, millis| {
            assert_eq!(
                samples.percentile(percent, now),
                Some(Duration::from_millis(millis)),
                "{percent} %"
            );
        };
        check(50, 50);
        check(99, 99);
        check(100, 100);
    }

    #[test]
    fn old_samples_do_not_count() {
        let (mut samples, now) = (Samples::default(), Instant::now());
        samples.add(Duration::from_secs(9), now);
        let later = now + LATELY + Duration::from_millis(1);
        assert_eq!(samples.percentile(99, later), None);
        (0..MAX_SAMPLES).for_each(|_| samples.add(Duration::from_secs(1), now));
        assert_eq!(
            samples.percentile(100, now),
            Some(Duration::from_secs(1)),
            "the oldest made room"
        );
    }
}
