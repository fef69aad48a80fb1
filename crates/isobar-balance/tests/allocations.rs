//! Does a pick allocate?

use std::sync::Arc;

use isobar_balance::{
    Arrangement, Balance, Bound, Candidate, Chance, Group, Locality, Pick, Query, ServerState, Standing, Tier, Zone,
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn allocations() -> u64 {
    dhat::HeapStats::get().total_blocks
}

/// Every answer a pick has, on every way that leads to it.
#[test]
fn a_pick_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let counted = allocations();
    drop(Box::new(1));
    assert_eq!(allocations(), counted + 1, "the counter counts");

    for &balance in Balance::ALL {
        for bound in [None, Some(Bound::default())] {
            // The harness's own thread may allocate while the first counts; it does not three times.
            let least = (0..3)
                .map(|_| allocated_by_picks(balance, bound))
                .find(|&count| count == 0);
            assert_eq!(least, Some(0), "{balance}, {bound:?}");
        }
    }
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
