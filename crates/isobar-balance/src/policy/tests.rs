//! What holds for every algorithm, asked of each by itself: the group would hide that one chose nobody.

use super::{Member, Past, Probes, View, new};
use crate::policy::testing::{answered, failed, members, shares};
use crate::{Balance, Chance, Choices, Moment, Prequal, Query, Report, ReportedLoad};
use alloc::vec::Vec;
use core::time::Duration;
use proptest::prelude::*;

fn query(now: Moment, avoid: &[u32]) -> Query<'_> {
    Query {
        avoid,
        now,
        ..Query::default()
    }
}

/// What can happen to a server.
#[derive(Debug, Clone, Copy)]
enum Event {
    Answer(u64),
    Failure,
    Report(u32),
    Load(u8),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0u64..10_000).prop_map(Event::Answer),
        Just(Event::Failure),
        (0u32..100).prop_map(Event::Report),
        any::<u8>().prop_map(Event::Load),
    ]
}

fn happen(member: &Member, event: Event, balance: Balance, now: Moment) {
    match event {
        Event::Answer(ms) => answered(member, balance.feedback(), Duration::from_millis(ms), now),
        Event::Failure => failed(member, balance.feedback(), now),
        Event::Report(in_flight) => {
            let latency = Some(Duration::from_millis(u64::from(in_flight) * 3));
            let in_flight = Some(in_flight);
            let report = Report {
                in_flight,
                latency,
                load: None,
            };
            member.state.reported(&report, now);
        }
        Event::Load(percent) => {
            let load = Some(ReportedLoad {
                utilization: f32::from(percent) / 100.0,
                rps: 100.0,
                eps: f32::from(percent % 7),
            });
            let report = Report {
                load,
                ..Report::default()
            };
            member.state.reported(&report, now);
        }
    }
}

proptest! {
    /// Whatever was told of the servers, and when, also by a clock that jumps: the choice is eligible, and there is
    /// none only when nobody is. Probes go to members, each once.
    #[test]
    fn chooses_somebody_eligible_whenever_there_is_one(
        balance in prop::sample::select(Balance::ALL),
        servers in prop::collection::vec((1u32..9, 0u32..3, 0u32..4), 1..40),
        events in prop::collection::vec((0usize..40, any_event(), 0u64..30_000), 0..60),
        avoid in prop::collection::vec(0u32..40, 0..5),
        seed: u64,
    ) {
        let weights: Vec<u32> = servers.iter().map(|&(weight, ..)| weight).collect();
        let members = members(&weights);
        for (member, &(_, in_flight, limit)) in members.iter().zip(&servers) {
            assert!((0..in_flight).all(|_| member.state.try_acquire()));
            member.state.set_limit(Some(limit));
        }
        let mut chance = Chance::new(seed);
        let policy = new(balance, &members, Past::default(), &mut chance);
        for (server, event, ms) in events {
            let now = Moment::default().after(Duration::from_millis(ms));
            happen(&members[server % members.len()], event, balance, now);
            let query = query(now, &avoid);
            let view = View::new(&members, &query);
            let chosen = policy.choose(&view, &mut chance);
            match chosen {
                Some(position) => prop_assert!(view.eligible(position)),
                None => prop_assert!((0..members.len()).all(|position| !view.eligible(position))),
            }
            let probed: Vec<u32> = policy.probes(&view, &mut chance).iter().collect();
            let different: std::collections::BTreeSet<u32> = probed.iter().copied().collect();
            prop_assert!(different.len() == probed.len() && probed.len() <= Probes::MOST);
            prop_assert!(probed.iter().all(|&slot| (slot as usize) < members.len()));
            prop_assert!(probed.is_empty() || matches!(balance, Balance::Prequal(_)));
        }
    }
}

/// Requests that stay, none of them answered: every algorithm by load fills servers in proportion to their weights.
#[test]
fn what_stays_is_shared_by_weight() {
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::PowerOfTwo(Choices::DEFAULT),
        Balance::LeastTime,
        Balance::PeakEwma,
        Balance::OrcaWeightedRoundRobin(crate::Orca::DEFAULT),
        Balance::Prequal(Prequal::DEFAULT),
    ] {
        let weights = [5, 3, 2, 1, 1];
        let members = members(&weights);
        let mut chance = Chance::new(12);
        let policy = new(balance, &members, Past::default(), &mut chance);
        let query = Query::default();
        for _ in 0..12 * 100 {
            let chosen = policy.choose(&View::new(&members, &query), &mut chance).unwrap();
            assert!(members[chosen].state.try_acquire());
        }
        for (member, weight) in members.iter().zip(weights) {
            let count = member.state.in_flight();
            assert!(
                count.abs_diff(weight * 100) <= 10,
                "{balance}, seed 12: {count} for {weight}"
            );
        }
    }
}

/// A member that came and left again leaves nothing behind: the choices are those of a tier that never had it.
#[test]
fn adding_and_removing_a_server_restores_the_picks() {
    for &balance in Balance::ALL {
        let run = |between: &dyn Fn(&[Member])| {
            let mut all = members(&[3, 1, 2, 1, 7, 2]);
            all.truncate(5);
            between(&all);
            let mut chance = Chance::new(31);
            let policy = new(balance, &all, Past::default(), &mut chance);
            let query = query(Moment::default().after(Duration::from_secs(60)), &[]);
            let choose = |_| policy.choose(&View::new(&all, &query), &mut chance);
            (0..200).map(choose).collect::<Vec<_>>()
        };
        let with_a_guest = |all: &[Member]| {
            let mut guests = all.to_vec();
            guests.extend(members(&[4]));
            let mut chance = Chance::new(77);
            let policy = new(balance, &guests, Past::default(), &mut chance);
            shares(
                &*policy,
                &View::new(&guests, &query(Moment::default(), &[])),
                &mut chance,
                500,
            );
        };
        assert_eq!(run(&|_| ()), run(&with_a_guest), "{balance}");
    }
}
