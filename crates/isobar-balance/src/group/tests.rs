//! Tiers, limits and slots already tried, which hold for every algorithm alike.

use super::{Candidate, Group, Pick, Tier};
use crate::{Balance, Chance, Query, ServerState};
use alloc::sync::Arc;
use alloc::vec::Vec;
use proptest::prelude::*;

use Tier::Backup;

#[allow(non_upper_case_globals, reason = "stands beside `Backup`")]
const Primary: Tier = Tier::PRIMARY;

/// A server as a test writes it: weight, limit, requests in flight, tier.
type Server = (u32, Option<u32>, u32, Tier);

/// Candidates whose slots are 100, 101 and so on, so that none is mistaken for a position.
fn candidates(servers: &[Server]) -> Vec<Candidate> {
    let candidate = |(slot, &(weight, limit, in_flight, tier)): (u32, &Server)| {
        let state = Arc::new(ServerState::new(None));
        assert!((0..in_flight).all(|_| state.try_acquire()));
        state.set_limit(limit);
        Candidate {
            weight,
            tier,
            ..Candidate::new(slot, u64::from(slot), state)
        }
    };
    (100..).zip(servers).map(candidate).collect()
}

/// What every algorithm may answer: one of these slots of this tier, or nothing for the given reason.
enum Expected<'a> {
    OneOf(Tier, &'a [u32]),
    Nothing(Pick),
}

fn check(servers: &[Server], avoid: &[u32], expected: &Expected<'_>) {
    for &balance in Balance::ALL {
        for seed in 0..20 {
            let group = Group::new(balance, candidates(servers), seed);
            let pick = group.pick(&Query::avoiding(avoid), &mut Chance::new(seed));
            let right = match *expected {
                Expected::OneOf(tier, slots) => slots.iter().any(|&slot| pick == Pick::Server { slot, tier }),
                Expected::Nothing(nothing) => pick == nothing,
            };
            assert!(
                right,
                "{balance}, seed {seed}: {servers:?} without {avoid:?} gave {pick:?}"
            );
        }
    }
}

#[test]
fn primaries_come_before_backups() {
    let one_of = |servers: &[Server], avoid: &[u32], tier, slots: &[u32]| {
        check(servers, avoid, &Expected::OneOf(tier, slots));
    };
    one_of(&[(1, None, 0, Primary)], &[], Primary, &[100]);
    one_of(&[(1, None, 9, Primary), (1, None, 0, Backup)], &[], Primary, &[100]);
    one_of(&[(1, None, 0, Backup)], &[], Backup, &[100]);
    one_of(&[(0, None, 0, Primary), (1, None, 0, Backup)], &[], Backup, &[101]);
    one_of(&[(1, None, 0, Primary), (1, None, 0, Backup)], &[100], Backup, &[101]);
    one_of(
        &[(1, None, 0, Primary), (1, None, 0, Primary), (1, None, 0, Backup)],
        &[100],
        Primary,
        &[101],
    );
}

#[test]
fn full_servers_are_passed_over() {
    let one_of = |servers: &[Server], avoid: &[u32], slots: &[u32]| {
        check(servers, avoid, &Expected::OneOf(Primary, slots));
    };
    one_of(&[(1, Some(1), 1, Primary), (1, Some(1), 0, Primary)], &[], &[101]);
    one_of(&[(9, Some(3), 3, Primary), (1, None, 50, Primary)], &[], &[101]);
    one_of(
        &[(1, Some(0), 0, Primary), (1, None, 0, Primary), (1, None, 0, Primary)],
        &[101],
        &[102],
    );
}

#[test]
fn full_or_none_available() {
    let nothing = |servers: &[Server], avoid: &[u32], pick| check(servers, avoid, &Expected::Nothing(pick));
    nothing(&[], &[], Pick::NoneAvailable);
    nothing(&[(0, None, 0, Primary)], &[], Pick::NoneAvailable);
    nothing(&[(0, None, 0, Primary), (0, None, 0, Backup)], &[], Pick::NoneAvailable);
    nothing(&[(1, None, 0, Primary)], &[100], Pick::NoneAvailable);
    nothing(&[(1, Some(2), 2, Primary)], &[], Pick::Full);
    nothing(&[(1, Some(2), 3, Primary)], &[], Pick::Full);
    nothing(&[(1, Some(2), 2, Primary)], &[100], Pick::NoneAvailable);
    nothing(&[(1, Some(1), 1, Primary), (1, None, 0, Backup)], &[], Pick::Full);
    nothing(&[(1, Some(1), 1, Primary), (1, Some(1), 1, Backup)], &[100], Pick::Full);
    nothing(&[(1, Some(1), 1, Primary), (1, None, 0, Primary)], &[101], Pick::Full);
    nothing(
        &[(1, None, 0, Primary), (1, None, 0, Backup)],
        &[101, 100],
        Pick::NoneAvailable,
    );
}

#[test]
fn is_empty() {
    let check = |servers: &[Server], expected| {
        assert_eq!(
            Group::new(Balance::RoundRobin, candidates(servers), 1).is_empty(),
            expected,
            "{servers:?}"
        );
    };
    check(&[], true);
    check(&[(0, None, 0, Primary)], true);
    check(&[(1, Some(0), 0, Primary)], false);
    check(&[(1, None, 0, Backup)], false);
}

#[test]
fn a_pick_takes_one_place_and_a_new_group_sees_it() {
    for &balance in Balance::ALL {
        let servers = candidates(&[(1, Some(1), 0, Primary)]);
        let mut chance = Chance::new(1);
        let server = Pick::Server {
            slot: 100,
            tier: Primary,
        };
        assert_eq!(
            Group::new(balance, servers.clone(), 1).pick(&Query::default(), &mut chance),
            server
        );
        assert_eq!(servers[0].state.in_flight(), 1);
        let rebuilt = Group::new(balance, servers.clone(), 2);
        assert_eq!(rebuilt.pick(&Query::default(), &mut chance), Pick::Full);
        servers[0].state.release();
        assert_eq!(rebuilt.pick(&Query::default(), &mut chance), server);
    }
}

/// The servers a rule allows, found without any algorithm: those of the tier in use that have room; whether that
/// tier has any server at all.
fn allowed(servers: &[Candidate], avoid: &[u32]) -> (Vec<u32>, bool) {
    let of_tier = |tier| {
        let untried =
            move |server: &&Candidate| server.tier == tier && server.weight > 0 && !avoid.contains(&server.slot);
        servers.iter().filter(untried).collect::<Vec<_>>()
    };
    let primaries = of_tier(Primary);
    let tier = if primaries.is_empty() {
        of_tier(Backup)
    } else {
        primaries
    };
    let with_room = tier
        .iter()
        .filter(|server| !server.state.is_full())
        .map(|server| server.slot)
        .collect();
    (with_room, !tier.is_empty())
}

fn any_server() -> impl Strategy<Value = Server> {
    let tier = prop_oneof![3 => Just(Primary), 1 => Just(Backup)];
    (0u32..6, prop::option::of(0u32..4), 0u32..5, tier)
}

proptest! {
    /// Picks until nothing is left: each is allowed, takes exactly one place, and the end is told truly.
    #[test]
    fn never_a_server_that_may_not_be_picked(
        servers in prop::collection::vec(any_server(), 0..12),
        avoid in prop::collection::vec(98u32..112, 0..6),
        balance in prop::sample::select(Balance::ALL),
        seed: u64,
    ) {
        let servers = candidates(&servers);
        let group = Group::new(balance, servers.clone(), seed);
        let mut chance = Chance::new(seed);
        for _ in 0..40 {
            let (with_room, some_left) = allowed(&servers, &avoid);
            let counts = || servers.iter().map(|server| server.state.in_flight()).sum::<u32>();
            let before = counts();
            match group.pick(&Query::avoiding(&avoid), &mut chance) {
                Pick::Server { slot, tier } => {
                    prop_assert!(with_room.contains(&slot));
                    prop_assert_eq!(servers.iter().find(|server| server.slot == slot).unwrap().tier, tier);
                    prop_assert_eq!(counts(), before + 1);
                }
                Pick::Full => {
                    prop_assert!(with_room.is_empty() && some_left);
                    break;
                }
                Pick::NoneAvailable => {
                    prop_assert!(!some_left);
                    break;
                }
            }
        }
    }
}

mod arrangements;
mod bounds;
mod reports;
