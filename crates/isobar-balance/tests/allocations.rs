//! Does a pick allocate, or what follows from it?

use std::hint::black_box;
use std::sync::Arc;

use std::time::Duration;

use isobar_balance::{
    Arrangement, Balance, Bound, Candidate, Chance, Conduct, Finish, Group, Locality, Moment, Outcome, OutlierSettings,
    Pick, Query, Report, ReportedLoad, ServerState, Standing, Tier, Verdict, Zone,
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn allocations() -> u64 {
    dhat::HeapStats::get().total_blocks
}

/// A server answers, fails, and tells of itself.
fn end(server: &ServerState, balance: Balance, now: Moment) {
    let finish = |outcome| Finish {
        now,
        latency: Duration::from_millis(3),
        in_flight: server.in_flight(),
        outcome,
    };
    server.finished(&finish(Outcome::Success), balance.feedback());
    server.finished(&finish(Outcome::Failure { retry_after: None }), balance.feedback());
    let report = Report {
        in_flight: Some(2),
        latency: Some(Duration::from_millis(3)),
        load: Some(ReportedLoad {
            utilization: 0.5,
            rps: 100.0,
            eps: 1.0,
        }),
    };
    server.reported(&report, now);
}

/// What follows from picks that are given back as they come.
fn run(group: &Group, servers: &[Candidate], balance: Balance, chance: &mut Chance) {
    for step in 0..2_000 {
        let query = Query {
            now: Moment::default().after(Duration::from_millis(step * 20)),
            ..Query::default()
        };
        let Pick::Server { slot, tier } = group.pick(&query, chance) else {
            continue;
        };
        let probed = group.probes(tier, &query, chance);
        let server = &servers[slot as usize].state;
        if step % 3 > 0 {
            end(server, balance, query.now);
        }
        server.release();
        probed
            .iter()
            .for_each(|slot| end(&servers[slot as usize].state, balance, query.now));
    }
}

/// The fewest allocations of three runs: the counter sees all threads, and the harness's own may allocate during one.
fn allocated_by(mut run: impl FnMut()) -> u64 {
    let mut once = |_| {
        let before = allocations();
        run();
        allocations() - before
    };
    (0..3).map(&mut once).min().unwrap_or(0)
}

fn servers() -> Vec<Candidate> {
    let candidate = |slot: u32| Candidate {
        weight: 1 + slot % 7,
        tier: if slot < 40 { Tier::PRIMARY } else { Tier::Backup },
        ..Candidate::new(
            slot,
            u64::from(slot),
            Arc::new(ServerState::new(slot.is_multiple_of(2).then_some(2))),
        )
    };
    (0..50).map(candidate).collect()
}

/// Every answer a pick has, on every way that leads to it; and all that is told to servers.
fn every_answer(group: &Group, servers: &[Candidate], balance: Balance, chance: &mut Chance) {
    const EVERY_PRIMARY: [u32; 40] = ascending();
    const EVERY_SERVER: [u32; 50] = ascending();
    let limits = |limit: fn(u32) -> Option<u32>| {
        for server in servers {
            server.state.set_limit(limit(server.slot));
        }
    };
    limits(|slot| slot.is_multiple_of(2).then_some(2));
    run(group, servers, balance, chance);
    for _ in 0..1000 {
        let primary = group.pick(&Query::avoiding(&[3, 5]), chance);
        assert!(matches!(
            primary,
            Pick::Server {
                tier: Tier::PRIMARY,
                ..
            }
        ));
        let backup = group.pick(&Query::avoiding(&EVERY_PRIMARY), chance);
        assert!(matches!(backup, Pick::Server { tier: Tier::Backup, .. }));
        let none = group.pick(&Query::avoiding(&EVERY_SERVER), chance);
        assert_eq!(none, Pick::NoneAvailable);
    }
    limits(|_| Some(0));
    assert_eq!(group.pick(&Query::default(), chance), Pick::Full);
}

const fn ascending<const COUNT: usize>() -> [u32; COUNT] {
    let mut numbers = [0; COUNT];
    let (mut at, mut number) = (0, 0);
    while at < COUNT {
        numbers[at] = number;
        (at, number) = (at + 1, number + 1);
    }
    numbers
}

#[test]
fn nothing_allocates() {
    let _profiler = dhat::Profiler::builder().testing().build();
    assert!(allocated_by(|| drop(black_box(Box::new(1)))) > 0, "the counter counts");
    for &balance in Balance::ALL {
        let servers = servers();
        let group = Group::new(balance, servers.clone(), 1);
        let mut chance = Chance::new(1);
        let allocated = allocated_by(|| every_answer(&group, &servers, balance, &mut chance));
        assert_eq!(allocated, 0, "{balance}");
    }
    for &balance in Balance::ALL {
        for bound in [None, Some(Bound::default())] {
            let least = (0..3).map(|_| allocated_by_picks(balance, bound)).min();
            assert_eq!(least, Some(0), "{balance}, {bound:?}");
        }
    }
    let conduct = Conduct::default();
    let counted = allocated_by(|| {
        for verdict in [Verdict::Answered, Verdict::ServerError, Verdict::Unreachable] {
            let _due = conduct.count(verdict, Moment::default(), &OutlierSettings::DEFAULT);
            conduct.count_latency(Duration::from_millis(1));
        }
    });
    assert_eq!(counted, 0, "a server's conduct");
}

/// How much is allocated while a group is picked from, with and without keys, until nothing is left.
fn allocated_by_picks(balance: Balance, bound: Option<Bound>) -> u64 {
    let candidate = |slot: u32| Candidate {
        weight: 1 + slot % 7,
        zone: Zone(slot % 3),
        standing: if slot % 5 == 4 {
            Standing::Doubtful
        } else {
            Standing::Available
        },
        tier: if slot < 40 { Tier::PRIMARY } else { Tier::Backup },
        ..Candidate::new(
            slot,
            u64::from(slot),
            // Under a bound none has a limit: who is left when some are at theirs would pass it.
            Arc::new(ServerState::new(
                (slot.is_multiple_of(2) && bound.is_none()).then_some(2),
            )),
        )
    };
    let servers: Vec<Candidate> = (0..50).map(candidate).collect();
    let arrangement = Arrangement {
        bound,
        locality: bound.map(|_| Locality::new(Zone(1))),
        ..Arrangement::new(balance)
    };
    let group = Group::new(arrangement, servers.clone(), 1);
    let every_primary: Vec<u32> = (0..40).collect();
    let every_server: Vec<u32> = (0..50).collect();
    let mut chance = Chance::new(1);

    let before = allocations();
    for number in 0..500 {
        let query = Query {
            key: Some(number).filter(|number| number % 2 == 0),
            ..Query::avoiding(&[3, 5])
        };
        assert!(matches!(
            group.pick(&query, &mut chance),
            Pick::Server {
                tier: Tier::PRIMARY,
                ..
            }
        ));
        assert!(matches!(
            group.pick(&Query::avoiding(&every_primary), &mut chance),
            Pick::Server { tier: Tier::Backup, .. }
        ));
        assert_eq!(
            group.pick(&Query::avoiding(&every_server), &mut chance),
            Pick::NoneAvailable
        );
    }
    servers.iter().for_each(|server| server.state.set_limit(Some(0)));
    assert_eq!(group.pick(&Query::default(), &mut chance), Pick::Full);
    assert_eq!(group.room(&[]), Some(0));
    allocations() - before
}
