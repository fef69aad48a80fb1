//! How much do keys ask for?
//!
//! For each key the most requests within any second, minute and hour: counted in quarters of these, so that the most is never
//! too low and at most what came in a further quarter too high. A rate that is as high refuses such a key nothing, whatever the
//! order in which its requests come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use isobar_l7::{Limits, RunningLimit, Today};
use isobar_limit::Key;
use isobar_plan::LimitKey;

use crate::recorded::Subject;
use crate::suggestion;

/// The windows that are looked at.
pub(crate) const WINDOWS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(60),
    Duration::from_secs(3_600),
];

/// Keys that are kept at most, of each way to tell requests apart.
const MOST: usize = 131_072;

/// Parts of a window.
const QUARTERS: usize = 4;

/// What is to be found out.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasureSettings {
    /// The ways to tell requests apart, each the parts of a key.
    pub by: Vec<Vec<LimitKey>>,
    /// The parts of keys, from 0 to 1, whose most is told.
    pub percentiles: Vec<f64>,
}

/// Counts as they are taken.
#[derive(Debug)]
pub struct Measure {
    settings: MeasureSettings,
    ways: Vec<Way>,
}

/// One way to tell requests apart.
#[derive(Debug)]
struct Way {
    limit: Arc<RunningLimit>,
    keys: HashMap<Key, [Count; WINDOWS.len()]>,
    sampling: u32,
    requests: u64,
    unknown: u64,
    missing: u64,
}

/// The requests of a key in the quarters of a window.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// The number of the newest quarter.
    quarter: u64,
    /// The newest first; one more than a window has.
    counts: [u32; QUARTERS + 1],
    /// When the last of each quarter came, in nanoseconds since the quarter began, as a part of its length in 2^32.
    lasts: [u32; QUARTERS + 1],
    most: u32,
}

/// What was found out of one way to tell requests apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The parts of the key.
    pub key: Vec<LimitKey>,
    /// How many keys there are, about.
    pub keys: u64,
    /// One of so many was looked at.
    pub one_of: u64,
    /// Requests that were counted.
    pub requests: u64,
    /// Requests of which the log does not say a part of the key.
    pub unknown: u64,
    /// Requests that have none of a part.
    pub missing: u64,
    /// By window, the shortest first.
    pub spans: Vec<Span>,
}

/// What keys ask within one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// How long it is.
    pub window: Duration,
    /// For each part of the keys, the most that these ask within any such window.
    pub at: Vec<(f64, u64)>,
    /// The most that half of the keys ask.
    pub median: u64,
    /// The most that any key asks.
    pub most: u64,
}

impl Measure {
    pub(crate) fn new(settings: &MeasureSettings, today: Today) -> Self {
        let keys = settings.by.iter().enumerate();
        let limits: Vec<_> = keys.map(|(number, key)| suggestion::to_hash(number, key)).collect();
        let ways = Limits::default()
            .next_at(&limits, 1, today)
            .into_iter()
            .map(|limit| Way {
                limit,
                keys: HashMap::new(),
                sampling: 0,
                requests: 0,
                unknown: 0,
                missing: 0,
            });
        Self {
            settings: settings.clone(),
            ways: ways.collect(),
        }
    }

    pub(crate) fn add(&mut self, subject: &Subject<'_>, at: u64) {
        for way in &mut self.ways {
            let key = &way.limit.settings().counting.key;
            if !key.iter().all(|part| subject.knows_part(part)) {
                way.unknown += 1;
                continue;
            }
            match way.limit.key_of(subject) {
                (key, true) => way.count(key, at),
                (_, false) => way.missing += 1,
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<Measured> {
        let percentiles = self.settings.percentiles;
        self.ways.into_iter().map(|way| way.measured(&percentiles)).collect()
    }
}

impl Way {
    fn count(&mut self, key: Key, at: u64) {
        self.requests += 1;
        if key.hash().trailing_zeros() < self.sampling {
            return;
        }
        let counts = self.keys.entry(key).or_default();
        for (count, window) in counts.iter_mut().zip(WINDOWS) {
            count.add(at, window);
        }
        if self.keys.len() > MOST {
            self.sampling += 1;
            let sampling = self.sampling;
            self.keys.retain(|key, _| key.hash().trailing_zeros() >= sampling);
        }
    }

    fn measured(self, percentiles: &[f64]) -> Measured {
        let one_of = 1u64 << self.sampling;
        let spans = WINDOWS.into_iter().enumerate().map(|(index, window)| {
            let mut most: Vec<u32> = self.keys.values().map(|counts| counts[index].most).collect();
            most.sort_unstable();
            let at = |part: f64| u64::from(at(&most, part));
            Span {
                window,
                at: percentiles.iter().map(|&part| (part, at(part))).collect(),
                median: at(0.5),
                most: at(1.0),
            }
        });
        Measured {
            spans: spans.collect(),
            key: self.limit.settings().counting.key.clone(),
            keys: self.keys.len() as u64 * one_of,
            one_of,
            requests: self.requests,
            unknown: self.unknown,
            missing: self.missing,
        }
    }
}

/// The least value that this part of them does not exceed.
fn at(sorted: &[u32], part: f64) -> u32 {
    let rank = (sorted.len() as f64 * part - 1e-9).ceil().max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in the list"
    )]
    let place = rank as usize - 1;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0)
}

impl Count {
    fn add(&mut self, at: u64, window: Duration) {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let length = window / QUARTERS as u64;
        let quarter = at / length;
        let passed = quarter.saturating_sub(self.quarter);
        if passed > 0 {
            let passed = usize::try_from(passed).unwrap_or(usize::MAX).min(QUARTERS + 1);
            self.counts.rotate_right(passed % (QUARTERS + 1));
            self.lasts.rotate_right(passed % (QUARTERS + 1));
            self.counts[..passed].fill(0);
            self.quarter = quarter;
        }
        // A request that comes late counts as one of now.
        let part = u128::from(at % length) << 32;
        let within = u32::try_from(part / u128::from(length)).unwrap_or(u32::MAX);
        self.counts[0] = self.counts[0].saturating_add(1);
        self.lasts[0] = within;
        let whole = self.counts[..QUARTERS]
            .iter()
            .fold(0u32, |sum, count| sum.saturating_add(*count));
        // Of the quarter that is as old as the window only what is younger matters, which is the last of it if anything is.
        let edge = if self.lasts[QUARTERS] > within {
            self.counts[QUARTERS]
        } else {
            0
        };
        self.most = self.most.max(whole.saturating_add(edge));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Count, at};

    const SECOND: u64 = 1_000_000_000;

    /// Compared with a count of every window that ends with a request.
    #[test]
    fn the_most_is_never_too_low_and_hardly_too_high() {
        let mut seed = 3u64;
        let mut random = move |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for round in 0..300 {
            let step = [SECOND, SECOND / 1000, 7][round % 3];
            let mut times: Vec<u64> = (0..100)
                .map(|_| 1_700_000_000 * SECOND + random(20 * SECOND) / step * step)
                .collect();
            times.sort_unstable();
            let mut count = Count::default();
            times.iter().for_each(|&time| count.add(time, Duration::from_secs(2)));
            let within = |length: u64| {
                let ends = times.iter().enumerate();
                let counts =
                    ends.map(|(index, &end)| times[..=index].iter().filter(|time| **time + length > end).count());
                counts.max().unwrap()
            };
            let (exact, more) = (within(2 * SECOND), within(2 * SECOND + SECOND / 2));
            assert!(
                (exact..=more).contains(&(count.most as usize)),
                "{exact} {} {more}",
                count.most
            );
        }
    }

    /// In a log of whole seconds each second is counted for itself.
    #[test]
    fn whole_seconds_are_exact() {
        let mut count = Count::default();
        for second in 0..100 {
            (0..3).for_each(|_| count.add((1_700_000_000 + second) * SECOND, Duration::from_secs(1)));
        }
        assert_eq!(count.most, 3);
    }

    #[test]
    fn parts_of_few_and_many() {
        let check = |sorted: &[u32], part, expected| assert_eq!(at(sorted, part), expected, "{sorted:?} {part}");
        check(&[], 0.99, 0);
        check(&[5], 0.5, 5);
        check(&[1, 2, 3, 4], 0.5, 2);
        check(&[1, 2, 3, 4], 0.75, 3);
        check(&[1, 2, 3, 4], 0.99, 4);
        check(&(1..=1000).collect::<Vec<_>>(), 0.99, 990);
        check(&(1..=1000).collect::<Vec<_>>(), 0.999, 999);
    }
}
