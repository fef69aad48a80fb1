//! Does a table keep the states of its keys, and only so many?

use core::time::Duration;
use std::collections::HashMap;
use std::vec::Vec;

use isobar_balance::Chance;
use proptest::prelude::*;

use super::{Basis, Crowding, Key, Moment, Table, TableSettings, Verdict};
use crate::{Algorithm, Bandwidth, Concurrency, FixedWindow, Gcra, Grant, Limit, Log, Rate, SlidingLog, State};

const SECOND: u64 = 1_000_000_000;

fn at(nanoseconds: u64) -> Moment {
    Moment::new(nanoseconds)
}

fn table(max_keys: u32) -> Table {
    Table::new(&TableSettings {
        max_keys,
        memory: Duration::from_secs(60),
        relax: std::thread::yield_now,
        advise: |_, _| (),
    })
}

/// One that keeps logs.
fn log_table(max_keys: u32, units: u32) -> Table {
    let settings = TableSettings {
        max_keys,
        memory: Duration::from_secs(60),
        relax: std::thread::yield_now,
        advise: |_, _| (),
    };
    Table::with_logs(&settings, units)
}

fn per_minute() -> Limit {
    Limit::FixedWindow(FixedWindow::new(Rate::per_minute(10)))
}

fn keys(seed: u64) -> impl Iterator<Item = Key> {
    let mut chance = Chance::new(seed);
    core::iter::repeat_with(move || Key::new(chance.bits()))
}

#[test]
fn as_many_keys_as_were_promised_find_room() {
    for (max_keys, seed) in [(1, 1), (100, 2), (1_000, 3), (10_000, 4), (200_000, 5)] {
        let table = table(max_keys);
        let limit = per_minute();
        let all: Vec<Key> = keys(seed).take(max_keys as usize).collect();
        for &key in &all {
            let grant = table.ask(&limit, key, 1, at(SECOND));
            assert_eq!(grant.basis(), Basis::Entry, "{max_keys} keys, seed {seed}");
        }
        // Each has a state of its own.
        for &key in &all {
            assert_eq!(
                table.standing(&limit, key, at(SECOND)).remaining,
                9,
                "{max_keys} keys, seed {seed}"
            );
        }
        let live: usize = (0..table.shards()).map(|shard| table.live_in(shard, at(SECOND))).sum();
        assert_eq!(live, max_keys as usize);
        assert!(table.capacity() >= max_keys as usize);
    }
}

#[test]
fn a_million_keys_take_less_than_64_mib() {
    let table = table(1_000_000);
    assert!(table.bytes() <= 64 << 20, "{} bytes", table.bytes());
    assert!(table.capacity() >= 1_400_000);
}

#[test]
fn who_is_expired_makes_room() {
    let table = table(1_000);
    let limit = per_minute();
    let mut now = SECOND;
    for seed in 0..20 {
        for key in keys(seed).take(1_000) {
            assert_eq!(table.ask(&limit, key, 1, at(now)).basis(), Basis::Entry, "seed {seed}");
        }
        now += 61 * SECOND;
    }
    let none = Crowding {
        estimated: 0,
        displaced: 0,
    };
    assert_eq!(table.crowding(), none);
    assert_eq!(
        (0..table.shards())
            .map(|shard| table.live_in(shard, at(now)))
            .sum::<usize>(),
        0
    );
}

/// Fills a table with keys that were asked for `times` times.
fn filled(times: usize, seed: u64) -> (Table, Limit) {
    let table = table(100);
    let limit = per_minute();
    for key in keys(seed).take(5_000) {
        for _ in 0..times {
            table.ask(&limit, key, 1, at(SECOND));
        }
    }
    (table, limit)
}

#[test]
fn a_newcomer_is_judged_by_the_sketch_where_all_are_established() {
    let (table, limit) = filled(2, 7);
    let displaced = table.crowding().displaced;
    let newcomer = Key::new(12_345);
    // What others took may count as the newcomer's, and no more than the limit admits in a minute passes.
    let passed = (0..100).filter(|_| {
        let grant = table.ask(&limit, newcomer, 1, at(SECOND));
        assert_eq!(grant.basis(), Basis::Sketch);
        grant.decision.verdict.passes()
    });
    let most = usize::try_from(limit.most_within(Duration::from_secs(60))).unwrap();
    assert!(passed.count() <= most);
    assert_eq!(table.crowding().displaced, displaced);
}

#[test]
fn whoever_asks_again_takes_the_place_of_one_that_did_not() {
    let (table, limit) = filled(1, 8);
    let newcomer = Key::new(12_345);
    let basis: Vec<Basis> = (0..40)
        .map(|_| table.ask(&limit, newcomer, 1, at(SECOND)).basis())
        .collect();
    assert_eq!(basis.last(), Some(&Basis::Entry), "{basis:?}");
    assert!(table.crowding().displaced > 0);
}

#[test]
fn an_estimate_is_taken_back() {
    let (table, limit) = filled(2, 9);
    let newcomer = Key::new(12_345);
    let remaining = |table: &Table| {
        let grant = table.ask(&limit, newcomer, 1, at(SECOND));
        table.settle(&limit, &grant, 0, at(SECOND));
        (grant.basis(), grant.decision.standing(&limit).remaining)
    };
    let before = remaining(&table);
    assert_eq!(before.0, Basis::Sketch);
    assert_eq!(remaining(&table), before);
}

#[test]
fn who_has_requests_in_flight_keeps_the_entry() {
    let table = table(100);
    let limit = Limit::Concurrency(Concurrency::new(1));
    let held: Vec<_> = keys(10)
        .take(50)
        .map(|key| table.ask(&limit, key, 1, at(SECOND)))
        .collect();
    for key in keys(11).take(20_000) {
        let grant = table.ask(&limit, key, 1, at(SECOND));
        table.settle(&limit, &grant, 0, at(SECOND));
    }
    let much_later = at(1_000_000 * SECOND);
    for grant in &held {
        assert_eq!(grant.basis(), Basis::Entry);
        let refused = Verdict::Refused { retry_in: None };
        assert_eq!(table.ask(&limit, grant.key(), 1, much_later).decision.verdict, refused);
        table.settle(&limit, grant, 0, much_later);
        assert_eq!(table.standing(&limit, grant.key(), much_later).remaining, 1);
    }
}

#[test]
fn a_key_whose_hash_is_nothing_is_a_key() {
    let table = table(10);
    let limit = per_minute();
    table.ask(&limit, Key::new(0), 3, at(SECOND));
    assert_eq!(table.standing(&limit, Key::new(0), at(SECOND)).remaining, 7);
    assert_eq!(table.standing(&limit, Key::new(2), at(SECOND)).remaining, 10);
}

proptest! {
    /// With room, a table decides as if each key had a state of its own.
    #[test]
    fn a_table_is_many_states(
        steps in prop::collection::vec((0u64..50, 0u64..SECOND, 1u64..8, 0u64..12, prop::bool::ANY), 1..300),
        which in 0usize..3,
    ) {
        let limits = [
            per_minute(),
            Limit::Gcra(Gcra::new(Rate::per_second(3), 7)),
            Limit::Concurrency(Concurrency::new(5)),
        ];
        let limit = limits[which];
        let table = table(100);
        let mut states: HashMap<u64, State> = HashMap::new();
        let mut now = SECOND;
        for (key, pause, cost, actual, settles) in steps {
            now += pause;
            let state = states.entry(key).or_default();
            let grant = table.ask(&limit, Key::new(key.wrapping_mul(0x9e37_79b9_7f4a_7c15)), cost, at(now));
            let decision = limit.ask(state, cost, at(now));
            prop_assert_eq!(grant.decision.verdict, decision.verdict);
            prop_assert_eq!(grant.decision.standing(&limit), decision.standing(&limit));
            if settles && decision.verdict.passes() {
                table.settle(&limit, &grant, actual, at(now));
                limit.settle(state, &decision.receipt, actual, at(now));
            }
            prop_assert_eq!(table.standing(&limit, grant.key(), at(now)), limit.standing(state, at(now)));
        }
    }
}

proptest! {
    /// With room, and so much that entries change places, a table is as many logs, whatever is given back.
    #[test]
    fn a_table_is_many_logs(
        steps in prop::collection::vec((0u64..300, 0u64..SECOND, 1u64..4, 0u64..7, prop::bool::ANY), 1..800),
        units in 1u32..7,
    ) {
        let log = SlidingLog::new(Rate::new(units.into(), Duration::from_secs(40)));
        let limit = Limit::SlidingLog(log);
        // 256 entries in 32 buckets: the fullest of them are cleared by moving what is there.
        let table = log_table(1, units);
        let mut logs: HashMap<u64, Log> = HashMap::new();
        let mut now = SECOND;
        for (number, pause, cost, actual, settles) in steps {
            now += pause;
            let key = Key::new(Chance::new(number).bits());
            let grant = table.ask(&limit, key, cost, at(now));
            if grant.basis() == Basis::Sketch || table.crowding().displaced > 0 {
                break;
            }
            let own = logs.entry(number).or_insert_with(|| log.log());
            let decision = log.ask(own, cost, at(now));
            prop_assert_eq!(grant.decision.verdict, decision.verdict);
            prop_assert_eq!(grant.decision.standing(&limit), decision.standing(&limit));
            if settles && decision.verdict.passes() {
                // What cost more than was said is as exact as the row is long: never more than the limit here.
                let actual = actual.min(cost);
                table.settle(&limit, &grant, actual, at(now));
                log.settle(own, &decision.receipt, actual, at(now));
            }
            prop_assert_eq!(table.standing(&limit, key, at(now)), log.standing(own, at(now)));
        }
    }
}

/// What was taken of a log comes along when its entry makes room for another one.
#[test]
fn a_log_is_moved_with_its_entry() {
    let limit = Limit::SlidingLog(SlidingLog::new(Rate::per_minute(5)));
    for seed in 0..20 {
        let table = log_table(1, 5);
        let all: Vec<Key> = keys(seed).take(200).collect();
        for &key in &all {
            table.ask(&limit, key, 2, at(SECOND));
            table.ask(&limit, key, 1, at(2 * SECOND));
        }
        assert_eq!(table.crowding().displaced, 0, "seed {seed}");
        let in_table = |key: &&Key| table.standing(&limit, **key, at(2 * SECOND)).remaining != 5;
        let known = all.iter().filter(in_table).count();
        assert!(known > 150, "seed {seed}: {known}");
        for &key in all.iter().filter(in_table) {
            let remaining = |second| table.standing(&limit, key, at(second * SECOND)).remaining;
            assert_eq!([60, 61, 62].map(remaining), [2, 4, 5], "seed {seed}");
        }
    }
}

/// A key that comes to a place of another one finds nothing of that one's log; a key with a larger rate has the room that it needs.
#[test]
fn a_row_begins_empty_and_is_long_enough_for_the_largest_rate() {
    let table = log_table(1, 50);
    assert_eq!(table.log_units(), 50);
    let limit = |units| Limit::SlidingLog(SlidingLog::new(Rate::per_minute(units)));
    let (small, large) = (limit(5), limit(50));
    let mut now = SECOND;
    for seed in 0..10 {
        for (number, key) in keys(seed).take(100).enumerate() {
            let (limit, units) = if number % 2 == 0 { (&small, 5) } else { (&large, 50) };
            let passed = (0..60).filter(|_| table.ask(limit, key, 1, at(now)).decision.verdict.passes());
            assert_eq!(passed.count(), units);
            // Another rate for the same key, as an override that is taken away: what was taken stays taken.
            let (one, other) = (
                table.standing(&small, key, at(now)),
                table.standing(&large, key, at(now)),
            );
            assert_eq!((one.remaining, other.remaining), (0, 50 - units as u64));
        }
        now += 60 * SECOND;
    }
}

#[test]
fn logs_take_64_mib_at_most() {
    for (max_keys, units) in [(1_000_000, 5), (50_000, 100), (5_000, 1_000), (1_250, 1_000)] {
        assert!(u64::from(max_keys * units) <= Table::MOST_LOGGED);
        let (with, without) = (log_table(max_keys, units), table(max_keys));
        let bytes = with.bytes() - without.bytes();
        assert_eq!(bytes, with.capacity() * units as usize * 8);
        assert!(bytes <= 64 << 20, "{max_keys} keys: {bytes} bytes");
    }
}

/// Units that passed within a time at most, of any key.
fn most_within(passed: &HashMap<Key, Vec<u64>>, time: u64) -> usize {
    let of = |times: &Vec<u64>| {
        let within = |(first, from): (usize, &u64)| times[first..].iter().take_while(|&&it| it - from <= time).count();
        times.iter().enumerate().map(within).max().unwrap_or(0)
    };
    passed.values().map(of).max().unwrap_or(0)
}

/// How an attacker's keys come.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// Each once, then again from the first: whoever has just made room comes back.
    InTurn,
    /// Few of them far more often than the others.
    Skewed,
    Random,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However keys come and go in a table that is too small, none gets more than twice what its limit admits.
    #[test]
    fn a_crowded_table_admits_twice_the_limit_at_most(
        seed: u64,
        span in 300usize..1_000,
        order in prop_oneof![Just(Order::InTurn), Just(Order::Skewed), Just(Order::Random)],
        pause in 1u64..1_000_000,
        is_log: bool,
    ) {
        // A window of a log has its end only: what counts is what is within a nanosecond less.
        let (limit, memory) = match is_log {
            true => (Limit::SlidingLog(SlidingLog::new(Rate::per_second(5))), Duration::from_nanos(SECOND - 1)),
            false => (Limit::Gcra(Gcra::new(Rate::per_second(5), 5)), Duration::from_secs(1)),
        };
        let settings = TableSettings { max_keys: 1, memory, relax: std::thread::yield_now, advise: |_, _| () };
        let table = Table::with_logs(&settings, 5);
        let mut chance = Chance::new(seed);
        let all: Vec<Key> = keys(seed ^ 1).take(span).collect();
        let mut passed: HashMap<Key, Vec<u64>> = HashMap::new();
        let mut now = SECOND;
        for step in 0..10_000 {
            now += chance.below(pause);
            let index = match order {
                Order::InTurn => step % span,
                Order::Skewed if step % 2 == 0 => chance.index(10),
                Order::Skewed | Order::Random => chance.index(span),
            };
            if table.ask(&limit, all[index], 1, at(now)).decision.verdict.passes() {
                passed.entry(all[index]).or_default().push(now);
            }
        }
        let most = 2 * usize::try_from(limit.most_within(memory)).unwrap();
        prop_assert_eq!(most, if is_log { 10 } else { 20 });
        let found = most_within(&passed, crate::rate::nanoseconds(memory));
        prop_assert!(found <= most, "{} of {}", found, most);
    }
}

/// Keys that share both of their buckets, in a table of 32.
fn rivals() -> impl Iterator<Item = Key> {
    let in_both = |key: &Key| key.hash().is_multiple_of(32) && crate::key::scramble(key.hash()) % 32 <= 1;
    keys(3).filter(in_both)
}

/// A table in which there is no room for the rivals that are still to come, and those that have it.
fn crowded(limit: &Limit, rivals: &mut impl Iterator<Item = Key>) -> (Table, Vec<Grant>) {
    let table = table(1);
    let established = rivals.take(16).map(|key| {
        table.ask(limit, key, 1, at(SECOND));
        table.ask(limit, key, 1, at(SECOND))
    });
    let established = established.collect();
    (table, established)
}

#[test]
fn who_took_everything_by_the_sketch_begins_nothing_when_there_is_room() {
    // Those that have room lose it when their requests end.
    let limit = Limit::Concurrency(Concurrency::new(10));
    let mut rivals = rivals();
    let (table, established) = crowded(&limit, &mut rivals);
    let (spent, modest) = (rivals.next().unwrap(), rivals.next().unwrap());
    let ask = |key| {
        let grant = table.ask(&limit, key, 1, at(SECOND));
        (grant.basis(), grant.decision.verdict.passes())
    };
    assert!((0..10).all(|_| ask(spent) == (Basis::Sketch, true)));
    assert_eq!(ask(modest), (Basis::Sketch, true));
    for grant in &established[..2] {
        for _ in 0..2 {
            table.settle(&limit, grant, 0, at(SECOND));
        }
    }
    assert_eq!(ask(modest), (Basis::Entry, true));
    assert_eq!(ask(spent), (Basis::Sketch, false));
    // All windows later it is forgotten.
    let grant = table.ask(&limit, spent, 1, at(181 * SECOND));
    assert_eq!((grant.basis(), grant.decision.verdict.passes()), (Basis::Entry, true));
}

#[test]
fn what_costs_more_than_there_ever_is_passes_all_the_same_where_nothing_is_owed() {
    let limit = Limit::Bandwidth(Bandwidth::new(Rate::per_second(1_000), 1_000, Duration::ZERO));
    let mut rivals = rivals();
    let (table, _) = crowded(&limit, &mut rivals);
    // The sketch knows of somebody from now on.
    let grant = table.ask(&limit, rivals.next().unwrap(), 1, at(SECOND));
    assert_eq!(grant.basis(), Basis::Sketch);
    let mut others = keys(4).filter(|key| !key.hash().is_multiple_of(32));
    let grant = table.ask(&limit, others.next().unwrap(), 1_000_000, at(SECOND));
    assert_eq!(
        (grant.basis(), grant.decision.verdict),
        (Basis::Entry, Verdict::Admitted)
    );
}

/// Two keys that take each other's place again and again, where all others are established, are counted all the same.
#[test]
fn taking_turns_in_one_place_wins_nothing() {
    let table = table(1);
    let limit = per_minute();
    let mut rivals = rivals();
    for key in rivals.by_ref().take(15) {
        table.ask(&limit, key, 1, at(SECOND));
        table.ask(&limit, key, 1, at(SECOND));
    }
    let pair: Vec<Key> = rivals.take(2).collect();
    // The second one is known to the sketch before its turn, so that the first one is displaced before it is established.
    let mut passed = [1, 1];
    table.ask(&limit, pair[0], 1, at(SECOND));
    assert_eq!(table.ask(&limit, pair[1], 1, at(SECOND)).basis(), Basis::Sketch);
    for _ in 0..200 {
        for (count, &key) in passed.iter_mut().zip(&pair).rev() {
            *count += u64::from(table.ask(&limit, key, 1, at(SECOND)).decision.verdict.passes());
        }
    }
    assert!(table.crowding().displaced > 0);
    let most = limit.most_within(Duration::from_secs(60));
    assert!(passed.iter().all(|&count| count <= 2 * most), "{passed:?}");
}
