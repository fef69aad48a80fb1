//! In turn, as often as follows from the load that servers report of themselves.
//!
//! gRPC's `weighted_round_robin` (proposal A58) and Envoy's `client_side_weighted_round_robin`: a server that answers
//! `rps` requests with `utilization` of its capacity in use would answer `rps / utilization` with all of it, which is
//! its weight; what it fails is added to what it uses. The reports are ORCA's. They need no probes, and say what no
//! balancer can see: what a request costs on *this* server, and what others send it.
//!
//! A report counts when a server has reported for [`blackout`](Orca::blackout) without a gap, because a server that
//! was just started reports what starting costs, and until it is older than [`expiration`](Orca::expiration). A
//! server without one counts as the mean of those that have one; with fewer than two such the turns go by the
//! configured weights. A configured weight is a factor on top of what is reported: leave them equal unless one server
//! is to be favoured.
//!
//! # Turns
//! A58's static stride: all workers count turns on one cursor; turn `t` looks at member `t mod n` in round
//! `t div n`, and a member with half the largest weight is passed over in every second round, each beginning at
//! another place. No table is built when weights change: once in an [`update_period`](Orca::update_period) the worker that comes first writes them
//! anew, in place, and the others go on meanwhile with a mixture of old and new.
//!
//! # Servers that fail
//! A server that fails fast reports little use of itself. The report's `eps` is one defence; the other is that a
//! member with a charge of `c` failures takes only every `c + 1`-th of its turns.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use core::time::Duration;

use crate::balance::Orca;
use crate::policy::{Member, Policy, View};
use crate::server::Validity;
use crate::{Chance, Guesses, Moment};

/// Members with a report below which the configured weights decide.
const ENOUGH: usize = 2;

/// The weight of the heaviest member.
const LARGEST: u16 = u16::MAX;

/// Rounds are begun this far apart from member to member, so that equal weights are not passed over together.
const OFFSET: u64 = (u16::MAX / 2) as u64;

/// Turns that one choice goes past, for each member, before it draws by weight.
const MAX_ROUNDS: usize = 2;

/// Turns that one choice goes past at most.
const MAX_SKIPS: usize = 256;

/// Chooses the member whose turn it is by weights that follow from reports.
///
/// *Cost*: an atomic addition for each turn looked at, which are as many as the largest weight has of the mean; once a
/// second a pass over all members, of about two cache lines each.
#[derive(Debug)]
pub(super) struct OrcaWeightedRoundRobin {
    settings: Orca,
    cursor: Cursor,
    weights: Box<[AtomicU16]>,
    guesses: Option<Arc<Guesses>>,
}

/// What all workers write, on a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Cursor {
    turn: AtomicU64,
    /// When the weights were last computed, and one more, in nanoseconds; 0: never.
    updated: AtomicU64,
    /// Whether the weights follow from reports.
    is_informed: AtomicBool,
}

impl OrcaWeightedRoundRobin {
    pub(super) fn new(members: &[Member], settings: Orca, guesses: Option<Arc<Guesses>>, chance: &mut Chance) -> Self {
        let policy = Self {
            settings,
            cursor: Cursor {
                turn: AtomicU64::new(chance.below(members.len() as u64 * u64::from(LARGEST))),
                updated: AtomicU64::new(0),
                is_informed: AtomicBool::new(false),
            },
            weights: members.iter().map(|_| AtomicU16::new(LARGEST)).collect(),
            guesses,
        };
        policy.write(members, |_| 1.0);
        policy
    }

    /// Computes the weights when it is time and nobody else does.
    fn update(&self, view: &View<'_>) {
        let now = view.query().now;
        let updated = self.cursor.updated.load(Ordering::Relaxed);
        let passed = Duration::from_nanos(now.since(Moment::new(updated.saturating_sub(1))));
        if updated > 0 && passed < self.settings.update_period {
            return;
        }
        let next = now.nanoseconds().saturating_add(1);
        let won = self
            .cursor
            .updated
            .compare_exchange(updated, next, Ordering::Relaxed, Ordering::Relaxed);
        if won.is_ok() {
            self.compute(view.members(), now);
        }
    }

    /// The weight that a member reports.
    fn reported(&self, member: &Member, now: Moment) -> Option<f64> {
        let validity = Validity {
            blackout: self.settings.blackout,
            expiration: self.settings.expiration,
        };
        let penalty = f32::from(self.settings.error_penalty_percent) / 100.0;
        member.state.reported_weight(now, &validity, penalty).map(f64::from)
    }

    fn compute(&self, members: &[Member], now: Moment) {
        let reported = |member: &Member| self.reported(member, now);
        let (count, sum) = members
            .iter()
            .filter_map(reported)
            .fold((0, 0.0), |(count, sum), weight| (count + 1, sum + weight));
        self.cursor.is_informed.store(count >= ENOUGH, Ordering::Relaxed);
        if count < ENOUGH {
            self.write(members, |_| 1.0);
        } else {
            let mean = sum / count as f64;
            self.write(members, |member| reported(member).unwrap_or(mean));
        }
    }

    /// Writes the weights so that the largest is [`LARGEST`], and none is 0.
    ///
    /// `reported` is asked twice and may answer otherwise the second time; such a weight is held to the largest.
    fn write(&self, members: &[Member], reported: impl Fn(&Member) -> f64) {
        let weight = |member: &Member| reported(member) * f64::from(member.weight);
        let largest = members.iter().map(&weight).fold(0.0, f64::max);
        for (member, written) in members.iter().zip(&self.weights) {
            let scaled = weight(member) / largest * f64::from(LARGEST) + 0.5;
            #[expect(clippy::cast_possible_truncation, reason = "casts of floats saturate")]
            written.store((scaled as u16).max(1), Ordering::Relaxed);
        }
    }

    /// The member of the next turn; none: it is passed over in this round.
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a usize")]
    fn next(&self) -> Option<usize> {
        let turn = self.cursor.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.weights.len() as u64;
        let (round, member) = (turn.checked_div(count)?, turn.checked_rem(count)?);
        let weight = u64::from(self.weights.get(member as usize)?.load(Ordering::Relaxed));
        let phase = weight.wrapping_mul(round).wrapping_add(member * OFFSET) % u64::from(LARGEST);
        (phase >= u64::from(LARGEST) - weight).then_some(member as usize)
    }
}

impl Policy for OrcaWeightedRoundRobin {
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        self.update(view);
        if view.members().len() >= ENOUGH
            && !self.cursor.is_informed.load(Ordering::Relaxed)
            && let Some(guesses) = &self.guesses
        {
            guesses.count();
        }
        for _ in 0..(self.weights.len() * MAX_ROUNDS).min(MAX_SKIPS) {
            let Some(position) = self.next() else {
                continue;
            };
            let takes_turn = |chance: &mut Chance| match view.charge(position) {
                0 => true,
                charge => chance.below(u64::from(charge) + 1) == 0,
            };
            if view.eligible(position) && takes_turn(chance) {
                return Some(position);
            }
        }
        view.draw_by(chance, |position, _| {
            let weight = self
                .weights
                .get(position)
                .map_or(0, |weight| weight.load(Ordering::Relaxed));
            (u64::from(weight) << 14) / (u64::from(view.charge(position)) + 1)
        })
    }

    fn is_informed(&self, members: &[Member], now: Moment) -> Option<bool> {
        let reporting = members.iter().filter_map(|member| self.reported(member, now));
        Some(reporting.take(ENOUGH).count() == ENOUGH.min(members.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::OrcaWeightedRoundRobin;
    use crate::balance::Orca;
    use crate::policy::testing::{failed, members, shares};
    use crate::policy::{Member, View};
    use crate::{Chance, Feedback, Moment, Query, Report, ReportedLoad};
    use core::time::Duration;
    use std::vec::Vec;

    fn at(seconds: u64) -> Query<'static> {
        Query {
            now: Moment::default().after(Duration::from_secs(seconds)),
            ..Query::default()
        }
    }

    fn report(member: &Member, (utilization, rps, eps): (f32, f32, f32), seconds: u64) {
        let load = Some(ReportedLoad { utilization, rps, eps });
        let report = Report {
            load,
            ..Report::default()
        };
        member.state.reported(&report, at(seconds).now);
    }

    fn counts(members: &[Member], seconds: u64, picks: u32) -> Vec<u32> {
        let mut chance = Chance::new(3);
        let policy = OrcaWeightedRoundRobin::new(members, Orca::DEFAULT, None, &mut chance);
        shares(&policy, &View::new(members, &at(seconds)), &mut chance, picks)
    }

    /// Each within 2 of its share: static stride is not smooth, but never far.
    fn assert_shares(counts: &[u32], weights: &[f64], context: &str) {
        let (picks, total): (u32, f64) = (counts.iter().sum(), weights.iter().sum());
        for (&count, weight) in counts.iter().zip(weights) {
            let due = f64::from(picks) * weight / total;
            // A report is kept to 0.4 %.
            let tolerance = 2.0 + due * 0.01;
            assert!(
                (f64::from(count) - due).abs() <= tolerance,
                "{context}: {counts:?} for {weights:?}"
            );
        }
    }

    #[test]
    fn without_reports_turns_go_by_weight() {
        for weights in [&[1, 1, 1][..], &[5, 1, 1], &[65_535, 1, 300], &[7]] {
            let as_float: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
            assert_shares(&counts(&members(weights), 0, 7_000), &as_float, "configured");
        }
    }

    #[test]
    fn reports_decide_when_their_blackout_is_over() {
        let members = members(&[1, 1, 1, 2]);
        for (member, load) in members.iter().zip([(0.5, 100.0, 0.0), (0.25, 100.0, 0.0)]) {
            report(member, load, 100);
        }
        assert_shares(&counts(&members, 109, 5_000), &[1.0, 1.0, 1.0, 2.0], "in the blackout");
        // Those without a report count as the mean of 200 and 400; the last has twice its weight.
        assert_shares(&counts(&members, 110, 7_000), &[2.0, 4.0, 3.0, 6.0], "reported");
        assert_shares(&counts(&members, 281, 5_000), &[1.0, 1.0, 1.0, 2.0], "expired");
    }

    #[test]
    fn failures_that_are_reported_cost() {
        let members = members(&[1, 1]);
        report(&members[0], (0.5, 100.0, 50.0), 0);
        report(&members[1], (0.5, 100.0, 0.0), 0);
        assert_shares(&counts(&members, 10, 3_000), &[1.0, 2.0], "half failed");
    }

    /// Whatever a failing server says of itself, it loses its turns while it fails.
    #[test]
    fn failures_that_are_seen_cost() {
        let members = members(&[1, 1]);
        report(&members[0], (0.001, 1_000.0, 0.0), 0);
        report(&members[1], (0.5, 100.0, 0.0), 0);
        (0..100_000).for_each(|_| failed(&members[0], Feedback::Failures, at(10).now));
        let counts = counts(&members, 10, 1_000);
        assert!(counts[0] < 100, "seed 3: {counts:?}");
    }

    /// Weights follow within a second, without another policy being made.
    #[test]
    fn weights_are_computed_anew_every_second() {
        let members = members(&[1, 1]);
        let mut chance = Chance::new(3);
        let policy = OrcaWeightedRoundRobin::new(&members, Orca::DEFAULT, None, &mut chance);
        let mut check = |seconds, weights: [f64; 2]| {
            let counts = shares(&policy, &View::new(&members, &at(seconds)), &mut chance, 3_000);
            assert_shares(&counts, &weights, "updated");
        };
        report(&members[0], (0.5, 100.0, 0.0), 5);
        report(&members[1], (0.5, 100.0, 0.0), 5);
        check(15, [1.0, 1.0]);
        report(&members[0], (0.5, 300.0, 0.0), 15);
        check(15, [1.0, 1.0]);
        check(16, [3.0, 1.0]);
        check(0, [3.0, 1.0]);
    }
}
