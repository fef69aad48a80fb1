//! Of two servers drawn by chance, the one with less of latency times load, where latency follows its peaks.
//!
//! Finagle's "aperture" balancers, Linkerd and tower choose so (`PeakEwma`): an answer that took longer than the
//! estimate replaces it at once, and what comes after pulls it down again with a time constant of ten seconds.
//! A server that becomes slow is left alone with its next answer, which an average would take twenty for.
//!
//! Only ever of two: of all members the one with the best estimate would get everything until its estimate changes,
//! which is an answer later. And with many balancers each has too few answers of each server to know it: at a
//! hundred balancers, a hundred servers and 90 % load two choices by load alone are better (simulated: 7.1 against
//! 11.2 service times).
//!
//! # Servers that fail fast
//! A failure counts as an answer that took as long as it is charged for, a second at least (Linkerd: 5 s), and is in
//! flight for that long. And while a member is charged, its latency is taken to be no better than the other's: among
//! servers that take twenty seconds for an answer a second would be fast.

use crate::policy::power_of_two::{Sample, Sampler};
use crate::policy::{Member, Policy, View};
use crate::{Chance, Moment};

/// Members that are compared.
const CHOICES: usize = 2;

/// The latency, in nanoseconds, of a member of which no answer has come yet while it has requests: more than that of
/// any other.
const UNPROVEN: f64 = 1e18;

/// Chooses the one of two that costs less for its weight.
///
/// *Cost*: two draws and two cache lines of each of the two, and up to two exponentials.
#[derive(Debug)]
pub(super) struct PeakEwma(Sampler);

impl PeakEwma {
    pub(super) fn new(members: &[Member]) -> Self {
        Self(Sampler::new(members, CHOICES))
    }
}

impl Policy for PeakEwma {
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let mut sample = Sample::default();
        self.0.sample(&mut sample, chance);
        let rival = |&position: &u32| Rival::of(view, position as usize);
        let mut rivals = sample.positions().iter().filter_map(rival);
        let best = match (rivals.next(), rivals.next()) {
            (Some(one), Some(other)) if other.is_better_than(&one) => Some(other),
            (one, _) => one,
        };
        best.map_or_else(|| view.draw_by_weight(chance), |best| Some(best.position))
    }
}

/// A member that may be chosen.
struct Rival {
    position: usize,
    weight: f64,
    /// With this request.
    load: f64,
    is_charged: bool,
    /// In nanoseconds; 0: none is known.
    latency: f64,
}

impl Rival {
    fn of(view: &View<'_>, position: usize) -> Option<Self> {
        let member = view.members().get(position)?;
        let load = view.load(member)?;
        let now: Moment = view.query().now;
        Some(Self {
            position,
            weight: f64::from(member.weight),
            load: f64::from(load) + 1.0,
            is_charged: member.state.charge(now) > 0,
            latency: member.state.peak_latency(now) as f64,
        })
    }

    fn is_better_than(&self, other: &Self) -> bool {
        self.cost(other) < other.cost(self)
    }

    fn cost(&self, other: &Self) -> f64 {
        let latency = if self.is_charged {
            self.latency.max(other.latency)
        } else {
            self.latency
        };
        let cost = match latency > 0.0 {
            true => latency * self.load,
            false if self.load > 1.0 => UNPROVEN * self.load,
            false => 0.0,
        };
        cost / self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::PeakEwma;
    use crate::policy::testing::{answered, chi_square, failed, members, shares};
    use crate::policy::{Policy, View};
    use crate::{Chance, Feedback, Moment, Query};
    use core::time::Duration;

    const NOW: Moment = Moment::new(1);

    fn at(now: Moment) -> Query<'static> {
        Query {
            now,
            ..Query::default()
        }
    }

    /// Checks who of two is chosen, by (latency in ms, in flight, weight).
    fn check(servers: [(u64, u32, u32); 2], expected: usize) {
        let members = members(&servers.map(|(_, _, weight)| weight));
        for (member, (latency, in_flight, _)) in members.iter().zip(servers) {
            if latency > 0 {
                answered(member, Feedback::Peak, Duration::from_millis(latency), NOW);
            }
            assert!((0..in_flight).all(|_| member.state.try_acquire()));
        }
        for seed in 0..20 {
            let chosen = PeakEwma::new(&members).choose(&View::new(&members, &at(NOW)), &mut Chance::new(seed));
            assert_eq!(chosen, Some(expected), "{servers:?}, seed {seed}");
        }
    }

    #[test]
    fn latency_times_load_for_the_weight() {
        check([(100, 0, 1), (30, 0, 1)], 1);
        check([(100, 0, 1), (30, 3, 1)], 0);
        check([(100, 1, 1), (30, 3, 1)], 1);
        check([(100, 0, 5), (30, 0, 1)], 0);
    }

    /// One without an answer is tried once, and then not again before its answer has come.
    #[test]
    fn the_unknown_are_tried_one_request_at_a_time() {
        check([(100, 0, 1), (0, 0, 1)], 1);
        check([(100, 50, 1), (0, 1, 1)], 0);
        check([(0, 2, 1), (0, 1, 1)], 1);
    }

    #[test]
    fn those_that_are_equal_are_drawn_by_weight() {
        let members = members(&[3, 2, 1]);
        let mut chance = Chance::new(9);
        let counts = shares(
            &PeakEwma::new(&members),
            &View::new(&members, &at(NOW)),
            &mut chance,
            60_000,
        );
        let statistic = chi_square(&counts, &[3, 2, 1]);
        assert!(statistic < 13.8, "seed 9: {counts:?} has statistic {statistic}");
    }

    #[test]
    fn a_peak_moves_traffic_at_once_and_for_a_time() {
        let members = members(&[1, 1]);
        for _ in 0..100 {
            answered(&members[0], Feedback::Peak, Duration::from_millis(5), NOW);
            answered(&members[1], Feedback::Peak, Duration::from_millis(6), NOW);
        }
        let policy = PeakEwma::new(&members);
        let chosen = |now| {
            policy
                .choose(&View::new(&members, &at(now)), &mut Chance::new(1))
                .unwrap()
        };
        assert_eq!(chosen(NOW), 0);
        answered(&members[0], Feedback::Peak, Duration::from_millis(60), NOW);
        assert_eq!(chosen(NOW), 1);
        let later = NOW.after(Duration::from_secs(60));
        for member in &members {
            answered(member, Feedback::Peak, Duration::from_millis(5), later);
        }
        answered(&members[1], Feedback::Peak, Duration::from_millis(6), later);
        assert_eq!(chosen(later), 0);
    }

    /// Also where a second is fast.
    #[test]
    fn who_fails_is_never_faster_than_who_does_not() {
        let members = members(&[1, 1]);
        answered(&members[1], Feedback::Peak, Duration::from_secs(20), NOW);
        failed(&members[0], Feedback::Peak, NOW);
        let policy = PeakEwma::new(&members);
        let counts = shares(&policy, &View::new(&members, &at(NOW)), &mut Chance::new(1), 100);
        assert_eq!(counts, [0, 100]);
    }
}
