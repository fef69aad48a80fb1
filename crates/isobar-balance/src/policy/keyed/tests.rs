//! What all algorithms by key promise, and each against an implementation of its own kind: outside ones where their
//! answers are to agree, and literal ones where a paper defines them.

pub(super) mod reference;

use super::{Cap, Keyed, Maglev, Memento, Ring, ketama_key, rendezvous};
use crate::mix::mix;
use crate::policy::testing::chi_square;
use crate::policy::{Member, Policy, View};
use crate::{Balance, Chance, Query, ServerState, Warmth};
use alloc::sync::Arc;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec;

const KEYED: [Balance; 5] = [
    Balance::RingHash,
    Balance::Ketama,
    Balance::Maglev,
    Balance::Rendezvous,
    Balance::Memento,
];

/// Members with these ids and weights, without a limit; slots are positions.
fn members(servers: &[(u64, u32)]) -> Vec<Member> {
    let member = |(slot, &(id, weight))| Member {
        slot,
        id,
        label: None,
        weight,
        warmth: Warmth::FULL,
        available: true,
        state: Arc::new(ServerState::new(None)),
    };
    (0..).zip(servers).map(member).collect()
}

fn equal(count: u64) -> Vec<Member> {
    members(&(0..count).map(|id| (mix(id, 99), 1)).collect::<Vec<_>>())
}

fn choose_avoiding(keyed: &Keyed, members: &[Member], key: u64, avoid: &[u32]) -> Option<usize> {
    let query = Query {
        key: Some(key),
        ..Query::avoiding(avoid)
    };
    keyed.choose(&View::new(members, &query), &mut Chance::new(1))
}

/// The id of the member a key is sent to.
fn id_for(keyed: &Keyed, members: &[Member], key: u64) -> u64 {
    members[choose_avoiding(keyed, members, key, &[]).unwrap()].id
}

/// Keys as a caller makes them: hashes.
fn keys(count: u64) -> impl Iterator<Item = u64> + Clone {
    (0..count).map(|number| mix(number, 7))
}

/// How many of the keys each member gets.
fn counts(keyed: &Keyed, members: &[Member], count: u64) -> Vec<u32> {
    let mut counts = vec![0; members.len()];
    for key in keys(count) {
        counts[choose_avoiding(keyed, members, key, &[]).unwrap()] += 1;
    }
    counts
}

/// The 0.999 quantile of chi-square by the Wilson-Hilferty approximation, good to 1 % from two degrees of freedom on.
fn critical(degrees: usize) -> f64 {
    let degrees = degrees as f64;
    let part = 2.0 / (9.0 * degrees);
    degrees * (1.0 - part + 3.0902 * part.sqrt()).powi(3)
}

/// The algorithms whose shares are exact: what is left is the chance of the keys, which chi-square knows.
#[test]
fn rendezvous_and_memento_share_exactly_by_weight() {
    let check = |weights: &[u32], count: u64| {
        let servers: Vec<(u64, u32)> = (0..).map(|id| mix(id, 3)).zip(weights.iter().copied()).collect();
        let members = members(&servers);
        for balance in [Balance::Rendezvous, Balance::Memento] {
            let keyed = Keyed::new(balance, &members, None);
            let counts = counts(&keyed, &members, count);
            let statistic = chi_square(&counts, weights);
            let critical = critical(weights.len() - 1);
            assert!(
                statistic < critical,
                "{balance}: {counts:?} for {weights:?} has {statistic}"
            );
        }
    };
    check(&[1; 3], 30_000);
    check(&[1; 40], 40_000);
    check(&[5, 3, 1], 30_000);
    check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 30_000);
    check(&[1000, 10, 1], 200_000);
}

/// Equal weights differ by one entry at most, as in the paper; unequal ones are within two of their part.
#[test]
fn maglev_shares_by_entry() {
    let check = |weights: &[u32], tolerance: f64| {
        let servers: Vec<(u64, u32)> = (0..).map(|id| mix(id, 3)).zip(weights.iter().copied()).collect();
        let maglev = Maglev::new(&members(&servers));
        let mut counts = vec![0u32; weights.len()];
        maglev
            .table()
            .iter()
            .for_each(|&position| counts[position as usize] += 1);
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        for (&count, &weight) in counts.iter().zip(weights) {
            let part = maglev.table().len() as f64 * f64::from(weight) / total;
            let off = (f64::from(count) - part).abs();
            assert!(
                off <= tolerance.max(part * 0.01),
                "{count} entries for weight {weight}, due {part}"
            );
            assert!(count > 0);
        }
    };
    check(&[1], 0.0);
    check(&[7, 7, 7], 1.0);
    check(&[1; 655], 1.0);
    check(&[5, 3, 1], 2.0);
    check(&[65_535, 1, 1, 1], 2.0);
    check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 2.0);
}

#[test]
fn maglev_tables_have_a_hundred_entries_a_member_up_to_a_cap() {
    let len = |count| Maglev::new(&equal(count)).table().len();
    assert_eq!((len(0), len(1), len(655), len(656)), (0, 65_537, 65_537, 1_048_583));
}

/// With `v` points each, the shares of the ring itself vary by `sqrt((n - 1) / (n v + 1))`; measured from 200,000 keys,
/// to a quarter of it, which is four standard errors at 60 members.
#[test]
fn rings_vary_as_theory_says() {
    let check = |balance, points: f64| {
        let count = 60.0f64;
        let members = equal(60);
        let keyed = Keyed::new(balance, &members, None);
        let counts = counts(&keyed, &members, 200_000);
        let mean = 200_000.0 / count;
        let squares: f64 = counts.iter().map(|&keys| (f64::from(keys) - mean).powi(2)).sum();
        // The keys' own chance is part of what is measured.
        let measured = ((squares / count) / mean.powi(2) - 1.0 / mean).sqrt();
        let expected = ((count - 1.0) / (count * points + 1.0)).sqrt();
        let ratio = measured / expected;
        assert!(
            (0.75..1.25).contains(&ratio),
            "{balance}: {measured}, expected {expected}"
        );
    };
    check(Balance::RingHash, 128.0);
    check(Balance::Ketama, 160.0);
}

#[test]
fn rings_have_points_by_weight_up_to_a_cap() {
    let len = |weights: &[u32]| {
        let servers: Vec<(u64, u32)> = (0..).zip(weights.iter().copied()).collect();
        Ring::new(&members(&servers)).len()
    };
    assert_eq!(len(&[1]), 128);
    assert_eq!(len(&[1, 5, 10]), 16 * 128);
    assert_eq!(len(&[]), 0);
    let halvings = super::ring::halvings;
    assert_eq!([0, 1, 16_384, 16_385, 32_768, 32_769].map(halvings), [0, 0, 0, 1, 1, 2]);
    assert_eq!(halvings(u64::from(u32::MAX) * 10_000), 32);
}

/// A weight that is nothing beside another has a point, a bucket, an entry nevertheless.
#[test]
fn the_lightest_is_somewhere() {
    let members = members(&[(5, 65_535), (6, 65_535), (7, 1)]);
    assert!(Maglev::new(&members).table().contains(&2));
    let memento = Memento::new(&members);
    assert!((0..3_000_000).any(|key| memento.lookup(mix(key, 1)) == 2));
    assert_eq!(super::ring::points(1, 20), 1);
    for balance in [Balance::Maglev, Balance::Rendezvous, Balance::Memento] {
        let keyed = Keyed::new(balance, &members, None);
        assert_eq!(choose_avoiding(&keyed, &members, 3, &[0, 1]), Some(2), "{balance}");
    }
}

/// The list that a test permutes and thins out: ids and weights without a pattern.
fn any_servers() -> impl Strategy<Value = Vec<(u64, u32)>> {
    prop::collection::vec((any::<u64>(), 1u32..8), 2..12).prop_filter("distinct ids", |servers| {
        servers.iter().map(|&(id, _)| id).collect::<BTreeSet<_>>().len() == servers.len()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whoever becomes unavailable moves its own keys and no others, and gets exactly these back.
    #[test]
    fn a_member_that_is_away_moves_its_own_keys_only(servers in any_servers(), away: prop::sample::Index, others: u16) {
        for balance in KEYED {
            let mut members = members(&servers);
            let away = away.index(members.len());
            // Some others are away before and after.
            for (at, member) in members.iter_mut().enumerate() {
                member.available = at == away || at == (away + 1) % servers.len() || others >> at & 1 == 1;
            }
            let keyed = Keyed::new(balance, &members, None);
            let before: Vec<u64> = keys(500).map(|key| id_for(&keyed, &members, key)).collect();
            let gone = members[away].id;
            members[away].available = false;
            for (key, &id) in keys(500).zip(&before) {
                let now = id_for(&keyed, &members, key);
                prop_assert!(now != gone && (id == gone || now == id), "{}: {} -> {}", balance, id, now);
            }
            members[away].available = true;
            let after: Vec<u64> = keys(500).map(|key| id_for(&keyed, &members, key)).collect();
            prop_assert_eq!(before, after);
        }
    }

    /// A retry goes to another member while there is one, then to a third, and so on; each exactly where the key would
    /// go if those tried were away.
    #[test]
    fn a_retry_goes_where_the_key_goes_without_those_tried(servers in any_servers(), key: u64) {
        for balance in KEYED {
            let mut members = members(&servers);
            let keyed = Keyed::new(balance, &members, None);
            let mut tried = Vec::new();
            for _ in 0..servers.len() {
                let next = choose_avoiding(&keyed, &members, key, &tried);
                prop_assert_eq!(next, choose_avoiding(&keyed, &members, key, &[]), "{}", balance);
                let next = next.unwrap();
                prop_assert!(members[next].available);
                members[next].available = false;
                tried.push(members[next].slot);
            }
            members.iter_mut().for_each(|member| member.available = true);
            prop_assert_eq!(choose_avoiding(&keyed, &members, key, &tried), None);
        }
    }

    /// In the configuration too: of a ring, rendezvous and memento a server that comes takes keys and moves none between
    /// others, and one that goes leaves everything as it was before it came. Memento needs to be told what was before.
    #[test]
    fn who_comes_takes_and_who_goes_gives_back(servers in any_servers(), new: (u64, u32), at: prop::sample::Index) {
        let new = (new.0, new.1 % 8 + 1);
        prop_assume!(servers.iter().all(|&(id, _)| id != new.0));
        for balance in [Balance::RingHash, Balance::Rendezvous, Balance::Memento] {
            let few = members(&servers);
            let mut all = servers.clone();
            all.insert(at.index(servers.len() + 1), new);
            let many = members(&all);
            let first = Keyed::new(balance, &few, None);
            let second = Keyed::new(balance, &many, Some((&first, &few)));
            let third = Keyed::new(balance, &few, Some((&second, &many)));
            for key in keys(500) {
                let before = id_for(&first, &few, key);
                let between = id_for(&second, &many, key);
                prop_assert!(between == before || between == new.0, "{}: {} -> {}", balance, before, between);
                prop_assert_eq!(id_for(&third, &few, key), before, "{}", balance);
            }
        }
    }

    /// And the other way round, with several at once.
    #[test]
    fn who_goes_leaves_the_others_their_keys(servers in any_servers(), stay: u16) {
        let kept: Vec<(u64, u32)> =
            (0..).zip(&servers).filter(|(at, _)| *at == 0 || stay >> at & 1 == 1).map(|(_, &server)| server).collect();
        for balance in [Balance::RingHash, Balance::Rendezvous, Balance::Memento] {
            let (all, few) = (members(&servers), members(&kept));
            let first = Keyed::new(balance, &all, None);
            let second = Keyed::new(balance, &few, Some((&first, &all)));
            for key in keys(500) {
                let before = id_for(&first, &all, key);
                let after = id_for(&second, &few, key);
                let stayed = kept.iter().any(|&(id, _)| id == before);
                prop_assert!(!stayed || after == before, "{}: {} -> {}", balance, before, after);
            }
        }
    }

    /// The order in which servers are listed means nothing, except to memento, for which it is the beginning of history.
    #[test]
    fn order_means_nothing(servers in any_servers(), turn: prop::sample::Index) {
        for balance in [Balance::RingHash, Balance::Ketama, Balance::Maglev, Balance::Rendezvous] {
            let listed = members(&servers);
            let mut turned = servers.clone();
            turned.rotate_left(turn.index(servers.len()));
            turned.swap(0, 1);
            let turned = members(&turned);
            let (one, other) = (Keyed::new(balance, &listed, None), Keyed::new(balance, &turned, None));
            for key in keys(200) {
                prop_assert_eq!(id_for(&one, &listed, key), id_for(&other, &turned, key), "{}", balance);
            }
        }
    }

    /// Rings are a map of points, and rendezvous a comparison of logarithms, however they are made fast.
    #[test]
    fn rings_and_rendezvous_are_their_definitions(servers in any_servers()) {
        let members = members(&servers);
        let points = reference::ring(&servers, 128);
        let ring = Keyed::new(Balance::RingHash, &members, None);
        let rendezvous = Keyed::new(Balance::Rendezvous, &members, None);
        for key in keys(500) {
            prop_assert_eq!(id_for(&ring, &members, key), reference::on_ring(&points, key));
            prop_assert_eq!(id_for(&rendezvous, &members, key), reference::rendezvous(&servers, key));
        }
    }

    /// A weight that grows takes keys, one that shrinks gives them; between the others nothing moves.
    #[test]
    fn a_weight_moves_its_own_keys_only(servers in any_servers(), at: prop::sample::Index, weight in 1u32..12) {
        let at = at.index(servers.len());
        for balance in [Balance::RingHash, Balance::Rendezvous, Balance::Memento] {
            let mut changed = servers.clone();
            changed[at].1 = weight;
            let (old, new) = (members(&servers), members(&changed));
            let first = Keyed::new(balance, &old, None);
            let second = Keyed::new(balance, &new, Some((&first, &old)));
            for key in keys(300) {
                let (before, after) = (id_for(&first, &old, key), id_for(&second, &new, key));
                let own = servers[at].0;
                let right = match weight.cmp(&servers[at].1) {
                    core::cmp::Ordering::Greater => after == before || after == own,
                    core::cmp::Ordering::Less => after == before || before == own,
                    core::cmp::Ordering::Equal => after == before,
                };
                prop_assert!(right, "{}: {} -> {}", balance, before, after);
            }
        }
    }

    /// As a new member warms up, keys come to it and none leaves; how many is its warmth.
    #[test]
    fn warming_up_moves_keys_one_way(servers in any_servers()) {
        for balance in KEYED {
            let mut members = members(&servers);
            let keyed = Keyed::new(balance, &members, None);
            let whole = keys(300).filter(|&key| choose_avoiding(&keyed, &members, key, &[]) == Some(0)).count();
            let mut last = BTreeSet::new();
            for thousandths in [1, 250, 500, 750, 1000] {
                members[0].warmth = Warmth::new(thousandths);
                let own = |&key: &u64| choose_avoiding(&keyed, &members, key, &[]) == Some(0);
                let now: BTreeSet<u64> = keys(300).filter(own).collect();
                prop_assert!(last.is_subset(&now), "{}", balance);
                let due = whole as f64 * f64::from(thousandths) / 1000.0;
                let off = (now.len() as f64 - due).abs();
                // Bernstein's inequality, for one time in ten millions: few keys are further off than the square root says.
                let likely = (36.0 * due).sqrt() + 6.0;
                prop_assert!(off <= likely, "{}: {} of {}", balance, now.len(), whole);
                last = now;
            }
            prop_assert_eq!(last.len(), whole);
        }
    }
}

/// Maglev is the paper's pseudo-code, carried out literally.
#[test]
fn maglev_is_the_papers_pseudo_code() {
    for count in [1, 2, 3, 7, 100] {
        let members = equal(count);
        let mut ids: Vec<(u64, usize)> = members.iter().map(|member| member.id).zip(0..).collect();
        ids.sort_unstable();
        let orders: Vec<(u64, u64)> = ids
            .iter()
            .map(|&(id, _)| (mix(id, 1) % 65_537, mix(id, 2) % 65_536 + 1))
            .collect();
        let expected: Vec<usize> = reference::maglev(&orders, 65_537)
            .into_iter()
            .map(|at| ids[at].1)
            .collect();
        let maglev = Maglev::new(&members);
        let actual: Vec<usize> = maglev.table().iter().map(|&position| position as usize).collect();
        assert!(actual == expected, "{count} members");
    }
}

/// A member that leaves the configuration moves its own entries, and a few of the others'. The tables are those of the
/// paper's pseudo-code, and so is what moves; the bound is near what is measured.
#[test]
fn maglev_moves_little_else() {
    let members = equal(100);
    let before = Maglev::new(&members);
    let fewer = &members[..99];
    let after = Maglev::new(fewer);
    let pairs = before.table().iter().zip(after.table());
    let moved = pairs.clone().filter(|&(&old, &new)| old != 99 && old != new).count();
    let part = moved as f64 / before.table().len() as f64;
    assert!(part < 0.01, "{part} of the entries moved between members that stayed");
    assert!(moved > 0, "the paper's algorithm moves some");
}

/// What libmemcached answers, for keys `key-0`, `key-1` and so on: servers as letters in the order given.
///
/// Made with libmemcached 1.1.4 (Debian 12) by a C program that sets `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` and
/// `MEMCACHED_BEHAVIOR_KETAMA_HASH` to `MEMCACHED_HASH_MD5`, adds the servers with
/// `memcached_server_add_with_weight` and prints `memcached_server_by_key`. No server needs to run for that.
#[test]
fn ketama_is_libmemcacheds() {
    let check = |servers: &[(&str, u32)], expected: &str| {
        let ids: Vec<(u64, u32)> = (0..).zip(servers).map(|(id, &(_, weight))| (id, weight)).collect();
        let mut members = members(&ids);
        for (member, (label, _)) in members.iter_mut().zip(servers) {
            member.label = Some((*label).into());
        }
        let keyed = Keyed::new(Balance::Ketama, &members, None);
        let letter = |number| {
            let key = ketama_key(std::format!("key-{number}").as_bytes());
            let chosen = choose_avoiding(&keyed, &members, key, &[]).unwrap();
            char::from(b'a' + u8::try_from(chosen).unwrap())
        };
        let actual: std::string::String = (0..expected.len()).map(letter).collect();
        assert_eq!(actual, expected, "{servers:?}");
    };
    check(
        &[("10.0.1.1", 1), ("10.0.1.2", 1), ("10.0.1.3", 1)],
        "cccccbcccbacabababcbcbcccacabaabbabcbcaaaabcabbbaacababbabbcbaacabcbabacaaabcaccaaabcbbcccbabcaa",
    );
    check(
        &[("10.0.1.1:8080", 5), ("10.0.1.2:8080", 3), ("10.0.1.3:8080", 1)],
        "baacccabbaaacbaabaacaaabcbacbabbaaaaaaaabaaaaaaaaababcbcaaabcabbaaaacbacacaabbabcaaaaabababaaaaa",
    );
    check(
        &[
            ("cache-a", 100),
            ("cache-b", 100),
            ("cache-c:11212", 100),
            ("cache-d", 37),
            ("cache-e", 1),
        ],
        "cabccaaaaccacdacdcccacabbccbcdacabaccbcbcbcaadcccbbbaccbacbccaddaccabacccadbadababbcbcacdadcdbbc",
    );
    check(
        &[("10.0.1.1", 3), ("10.0.1.2", 7)],
        "baaaabbbbbaaabbbabbbbbababaabaabbbbabaabbbbabbbbabbbbabbabbbbabaabbbabbabbbbbabaababbbbabbbbbbba",
    );
    let labels: Vec<std::string::String> = (1..=26).map(|number| std::format!("s{number}.example")).collect();
    let many: Vec<(&str, u32)> = labels
        .iter()
        .map(std::string::String::as_str)
        .zip((1..=26).map(|n| n % 4 + 1))
        .collect();
    check(
        &many,
        "ysozmavwcvggnrwfajcbojkywzlwnyrfgjaviigzhgeeckbseixovnctzknwhjglwffekzgzcodgfoqioocppjousqsgqvgp",
    );
}

/// Keys without a pattern go everywhere, in the shares of the algorithm; to six standard deviations of the ring's.
#[test]
fn without_a_key_it_is_chance() {
    for balance in KEYED {
        let members = members(&[(11, 1), (12, 2), (13, 1)]);
        let keyed = Keyed::new(balance, &members, None);
        let mut chance = Chance::new(5);
        let mut counts = [0u32; 3];
        for _ in 0..4_000 {
            counts[keyed
                .choose(&View::new(&members, &Query::default()), &mut chance)
                .unwrap()] += 1;
        }
        assert!((1_200..2_800).contains(&counts[1]), "{balance}, seed 5: {counts:?}");
        assert!(counts[0] > 500 && counts[2] > 500, "{balance}, seed 5: {counts:?}");
    }
}

/// The keys of a member that is full spread over the others as their weights say, and do not fall to one of them.
#[test]
fn overflow_spreads() {
    for balance in KEYED {
        let members = equal(5);
        let keyed = Keyed::new(balance, &members, None);
        members[2].state.set_limit(Some(0));
        let counts = counts(&keyed, &members, 20_000);
        assert_eq!(counts[2], 0);
        let most = counts.iter().copied().max().unwrap();
        assert!(most < 6_500, "{balance}: {counts:?}, where 5,000 each would be even");
    }
}

/// On a ring the keys of a member that is full jump to another place, where those of one that is away go to the next
/// point: otherwise a place that many keys fall to would fill one member after the other. By chance one in four of four
/// others is the same.
#[test]
fn a_full_member_on_a_ring_is_jumped_from() {
    for balance in [Balance::RingHash, Balance::Ketama] {
        let mut members = equal(5);
        let keyed = Keyed::new(balance, &members, None);
        let own: Vec<u64> = keys(20_000)
            .filter(|&key| id_for(&keyed, &members, key) == members[2].id)
            .collect();
        members[2].state.set_limit(Some(0));
        let full: Vec<u64> = own.iter().map(|&key| id_for(&keyed, &members, key)).collect();
        members[2].available = false;
        let same = own
            .iter()
            .zip(&full)
            .filter(|&(&key, &id)| id_for(&keyed, &members, key) == id)
            .count();
        let part = same as f64 / own.len() as f64;
        assert!((0.2..0.3).contains(&part), "{balance}: {part}");
    }
}

#[test]
fn caps_are_shares_rounded_up() {
    let check = |percent: u128, in_flight: u128, weight, weights, expected| {
        let cap = Cap::new(percent * in_flight, weights, 100);
        assert_eq!(
            cap.of(weight),
            expected,
            "{percent} % of {in_flight} for {weight}/{weights}"
        );
    };
    check(125, 1, 1, 10, 1);
    check(125, 10, 1, 10, 2);
    check(125, 8, 1, 10, 1);
    check(125, 9, 1, 10, 2);
    check(100, 10, 1, 10, 1);
    check(100, 11, 1, 10, 2);
    check(125, 100, 5, 9, 70);
    check(200, u128::from(u32::MAX) * 4, 1, 1, u32::MAX);
    assert_eq!(Cap::new(0, 0, 100).of(3), 1);
}

/// Nobody to choose from is nothing chosen, also with every table empty.
#[test]
fn nobody() {
    for balance in KEYED {
        let keyed = Keyed::new(balance, &[], None);
        assert_eq!(choose_avoiding(&keyed, &[], 1, &[]), None, "{balance}");
        let mut members = equal(3);
        let keyed = Keyed::new(balance, &members, None);
        members.iter_mut().for_each(|member| member.available = false);
        assert_eq!(choose_avoiding(&keyed, &members, 1, &[]), None, "{balance}");
        assert_eq!(rendezvous::first(&View::new(&members, &Query::default()), 1), None);
    }
}

/// Where keys went in the first version, so that no later one sends them elsewhere.
#[test]
fn keys_never_move_between_versions() {
    let members = members(&[(1, 1), (2, 2), (3, 3), (4, 4)]);
    let expected = [
        "cddbabccccdddcaddbacdddcdcdcdddbcbbbadbb",
        "dbdbadcbddcbbababbdcccbacdcbdcbdaccadddd",
        "cddcbdcdbbcddcacbadbcaddbdbbdddccbcddcdd",
        "ddbdbdbaadcdddddadcbcbdcdbdcbcbccddbbcad",
        "dadddbcdbdadddababcbcdaddcdcbbccbccdcddd",
    ];
    for (balance, expected) in KEYED.into_iter().zip(expected) {
        let keyed = Keyed::new(balance, &members, None);
        let letters =
            crate::policy::testing::letters(keys(40).map(|key| choose_avoiding(&keyed, &members, key, &[]).unwrap()));
        assert_eq!(letters, expected, "{balance}");
    }
}
