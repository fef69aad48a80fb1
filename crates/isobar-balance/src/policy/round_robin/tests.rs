//! The sequences against nginx's published ones and against its rule carried out literally.

use super::{LONGEST_CYCLE, RoundRobin, Turns, smooth_cycle};
use crate::policy::testing::{letters, members, shares};
use crate::policy::{Policy, View};
use crate::{Chance, Query};
use alloc::vec::Vec;
use proptest::prelude::*;
use std::vec;

/// The rule as nginx states it, with every account kept: the sequence and the accounts after each step.
fn literally(weights: &[u32], steps: usize) -> Vec<(u32, Vec<i64>)> {
    let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let mut accounts = vec![0; weights.len()];
    let mut step = || {
        accounts
            .iter_mut()
            .zip(weights)
            .for_each(|(account, &weight)| *account += i64::from(weight));
        let largest = *accounts.iter().max().unwrap();
        let first = accounts.iter().position(|&account| account == largest).unwrap();
        accounts[first] -= total;
        (u32::try_from(first).unwrap(), accounts.clone())
    };
    (0..steps).map(|_| step()).collect()
}

fn sequence(turns: &Turns, length: u64) -> Vec<usize> {
    (0..length).map(|turn| turns.at(turn)).collect()
}

/// The table in the message of nginx commit 52327e0.
#[test]
fn the_accounts_nginx_published() {
    let expected = [
        (0, [-2, 1, 1]),
        (0, [-4, 2, 2]),
        (1, [1, -4, 3]),
        (0, [-1, -3, 4]),
        (2, [4, -2, -2]),
        (0, [2, -1, -1]),
        (0, [0, 0, 0]),
    ];
    let actual = literally(&[5, 1, 1], 7);
    assert_eq!(actual, expected.map(|(first, accounts)| (first, accounts.to_vec())));
}

#[test]
fn golden_sequences() {
    let check = |weights: &[u32], expected: &str| {
        let turns = Turns::new(weights);
        assert_eq!(
            letters(sequence(&turns, expected.len() as u64)),
            expected,
            "{weights:?}"
        );
    };
    check(&[1], "aaa");
    check(&[7], "aaa");
    check(&[1, 1, 1], "abcabc");
    check(&[100, 100, 100], "abcabc");
    check(&[5, 1, 1], "aabacaaaabacaa");
    check(&[10, 2, 2], "aabacaaaabacaa");
    check(&[5, 3, 1], "abacababaabacababa");
    check(&[3, 2, 1], "abacba");
    check(&[1, 2], "bab");
    check(&[1, 5], "bbabbb");
}

#[test]
fn equal_weights_need_no_cycle_however_many() {
    assert!(matches!(Turns::new(&vec![9; 10_000]), Turns::Equal(10_000)));
}

#[test]
fn the_cycle_has_a_longest_length() {
    let longest = u32::try_from(LONGEST_CYCLE).unwrap();
    assert!(matches!(Turns::new(&[longest - 1, 1]), Turns::Cycle(_)));
    assert!(matches!(Turns::new(&[longest, 1]), Turns::Golden(_)));
}

/// The largest distance of any member's count from its share after any number of picks up to `picks`.
fn largest_lag(weights: &[u32], picks: u64) -> f64 {
    let turns = Turns::new(weights);
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let mut counts = vec![0.0; weights.len()];
    let mut largest = 0.0f64;
    let mut due = 0.0;
    for turn in 0..picks {
        counts[turns.at(turn)] += 1.0;
        due += 1.0;
        for (count, &weight) in counts.iter().zip(weights) {
            largest = largest.max((count - due * f64::from(weight) / total).abs());
        }
    }
    largest
}

/// Sets of weights that are too long for a cycle; the module's documentation quotes the bound.
#[test]
fn long_sequences_stay_near_their_shares() {
    let check = |weights: &[u32]| {
        assert!(matches!(Turns::new(weights), Turns::Golden(_)));
        let lag = largest_lag(weights, 1_000_000);
        assert!(lag < 4.0, "{weights:?} strays by {lag}");
    };
    check(&[65_535, 1]);
    check(&[65_535, 65_534]);
    check(&[65_535, 65_534, 1]);
    check(&[40_503, 25_033]);
    check(&[10_000, 5_000, 2_500, 1_250, 625, 312]);
    check(&[4_097, 1_009, 503, 251, 127, 61, 31, 13, 7, 3]);
}

#[test]
fn the_start_follows_from_chance() {
    let members = members(&[1; 100]);
    let first = |seed| {
        let mut chance = Chance::new(seed);
        RoundRobin::new(&members, &mut chance)
            .choose(&View::new(&members, &Query::default()), &mut chance)
            .unwrap()
    };
    let starts: std::collections::BTreeSet<usize> = (0..100).map(first).collect();
    assert!(starts.len() > 30, "only {} different starts", starts.len());
    assert_eq!(first(5), first(5));
}

#[test]
fn the_rest_share_a_skipped_turn_by_weight() {
    let check = |weights: &[u32], avoid: &[u32], picks, expected: &[u32]| {
        let members = members(weights);
        let mut chance = Chance::new(3);
        let policy = RoundRobin::new(&members, &mut chance);
        let counts = shares(
            &policy,
            &View::new(&members, &Query::avoiding(avoid)),
            &mut chance,
            picks,
        );
        assert_eq!(counts, expected, "{weights:?} without {avoid:?}");
    };
    check(&[1, 1, 1, 1], &[1], 300, &[100, 0, 100, 100]);
    check(&[5, 3, 1], &[1], 600, &[500, 0, 100]);
    check(&[5, 3, 1], &[0], 400, &[0, 300, 100]);
    check(&[5, 3, 1], &[0, 2], 50, &[0, 50, 0]);
}

#[test]
fn a_heavy_member_that_is_full_is_passed_in_bounded_time() {
    let members = members(&[4_000, 2, 1]);
    let mut chance = Chance::new(3);
    let policy = RoundRobin::new(&members, &mut chance);
    let counts = shares(
        &policy,
        &View::new(&members, &Query::avoiding(&[0])),
        &mut chance,
        30_000,
    );
    assert_eq!(counts[0], 0);
    assert!((19_500..20_500).contains(&counts[1]), "seed 3: {counts:?}");
}

proptest! {
    #[test]
    fn the_cycle_is_nginx_literally(weights in prop::collection::vec(1u32..40, 1..30)) {
        let total: u32 = weights.iter().sum();
        let expected: Vec<u32> = literally(&weights, total as usize).into_iter().map(|(first, _)| first).collect();
        prop_assert_eq!(smooth_cycle(&weights), expected);
    }

    /// Whole cycles give every member exactly its weight, from wherever they start.
    #[test]
    fn shares_over_whole_cycles_are_exact(weights in prop::collection::vec(1u32..60, 1..20), seed: u64) {
        let members = members(&weights);
        let mut chance = Chance::new(seed);
        let policy = RoundRobin::new(&members, &mut chance);
        let counts = shares(&policy, &View::new(&members, &Query::default()), &mut chance, weights.iter().sum());
        prop_assert_eq!(counts, weights);
    }

    #[test]
    fn no_turn_is_out_of_range(weights in prop::collection::vec(1u32..=u32::MAX, 1..20), turn: u64) {
        prop_assert!(Turns::new(&weights).at(turn) < weights.len());
    }
}
