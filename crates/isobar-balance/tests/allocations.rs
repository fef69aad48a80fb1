//! Does a pick allocate, or what follows from it?

use std::sync::Arc;

use std::time::Duration;

use isobar_balance::{
    Balance, Candidate, Chance, Finish, Group, Moment, Outcome, OutlierSettings, Pick, Query, Report, ReportedLoad,
    ServerState, Tally, Tier, Verdict,
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

/// Every answer a pick has, on every way that leads to it; and all that is told to servers.
#[test]
fn a_pick_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let counted = allocations();
    drop(Box::new(1));
    assert_eq!(allocations(), counted + 1, "the counter counts");

    let tally = Tally::default();
    let before = allocations();
    for verdict in [Verdict::Answered, Verdict::ServerError, Verdict::Unreachable] {
        let _due = tally.count(verdict, Moment::default(), &OutlierSettings::DEFAULT);
        tally.count_latency(Duration::from_millis(1));
    }
    assert_eq!(allocations(), before, "a tally");

    for &balance in Balance::ALL {
        let candidate = |slot: u32| Candidate {
            slot,
            weight: 1 + slot % 7,
            tier: if slot < 40 { Tier::Primary } else { Tier::Backup },
            state: Arc::new(ServerState::new(slot.is_multiple_of(2).then_some(2))),
        };
        let servers: Vec<Candidate> = (0..50).map(candidate).collect();
        let group = Group::new(balance, servers.clone(), 1);
        let every_primary: Vec<u32> = (0..40).collect();
        let every_server: Vec<u32> = (0..50).collect();
        let mut chance = Chance::new(1);

        let before = allocations();
        run(&group, &servers, balance, &mut chance);
        for _ in 0..1000 {
            assert!(matches!(
                group.pick(&Query::avoiding(&[3, 5]), &mut chance),
                Pick::Server {
                    tier: Tier::Primary,
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
        assert_eq!(allocations(), before, "{balance}");
    }
}
