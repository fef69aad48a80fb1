//! Does a pick allocate, or what follows from it?

use std::sync::Arc;

use std::time::Duration;

use isobar_balance::{
    Balance, Candidate, Chance, Conduct, Finish, Group, Moment, Outcome, OutlierSettings, Pick, Query, Report,
    ReportedLoad, ServerState, Tier, Verdict,
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
        slot,
        weight: 1 + slot % 7,
        tier: if slot < 40 { Tier::Primary } else { Tier::Backup },
        state: Arc::new(ServerState::new(slot.is_multiple_of(2).then_some(2))),
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
                tier: Tier::Primary,
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
    assert!(allocated_by(|| drop(Box::new(1))) > 0, "the counter counts");
    for &balance in Balance::ALL {
        let servers = servers();
        let group = Group::new(balance, servers.clone(), 1);
        let mut chance = Chance::new(1);
        let allocated = allocated_by(|| every_answer(&group, &servers, balance, &mut chance));
        assert_eq!(allocated, 0, "{balance}");
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
