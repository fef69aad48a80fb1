//! Do all algorithms keep what they promise?

use core::time::Duration;
use std::vec::Vec;

use isobar_balance::Moment;
use proptest::prelude::*;

use super::{
    Algorithm, Bandwidth, Concurrency, FixedWindow, Gcra, Limit, SlidingLog, SlidingWindow, State, TokenBucket,
};
use crate::{Rate, Verdict};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

fn at(nanoseconds: u64) -> Moment {
    Moment::new(nanoseconds)
}

/// From once a day to a billion a second, and what cannot be divided evenly.
fn rates() -> impl Strategy<Value = Rate> {
    let named = prop_oneof![
        Just((1, 86_400 * SECOND)),
        Just((100, 60 * SECOND)),
        Just((3, SECOND)),
        Just((7, 11)),
        Just((1_000_000_000, SECOND)),
        Just((999_999, 86_400 * SECOND)),
        Just((Rate::MOST_UNITS, 1)),
        Just((1, u64::MAX)),
        (1u64..1000, 1u64..100 * SECOND),
    ];
    named.prop_map(|(units, period)| Rate::new(units, Duration::from_nanos(period)))
}

fn limits() -> impl Strategy<Value = Limit> {
    (rates(), 1u64..=Rate::MOST_UNITS, 0u32..41, 0u64..5 * SECOND, 0u8..7).prop_map(
        |(rate, burst, shift, delay, which)| {
            let burst = (burst >> shift).max(1);
            let delay = Duration::from_nanos(delay);
            match which {
                0 => Limit::TokenBucket(TokenBucket::new(rate, burst)),
                1 => Limit::Gcra(Gcra::new(rate, burst)),
                2 => Limit::Gcra(Gcra::new(rate, burst).with_delay(delay)),
                3 => Limit::FixedWindow(FixedWindow::new(rate)),
                4 => Limit::SlidingWindow(SlidingWindow::new(rate)),
                5 => Limit::Concurrency(Concurrency::new(burst)),
                _ => Limit::Bandwidth(Bandwidth::new(rate, burst, delay)),
            }
        },
    )
}

/// Times of requests as parts of a period, and costs as parts of a quota, so that limits are met.
#[derive(Debug, Clone)]
struct Traffic(Vec<(u64, u64, bool)>);

fn traffic() -> impl Strategy<Value = Traffic> {
    prop::collection::vec((0u64..1000, 1u64..300, prop::bool::weighted(0.1)), 1..120).prop_map(Traffic)
}

impl Traffic {
    /// Moments and costs; now and then the clock steps back.
    fn of(&self, period: Duration, units: u64) -> Vec<(u64, u64)> {
        let mut now = crate::rate::nanoseconds(period).saturating_mul(3).min(1 << 61);
        let mut steps = Vec::new();
        for &(pause, cost, back) in &self.0 {
            let pause = u64::try_from(period.as_nanos() * u128::from(pause) / 4000).unwrap_or(u64::MAX);
            now = if back {
                now.saturating_sub(pause)
            } else {
                now.saturating_add(pause)
            };
            let cost = (u128::from(units) * u128::from(cost) / 600).max(1);
            steps.push((now, u64::try_from(cost).unwrap_or(u64::MAX)));
        }
        steps
    }
}

fn period_of(limit: &impl Algorithm) -> Duration {
    limit.quota().window.unwrap_or(Duration::from_secs(1))
}

/// What passed and when: a clock that steps back stood still.
fn admitted<A: Algorithm>(limit: &A, state: &mut A::State, steps: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut latest = 0;
    let mut passed = Vec::new();
    for &(now, cost) in steps {
        if limit.ask(state, cost, at(now)).verdict.passes() {
            latest = now.max(latest);
            passed.push((latest, cost));
        }
    }
    passed
}

/// The first span of time in which more passed than may.
fn excess(passed: &[(u64, u64)], most: impl Fn(Duration) -> u64) -> Option<(u64, u64, u64)> {
    for (index, &(first, _)) in passed.iter().enumerate() {
        let mut sum = 0u64;
        for &(last, cost) in passed.get(index..).unwrap_or_default() {
            sum = sum.saturating_add(cost);
            let most = most(Duration::from_nanos(last - first));
            if sum > most {
                return Some((last - first, sum, most));
            }
        }
    }
    None
}

proptest! {
    /// In any span of time no more passes than the algorithm says, whatever the rate, and wherever the clock goes.
    #[test]
    fn never_more_than_promised(limit in limits(), traffic in traffic()) {
        prop_assume!(!matches!(limit, Limit::Bandwidth(_) | Limit::Concurrency(_)));
        let steps = traffic.of(period_of(&limit), limit.quota().units);
        let passed = admitted(&limit, &mut [0; 2], &steps);
        prop_assert_eq!(excess(&passed, |time| limit.most_within(time)), None);
    }

    /// A log is exact: no window has more than the limit, neither an aligned one nor any other.
    #[test]
    fn a_log_admits_the_limit_in_every_window(units in 1u64..300, period in 1u64..100 * SECOND, traffic in traffic()) {
        let limit = SlidingLog::new(Rate::new(units, Duration::from_nanos(period)));
        let steps = traffic.of(period_of(&limit), units);
        let passed = admitted(&limit, &mut limit.log(), &steps);
        prop_assert_eq!(excess(&passed, |time| limit.most_within(time)), None);
        let in_a_window = |time: Duration| if time.as_nanos() < period.into() { units } else { u64::MAX };
        prop_assert_eq!(excess(&passed, in_a_window), None);
    }

    /// A fixed window has never more than the limit in a window of its own.
    #[test]
    fn no_fixed_window_has_more(rate in rates(), traffic in traffic()) {
        let limit = FixedWindow::new(rate);
        let steps = traffic.of(rate.period(), rate.units());
        let period = rate.period_nanoseconds();
        let mut windows = std::collections::BTreeMap::new();
        for (now, cost) in admitted(&limit, &mut [0; 2], &steps) {
            *windows.entry(now / period).or_insert(0) += cost;
        }
        prop_assert!(windows.values().all(|&sum| sum <= rate.units()), "{:?}", windows);
    }

    /// A token bucket and GCRA without delay are one: every decision, all that is left, and every wait.
    #[test]
    fn gcra_is_a_token_bucket(rate in rates(), burst in 1u64..1000, traffic in traffic()) {
        let (gcra, bucket) = (Gcra::new(rate, burst), TokenBucket::new(rate, burst));
        prop_assume!(bucket.tick == 0);
        let (mut one, mut other) = ([0; 2], [0; 2]);
        let mut latest = 0;
        for (now, cost) in traffic.of(rate.time_of(burst).whole.max(1).pipe(Duration::from_nanos), burst) {
            // What each makes of a clock that steps back is its own business, and of one that ends.
            latest = now.max(latest);
            prop_assume!(latest < 1 << 62);
            let (a, b) = (gcra.ask(&mut one, cost, at(latest)), bucket.ask(&mut other, cost, at(latest)));
            prop_assert_eq!((a.verdict, a.standing(&gcra)), (b.verdict, b.standing(&bucket)));
        }
    }

    /// Where a bucket has too many grains to count it is stricter, and hardly so.
    #[test]
    fn a_bucket_of_very_many_grains_is_hardly_slower(burst in 1u64 << 30..Rate::MOST_UNITS, units in 1u64 << 20..1 << 40) {
        let rate = Rate::new(units, Rate::LONGEST - Duration::from_nanos(1));
        let bucket = TokenBucket::new(rate, burst);
        prop_assert!(bucket.tick > 0);
        let mut state = [0; 2];
        bucket.settle(&mut state, &Gcra::new(rate, 1).ask(&mut [0; 2], 0, at(0)).receipt, bucket.burst, at(0));
        let period = u64::try_from(Rate::LONGEST.as_nanos()).unwrap();
        let came = bucket.standing(&state, at(period)).remaining;
        let exact = rate.units_within(Rate::LONGEST).min(bucket.burst);
        prop_assert!(came <= exact && exact - came <= 2 + exact / (1 << 20), "{} of {}", came, exact);
    }

    /// Who is told when to come back passes then, and not a nanosecond earlier.
    #[test]
    fn waits_are_exact(limit in limits(), traffic in traffic()) {
        prop_assume!(!matches!(limit, Limit::TokenBucket(bucket) if bucket.tick > 0));
        let mut state = [0; 2];
        let mut latest = 0;
        for (now, cost) in traffic.of(period_of(&limit), limit.quota().units) {
            latest = now.max(latest);
            let decision = limit.ask(&mut state, cost, at(latest));
            let passes_after = |wait: u64| limit.ask(&mut state.clone(), cost, at(latest + wait)).verdict.passes();
            let remaining_after = |wait: u64| limit.standing(&state, at(latest + wait)).remaining;
            if let Verdict::Refused { retry_in: Some(wait) } = decision.verdict {
                let wait = crate::rate::nanoseconds(wait);
                prop_assume!(latest.checked_add(wait).is_some());
                prop_assert!(wait > 0 && passes_after(wait) && !passes_after(wait - 1), "{} {:?}", wait, decision);
            }
            if let Some(wait) = decision.standing(&limit).more_in {
                let wait = crate::rate::nanoseconds(wait);
                prop_assume!(latest.checked_add(wait).is_some());
                let remaining = decision.standing(&limit).remaining;
                prop_assert!(wait > 0 && remaining_after(wait) > remaining, "{:?}", decision);
                prop_assert_eq!(remaining_after(wait - 1), remaining);
            }
        }
    }

    /// What is given back at once leaves no trace: whatever comes later is decided as if it had not been asked.
    #[test]
    fn giving_back_restores_the_state(limit in limits(), before in traffic(), after in traffic(), cost in 1u64..300) {
        let steps = before.of(period_of(&limit), limit.quota().units);
        let mut state = [0; 2];
        admitted(&limit, &mut state, &steps);
        let untouched = state;
        let now = steps.iter().map(|step| step.0).max().unwrap_or(0);
        let cost = limit.quota().units.saturating_mul(cost) / 600 + 1;
        let decision = limit.ask(&mut state, cost, at(now));
        if decision.verdict.passes() {
            limit.settle(&mut state, &decision.receipt, 0, at(now));
        }
        prop_assert_eq!(limit.standing(&state, at(now)), limit.standing(&untouched, at(now)));
        let (mut one, mut other) = (state, untouched);
        let mut then = now;
        for (step, cost) in after.of(period_of(&limit), limit.quota().units) {
            then = then.max(step);
            prop_assert_eq!(limit.ask(&mut one, cost, at(then)), limit.ask(&mut other, cost, at(then)).with_receipt_of(&one));
        }
    }

    /// What is settled later never leaves more than if the cost had been known, and exactly as much if nobody asked in
    /// between.
    #[test]
    fn settling_is_never_generous(
        which in 0u8..5,
        estimate in 0u64..100,
        actual in 0u64..100,
        others in prop::collection::vec((0u64..SECOND / 3, 1u64..50), 0..20),
        pause in 0u64..5 * SECOND,
    ) {
        // So much room that nobody is refused, and both runs are asked the same.
        let rate = Rate::per_second(700);
        let limit = match which {
            0 => Limit::TokenBucket(TokenBucket::new(rate, 5_000)),
            1 => Limit::Gcra(Gcra::new(rate, 5_000)),
            2 => Limit::FixedWindow(FixedWindow::new(Rate::per_second(5_000))),
            3 => Limit::SlidingWindow(SlidingWindow::new(Rate::per_second(5_000))),
            _ => Limit::Bandwidth(Bandwidth::new(rate, 5_000, Duration::ZERO)),
        };
        let (mut settled, mut known) = ([0; 2], [0; 2]);
        let mut now = SECOND;
        let receipt = limit.ask(&mut settled, estimate, at(now)).receipt;
        limit.ask(&mut known, actual, at(now));
        for (pause, cost) in &others {
            now += pause;
            prop_assert!(limit.ask(&mut settled, *cost, at(now)).verdict.passes());
            prop_assert!(limit.ask(&mut known, *cost, at(now)).verdict.passes());
        }
        now += pause;
        limit.settle(&mut settled, &receipt, actual, at(now));
        for later in [0, 1, SECOND / 7, SECOND, 3 * SECOND] {
            let (one, other) = (limit.standing(&settled, at(now + later)), limit.standing(&known, at(now + later)));
            prop_assert!(one.remaining <= other.remaining, "{:?} {:?}", one, other);
            let knows_windows = matches!(limit, Limit::FixedWindow(_) | Limit::SlidingWindow(_));
            if others.is_empty() && !(knows_windows && actual > estimate) {
                prop_assert_eq!(one, other);
            }
        }
    }

    /// Nothing overflows, whatever is asked and whatever is in the state.
    #[test]
    fn nothing_overflows(limit in limits(), state: State, costs in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..20)) {
        let mut state = state;
        for (now, cost, actual) in costs {
            let decision = limit.ask(&mut state, cost, at(now));
            limit.settle(&mut state, &decision.receipt, actual, at(now.wrapping_add(cost)));
            limit.fresh_from(&state);
            limit.standing(&state, at(now));
            limit.most_within(Duration::from_nanos(cost));
        }
    }

    /// From the moment on that a state says, it is as good as none.
    #[test]
    fn an_old_state_is_a_fresh_one(limit in limits(), before in traffic(), after in traffic()) {
        let mut state = [0; 2];
        admitted(&limit, &mut state, &before.of(period_of(&limit), limit.quota().units));
        let now = limit.fresh_from(&state).nanoseconds();
        prop_assume!(now < u64::MAX);
        let mut fresh = [0; 2];
        prop_assert_eq!(limit.standing(&state, at(now)), limit.standing(&fresh, at(now)));
        let mut then = now;
        for (step, cost) in after.of(period_of(&limit), limit.quota().units) {
            then = then.max(step);
            let (one, other) = (limit.ask(&mut state, cost, at(then)), limit.ask(&mut fresh, cost, at(then)));
            prop_assert_eq!((one.verdict, one.standing(&limit)), (other.verdict, other.standing(&limit)));
        }
    }
}

/// A step of a chain of calls.
trait Pipe: Sized {
    fn pipe<T>(self, then: impl FnOnce(Self) -> T) -> T {
        then(self)
    }
}

impl Pipe for u64 {}

impl crate::Decision {
    /// The same decision with the receipt's mark as a state has it: marks are only ever compared with states.
    fn with_receipt_of(mut self, state: &State) -> Self {
        if self.verdict.passes() {
            self.receipt.mark = *state;
        }
        self
    }
}

#[test]
fn twice_the_limit_passes_around_the_edge_of_a_fixed_window() {
    let limit = FixedWindow::new(Rate::per_minute(100));
    let edge = 60 * SECOND;
    let steps: Vec<(u64, u64)> = (0..200).map(|step| (edge - 100 + step, 1)).collect();
    assert_eq!(admitted(&limit, &mut [0; 2], &steps).len(), 200);
    // The estimate admits half of it, as the log does.
    let sliding = SlidingWindow::new(Rate::per_minute(100));
    assert_eq!(admitted(&sliding, &mut [0; 2], &steps).len(), 100);
    let log = SlidingLog::new(Rate::per_minute(100));
    assert_eq!(admitted(&log, &mut log.log(), &steps).len(), 100);
}

/// What a count of two windows cannot know: the worst there is. A full window's worth just before an edge counts as if it
/// had come evenly, and makes room as if it left evenly.
#[test]
fn nearly_twice_the_limit_passes_within_a_sliding_window_at_worst() {
    let limit = SlidingWindow::new(Rate::per_minute(100));
    let mut steps: Vec<(u64, u64)> = (0..100).map(|step| (60 * SECOND - 100 + step, 1)).collect();
    steps.extend((0..6_000).map(|step| (60 * SECOND + step * 10 * MILLISECOND, 1)));
    let passed = admitted(&limit, &mut [0; 2], &steps);
    let within = passed.iter().filter(|it| it.0 < 120 * SECOND - 100).count();
    assert!((195..200).contains(&within), "{within}");
}

#[test]
fn a_delay_spreads_what_comes_at_once() {
    let limit = Gcra::new(Rate::per_second(10), 2).with_delay(Duration::from_millis(300));
    let mut state = [0; 2];
    let verdicts: Vec<Verdict> = (0..6).map(|_| limit.ask(&mut state, 1, at(SECOND)).verdict).collect();
    let delayed = |milliseconds| Verdict::Delayed(Duration::from_millis(milliseconds));
    let retry_in = Some(Duration::from_millis(100));
    assert_eq!(
        verdicts,
        [
            Verdict::Admitted,
            Verdict::Admitted,
            delayed(100),
            delayed(200),
            delayed(300),
            Verdict::Refused { retry_in }
        ]
    );
}

#[test]
fn what_costs_more_than_there_ever_is_need_not_come_again() {
    let check = |limit: Limit| {
        let verdict = limit.ask(&mut [0; 2], 101, at(SECOND)).verdict;
        assert_eq!(verdict, Verdict::Refused { retry_in: None }, "{limit:?}");
        assert!(limit.ask(&mut [0; 2], 100, at(SECOND)).verdict.passes(), "{limit:?}");
    };
    let rate = Rate::per_minute(100);
    check(Limit::TokenBucket(TokenBucket::new(rate, 100)));
    check(Limit::Gcra(Gcra::new(rate, 100)));
    check(Limit::FixedWindow(FixedWindow::new(rate)));
    check(Limit::SlidingWindow(SlidingWindow::new(rate)));
    check(Limit::SlidingLog(SlidingLog::new(rate)));
    check(Limit::Concurrency(Concurrency::new(100)));
}

#[test]
fn places_are_given_back_and_counted_by_cost() {
    let limit = Concurrency::new(3);
    let mut state = [0; 2];
    let first = limit.ask(&mut state, 2, at(0));
    assert_eq!(first.standing(&limit).remaining, 1);
    assert_eq!(
        limit.ask(&mut state, 2, at(0)).verdict,
        Verdict::Refused { retry_in: None }
    );
    assert_eq!(limit.fresh_from(&state), at(u64::MAX));
    limit.settle(&mut state, &first.receipt, 0, at(9));
    assert_eq!(
        (limit.standing(&state, at(9)).remaining, limit.fresh_from(&state)),
        (3, at(0))
    );
}

/// A megabyte a second in pieces of 64 KiB, by who waits as he is told: after the burst exactly the rate.
#[test]
fn an_answer_under_way_is_paced_and_never_cut() {
    let limit = Bandwidth::new(Rate::per_second(1 << 20), 1 << 18, Duration::ZERO);
    let mut state = [0; 2];
    let mut now = SECOND;
    let decision = limit.ask(&mut state, 0, at(now));
    assert_eq!(decision.verdict, Verdict::Admitted);
    let mut sent = 0;
    while now < 11 * SECOND {
        now += u64::try_from(limit.spend(&mut state, 1 << 16, at(now)).as_nanos()).unwrap();
        sent += 1 << 16;
    }
    let expected = 10 * (1 << 20) + (1 << 18);
    assert!((expected..=expected + (1 << 16)).contains(&sent), "{sent}");
    // In debt nobody begins; what was sent past the burst has to come first.
    let debt = limit.spend(&mut state, 1 << 20, at(now));
    assert!(debt >= Duration::from_millis(999));
    let verdict = limit.ask(&mut state, 1, at(now)).verdict;
    assert_eq!(verdict, Verdict::Refused { retry_in: Some(debt) });
}

#[test]
fn what_costs_more_than_was_said_is_a_debt() {
    let check = |limit: Limit| {
        let mut state = [0; 2];
        let receipt = limit.ask(&mut state, 10, at(SECOND)).receipt;
        limit.settle(&mut state, &receipt, 150, at(SECOND));
        assert_eq!(limit.standing(&state, at(SECOND)).remaining, 0, "{limit:?}");
        let Verdict::Refused { retry_in: Some(wait) } = limit.ask(&mut state, 1, at(SECOND)).verdict else {
            panic!("{limit:?} forgot what it was told");
        };
        assert!(wait >= Duration::from_secs(30), "{limit:?} {wait:?}");
    };
    let rate = Rate::per_minute(100);
    check(Limit::TokenBucket(TokenBucket::new(rate, 100)));
    check(Limit::Gcra(Gcra::new(rate, 100)));
    check(Limit::FixedWindow(FixedWindow::new(rate)));
    check(Limit::SlidingWindow(SlidingWindow::new(rate)));
    check(Limit::SlidingLog(SlidingLog::new(rate)));
}
