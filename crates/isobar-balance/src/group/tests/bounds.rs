//! Bounds on the load: never passed, and never in the way of a request that has a place elsewhere.

use crate::group::{Candidate, Group, Pick};
use crate::mix::mix;
use crate::{Arrangement, Balance, Bound, Chance, Query, ServerState, Tally};
use alloc::sync::Arc;
use alloc::vec::Vec;
use proptest::prelude::*;

const KEYED: [Balance; 5] = [
    Balance::RingHash,
    Balance::Ketama,
    Balance::Maglev,
    Balance::Rendezvous,
    Balance::Memento,
];

/// Servers with these weights, counted in a tally where there is one.
fn candidates(weights: &[u32], tally: Option<&Arc<Tally>>) -> Vec<Candidate> {
    let candidate = |(slot, &weight)| {
        let state = match tally {
            Some(tally) => ServerState::counted_in(Arc::clone(tally), None),
            None => ServerState::new(None),
        };
        Candidate {
            weight,
            ..Candidate::new(slot, mix(u64::from(slot), 4), Arc::new(state))
        }
    };
    (0..).zip(weights).map(candidate).collect()
}

fn bounded(balance: Balance, percent: u32) -> Arrangement {
    Arrangement {
        bound: Some(Bound { percent }),
        ..Arrangement::new(balance)
    }
}

fn keyed(key: u64) -> Query<'static> {
    Query {
        key: Some(key),
        ..Query::default()
    }
}

/// The cap by its definition.
fn cap(percent: u32, in_flight: u32, weight: u32, weights: u32) -> u32 {
    (percent * in_flight * weight).div_ceil(100 * weights)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Requests come, most with the same key, and go; whoever takes one is within its cap then. Nobody is turned away.
    #[test]
    fn a_take_is_never_above_the_cap(
        weights in prop::collection::vec(1u32..9, 1..10),
        percent in 100u32..300,
        balance in prop::sample::select(&KEYED[..]),
        counted: bool,
        seed: u64,
    ) {
        let tally = Arc::new(Tally::new());
        let servers = candidates(&weights, counted.then_some(&tally));
        let group = Group::new(bounded(balance, percent), servers.clone(), seed);
        let mut chance = Chance::new(seed);
        let mut held: Vec<u32> = Vec::new();
        let total: u32 = weights.iter().sum();
        for _ in 0..300 {
            if chance.below(3) == 0 && !held.is_empty() {
                let slot = held.swap_remove(chance.index(held.len()));
                servers[slot as usize].state.release();
                continue;
            }
            let key = if chance.below(2) == 0 { 1 } else { chance.bits() };
            let pick = group.pick(&keyed(key), &mut chance);
            let Pick::Server { slot, .. } = pick else {
                return Err(TestCaseError::fail(std::format!("{pick:?}")));
            };
            held.push(slot);
            let in_flight = u32::try_from(held.len()).unwrap();
            let most = cap(percent, in_flight, weights[slot as usize], total);
            prop_assert!(servers[slot as usize].state.in_flight() <= most, "{} above {}", balance, most);
            if counted {
                prop_assert_eq!(tally.in_flight(), held.len() as u64);
            }
        }
    }

    /// With and without a tally the picks are the same.
    #[test]
    fn a_tally_changes_nothing(weights in prop::collection::vec(1u32..9, 1..10), balance in prop::sample::select(&KEYED[..])) {
        let tally = Arc::new(Tally::new());
        let (counted, scanned) = (candidates(&weights, Some(&tally)), candidates(&weights, None));
        let groups = [counted, scanned].map(|servers| Group::new(bounded(balance, 125), servers, 1));
        for number in 0..200 {
            let [counted, scanned] = [0, 1].map(|at| groups[at].pick(&keyed(number % 10), &mut Chance::new(number)));
            prop_assert_eq!(counted, scanned);
        }
    }
}

/// One key alone: no server has more than its share, and the key's first choice has all of that.
#[test]
fn one_hot_key_fills_its_server_up_to_the_cap_and_spreads() {
    for balance in KEYED {
        let servers = candidates(&[1; 10], None);
        let group = Group::new(bounded(balance, 150), servers.clone(), 1);
        for _ in 0..1000 {
            assert!(matches!(
                group.pick(&keyed(5), &mut Chance::new(1)),
                Pick::Server { .. }
            ));
        }
        let counts: Vec<u32> = servers.iter().map(|server| server.state.in_flight()).collect();
        assert_eq!(counts.iter().max(), Some(&150), "{balance}: {counts:?}");
    }
}

/// A retry waits for room rather than pass the bound of who is left, and says so by `room` alike.
#[test]
fn a_retry_passes_no_bound() {
    for balance in KEYED {
        let servers = candidates(&[1, 1], None);
        let group = Group::new(bounded(balance, 125), servers.clone(), 1);
        (0..7).for_each(|_| assert!(servers[1].state.try_acquire()));
        (0..3).for_each(|_| assert!(servers[0].state.try_acquire()));
        let retry = Query {
            key: Some(1),
            ..Query::avoiding(&[0])
        };
        // ceil(1.25 * 11 / 2) = 7 are in flight there already.
        assert_eq!(group.pick(&retry, &mut Chance::new(1)), Pick::Full, "{balance}");
        assert_eq!((group.room(&[0]), group.room(&[1])), (Some(0), Some(4)), "{balance}");
        servers[1].state.release();
        assert_eq!(group.room(&[0]), Some(1), "ceil(1.25 * 10 / 2) is 7 still");
        assert!(matches!(
            group.pick(&retry, &mut Chance::new(1)),
            Pick::Server { slot: 1, .. }
        ));
    }
}

/// Other algorithms take no bound, and less than everybody's share is everybody's share.
#[test]
fn bounds_that_bound_nothing() {
    let servers = candidates(&[1, 1], None);
    let group = Group::new(bounded(Balance::Random, 100), servers, 1);
    for _ in 0..100 {
        assert!(matches!(
            group.pick(&Query::avoiding(&[0]), &mut Chance::new(1)),
            Pick::Server { slot: 1, .. }
        ));
    }
    let servers = candidates(&[1, 1], None);
    let group = Group::new(bounded(Balance::Maglev, 0), servers.clone(), 1);
    for _ in 0..100 {
        assert!(matches!(
            group.pick(&keyed(1), &mut Chance::new(1)),
            Pick::Server { .. }
        ));
    }
    assert_eq!(servers[0].state.in_flight(), 50);
}
