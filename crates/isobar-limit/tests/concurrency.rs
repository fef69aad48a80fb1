//! Do limits hold when many workers ask at once?

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use isobar_balance::{Chance, Moment};
use isobar_limit::{
    Algorithm, Claim, Concurrency, Enforcement, FixedWindow, Gcra, Guard, GuardRules, Key, Limit, Rate, SlidingLog,
    SlidingWindow, Table, TableSettings, TokenBucket, Transaction, Verdict,
};

const WORKERS: u32 = 8;
const NOW: Moment = Moment::new(61_000_000_000);

fn table(max_keys: u32) -> Table {
    Table::new(&TableSettings {
        max_keys,
        memory: Duration::from_secs(60),
        relax: thread::yield_now,
        advise: |_, _| (),
    })
}

/// One that keeps logs of a thousand units.
fn log_table(max_keys: u32) -> Table {
    let settings = TableSettings {
        max_keys,
        memory: Duration::from_secs(60),
        relax: thread::yield_now,
        advise: |_, _| (),
    };
    Table::with_logs(&settings, 1_000)
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
        Limit::SlidingLog(SlidingLog::new(rate)),
    ] {
        let table = log_table(1_000);
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
    // Of as many keys as it is made for, a few in a million find no room.
    let table = table(40_000);
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

/// All ask and give back in rounds, of which a window has seven: what was taken in any of them and not given back is never more
/// than the limit, and none of it is lost.
#[test]
fn no_window_has_more_than_a_log_of_it() {
    const ROUNDS: usize = 400;
    const UNITS: u64 = 20;
    let limit = Limit::SlidingLog(SlidingLog::new(Rate::new(UNITS, Duration::from_nanos(7))));
    let table = log_table(100);
    let round = Barrier::new(usize::try_from(WORKERS).unwrap_or(1));
    let kept: Vec<AtomicU64> = (0..ROUNDS).map(|_| AtomicU64::new(0)).collect();
    let moment = |number: usize| Moment::new(NOW.nanoseconds() + number as u64);
    at_once(|worker| {
        let mut chance = Chance::new(worker.into());
        let mut own = Vec::new();
        for number in 0..ROUNDS {
            round.wait();
            for _ in 0..chance.below(5) {
                let grant = table.ask(&limit, key(1), 1 + chance.below(2), moment(number));
                if grant.decision.verdict.passes() {
                    kept[number].fetch_add(grant.decision.receipt.cost, Ordering::Relaxed);
                    own.push((number, grant));
                }
            }
            if !own.is_empty() && chance.below(2) == 0 {
                let (number_then, grant) = own.swap_remove(chance.index(own.len()));
                kept[number_then].fetch_sub(grant.decision.receipt.cost, Ordering::Relaxed);
                table.settle(&limit, &grant, 0, moment(number));
            }
        }
    });
    let kept: Vec<u64> = kept.into_iter().map(AtomicU64::into_inner).collect();
    let most = kept.windows(7).map(|window| window.iter().sum::<u64>()).max();
    assert!(most <= Some(UNITS) && most > Some(UNITS - 5), "{most:?}");
    for left in 0..7 {
        let taken: u64 = kept[ROUNDS - 7 + left..].iter().sum();
        let standing = table.standing(&limit, key(1), moment(ROUNDS - 1 + left));
        assert_eq!(standing.remaining, UNITS - taken, "after {left} more");
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
            let mut transaction = Transaction::default();
            if transaction.ask(&claims, NOW).is_ok() {
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
