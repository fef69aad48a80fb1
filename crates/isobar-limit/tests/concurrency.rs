//! Do limits hold when many workers ask at once?

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use isobar_balance::{Chance, Moment};
use isobar_limit::{
    Algorithm, Claim, Concurrency, Enforcement, FixedWindow, Gcra, Guard, GuardRules, Key, Limit, Rate, SlidingWindow,
    Table, TableSettings, TokenBucket, Transaction, Verdict,
};

const WORKERS: u32 = 8;
const NOW: Moment = Moment::new(61_000_000_000);

fn table(max_keys: u32) -> Table {
    Table::new(&TableSettings {
        max_keys,
        memory: Duration::from_secs(60),
        relax: thread::yield_now,
    })
}

/// The keys of these tests: hashes look random.
fn key(number: u64) -> Key {
    Key::new(Chance::new(number).bits())
}

/// Runs the work in all workers at once; each has a number.
fn at_once(work: impl Fn(u32) + Sync) {
    let start = Barrier::new(usize::try_from(WORKERS).unwrap_or(1));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (work, start) = (&work, &start);
            scope.spawn(move || {
                start.wait();
                work(worker);
            });
        }
    });
}

/// All at one moment, so that nothing comes back while they ask.
#[test]
fn exactly_the_limit_passes() {
    let rate = Rate::per_minute(1_000);
    for limit in [
        Limit::Gcra(Gcra::new(rate, 1_000)),
        Limit::TokenBucket(TokenBucket::new(rate, 1_000)),
        Limit::FixedWindow(FixedWindow::new(rate)),
        Limit::SlidingWindow(SlidingWindow::new(rate)),
        Limit::Concurrency(Concurrency::new(1_000)),
    ] {
        let table = table(1_000);
        let passed: [AtomicU64; 5] = Default::default();
        at_once(|worker| {
            let mut chance = Chance::new(worker.into());
            for _ in 0..5_000 {
                let number = chance.index(5);
                let grant = table.ask(&limit, key(number as u64), 1, NOW);
                let passes = u64::from(grant.decision.verdict.passes());
                passed[number].fetch_add(passes, Ordering::Relaxed);
            }
        });
        assert_eq!(passed.map(AtomicU64::into_inner), [1_000; 5], "{limit:?}");
    }
}

/// Keys come while others do: each is in the table once, with all it took.
#[test]
fn new_keys_have_one_state_whoever_meets_them_first() {
    let table = table(20_000);
    let limit = Limit::FixedWindow(FixedWindow::new(Rate::per_minute(100)));
    at_once(|_| {
        let mut chance = Chance::new(7);
        (0..20_000).for_each(|_| {
            table.ask(&limit, Key::new(chance.bits()), 1, NOW);
        });
    });
    let mut chance = Chance::new(7);
    for _ in 0..20_000 {
        let standing = table.standing(&limit, Key::new(chance.bits()), NOW);
        assert_eq!(standing.remaining, 100 - u64::from(WORKERS));
    }
}

/// Requests that take and give back, under two limits, leave nothing behind.
#[test]
fn what_is_given_back_by_all_is_all_there() {
    let table = table(1_000);
    let limits = [
        Limit::Gcra(Gcra::new(Rate::per_minute(60), 50)),
        Limit::Concurrency(Concurrency::new(3)),
    ];
    let claim = |index: usize| Claim {
        table: &table,
        limit: &limits[index],
        key: key(index as u64),
        cost: 1,
        enforcement: &Enforcement::FULL,
        shared: None,
    };
    let claims = [claim(0), claim(1)];
    let (passed, holders) = (AtomicU64::new(0), AtomicU64::new(0));
    at_once(|_| {
        for _ in 0..5_000 {
            if let Ok((mut transaction, _)) = Transaction::ask(&claims, NOW) {
                assert!(holders.fetch_add(1, Ordering::SeqCst) < 3);
                passed.fetch_add(1, Ordering::Relaxed);
                holders.fetch_sub(1, Ordering::SeqCst);
                transaction.give_back(&claims, NOW);
            }
        }
    });
    assert!(passed.into_inner() > 5_000);
    let remaining = |index: usize| table.standing(&limits[index], key(index as u64), NOW).remaining;
    assert_eq!((remaining(0), remaining(1)), (50, 3));
    assert_eq!(limits[0].standing(&[0; 2], NOW).remaining, 50);
}

#[test]
fn one_worker_disarms() {
    let guard = Guard::new(NOW);
    let disarmed = AtomicU64::new(0);
    at_once(|_| {
        for _ in 0..2_000 {
            let refused = Verdict::Refused { retry_in: None };
            disarmed.fetch_add(
                u64::from(guard.count(&GuardRules::DEFAULT, refused, NOW)),
                Ordering::Relaxed,
            );
        }
    });
    assert_eq!((disarmed.into_inner(), guard.disarmed()), (1, Some(NOW)));
}
