//! Do instances that share a limit keep to it, whatever becomes of the store?

use core::time::Duration;
use std::vec::Vec;

use isobar_balance::Chance;
use proptest::prelude::*;

use super::{Algorithm, Gcra, Lease, LeaseRules, LeaseVerdict, Moment, OnLoss, Rate, State, Verdict};
use crate::Receipt;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

fn rules(instances: u32, on_loss: OnLoss) -> LeaseRules {
    LeaseRules {
        rate: Rate::per_second(100),
        burst: 100,
        instances,
        ahead: Duration::from_millis(100),
        ttl: Duration::from_millis(500),
        patience: Duration::from_millis(20),
        on_loss,
    }
}

/// The store: the limit itself, and answers that are under way.
struct Store {
    limit: Gcra,
    state: State,
    answers: Vec<(u64, usize, u64, Option<Duration>)>,
}

impl Store {
    /// Gives as much of what is wanted as there is.
    fn exchange(&mut self, now: u64, instance: usize, want: u64) {
        let moment = Moment::new(now);
        let there = self.limit.standing(&self.state, moment);
        let units = want.min(there.remaining);
        let _taken: Receipt = self.limit.ask(&mut self.state, units, moment).receipt;
        let more_in = if units < want { there.more_in } else { None };
        self.answers.push((now + 2 * MILLISECOND, instance, units, more_in));
    }
}

/// Which times the store cannot be reached.
type Outage = core::ops::Range<u64>;

/// Runs instances that are asked at a pace each, a millisecond a step: *returns* when requests passed, and how many came.
fn simulate(rules: &LeaseRules, paces: &[u64], outage: &Outage, seed: u64) -> (Vec<u64>, u64) {
    let mut store = Store {
        limit: Gcra::new(rules.rate, rules.burst),
        state: [0; 2],
        answers: Vec::new(),
    };
    let mut leases: Vec<Lease> = paces.iter().map(|_| Lease::new(rules)).collect();
    let mut chance = Chance::new(seed);
    let (mut passed, mut came) = (Vec::new(), 0);
    for step in 0..5_000 {
        let now = SECOND + step * MILLISECOND;
        let moment = Moment::new(now);
        let due = store
            .answers
            .iter()
            .filter(|it| it.0 <= now)
            .copied()
            .collect::<Vec<_>>();
        store.answers.retain(|it| it.0 > now);
        for (_, instance, units, more_in) in due {
            leases[instance].granted(rules, units, more_in, moment);
        }
        for (index, lease) in leases.iter_mut().enumerate() {
            // Requests in a thousand steps.
            let requests = paces[index] / 1_000 + u64::from(chance.below(1_000) < paces[index] % 1_000);
            for _ in 0..requests {
                came += 1;
                if lease.ask(rules, 1, moment) == LeaseVerdict::Admitted {
                    passed.push(now);
                }
            }
            if let Some(exchange) = lease.exchange(rules, moment) {
                if outage.contains(&now) {
                    lease.failed(rules, moment);
                } else {
                    store.exchange(now, index, exchange.want);
                }
            }
        }
    }
    (passed, came)
}

/// How many passed within a time at most.
fn most_within(passed: &[u64], time: u64) -> u64 {
    let mut first = 0;
    let within = passed.iter().enumerate().map(|(last, &at)| {
        while at - passed[first] > time {
            first += 1;
        }
        last - first + 1
    });
    within.max().unwrap_or(0) as u64
}

const NEVER: Outage = 0..0;
const ALWAYS: Outage = 0..u64::MAX;

#[test]
fn instances_with_too_much_to_do_share_the_limit() {
    let rules = rules(4, OnLoss::LocalShare);
    let (passed, _) = simulate(&rules, &[1_000, 1_000, 200, 50], &NEVER, 1);
    // A burst and five seconds of the rate, of which what is leased and not used is little.
    assert!((560..=600).contains(&passed.len()), "{}", passed.len());
}

#[test]
fn who_keeps_to_the_limit_waits_for_nobody_but_at_first() {
    let rules = rules(4, OnLoss::LocalShare);
    let (passed, came) = simulate(&rules, &[20, 20, 20, 20], &NEVER, 2);
    let part = passed.len() as f64 / came as f64;
    assert!(part > 0.9, "{part}");
}

#[test]
fn what_happens_without_the_store_was_said_before() {
    let check = |on_loss, expected: core::ops::RangeInclusive<usize>| {
        let (passed, came) = simulate(&rules(4, on_loss), &[1_000; 4], &ALWAYS, 3);
        assert!(
            expected.contains(&passed.len()),
            "{on_loss:?}: {} of {came}",
            passed.len()
        );
    };
    check(OnLoss::Closed, 0..=0);
    // A quarter of the limit for each of four.
    check(OnLoss::LocalShare, 590..=600);
    check(OnLoss::Open, 19_900..=20_000);
}

#[test]
fn a_request_that_costs_more_than_a_batch_is_sent_for() {
    let rules = rules(10, OnLoss::Closed);
    let mut lease = Lease::new(&rules);
    let now = Moment::new(SECOND);
    assert_eq!(lease.ask(&rules, 40, now), LeaseVerdict::Wait);
    assert_eq!(lease.exchange(&rules, now).map(|it| it.want), Some(40));
    assert_eq!(lease.exchange(&rules, now), None);
    lease.granted(&rules, 40, None, now);
    assert_eq!(lease.ask(&rules, 40, now), LeaseVerdict::Admitted);
}

#[test]
fn what_was_not_used_is_given_back_and_passes_no_more() {
    let rules = rules(2, OnLoss::Closed);
    let mut lease = Lease::new(&rules);
    let now = Moment::new(SECOND);
    assert_eq!(lease.ask(&rules, 5, now), LeaseVerdict::Wait);
    assert_eq!(lease.exchange(&rules, now).map(|it| it.want), Some(5));
    lease.granted(&rules, 5, None, now);
    let later = now.after(rules.ttl);
    assert_eq!((lease.left(now), lease.left(later)), (5, 0));
    assert_eq!(
        lease.exchange(&rules, later).map(|it| (it.want, it.give_back)),
        Some((0, 5))
    );
    // Told once.
    lease.granted(&rules, 0, None, later);
    assert_eq!(lease.exchange(&rules, later), None);
}

#[test]
fn a_store_that_has_nothing_is_not_asked_before_it_has() {
    let rules = rules(2, OnLoss::Open);
    let mut lease = Lease::new(&rules);
    let now = Moment::new(SECOND);
    assert_eq!(lease.ask(&rules, 1, now), LeaseVerdict::Wait);
    assert!(lease.exchange(&rules, now).is_some());
    lease.granted(&rules, 0, Some(Duration::from_millis(30)), now);
    let retry_in = Some(Duration::from_millis(30));
    assert_eq!(lease.ask(&rules, 1, now), LeaseVerdict::Refused { retry_in });
    assert_eq!(lease.exchange(&rules, now.after(Duration::from_millis(29))), None);
    assert!(lease.exchange(&rules, now.after(Duration::from_millis(30))).is_some());
}

#[test]
fn a_store_that_takes_too_long_is_lost_until_it_answers() {
    let rules = rules(2, OnLoss::Open);
    let mut lease = Lease::new(&rules);
    let now = Moment::new(SECOND);
    assert_eq!(lease.ask(&rules, 1, now), LeaseVerdict::Wait);
    assert!(lease.exchange(&rules, now).is_some());
    let overdue = now.after(rules.patience);
    assert_eq!(
        (lease.is_lost(&rules, now), lease.is_lost(&rules, overdue)),
        (false, true)
    );
    assert_eq!(lease.ask(&rules, 1, overdue), LeaseVerdict::Admitted);
    // It is asked again as often, and stays lost meanwhile.
    assert!(lease.exchange(&rules, overdue).is_some());
    assert!(lease.is_lost(&rules, overdue));
    lease.granted(&rules, 1, None, overdue);
    assert!(!lease.is_lost(&rules, overdue));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// All instances together keep to the limit within a time and the time a lease lasts, and to one limit more while the
    /// store is lost.
    #[test]
    fn instances_keep_to_the_limit(
        paces in prop::collection::vec(0u64..3_000, 1..6),
        outage in prop_oneof![Just(NEVER), Just(ALWAYS), (1_000u64..5_000).prop_map(|at| at * MILLISECOND..(at + 1_000) * MILLISECOND)],
        seed: u64,
    ) {
        let rules = rules(u32::try_from(paces.len()).unwrap(), OnLoss::LocalShare);
        let (passed, _) = simulate(&rules, &paces, &outage, seed);
        let limit = Gcra::new(rules.rate, rules.burst);
        for time in [0, 100 * MILLISECOND, SECOND, 3 * SECOND] {
            let with_leases = limit.most_within(Duration::from_nanos(time) + rules.ttl);
            let shares = if outage == NEVER { 0 } else { limit.most_within(Duration::from_nanos(time)) };
            let found = most_within(&passed, time);
            prop_assert!(found <= with_leases + shares, "{} in {}: {} and {}", found, time, with_leases, shares);
        }
    }

    /// A part of the limit is never more than that, however it divides.
    #[test]
    fn shares_add_up_to_the_limit(units in 1u64..=Rate::MOST_UNITS, shift in 0u32..40, instances in 1u32..100) {
        let rate = Rate::per_second((units >> shift).max(1));
        let rules = LeaseRules { rate, burst: u64::from(instances), ..rules(instances, OnLoss::LocalShare) };
        let share = Lease::new(&rules).share.limit;
        let hour = Duration::from_secs(3_600);
        let all = u128::from(share.most_within(hour) - 1) * u128::from(instances);
        prop_assert!(all <= u128::from(rate.units_within(hour)));
        let exact = u128::from(rate.units_within(hour));
        prop_assert!(exact - all <= exact / 1_000_000 + u128::from(instances));
        let mut state = [0; 2];
        prop_assert_eq!(share.ask(&mut state, 1, Moment::new(0)).verdict, Verdict::Admitted);
    }
}
