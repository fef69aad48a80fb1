//! Levels, panic, zones, new servers, and groups that follow one another.

use crate::group::{Candidate, Group, Pick, Standing, Tier};
use crate::mix::mix;
use crate::{Arrangement, Balance, Chance, Locality, Query, ServerState, Warmth, Zone};
use Standing::{Available, Doubtful, Out};
use alloc::sync::Arc;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::vec;

/// Servers of weight 1, each with its tier and standing; slots are positions.
fn candidates(servers: &[(Tier, Standing)]) -> Vec<Candidate> {
    let candidate = |(slot, &(tier, standing))| Candidate {
        tier,
        standing,
        ..Candidate::new(slot, u64::from(slot) + 10, Arc::new(ServerState::new(None)))
    };
    (0..).zip(servers).map(candidate).collect()
}

/// In how many of 20,000 picks each slot is picked; they are released at once.
fn shares(group: &Group, servers: &[Candidate]) -> Vec<u32> {
    let mut counts = vec![0; servers.len()];
    let mut chance = Chance::new(12);
    for number in 0..20_000 {
        let query = Query {
            key: Some(mix(number, 7)),
            ..Query::default()
        };
        if let Pick::Server { slot, .. } = group.pick(&query, &mut chance) {
            counts[slot as usize] += 1;
            servers[slot as usize].state.release();
        }
    }
    counts
}

/// Shares of slots in hundredths, to 2: seven standard deviations of chance, or what a ring is uneven by.
fn check(arrangement: &Arrangement, servers: &[Candidate], expected: &[u32]) {
    let counts = shares(&Group::new(arrangement.clone(), servers.to_vec(), 1), servers);
    for (&count, &percent) in counts.iter().zip(expected) {
        assert!(
            count.abs_diff(percent * 200) < 400 && (percent > 0 || count == 0),
            "{arrangement:?}: {counts:?} of 20,000, expected {expected:?} of 100, seed 12"
        );
    }
}

const FIRST: Tier = Tier::PRIMARY;
const SECOND: Tier = Tier::Priority(1);

/// Both kinds of algorithms: those that see the available only, and those that see all.
const EITHER: [Balance; 2] = [Balance::RoundRobin, Balance::Rendezvous];

#[test]
fn a_level_takes_over_what_another_cannot_carry() {
    for balance in EITHER {
        let believing = Arrangement {
            panic_percent: 0,
            ..Arrangement::new(balance)
        };
        let check = |servers: &[(Tier, Standing)], expected: &[u32]| check(&believing, &candidates(servers), expected);
        check(&[(FIRST, Available), (SECOND, Available)], &[100, 0]);
        check(&[(FIRST, Doubtful), (SECOND, Available)], &[0, 100]);
        check(
            &[(FIRST, Available), (FIRST, Doubtful), (SECOND, Available)],
            &[70, 0, 30],
        );
        check(&[(FIRST, Available), (FIRST, Out), (SECOND, Available)], &[70, 0, 30]);
        // Half of each: 70 % of both together.
        let half = [
            (FIRST, Available),
            (FIRST, Out),
            (SECOND, Available),
            (SECOND, Doubtful),
        ];
        check(&half, &[70, 0, 30, 0]);
        check(&[(Tier::Priority(7), Available)], &[100]);
        // Backups help when nobody else can, and not before.
        check(
            &[
                (FIRST, Available),
                (FIRST, Out),
                (FIRST, Out),
                (Tier::Backup, Available),
            ],
            &[100, 0, 0, 0],
        );
        check(
            &[(FIRST, Out), (SECOND, Doubtful), (Tier::Backup, Available)],
            &[0, 0, 100],
        );
        check(&[(Tier::Backup, Available)], &[100]);
    }
}

#[test]
fn too_few_are_not_believed() {
    for balance in EITHER {
        let check = |servers: &[(Tier, Standing)], expected: &[u32]| {
            check(&Arrangement::new(balance), &candidates(servers), expected);
        };
        // A half is enough; a third is not. Who cannot be sent anything is missing, and is sent nothing.
        check(&[(FIRST, Available), (FIRST, Doubtful)], &[100, 0]);
        check(
            &[(FIRST, Available), (FIRST, Doubtful), (FIRST, Doubtful)],
            &[33, 33, 33],
        );
        check(&[(FIRST, Available), (FIRST, Doubtful), (FIRST, Out)], &[50, 50, 0]);
        check(&[(FIRST, Doubtful), (FIRST, Doubtful)], &[50, 50]);
        check(&[(FIRST, Out), (FIRST, Out)], &[0, 0]);
        // Another level that can carry the rest keeps everybody calm.
        let calm = [
            (FIRST, Available),
            (FIRST, Doubtful),
            (FIRST, Doubtful),
            (SECOND, Available),
        ];
        check(&calm, &[47, 0, 0, 53]);
        // And so does a backup.
        let backed = [
            (FIRST, Available),
            (FIRST, Doubtful),
            (FIRST, Doubtful),
            (Tier::Backup, Available),
        ];
        check(&backed, &[100, 0, 0, 0]);
        check(&[(FIRST, Doubtful), (Tier::Backup, Available)], &[0, 100]);
        // Where nothing is available all are tried; backups if there is nobody else.
        check(&[(FIRST, Doubtful), (Tier::Backup, Doubtful)], &[100, 0]);
        check(&[(FIRST, Out), (Tier::Backup, Doubtful)], &[0, 100]);
        // Levels in panic share by weight.
        check(
            &[
                (FIRST, Doubtful),
                (SECOND, Doubtful),
                (SECOND, Doubtful),
                (SECOND, Doubtful),
            ],
            &[25, 25, 25, 25],
        );
    }
}

/// A request that tried all it could have been given goes on: the rest of what carries load, then level by level.
#[test]
fn few_servers_do_not_panic() {
    let arrangement = Arrangement {
        panic_servers: 3,
        ..Arrangement::new(Balance::RoundRobin)
    };
    let panics = |servers: &[(Tier, Standing)]| {
        Group::new(arrangement.clone(), candidates(servers), 1)
            .panicking()
            .to_vec()
    };
    assert_eq!(panics(&[(FIRST, Doubtful); 2]), []);
    assert_eq!(panics(&[(FIRST, Doubtful); 3]), [FIRST]);
    assert_eq!(panics(&[(FIRST, Available); 3]), []);
    assert_eq!(panics(&[(FIRST, Out); 3]), []);
    assert_eq!(panics(&[(Tier::Backup, Doubtful); 2]), []);
    assert_eq!(panics(&[(Tier::Backup, Doubtful); 3]), [Tier::Backup]);
    let two_levels = [[(FIRST, Doubtful); 3], [(SECOND, Doubtful); 3]].concat();
    assert_eq!(panics(&two_levels), [FIRST, SECOND]);
    assert_eq!(panics(&two_levels[1..]), [SECOND], "two of the first are few");
    // A backup that is well is believed in.
    let helped = [&two_levels[..], &[(Tier::Backup, Available)]].concat();
    assert_eq!(panics(&helped), []);
    check(&arrangement, &candidates(&two_levels[1..]), &[0, 0, 33, 33, 33]);
}

#[test]
fn retries_go_from_level_to_level() {
    for &balance in Balance::ALL {
        let servers = candidates(&[
            (FIRST, Available),
            (SECOND, Available),
            (Tier::Backup, Available),
            (FIRST, Doubtful),
        ]);
        let arrangement = Arrangement {
            panic_percent: 0,
            ..Arrangement::new(balance)
        };
        for seed in 0..20 {
            let group = Group::new(arrangement.clone(), servers.clone(), seed);
            let mut chance = Chance::new(seed);
            let mut pick = |avoid: &[u32]| group.pick(&Query::avoiding(avoid), &mut chance);
            let server = |slot, tier| Pick::Server { slot, tier };
            assert_eq!(pick(&[1]), server(0, FIRST), "{balance}");
            assert_eq!(pick(&[0]), server(1, SECOND), "{balance}");
            assert_eq!(pick(&[0, 1]), server(2, Tier::Backup), "{balance}");
            assert_eq!(pick(&[0, 1, 2]), Pick::NoneAvailable, "{balance}");
        }
    }
}

/// Full servers bring in those that carry load as well, and no others.
#[test]
fn a_full_level_overflows_into_levels_that_have_load() {
    for &balance in Balance::ALL {
        let servers = candidates(&[
            (FIRST, Available),
            (FIRST, Out),
            (SECOND, Available),
            (Tier::Backup, Available),
        ]);
        let group = Group::new(balance, servers.clone(), 1);
        let mut chance = Chance::new(1);
        servers[0].state.set_limit(Some(0));
        for _ in 0..20 {
            let pick = group.pick(&Query::default(), &mut chance);
            assert_eq!(pick, Pick::Server { slot: 2, tier: SECOND }, "{balance}");
            servers[2].state.release();
        }
        servers[2].state.set_limit(Some(0));
        assert_eq!(group.pick(&Query::default(), &mut chance), Pick::Full, "{balance}");
        assert_eq!(group.room(&[]), Some(0));
        assert_eq!(group.room(&[0, 2]), Some(u32::MAX), "the backup's");
    }
}

fn in_zones(zones: &[u32]) -> Vec<Candidate> {
    let mut servers = candidates(&vec![(FIRST, Available); zones.len()]);
    for (server, &zone) in servers.iter_mut().zip(zones) {
        server.zone = Zone(zone);
    }
    servers
}

fn at_zone(balance: Balance, balancers: &[(Zone, u32)]) -> Arrangement {
    Arrangement {
        locality: Some(Locality {
            balancers: balancers.to_vec(),
            min_servers: 3,
            ..Locality::new(Zone(1))
        }),
        ..Arrangement::new(balance)
    }
}

#[test]
fn requests_stay_in_the_zone_as_far_as_it_can_bear_them() {
    for balance in EITHER {
        let own = at_zone(balance, &[]);
        check(&own, &in_zones(&[1, 1, 2, 2]), &[50, 50, 0, 0]);
        check(&own, &in_zones(&[2, 1, 2]), &[17, 67, 17]);
        check(&own, &in_zones(&[2, 2, 3]), &[50, 50, 0]);
        check(
            &at_zone(balance, &[(Zone(1), 1), (Zone(2), 3)]),
            &in_zones(&[1, 2, 2, 2]),
            &[100, 0, 0, 0],
        );
        // Too few servers for zones to matter.
        check(&own, &in_zones(&[1, 2]), &[50, 50]);
        // Without a locality they do not either.
        check(&Arrangement::new(balance), &in_zones(&[1, 1, 2, 2]), &[25, 25, 25, 25]);
        // Who is away weakens its zone.
        let mut servers = in_zones(&[1, 1, 2, 2, 2]);
        servers[0].standing = Doubtful;
        check(&own, &servers, &[0, 50, 17, 17, 17]);
    }
}

/// A zone that is full, or tried, is helped out by the level's other zones.
#[test]
fn zones_help_each_other_out() {
    for &balance in Balance::ALL {
        let servers = in_zones(&[1, 1, 2, 2]);
        let group = Group::new(at_zone(balance, &[]), servers.clone(), 1);
        let mut chance = Chance::new(1);
        servers[0].state.set_limit(Some(0));
        servers[1].state.set_limit(Some(0));
        let mut pick = |avoid: &[u32]| match group.pick(&Query::avoiding(avoid), &mut chance) {
            Pick::Server { slot, .. } => slot,
            other => panic!("{balance}: {other:?}"),
        };
        assert!((2..4).contains(&pick(&[])), "{balance}");
        assert_eq!(pick(&[2]), 3, "{balance}");
        servers[1].state.set_limit(None);
        assert_eq!(pick(&[0]), 1, "{balance}");
        assert!((2..4).contains(&pick(&[0, 1])), "{balance}");
    }
}

/// Half of its weight is a third of the requests beside one that has all of it, for every algorithm that shares by
/// weight; and of no effect where all are new.
#[test]
fn new_servers_get_less() {
    for balance in [Balance::RoundRobin, Balance::Random] {
        let mut servers = candidates(&[(FIRST, Available); 2]);
        servers[0].warmth = Warmth::new(500);
        check(&Arrangement::new(balance), &servers, &[33, 67]);
        servers[1].warmth = Warmth::new(500);
        check(&Arrangement::new(balance), &servers, &[50, 50]);
        servers[1].weight = u32::MAX;
        servers[0].weight = u32::MAX / 2;
        check(&Arrangement::new(balance), &servers, &[33, 67]);
    }
    // By key it is half of its keys; the rest stays where it was.
    for balance in [
        Balance::RingHash,
        Balance::Ketama,
        Balance::Maglev,
        Balance::Rendezvous,
        Balance::Memento,
    ] {
        let mut servers = candidates(&[(FIRST, Available); 2]);
        let whole = shares(&Group::new(balance, servers.clone(), 1), &servers)[0];
        servers[0].warmth = Warmth::new(500);
        let half = shares(&Group::new(balance, servers.clone(), 1), &servers)[0];
        assert!(half.abs_diff(whole / 2) < 300, "{balance}: {half} of {whole}");
        servers[1].warmth = Warmth::new(500);
        assert_eq!(shares(&Group::new(balance, servers.clone(), 1), &servers)[0], whole);
    }
}

/// Least connections weighs what is in flight: a new server with a tenth of its weight carries a tenth of the others'.
#[test]
fn a_new_server_is_not_flooded() {
    let mut servers = candidates(&[(FIRST, Available); 5]);
    servers[2].warmth = Warmth::new(100);
    let group = Group::new(Balance::LeastConnections, servers.clone(), 1);
    let mut chance = Chance::new(1);
    for _ in 0..410 {
        assert!(matches!(
            group.pick(&Query::default(), &mut chance),
            Pick::Server { .. }
        ));
    }
    let counts: Vec<u32> = servers.iter().map(|server| server.state.in_flight()).collect();
    assert_eq!(counts, [100, 100, 10, 100, 100]);
}

/// Servers with the same id get a share each, and adding a third moves keys to it alone.
#[test]
fn the_same_id_twice() {
    for balance in [
        Balance::RingHash,
        Balance::Ketama,
        Balance::Maglev,
        Balance::Rendezvous,
        Balance::Memento,
    ] {
        let mut servers = candidates(&[(FIRST, Available); 3]);
        servers.iter_mut().for_each(|server| server.id = 5);
        let counts = shares(&Group::new(balance, servers.clone(), 1), &servers);
        assert!(counts.iter().all(|&count| count > 4_000), "{balance}: {counts:?}");
    }
}

/// Where the keys go.
fn picks(group: &Group, servers: &[Candidate]) -> Vec<u32> {
    let mut chance = Chance::new(3);
    let pick = |number| {
        let query = Query {
            key: Some(mix(number, 7)),
            ..Query::default()
        };
        match group.pick(&query, &mut chance) {
            Pick::Server { slot, .. } => {
                servers[slot as usize].state.release();
                slot
            }
            other => panic!("{other:?}"),
        }
    };
    (0..300).map(pick).collect()
}

/// Half of eight servers go away and come back, from group to group, and keys are exactly where they were. The rebuilt
/// group is the same as one made from nothing.
#[test]
fn keys_come_back_with_their_servers() {
    for balance in [
        Balance::RingHash,
        Balance::Ketama,
        Balance::Maglev,
        Balance::Rendezvous,
        Balance::Memento,
    ] {
        let mut servers = candidates(&[(FIRST, Available); 8]);
        let first = Group::new(balance, servers.clone(), 1);
        let before = picks(&first, &servers);
        for server in servers.iter_mut().take(4) {
            server.standing = Out;
        }
        let second = first.next(balance, servers.clone(), 2);
        let between = picks(&second, &servers);
        assert_eq!(
            between,
            picks(&Group::new(balance, servers.clone(), 9), &servers),
            "{balance}"
        );
        let moved = before
            .iter()
            .zip(&between)
            .filter(|(before, between)| before != between);
        assert!(
            moved.into_iter().all(|(&before, &between)| before < 4 && between >= 4),
            "{balance}"
        );
        servers.iter_mut().for_each(|server| server.standing = Available);
        let third = second.next(balance, servers.clone(), 3);
        assert_eq!(picks(&third, &servers), before, "{balance}");
    }
}

/// Memento goes on from the group before also where the server list changed, and from a group of another algorithm it
/// begins anew.
#[test]
fn memento_remembers_from_group_to_group() {
    let all = candidates(&[(FIRST, Available); 6]);
    let first = Group::new(Balance::Memento, all.clone(), 1);
    let before = picks(&first, &all);
    let mut fewer = all.clone();
    fewer.remove(1);
    let second = first.next(Balance::Memento, fewer.clone(), 1);
    let between = picks(&second, &all);
    assert!(
        before
            .iter()
            .zip(&between)
            .all(|(&before, &between)| before == 1 || before == between)
    );
    assert_eq!(picks(&second.next(Balance::Memento, all.clone(), 1), &all), before);
    let anew = first
        .next(Balance::Random, all.clone(), 1)
        .next(Balance::Memento, fewer.clone(), 1);
    assert_eq!(picks(&anew, &all), picks(&Group::new(Balance::Memento, fewer, 1), &all));
}

/// Anything a configuration and its servers' fates can come to.
fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let tier = prop_oneof![Just(FIRST), Just(SECOND), Just(Tier::Backup)];
    let standing = prop_oneof![Just(Available), Just(Doubtful), Just(Out)];
    let limit = prop::option::of(0u32..3);
    let one = (0u32..4, tier, standing, 0u32..3, 1u16..=1000, limit, 0u64..6);
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let candidate = |(slot, (weight, tier, standing, zone, warmth, limit, id))| Candidate {
            weight,
            tier,
            standing,
            zone: Zone(zone),
            warmth: Warmth::new(warmth),
            ..Candidate::new(slot, id, Arc::new(ServerState::new(limit)))
        };
        (0..).zip(all).map(candidate).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Never a server that is out, of weight 0, tried or full; one that is doubtful only where few are available; and
    /// `room` says beforehand what comes of a pick.
    #[test]
    fn never_a_server_that_may_not_be_picked(
        servers in any_candidates(),
        avoid in prop::collection::vec(0u32..12, 0..4),
        balance in prop::sample::select(Balance::ALL),
        bound: Option<bool>,
        zoned: bool,
        seed: u64,
    ) {
        let arrangement = Arrangement {
            locality: zoned.then(|| Locality { min_servers: 2, ..Locality::new(Zone(1)) }),
            bound: bound.map(|_| crate::Bound::default()),
            ..Arrangement::new(balance)
        };
        let group = Group::new(arrangement, servers.clone(), seed);
        let mut chance = Chance::new(seed);
        for number in 0..30 {
            let query = Query {
                key: Some(mix(number, seed)).filter(|key| key % 4 > 0),
                ..Query::avoiding(&avoid)
            };
            let room = group.room(&avoid);
            prop_assert_eq!(group.is_left(&avoid), room.is_some());
            match group.pick(&query, &mut chance) {
                Pick::Server { slot, tier } => {
                    let server = &servers[slot as usize];
                    prop_assert!(server.weight > 0 && server.standing != Out && !avoid.contains(&slot));
                    prop_assert_eq!(server.tier, tier);
                    prop_assert!(server.state.limit().is_none_or(|limit| server.state.in_flight() <= limit));
                    prop_assert!(room.is_some_and(|room| room > 0), "{:?}", room);
                    let stands = |it: &&Candidate| it.tier == tier && it.weight > 0;
                    let weight = |standing: Option<Standing>| -> u32 {
                        servers.iter().filter(stands).filter(|it| standing.is_none_or(|of| it.standing == of)).map(|it| it.weight).sum()
                    };
                    prop_assert!(server.standing == Available || weight(Some(Available)) * 2 < weight(None));
                }
                Pick::Full => {
                    prop_assert_eq!(room, Some(0));
                    break;
                }
                Pick::NoneAvailable => {
                    prop_assert_eq!(room, None);
                    break;
                }
            }
        }
    }
}
