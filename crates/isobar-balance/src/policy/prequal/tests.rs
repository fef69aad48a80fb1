//! The rule by its definition, and what is probed.

use super::{Candidate, Candidates, Prequal};
use crate::balance::Prequal as Settings;
use crate::policy::testing::{failed, members};
use crate::policy::{Member, Policy, View};
use crate::{Chance, Feedback, Guesses, Moment, Query, Report};
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::vec::Vec;

fn at(milliseconds: u64) -> Query<'static> {
    Query {
        now: Moment::default().after(Duration::from_millis(milliseconds)),
        ..Query::default()
    }
}

fn report(member: &Member, in_flight: u32, latency_ms: u64, query: &Query<'_>) {
    let report = Report {
        in_flight: Some(in_flight),
        latency: Some(Duration::from_millis(latency_ms)),
        load: None,
    };
    member.state.reported(&report, query.now);
}

/// Candidates by (load, latency).
fn candidates(of: &[(f64, f64)]) -> Candidates {
    let mut candidates = Candidates::default();
    for (position, &(load, latency)) in (0..).zip(of) {
        candidates.add(Some(Candidate {
            position,
            load,
            latency,
            is_charged: false,
        }));
    }
    candidates
}

#[test]
fn the_fastest_of_the_cold_otherwise_the_least_hot() {
    let check = |of: &[(f64, f64)], quantile, expected| {
        let chosen = candidates(of).chosen(quantile).map(|candidate| candidate.position);
        assert_eq!(chosen, expected, "{of:?} at {quantile} %");
    };
    check(&[], 84, None);
    check(&[(1.0, 5.0)], 84, None);
    check(&[(1.0, 5.0), (2.0, 3.0), (9.0, 1.0)], 84, Some(1));
    check(&[(1.0, 5.0), (2.0, 3.0), (9.0, 1.0)], 100, Some(2));
    check(&[(1.0, 5.0), (2.0, 3.0), (9.0, 1.0)], 0, Some(0));
    check(&[(1.0, 5.0), (1.0, 3.0), (9.0, 1.0)], 0, Some(1));
    check(&[(4.0, 5.0), (4.0, 5.0), (4.0, 1.0)], 84, Some(2));
}

#[test]
fn the_worst_is_the_hottest_otherwise_the_slowest() {
    let check = |of: &[(f64, f64)], quantile, expected| {
        assert_eq!(candidates(of).worst(quantile), expected, "{of:?} at {quantile} %");
    };
    check(&[], 84, None);
    check(&[(1.0, 5.0), (2.0, 3.0), (9.0, 1.0)], 50, Some(2));
    check(&[(1.0, 5.0), (1.0, 7.0), (1.0, 1.0)], 84, Some(1));
}

#[test]
fn a_charge_makes_hot() {
    let mut candidates = candidates(&[(5.0, 5.0), (7.0, 9.0)]);
    candidates.add(Some(Candidate {
        position: 9,
        load: 1.0,
        latency: 0.1,
        is_charged: true,
    }));
    assert_eq!(candidates.chosen(100).map(|chosen| chosen.position), Some(0));
    assert_eq!(candidates.worst(100), Some(9));
}

/// A server that is added several times counts once: the quantile is of servers and not of probes.
#[test]
fn a_server_is_a_candidate_once() {
    let mut candidates = candidates(&[(1.0, 1.0), (2.0, 1.0)]);
    for _ in 0..9 {
        candidates.add(Some(Candidate {
            position: 1,
            load: 50.0,
            ..Candidate::default()
        }));
    }
    assert_eq!(candidates.len, 2);
    assert_eq!(candidates.threshold(84), 1.0);
}

/// Fills the pool with servers that all report.
fn warmed(members: &[Member], settings: Settings, query: &Query<'_>) -> Prequal {
    let policy = Prequal::new(members, settings, None);
    let mut chance = Chance::new(8);
    for _ in 0..40 {
        let _probed = policy.probes(&View::new(members, query), &mut chance);
    }
    policy
}

#[test]
fn what_is_probed_are_different_servers_that_did_not_just_report() {
    let members = members(&[1; 50]);
    let policy = Prequal::new(&members, Settings::DEFAULT, None);
    let mut chance = Chance::new(4);
    let mut probed = BTreeSet::new();
    for _ in 0..200 {
        let slots: Vec<u32> = policy
            .probes(&View::new(&members, &at(0)), &mut chance)
            .iter()
            .collect();
        let different: BTreeSet<u32> = slots.iter().copied().collect();
        assert!(slots.len() <= 3 && different.len() == slots.len(), "seed 4: {slots:?}");
        probed.extend(different);
    }
    assert_eq!(probed.len(), 50, "seed 4");
    members.iter().for_each(|member| report(member, 1, 10, &at(0)));
    let asked = |now| {
        policy
            .probes(&View::new(&members, &at(now)), &mut Chance::new(4))
            .iter()
            .count()
    };
    assert_eq!((asked(0), asked(4)), (0, 0));
    assert!(asked(20) > 0);
}

/// Picks go where servers say that they have least, whoever sent it to them; each pick is counted until they say again.
#[test]
fn picks_follow_reports() {
    let members = members(&[1; 64]);
    let query = at(100);
    for (member, in_flight) in members.iter().zip(10..) {
        report(member, in_flight, 10, &query);
    }
    let settings = Settings {
        quantile_percent: Some(0),
        ..Settings::DEFAULT
    };
    let policy = warmed(&members, settings, &query);
    let pooled: BTreeSet<u32> = policy.pool.positions().collect();
    let least = *pooled.first().unwrap() as usize;
    let view = View::new(&members, &query);
    assert_eq!(policy.choose(&view, &mut Chance::new(1)), Some(least));
    let age = Duration::from_secs(1);
    let in_flight = members[least].state.reported_in_flight(query.now, age).unwrap();
    assert_eq!(in_flight as usize, 10 + least + 1);
}

/// Reports that are too old are as good as none: the less loaded of two by what is known here.
#[test]
fn old_reports_do_not_count() {
    let members = members(&[1, 1]);
    report(&members[0], 0, 1, &at(0));
    report(&members[1], 100, 1, &at(0));
    assert!(members[0].state.try_acquire());
    let policy = warmed(&members, Settings::DEFAULT, &at(0));
    let choose = |now| policy.choose(&View::new(&members, &at(now)), &mut Chance::new(1));
    assert_eq!(choose(500), Some(0));
    assert_eq!(choose(1_500), Some(1));
}

/// What the naive estimate makes unstable: a server that was slow when loaded is chosen again when it is idle.
#[test]
fn a_latency_from_loaded_times_does_not_stick() {
    let members = members(&[1, 1]);
    report(&members[0], 99, 1_000, &at(0));
    report(&members[1], 1, 30, &at(0));
    let settings = Settings {
        quantile_percent: Some(100),
        ..Settings::DEFAULT
    };
    let policy = warmed(&members, settings, &at(0));
    let choose = || policy.choose(&View::new(&members, &at(1)), &mut Chance::new(1));
    assert_eq!(choose(), Some(1));
    let idle = Report {
        in_flight: Some(0),
        ..Report::default()
    };
    members[0].state.reported(&idle, at(1).now);
    assert_eq!(choose(), Some(0));
}

/// What is no guess is not counted as one, nor is a choice where there is nothing to choose from.
#[test]
fn choices_without_reports_are_counted() {
    let check = |members: &[Member], now, expected: (u64, Option<bool>)| {
        let guesses = Arc::new(Guesses::default());
        let policy = Prequal::new(members, Settings::DEFAULT, Some(Arc::clone(&guesses)));
        let policy = policy.resumed(&[0, 1], &mut Chance::new(1));
        let view_at = at(now);
        let chosen = policy.choose(&View::new(members, &view_at), &mut Chance::new(1));
        assert!(chosen.is_some());
        let informed = policy.is_informed(members, view_at.now);
        assert_eq!(
            (guesses.number(), informed),
            expected,
            "{} members at {now} ms",
            members.len()
        );
    };
    let three = members(&[1, 1, 1]);
    check(&three, 0, (1, Some(false)));
    three.iter().take(2).for_each(|member| report(member, 5, 10, &at(0)));
    check(&three, 500, (0, Some(true)));
    check(&three, 1_500, (1, Some(false)));
    check(&members(&[1]), 0, (0, Some(false)));
}

/// A pool that ran empty does not make what two servers reported worthless.
#[test]
fn without_candidates_two_that_reported_are_compared() {
    let members = members(&[1, 1]);
    report(&members[0], 50, 10, &at(0));
    report(&members[1], 3, 10, &at(0));
    let guesses = Arc::new(Guesses::default());
    for seed in 0..20 {
        let policy = Prequal::new(&members, Settings::DEFAULT, Some(Arc::clone(&guesses)));
        let chosen = policy.choose(&View::new(&members, &at(10)), &mut Chance::new(seed));
        assert_eq!(chosen, Some(1), "seed {seed}");
    }
    assert_eq!(guesses.number(), 0);
}

#[test]
fn failures_count_against_any_report() {
    let members = members(&[1, 1, 1]);
    let query = at(5);
    members.iter().for_each(|member| report(member, 5, 10, &query));
    report(&members[0], 0, 1, &query);
    failed(&members[0], Feedback::Pace, query.now);
    let policy = warmed(&members, Settings::DEFAULT, &query);
    for seed in 0..50 {
        let view = View::new(&members, &query);
        let chosen = policy.choose(&view, &mut Chance::new(seed)).unwrap();
        let _again = policy.probes(&view, &mut Chance::new(seed));
        assert_ne!(chosen, 0, "seed {seed}");
    }
}
