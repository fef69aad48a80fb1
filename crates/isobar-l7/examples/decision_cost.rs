//! What does a decision cost? Prints nanoseconds per decision for each algorithm, with few keys and with a million, on one thread
//! and on two, as the tables of `docs/limiting-accuracy.md`.
//!
//! `cargo run --release -p isobar-l7 --example decision_cost`
#![expect(clippy::print_stdout, reason = "prints tables")]

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use isobar_balance::{Chance, Moment};
use isobar_limit::{
    Algorithm, Bandwidth, Claim, Concurrency, Enforcement, FixedWindow, Gcra, Key, Limit, Rate, SlidingLog,
    SlidingWindow, Table, TableSettings, TokenBucket, Transaction,
};

/// Short ones, so that some of them are not interrupted.
const ROUNDS: u32 = 300;
const DECISIONS: usize = 10_000;
const MILLION: usize = 1_000_000;

fn limits() -> [(&'static str, Limit); 7] {
    let rate = Rate::per_minute(100);
    [
        ("token bucket", Limit::TokenBucket(TokenBucket::new(rate, 100))),
        ("GCRA", Limit::Gcra(Gcra::new(rate, 100))),
        ("fixed window", Limit::FixedWindow(FixedWindow::new(rate))),
        ("sliding window", Limit::SlidingWindow(SlidingWindow::new(rate))),
        ("concurrency", Limit::Concurrency(Concurrency::new(1 << 40))),
        (
            "bandwidth",
            Limit::Bandwidth(Bandwidth::new(Rate::per_second(1 << 20), 1 << 20, Duration::ZERO)),
        ),
        (
            "sliding log of 5",
            Limit::SlidingLog(SlidingLog::new(Rate::per_minute(5))),
        ),
    ]
}

/// The fastest of some rounds: what disturbs a measurement only ever adds to it.
fn fastest(mut round: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn nanoseconds(since: Instant, count: usize) -> f64 {
    since.elapsed().as_secs_f64() * 1e9 / count as f64
}

fn table(max_keys: usize) -> Table {
    log_table(max_keys, 0)
}

fn log_table(max_keys: usize, units: u32) -> Table {
    let settings = TableSettings {
        max_keys: u32::try_from(max_keys).expect("a million"),
        memory: Duration::from_secs(60),
        relax: thread::yield_now,
        advise: isobar_net::limits::prefer_large_pages,
    };
    Table::with_logs(&settings, units)
}

/// A table in which a limit has room for so many keys.
fn table_for(limit: &Limit, max_keys: usize) -> Table {
    let units = limit.as_log().map_or(0, |log| log.quota().units);
    log_table(max_keys, u32::try_from(units).expect("a small log"))
}

fn keys(count: usize, seed: u64) -> Vec<Key> {
    let mut chance = Chance::new(seed);
    (0..count).map(|_| Key::new(chance.bits())).collect()
}

/// The algorithm alone: one state, refused most of the time, a decision each 100 ns.
fn alone(limit: &Limit) -> f64 {
    let mut state = [0; 2];
    let mut now = 1 << 40;
    fastest(|| {
        let start = Instant::now();
        for _ in 0..DECISIONS {
            now += 100;
            black_box(limit.ask(&mut state, 1, Moment::new(now)));
        }
        nanoseconds(start, DECISIONS)
    })
}

/// In a table with so many live keys, asked in a random order.
fn in_table(limit: &Limit, count: usize) -> f64 {
    asked(limit, &table_for(limit, MILLION), (count, |chance| chance.index(count)))
}

/// The same, where few keys ask often and most seldom, as clients do: the one at place k asks 1/k as often as the first (Zipf's law).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place among a million"
)]
fn by_zipf(limit: &Limit, count: usize) -> f64 {
    let place = |chance: &mut Chance| {
        let part = (chance.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        ((count as f64).powf(part) as usize).min(count) - 1
    };
    asked(limit, &table_for(limit, MILLION), (count, place))
}

fn asked(limit: &Limit, table: &Table, (count, place): (usize, impl Fn(&mut Chance) -> usize)) -> f64 {
    let keys = keys(count, 1);
    let mut now = 1 << 40;
    for &key in &keys {
        table.ask(limit, key, 1, Moment::new(now));
    }
    let mut chance = Chance::new(2);
    fastest(|| {
        let order: Vec<Key> = (0..DECISIONS).map(|_| keys[place(&mut chance)]).collect();
        let start = Instant::now();
        for &key in &order {
            now += 100;
            black_box(table.ask(limit, key, 1, Moment::new(now)));
        }
        nanoseconds(start, DECISIONS)
    })
}

/// A log of so many units, evenly asked by so many keys, in a table for them.
fn log_of(units: u32, keys: usize) -> f64 {
    let limit = Limit::SlidingLog(SlidingLog::new(Rate::per_minute(units.into())));
    asked(&limit, &table_for(&limit, keys), (keys, |chance| chance.index(keys)))
}

/// The same while two threads ask for the same keys: of each.
fn contended(limit: &Limit, count: usize) -> f64 {
    let (table, keys) = (table_for(limit, MILLION), keys(count, 1));
    // Both ask all the time; each round is short, so that in some of them neither was interrupted.
    let work = |seed| {
        let mut chance = Chance::new(seed);
        let all = DECISIONS * ROUNDS as usize;
        let order: Vec<Key> = (0..all).map(|_| keys[chance.index(keys.len())]).collect();
        let mut order = order.chunks(DECISIONS);
        let mut step = 0;
        fastest(|| {
            let round = order.next().unwrap_or_default();
            let start = Instant::now();
            for &key in round {
                step += 100;
                black_box(table.ask(limit, key, 1, Moment::new((1 << 40) + step)));
            }
            nanoseconds(start, DECISIONS)
        })
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        let mine = work(2);
        other.join().map_or(mine, |other| mine.max(other))
    })
}

/// New keys at a table that is full of others.
fn crowded() -> f64 {
    let limit = Limit::FixedWindow(FixedWindow::new(Rate::per_minute(100)));
    let table = table(MILLION);
    for key in keys(2 * MILLION, 3) {
        for _ in 0..2 {
            table.ask(&limit, key, 1, Moment::new(1 << 40));
        }
    }
    let mut seed = 4;
    fastest(|| {
        seed += 1;
        let strangers = keys(DECISIONS, seed);
        let start = Instant::now();
        for &key in &strangers {
            black_box(table.ask(&limit, key, 1, Moment::new(1 << 40)));
        }
        nanoseconds(start, DECISIONS)
    })
}

/// One read of a word at random in as much memory as the table takes: what the machine asks for a cache line.
fn read() -> f64 {
    let words = vec![1u64; table(MILLION).bytes() / 8];
    let mut chance = Chance::new(6);
    fastest(|| {
        let mut at = chance.index(words.len());
        let start = Instant::now();
        for _ in 0..DECISIONS {
            // Where the next one is depends on this one.
            let word = usize::try_from(words[at]).unwrap_or_default();
            at = (chance.index(words.len()) + word) % words.len();
        }
        black_box(at);
        nanoseconds(start, DECISIONS)
    })
}

/// A request under three limits, and one that the third one refuses.
fn transactions(places: u64) -> f64 {
    let table = table(MILLION);
    let limits = [
        Limit::Gcra(Gcra::new(Rate::per_second(1 << 40), 1 << 40)),
        Limit::SlidingWindow(SlidingWindow::new(Rate::per_second(1 << 32))),
        Limit::Concurrency(Concurrency::new(places)),
    ];
    let keys = keys(3, 5);
    let claim = |index: usize| Claim {
        table: &table,
        limit: &limits[index],
        key: keys[index],
        cost: 1,
        enforcement: &Enforcement::FULL,
        shared: None,
    };
    let claims = [claim(0), claim(1), claim(2)];
    let mut now = 1 << 40;
    fastest(|| {
        let start = Instant::now();
        for _ in 0..DECISIONS {
            now += 100;
            let mut transaction = Transaction::default();
            if let Ok(outcome) = transaction.ask(black_box(&claims), Moment::new(now)) {
                black_box(outcome);
                transaction.end(&claims, Moment::new(now));
            }
        }
        nanoseconds(start, DECISIONS)
    })
}

fn main() {
    println!("ns per decision; the fastest of {ROUNDS} rounds of {DECISIONS}\n");
    println!(
        "| algorithm | alone | 1,000 keys | 1,000,000 keys, by Zipf | 1,000,000 keys, evenly | two threads, 1,000,000 keys | two threads, one key |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, limit) in limits() {
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            alone(&limit),
            in_table(&limit, 1_000),
            by_zipf(&limit, MILLION),
            in_table(&limit, MILLION),
            contended(&limit, MILLION),
            contended(&limit, 1),
        );
    }
    println!("\n| | ns |");
    println!("|---|---:|");
    println!(
        "| one read at random in as much memory as the table takes | {:.0} |",
        read()
    );
    println!("| a new key, while the table is full | {:.0} |", crowded());
    println!("| a sliding log of 5, with 500,000 keys | {:.0} |", log_of(5, 500_000));
    println!(
        "| a sliding log of 100, with 50,000 keys | {:.0} |",
        log_of(100, 50_000)
    );
    println!(
        "| a sliding log of 1,000, with 5,000 keys | {:.0} |",
        log_of(1_000, 5_000)
    );
    println!("| three limits, and their end | {:.0} |", transactions(u64::MAX));
    println!("| three limits, of which the third refuses | {:.0} |", transactions(0));
    println!(
        "\nA table for a million keys takes {:.1} MiB.",
        table(MILLION).bytes() as f64 / f64::from(1 << 20)
    );
}
