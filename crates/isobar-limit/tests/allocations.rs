//! Does a decision allocate?

use std::thread;
use std::time::Duration;

use isobar_balance::{Chance, Moment};
use isobar_limit::{
    Algorithm, Bandwidth, Claim, Concurrency, Enforcement, FixedWindow, Gcra, Guard, GuardRules, Key, Lease,
    LeaseRules, Limit, Rate, Share, SharedKind, SlidingLog, SlidingWindow, StoreReply, Table, TableSettings, Terms,
    TokenBucket, Transaction,
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The fewest allocations of three runs: the counter sees all threads, and the harness's own may allocate during one.
fn allocated_by(mut run: impl FnMut()) -> u64 {
    let mut once = |_| {
        let before = dhat::HeapStats::get().total_blocks;
        run();
        dhat::HeapStats::get().total_blocks - before
    };
    (0..3).map(&mut once).min().unwrap_or(0)
}

fn limits() -> [Limit; 7] {
    let rate = Rate::per_minute(100);
    [
        Limit::TokenBucket(TokenBucket::new(rate, 10)),
        Limit::Gcra(Gcra::new(rate, 10).with_delay(Duration::from_millis(50))),
        Limit::FixedWindow(FixedWindow::new(rate)),
        Limit::SlidingWindow(SlidingWindow::new(rate)),
        Limit::Concurrency(Concurrency::new(5)),
        Limit::Bandwidth(Bandwidth::new(rate, 10, Duration::ZERO)),
        Limit::SlidingLog(SlidingLog::new(rate)),
    ]
}

/// Far more keys than a table for a hundred has room for: every way a decision can go.
fn decisions(table: &Table, limits: &[Limit], guard: &Guard, chance: &mut Chance) {
    for step in 0..10_000 {
        let now = Moment::new((1 << 40) + step * 100_000);
        let key = Key::new(Chance::new(chance.below(8_000)).bits());
        let limit = &limits[chance.index(limits.len())];
        let claim = Claim {
            table,
            limit,
            key,
            cost: 1 + chance.below(4),
            enforcement: &Enforcement::FULL,
            shared: None,
        };
        let other = Claim {
            key: Key::new(chance.bits()),
            ..claim
        };
        let claims = [claim, other];
        let mut transaction = Transaction::default();
        match transaction.ask(&claims, now) {
            Ok(_) => {
                transaction.settle(&claims, 0, chance.below(9), now);
                transaction.end(&claims, now);
            }
            Err(denial) => {
                guard.count(&GuardRules::DEFAULT, denial.decision.verdict, now);
            }
        }
    }
}

fn leased(chance: &mut Chance) {
    let terms = Terms {
        kind: SharedKind::Gcra,
        rate: Rate::per_second(100),
        burst: 100,
    };
    let rules = LeaseRules {
        ahead: Duration::from_millis(100),
        ttl: Duration::from_millis(500),
        advance: 50,
    };
    let share = Share {
        terms: &terms,
        rules: &rules,
        instances: 2,
    };
    let mut lease = Lease::default();
    for step in 0..5_000 {
        let now = Moment::new((1 << 40) + step * 1_000_000);
        lease.ask(share, 1, now);
        match lease.exchange(share, now) {
            Some(_) if chance.below(3) == 0 => lease.failed(),
            Some(exchange) => {
                let reply = StoreReply {
                    units: exchange.want,
                    left: 0,
                    more_in: None,
                    lasts: None,
                    mark: step,
                };
                lease.granted(share, (reply, now), now);
            }
            None => {}
        }
    }
}

#[test]
fn nothing_allocates() {
    let _profiler = dhat::Profiler::builder().testing().build();
    assert!(
        allocated_by(|| drop(std::hint::black_box(Box::new(1)))) > 0,
        "the counter counts"
    );
    let settings = TableSettings {
        max_keys: 100,
        memory: Duration::from_secs(60),
        relax: thread::yield_now,
        advise: |_, _| (),
    };
    let table = Table::with_logs(&settings, 100);
    let (limits, guard, mut chance) = (limits(), Guard::new(Moment::new(0)), Chance::new(1));
    let allocated = allocated_by(|| decisions(&table, &limits, &guard, &mut chance));
    assert_eq!(allocated, 0, "decisions of a table");
    let crowding = table.crowding();
    assert!(crowding.displaced > 0 && crowding.estimated > 0, "{crowding:?}");

    let limit = SlidingLog::new(Rate::per_second(100));
    let mut log = limit.log();
    let allocated = allocated_by(|| {
        for step in 0..5_000 {
            let receipt = limit.ask(&mut log, 1, Moment::new(step * 1_000_000)).receipt;
            limit.settle(&mut log, &receipt, step % 4, Moment::new(step * 1_000_000));
        }
    });
    assert_eq!(allocated, 0, "a log");

    assert_eq!(allocated_by(|| leased(&mut chance)), 0, "a lease");
}
