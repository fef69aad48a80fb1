//! Does a session find the server that it was given, and does the table keep to its size?

use super::{Keep, Kept, SessionTable, Visit};
use crate::{Chance, Moment};
use core::time::Duration;
use proptest::prelude::*;
use std::collections::HashMap;
use std::vec::Vec;

const TTL_S: u64 = 60;

fn at(seconds: u64) -> Visit {
    Visit {
        now: Moment::new(seconds * 1_000_000_000),
        ttl: Duration::from_secs(TTL_S),
    }
}

#[test]
fn sessions_are_remembered_while_they_are_asked_for() {
    let table = SessionTable::new(100);
    assert_eq!(table.find(7, at(0)), None);
    assert_eq!(table.remember(7, 3, at(0), Keep::First), Kept::Remembered);
    assert_eq!(table.find(7, at(50)), Some(3));
    assert_eq!(table.find(7, at(50 + TTL_S)), Some(3));
    assert_eq!(table.find(7, at(50 + 2 * TTL_S + 1)), None);
    assert_eq!(table.count(at(50 + 2 * TTL_S)), 1);
    assert_eq!(table.count(at(50 + 2 * TTL_S + 1)), 0);
    // Time that runs back, and time that never ends.
    assert_eq!(table.find(7, at(0)), Some(3));
    let forever = Visit {
        ttl: Duration::MAX,
        now: Moment::new(u64::MAX),
    };
    assert_eq!(table.find(7, forever), Some(3));
}

#[test]
fn a_session_keeps_its_first_server_or_moves() {
    let table = SessionTable::new(100);
    table.remember(7, 3, at(0), Keep::First);
    table.remember(7, 4, at(1), Keep::First);
    assert_eq!(table.find(7, at(1)), Some(3));
    table.remember(7, 4, at(1), Keep::Latest);
    assert_eq!(table.find(7, at(1)), Some(4));
    // One that is over has no server to keep.
    table.remember(7, 5, at(2 + TTL_S), Keep::First);
    assert_eq!(table.find(7, at(2 + TTL_S)), Some(5));
    assert_eq!(table.count(at(2 + TTL_S)), 1);
}

#[test]
fn a_flood_stays_within_the_table() {
    for size in [0, 1, 5, 16, 17, 1000] {
        let table = SessionTable::new(size);
        assert!(table.capacity() <= (size as usize).max(1));
        let mut chance = Chance::new(1);
        let mut evicted = 0;
        for _ in 0..20_000 {
            evicted += usize::from(table.remember(chance.bits(), 1, at(0), Keep::First) == Kept::Evicted);
        }
        assert_eq!(table.count(at(0)), table.capacity());
        assert_eq!(evicted, 20_000 - table.capacity());
    }
}

#[test]
fn who_was_asked_for_longest_ago_makes_room() {
    let table = SessionTable::new(16);
    for key in 0..16 {
        table.remember(key, 1, at(key), Keep::First);
    }
    assert_eq!(table.find(0, at(20)), Some(1));
    assert_eq!(table.remember(99, 2, at(20), Keep::First), Kept::Evicted);
    assert_eq!((table.find(1, at(20)), table.find(0, at(20))), (None, Some(1)));
}

/// What the comment at `WAYS` says.
#[test]
fn few_make_room_before_the_table_is_full() {
    let table = SessionTable::new(160_000);
    let mut chance = Chance::new(7);
    let evicted = (0..120_000)
        .filter(|_| table.remember(chance.bits(), 1, at(0), Keep::First) == Kept::Evicted)
        .count();
    assert!((1_200..3_600).contains(&evicted), "{evicted} of 120,000");
}

#[test]
fn sessions_of_servers_that_left_are_forgotten() {
    let table = SessionTable::new(100);
    for key in 0..10 {
        table.remember(key << 60, u32::try_from(key % 2).unwrap(), at(0), Keep::First);
    }
    table.retain(|server| server == 1);
    assert_eq!(table.count(at(0)), 5);
    assert_eq!((table.find(0, at(0)), table.find(1 << 60, at(0))), (None, Some(1)));
}

#[test]
fn another_size_keeps_the_sessions_that_fit() {
    let table = SessionTable::new(1000);
    let mut chance = Chance::new(3);
    let keys: Vec<u64> = (0..400).map(|_| chance.bits()).collect();
    for (second, key) in (0..).zip(&keys) {
        table.remember(*key, 5, at(second / 10), Keep::First);
    }
    let larger = table.resized(2000);
    assert!(keys.iter().all(|&key| larger.find(key, at(40)) == Some(5)));
    let smaller = table.resized(16);
    assert!(
        keys[390..].iter().all(|&key| smaller.find(key, at(40)) == Some(5)),
        "the last"
    );
    assert_eq!(smaller.count(at(40)), 16);
}

/// Threads that write and read the same few keys: no session is ever sent to a server that it was never given.
#[test]
fn workers_never_read_what_nobody_wrote() {
    let table = SessionTable::new(16);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let table = &table;
            scope.spawn(move || {
                let mut chance = Chance::new(seed);
                for step in 0..50_000 {
                    let key = chance.below(64);
                    if let Some(server) = table.find(key, at(step / 1000)) {
                        assert_eq!(u64::from(server) % 64, key);
                    }
                    let server = u32::try_from(key + 64 * chance.below(4)).unwrap();
                    table.remember(key, server, at(step / 1000), Keep::Latest);
                }
            });
        }
    });
    assert!(table.count(at(0)) <= 16);
}

proptest! {
    /// Beside a model that forgets nothing: what the table says is what the model says, or nothing.
    #[test]
    fn it_says_the_truth_or_nothing(steps in prop::collection::vec((0u64..40, 0u32..4, 0u64..30, any::<bool>()), 1..200)) {
        let table = SessionTable::new(32);
        let mut model = HashMap::<u64, (u32, u64)>::new();
        let mut now = 0;
        for (key, server, pause, latest) in steps {
            now += pause;
            let key = key << 58 | key;
            let known = model.get(&key).filter(|(_, last)| now - last <= TTL_S).map(|(server, _)| *server);
            let found = table.find(key, at(now));
            prop_assert!(found.is_none() || found == known, "{found:?}, not {known:?}");
            let keep = if latest { Keep::Latest } else { Keep::First };
            table.remember(key, server, at(now), keep);
            let stays = found.filter(|_| !latest);
            model.insert(key, (stays.unwrap_or(server), now));
            prop_assert_eq!(table.find(key, at(now)), Some(stays.unwrap_or(server)));
            prop_assert!(table.count(at(now)) <= table.capacity());
        }
    }
}
