//! May one more request be sent again?
//!
//! Retries help while few requests fail, and make an outage worse when most do: with two retries each, servers that fail
//! under their load get three times as much of it. A budget lets retries be a part of the requests and no more. It knows
//! the number of requests and the time, and neither why a request is repeated nor where it goes.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::Moment;

/// One retry, in the units the budget counts in.
const RETRY: u64 = 1_000_000;

/// For how long a request pays for retries, and the least is saved up, as in Finagle.
const MEMORY: Duration = Duration::from_secs(10);

/// How often new requests are taken in at most. In between, what is there is all there is.
const REFILL: Duration = Duration::from_millis(1);

/// What a budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Allowance {
    /// Retries per hundred requests.
    pub percent: u32,
    /// Retries per second that are allowed even without requests to pay for them.
    pub min_per_second: u32,
}

impl Allowance {
    /// A fifth, and three a second for services with few requests.
    pub const DEFAULT: Self = Self {
        percent: 20,
        min_per_second: 3,
    };
}

/// A budget for retries, shared by all who send requests to the same servers.
///
/// It is an account. Each request pays in a part of a retry, each second a few whole ones, and a retry takes one out. What
/// is not used fades: of a balance, a part of Δ/(Δ + 10 s) is lost in a time Δ, so that a long calm is worth ten seconds
/// of it when an outage begins. So in any span of time, retries are at most what its requests and seconds paid in and what
/// was there at its beginning, which is ten seconds' worth.
///
/// *Cost*: 24 bytes. A request costs nothing here: whoever counts requests anyway says how many there were, when a
/// retry is wanted. *Source*: Finagle's `RetryBudget` (20 % of requests and 10 a second, kept for 10 s), with an account
/// that fades in place of a sliding window; the least is that of Envoy's `min_retry_concurrency`.
#[derive(Debug)]
pub struct Budget {
    balance: AtomicU64,
    /// The requests that have paid in.
    requests: AtomicU64,
    /// When that was, in nanoseconds.
    refilled: AtomicU64,
}

impl Budget {
    /// A budget that counts from `now`, with ten seconds' worth of the least that `allowance` gives.
    #[must_use]
    pub const fn new(allowance: Allowance, now: Moment) -> Self {
        let least = allowance.min_per_second as u64 * RETRY;
        Self {
            balance: AtomicU64::new(least.saturating_mul(MEMORY.as_secs())),
            requests: AtomicU64::new(0),
            refilled: AtomicU64::new(now.nanoseconds()),
        }
    }

    /// Takes a retry out, where there is one: *returns* whether there was. `requests` is how many there ever were, retries
    /// not counted.
    ///
    /// *Cost*: no lock; a few atomic operations on one cache line. Exact whoever asks at once: no request pays twice, and
    /// no retry is given out twice.
    #[must_use]
    pub fn withdraw(&self, allowance: Allowance, requests: u64, now: Moment) -> bool {
        self.refill(allowance, requests, now);
        let take = |balance: u64| balance.checked_sub(RETRY);
        self.balance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Gives a retry back that was taken out and not sent.
    pub fn give_back(&self) {
        let add = |balance: u64| Some(balance.saturating_add(RETRY));
        let _always = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How many retries there are now, whole ones.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.balance.load(Ordering::Relaxed) / RETRY
    }

    fn refill(&self, allowance: Allowance, requests: u64, now: Moment) {
        let before = self.refilled.load(Ordering::Relaxed);
        let passed = now.since(Moment::new(before));
        if u128::from(passed) < REFILL.as_nanos() {
            return;
        }
        let mine = self
            .refilled
            .compare_exchange(before, now.nanoseconds(), Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_err() {
            // Somebody else takes them in just now.
            return;
        }
        let new = requests.saturating_sub(self.requests.fetch_max(requests, Ordering::Relaxed));
        let paid = paid_in(allowance, new, passed);
        let add = |balance: u64| Some(faded(balance.saturating_add(paid), passed));
        let _always = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// What so many requests and nanoseconds pay in.
const fn paid_in(allowance: Allowance, requests: u64, nanoseconds: u64) -> u64 {
    let by_requests = requests.saturating_mul(allowance.percent as u64 * (RETRY / 100));
    let by_time = nanoseconds.saturating_mul(allowance.min_per_second as u64) / (1_000_000_000 / RETRY);
    by_requests.saturating_add(by_time)
}

/// What is left of a balance after so many nanoseconds.
#[expect(clippy::cast_possible_truncation, reason = "a part of a number is below it")]
const fn faded(balance: u64, nanoseconds: u64) -> u64 {
    let memory = MEMORY.as_nanos();
    (balance as u128 * memory / (memory + nanoseconds as u128)) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Allowance, Budget, Moment};

    const MILLISECOND: u64 = 1_000_000;

    fn taken(budget: &Budget, allowance: Allowance, requests: u64, now: u64) -> u64 {
        let mut count = 0;
        while budget.withdraw(allowance, requests, Moment::new(now)) {
            count += 1;
        }
        count
    }

    #[test]
    fn it_begins_with_ten_seconds_of_the_least() {
        let check = |percent, min_per_second, expected| {
            let allowance = Allowance {
                percent,
                min_per_second,
            };
            let budget = Budget::new(allowance, Moment::new(0));
            assert_eq!(taken(&budget, allowance, 0, 0), expected);
        };
        check(20, 3, 30);
        check(20, 0, 0);
        check(0, 1, 10);
    }

    #[test]
    fn a_fifth_of_the_requests_is_a_fifth() {
        let allowance = Allowance {
            percent: 20,
            min_per_second: 0,
        };
        let budget = Budget::new(allowance, Moment::new(0));
        let mut retries = 0;
        for step in 1..=100_000_u64 {
            // A request every millisecond, of which every one fails.
            retries += u64::from(budget.withdraw(allowance, step, Moment::new(step * MILLISECOND)));
        }
        assert!((19_900..=20_000).contains(&retries), "{retries}");
    }

    #[test]
    fn a_long_calm_is_worth_ten_seconds_of_it() {
        let allowance = Allowance::DEFAULT;
        let budget = Budget::new(allowance, Moment::new(0));
        let hour = 3_600_000 * MILLISECOND;
        // A hundred requests a second for an hour: 20 + 3 retries a second, for 10 s, seen in one step or in many.
        let at_once = taken(&budget, allowance, 360_000, hour);
        assert!((225..=230).contains(&at_once), "{at_once}");
        let budget = Budget::new(allowance, Moment::new(0));
        for second in 1..3_600 {
            budget.refill(allowance, second * 100, Moment::new(second * 1_000 * MILLISECOND));
        }
        let in_steps = taken(&budget, allowance, 360_000, hour);
        assert!((225..=231).contains(&in_steps), "{in_steps}");
    }

    #[test]
    fn time_that_stands_still_or_runs_back_pays_nothing() {
        let allowance = Allowance::DEFAULT;
        let budget = Budget::new(allowance, Moment::new(5_000 * MILLISECOND));
        assert_eq!(taken(&budget, allowance, 1_000_000, 5_000 * MILLISECOND), 30);
        assert_eq!(taken(&budget, allowance, 1_000_000, 1_000 * MILLISECOND), 0);
        // Nor does the greatest number of requests there can be do harm.
        assert!(budget.withdraw(allowance, u64::MAX, Moment::new(u64::MAX)));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let allowance = Allowance {
            percent: 0,
            min_per_second: 1,
        };
        let budget = Budget::new(allowance, Moment::new(0));
        assert_eq!(taken(&budget, allowance, 0, 0), 10);
        budget.give_back();
        assert_eq!((budget.left(), taken(&budget, allowance, 0, 0)), (1, 1));
    }

    /// Whoever asks at once, no more is given out than was paid in.
    #[test]
    fn workers_share_it_exactly() {
        let allowance = Allowance {
            percent: 10,
            min_per_second: 0,
        };
        let budget = Budget::new(allowance, Moment::new(0));
        let (requests, retries) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let count = requests.fetch_add(1, Ordering::Relaxed) + 1;
                        let now = Moment::new(count * MILLISECOND);
                        retries.fetch_add(u64::from(budget.withdraw(allowance, count, now)), Ordering::Relaxed);
                    }
                });
            }
        });
        let retries = retries.into_inner();
        assert!((7_000..=8_000).contains(&retries), "{retries} of 80,000 requests");
    }

    proptest! {
        /// In any span of time, retries are at most what was paid in during it and what was there before.
        #[test]
        fn no_more_is_taken_than_was_paid(
            percent in 0u32..200,
            min_per_second in 0u32..20,
            steps in prop::collection::vec((0u64..3_000_000_000, 0u64..50, 0u64..50), 1..60),
            from in 0usize..60,
        ) {
            let allowance = Allowance { percent, min_per_second };
            let budget = Budget::new(allowance, Moment::new(0));
            let (mut now, mut requests) = (0, 0);
            let mut history: Vec<(u64, u64, u64, u64)> = Vec::new();
            for &(pause, more, wanted) in &steps {
                let before = budget.balance.load(Ordering::Relaxed);
                now += pause;
                requests += more;
                let taken = (0..wanted).filter(|_| budget.withdraw(allowance, requests, Moment::new(now))).count();
                history.push((before, pause, more, taken as u64));
            }
            let span = history.get(from..).unwrap_or_default();
            let Some(&(before, ..)) = span.first() else { return Ok(()) };
            let sum = |part: fn(&(u64, u64, u64, u64)) -> u64| span.iter().map(part).sum::<u64>() as f64;
            // What was paid in just before the span may be taken in within it: one refill is a millisecond at most late.
            let late = if from == 0 { 0.0 } else { history.iter().map(|step| step.2).max().unwrap_or(0) as f64 * 60.0 };
            let paid = (sum(|step| step.2) + late) * f64::from(percent) / 100.0
                + (sum(|step| step.1) / 1e9 + 0.001) * f64::from(min_per_second)
                + before as f64 / 1e6;
            prop_assert!(sum(|step| step.3) <= paid + 0.001, "{} taken of {paid}", sum(|step| step.3));
        }
    }
}
