//! Do instances that share a limit keep to it, whatever becomes of the store?

use core::time::Duration;
use std::sync::LazyLock;
use std::vec::Vec;

use isobar_balance::Chance;
use proptest::prelude::*;

use super::{Exchange, Lease, LeaseMark, LeaseRules, LeaseVerdict, Moment, Share, StoreReply, Terms};
use crate::{Rate, SharedKind};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

const RULES: LeaseRules = LeaseRules {
    ahead: Duration::from_millis(500),
    ttl: Duration::from_millis(1_000),
    advance: 50,
};

const BURST: u64 = 100;

static TERMS: LazyLock<Terms> = LazyLock::new(|| Terms {
    kind: SharedKind::Gcra,
    rate: Rate::per_second(100),
    burst: BURST,
});

fn share(instances: u32) -> Share<'static> {
    Share {
        terms: &TERMS,
        rules: &RULES,
        instances,
    }
}

/// The store's books, as the script of Redis keeps them: how full the bucket is, in millionths of a unit, and when that was.
#[derive(Default)]
struct Store {
    level: u64,
    at: u64,
}

const UNIT: u64 = 1_000_000;

impl Store {
    fn take(&mut self, exchange: Exchange, now: u64) -> StoreReply {
        // 100 units a second are a millionth in 10 ns.
        self.level = self.level.saturating_sub((now - self.at) / 10);
        self.at = now;
        let lead = exchange.mark.saturating_sub(now) / 10;
        self.level -= (exchange.give_back * UNIT).min(lead).min(self.level);
        self.level += exchange.owed * UNIT;
        let there = (BURST * UNIT).saturating_sub(self.level) / UNIT;
        let units = exchange.want.min(there);
        self.level += units * UNIT;
        let over = (self.level + UNIT).saturating_sub(BURST * UNIT);
        let is_dry = units < exchange.want || over > 0;
        StoreReply {
            units,
            left: there - units,
            more_in: is_dry.then(|| Duration::from_nanos(over * 10)),
            lasts: None,
            mark: now + self.level * 10,
        }
    }
}

/// What instances did: when requests passed, and how many came.
struct Outcome {
    passed: Vec<u64>,
    came: u64,
}

/// Runs instances that are asked at a pace each, a millisecond a step; answers take 2 ms, and one in `lost` is lost.
fn simulate(paces: &[u64], steps: u64, lost: u64, seed: u64) -> Outcome {
    let instances = u32::try_from(paces.len()).unwrap();
    let share = share(instances);
    let (mut store, mut chance) = (Store::default(), Chance::new(seed));
    let mut leases = std::vec![Lease::default(); paces.len()];
    let mut answers: Vec<(u64, usize, u64, Option<StoreReply>)> = Vec::new();
    let mut outcome = Outcome {
        passed: Vec::new(),
        came: 0,
    };
    for step in 0..steps {
        let now = SECOND + step * MILLISECOND;
        let moment = Moment::new(now);
        let (here, later): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.0 <= now);
        answers = later;
        for (_, index, asked, reply) in here {
            match reply {
                Some(reply) => leases[index].granted(share, (reply, Moment::new(asked)), moment),
                None => leases[index].failed(),
            }
        }
        for (index, (lease, pace)) in leases.iter_mut().zip(paces).enumerate() {
            for _ in 0..chance.below(2 * pace + 1) {
                outcome.came += 1;
                if matches!(lease.ask(share, 1, moment), LeaseVerdict::Admitted(_)) {
                    outcome.passed.push(now);
                }
            }
            if let Some(exchange) = lease.exchange(share, moment) {
                let reply = store.take(exchange, now);
                let is_lost = lost > 0 && chance.below(lost) == 0;
                answers.push((now + 2 * MILLISECOND, index, now, (!is_lost).then_some(reply)));
            }
        }
    }
    outcome
}

/// The most that passed in any time so long.
fn most_within(passed: &[u64], time: u64) -> usize {
    let mut first = 0;
    let windows = passed.iter().enumerate().map(|(last, at)| {
        while at - passed[first] >= time {
            first += 1;
        }
        last + 1 - first
    });
    windows.max().unwrap_or(0)
}

/// `burst + rate * (w + ttl) + n * advance`.
fn bound(instances: usize, time: u64) -> usize {
    let of_time = usize::try_from((time + SECOND) / 10 / UNIT).unwrap();
    let advance = (100 / instances).max(1) * 50 / 100;
    100 + of_time + instances * advance.max(1)
}

#[test]
fn together_they_use_the_limit_and_keep_to_it() {
    let check = |paces: &[u64], seed| {
        let Outcome { passed, came } = simulate(paces, 10_000, 0, seed);
        assert!(came > 5_000, "there is demand");
        for time in [SECOND / 10, SECOND, 5 * SECOND] {
            let (most, bound) = (most_within(&passed, time), bound(paces.len(), time));
            assert!(
                most <= bound,
                "{most} of {bound} in {time} ns, paces {paces:?}, seed {seed}"
            );
        }
        // A burst and ten seconds of the rate.
        let share = passed.len() * 100 / 1_100;
        assert!(
            (97..=112).contains(&share),
            "{share} % of the limit, paces {paces:?}, seed {seed}"
        );
    };
    for seed in 0..5 {
        check(&[1], seed);
        check(&[1, 1], seed);
        check(&[5, 1, 1, 1, 1], seed);
        check(&[20, 0], seed);
    }
}

#[test]
fn below_the_limit_nobody_is_refused() {
    for seed in 0..10 {
        let (mut store, share) = (Store::default(), share(2));
        let mut leases = [Lease::default(), Lease::default()];
        let mut chance = Chance::new(seed);
        for step in 0..20_000_u64 {
            let now = SECOND + step * MILLISECOND;
            for lease in &mut leases {
                if chance.below(25) == 0 {
                    let verdict = lease.ask(share, 1, Moment::new(now));
                    assert!(matches!(verdict, LeaseVerdict::Admitted(_)), "seed {seed}, step {step}");
                }
                if let Some(exchange) = lease.exchange(share, Moment::new(now)) {
                    let reply = store.take(exchange, now);
                    lease.granted(share, (reply, Moment::new(now)), Moment::new(now));
                }
            }
        }
    }
}

#[test]
fn what_is_not_used_is_given_back() {
    let (mut store, share) = (Store::default(), share(1));
    let mut lease = Lease::default();
    let at = |time: u64| Moment::new(SECOND + time * MILLISECOND);
    for _ in 0..10 {
        lease.ask(share, 1, at(0));
    }
    let exchange = lease.exchange(share, at(0)).unwrap();
    assert_eq!((exchange.owed, exchange.want), (10, 10));
    let reply = store.take(exchange, SECOND);
    lease.granted(share, (reply, at(0)), at(1));
    assert_eq!((lease.left(at(1)), lease.owed()), (10, 0));
    assert_eq!(lease.exchange(share, at(999)), None, "it is still good");
    let back = lease.exchange(share, at(1_000)).unwrap();
    assert_eq!((back.want, back.owed, back.give_back), (0, 0, 10));
    // The bucket was empty long before: there is nothing to give back into.
    assert_eq!(store.take(back, 2 * SECOND).left, 100);
    assert!(!lease.is_idle(&RULES, at(1_000)), "it is being told");
}

#[test]
fn what_costs_more_than_there_ever_is_never_passes() {
    let (share, mut lease) = (share(1), Lease::default());
    for step in 0..1_000 {
        let now = Moment::new(SECOND + step * MILLISECOND);
        let refused = LeaseVerdict::Refused { retry_in: None };
        assert_eq!(lease.ask(share, BURST + 1, now), refused);
    }
    assert_eq!(lease.exchange(share, Moment::new(2 * SECOND)), None);
    let verdict = lease.ask(share, BURST, Moment::new(2 * SECOND));
    assert!(matches!(verdict, LeaseVerdict::Admitted(_)), "it costs all there is");
}

#[test]
fn a_refund_is_what_was_taken() {
    let share = share(2);
    let at = Moment::new(SECOND);
    let mut lease = Lease::default();
    let LeaseVerdict::Admitted(mark) = lease.ask(share, 3, at) else {
        panic!("the first passes");
    };
    assert_eq!((mark, lease.owed()), (LeaseMark::Advance, 3));
    lease.put_back(mark, 3);
    assert_eq!(lease.owed(), 0);
    let reply = StoreReply {
        units: 5,
        left: 0,
        more_in: None,
        lasts: None,
        mark: 1,
    };
    lease.granted(share, (reply, at), at);
    let LeaseVerdict::Admitted(mark) = lease.ask(share, 2, at) else {
        panic!("five are there");
    };
    lease.put_back(mark, 2);
    assert_eq!(lease.left(at), 5);
    // A batch that has ended takes nothing back.
    let late = at.after(Duration::from_secs(2));
    lease.expire(late);
    lease.put_back(mark, 2);
    assert_eq!(lease.left(late), 0);
}

#[test]
fn each_instance_has_its_part() {
    let check = |kind, instances, expected: u64| {
        let part = Terms { kind, ..*TERMS }.part(instances);
        let within = crate::Algorithm::most_within(&part, Duration::ZERO);
        assert_eq!(within, expected, "{kind:?} of {instances}");
    };
    check(SharedKind::Gcra, 1, 100);
    check(SharedKind::Gcra, 4, 25);
    check(SharedKind::TokenBucket, 3, 33);
    check(SharedKind::Gcra, 1_000, 1);
    // Two windows are touched.
    check(SharedKind::FixedWindow, 4, 50);
    check(SharedKind::SlidingWindow, 1_000, 2);
}

proptest! {
    /// Whatever is lost on the way, no more passes than may.
    #[test]
    fn lost_answers_let_nobody_pass(paces in prop::collection::vec(0u64..4, 1..6), lost in 1u64..20, seed in any::<u64>()) {
        let Outcome { passed, .. } = simulate(&paces, 2_000, lost, seed);
        for time in [SECOND / 10, SECOND] {
            let (most, bound) = (most_within(&passed, time), bound(paces.len(), time));
            prop_assert!(most <= bound, "{most} of {bound} in {time} ns");
        }
    }

    /// Nothing overflows, whatever the store says.
    #[test]
    fn any_answer_is_taken(units in any::<u64>(), left in any::<u64>(), more in any::<u64>(), lasts in any::<u64>(), times in prop::collection::vec(any::<u64>(), 1..20)) {
        let share = share(3);
        let mut lease = Lease::default();
        for time in times {
            let now = Moment::new(time);
            lease.ask(share, u64::MAX, now);
            lease.ask(share, BURST, now);
            lease.exchange(share, now);
            let reply = StoreReply {
                units,
                left,
                more_in: (more % 2 == 0).then_some(Duration::from_nanos(more)),
                lasts: (lasts % 2 == 0).then_some(Duration::from_nanos(lasts)),
                mark: left,
            };
            lease.granted(share, (reply, now), now);
            lease.put_back(LeaseMark::Batch(now), u64::MAX);
            lease.put_back(LeaseMark::Advance, u64::MAX);
            lease.end();
        }
    }
}
