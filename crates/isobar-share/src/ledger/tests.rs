//! Does a ledger decide at once, tell the store all there is to tell, and keep to its size?

use std::sync::atomic::AtomicU64;
use std::thread;

use isobar_limit::{Rate, SharedKind};

use super::*;
use crate::Contact;

const NOW: Moment = Moment::new(1 << 40);

const RULES: LeaseRules = LeaseRules {
    ahead: Duration::from_millis(500),
    ttl: Duration::from_secs(1),
    advance: 50,
};

fn terms() -> Terms {
    Terms {
        kind: SharedKind::Gcra,
        rate: Rate::per_minute(100),
        burst: 100,
    }
}

fn ledger(max_keys: u32, on_loss: OnLoss) -> Ledger {
    let store = Arc::new(Store::new("main".into(), 2));
    store.set(Contact::Up);
    Ledger::new(store, max_keys, (RULES, on_loss))
}

/// A key whose hash looks random.
fn key(number: u64) -> Key {
    Key::new((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn ask(ledger: &Ledger, key: Key, now: Moment) -> Shared {
    let (terms, name) = (terms(), u128::from(key.hash()).to_be_bytes());
    let name = ledger.wants_name(key).then_some(&name);
    let ask = SharedAsk {
        key,
        name,
        terms: &terms,
        cost: 1,
    };
    ledger.ask(ask, now)
}

fn passes(shared: &Shared) -> bool {
    matches!(shared, Shared::Decided(decision, _) if decision.verdict.passes())
}

/// What a store says that has all that is wanted.
fn gives(errand: &Errand) -> Option<StoreReply> {
    Some(StoreReply {
        units: errand.exchange.want,
        left: 10,
        more_in: None,
        lasts: None,
        mark: 1,
    })
}

#[test]
fn what_passes_is_told() {
    let ledger = ledger(1_000, OnLoss::Local);
    let passed = (0..30).filter(|_| passes(&ask(&ledger, key(1), NOW))).count();
    assert_eq!(passed, 25, "half of a half of a hundred");
    let mut errands = Vec::new();
    assert!(ledger.collect(10, NOW, &mut errands));
    let [errand] = &errands[..] else {
        panic!("it is one key: {errands:?}");
    };
    assert_eq!((errand.exchange.owed, errand.exchange.want), (25, 25));
    assert_eq!(errand.name, u128::from(key(1).hash()).to_be_bytes());
    let mut again = Vec::new();
    ledger.collect(10, NOW, &mut again);
    assert!(again.is_empty(), "it is being told");
    ledger.settle(errand, gives(errand), NOW);
    assert_eq!(ledger.standing(NOW), (1, 25));
    assert!(passes(&ask(&ledger, key(1), NOW)));
    // What nobody asks for is given back, and forgotten.
    let later = NOW.after(Duration::from_secs(2));
    ledger.sweep(1, later);
    ledger.collect(10, later, &mut again);
    let [errand] = &again[..] else {
        panic!("it gives back: {again:?}");
    };
    assert_eq!((errand.exchange.give_back, errand.exchange.want), (24, 0));
    ledger.settle(errand, gives(errand), later);
    ledger.sweep(1, later);
    assert_eq!(ledger.standing(later), (0, 0));
}

#[test]
fn what_was_not_told_is_told_again() {
    let ledger = ledger(1_000, OnLoss::Local);
    ask(&ledger, key(1), NOW);
    let mut errands = Vec::new();
    ledger.collect(10, NOW, &mut errands);
    ledger.settle(&errands[0], None, NOW);
    let mut again = Vec::new();
    ledger.collect(10, NOW, &mut again);
    assert_eq!(again[0].exchange.owed, 1);
}

#[test]
fn keys_are_small() {
    let bytes = size_of::<(u64, Entry)>();
    assert!(bytes <= 288, "{bytes} bytes");
}

#[test]
fn a_lock_is_held_for_few_keys() {
    let check = |max_keys: u32, expected| {
        let shards = ledger(max_keys, OnLoss::Local).shards.len();
        assert_eq!(shards, expected, "{max_keys} keys");
    };
    check(1, 64);
    check(100_000, 64);
    check(200_000, 128);
    check(u32::MAX, 1_024);
}

#[test]
fn batches_have_a_size() {
    let ledger = ledger(10_000, OnLoss::Local);
    for number in 0..1_000 {
        ask(&ledger, key(number), NOW);
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10 {
        let mut errands = Vec::new();
        let is_all = ledger.collect(150, NOW, &mut errands);
        assert!(errands.len() <= 150);
        seen.extend(errands.iter().map(|errand| errand.key));
        assert_eq!(is_all, seen.len() == 1_000);
        if is_all {
            return;
        }
    }
    panic!("{} of 1000 were collected", seen.len());
}

#[test]
fn without_room_the_own_part_decides() {
    let ledger = ledger(64, OnLoss::Local);
    for number in 0..1_000 {
        ask(&ledger, key(number), NOW);
    }
    let (keys, _) = ledger.standing(NOW);
    assert!((32..=64).contains(&keys), "{keys} keys");
    let left_over = (0..1_000).map(|number| ask(&ledger, key(number), NOW));
    let left_over = left_over.filter(|shared| *shared == Shared::OwnPart(2)).count();
    assert_eq!(left_over as u64, 1_000 - keys);
}

#[test]
fn without_store_the_policy_decides_once_leases_are_given_out() {
    let check = |on_loss, expected: fn(&Shared) -> bool| {
        let ledger = ledger(1_000, on_loss);
        for _ in 0..5 {
            ask(&ledger, key(1), NOW);
        }
        let mut errands = Vec::new();
        ledger.collect(10, NOW, &mut errands);
        ledger.settle(&errands[0], gives(&errands[0]), NOW);
        assert!(ledger.store().set(Contact::Lost("gone".to_owned())));
        let leased = ledger.standing(NOW).1;
        for _ in 0..leased {
            assert!(passes(&ask(&ledger, key(1), NOW)), "{on_loss:?}");
        }
        assert!(expected(&ask(&ledger, key(1), NOW)), "{on_loss:?}");
        assert!(expected(&ask(&ledger, key(2), NOW)), "{on_loss:?}: a new key");
        assert!(!ledger.store().set(Contact::Lost("still".to_owned())), "no news");
        assert!(ledger.store().set(Contact::Up));
        assert!(passes(&ask(&ledger, key(2), NOW)), "{on_loss:?}: it is there again");
    };
    check(OnLoss::Local, |shared| *shared == Shared::OwnPart(2));
    check(OnLoss::Open, passes);
    check(OnLoss::Closed, |shared| {
        !passes(shared) && !matches!(shared, Shared::OwnPart(_))
    });
}

#[test]
fn refunds_are_put_back() {
    let ledger = ledger(1_000, OnLoss::Local);
    let Shared::Decided(_, Some(mark)) = ask(&ledger, key(1), NOW) else {
        panic!("the first passes");
    };
    ledger.put_back(key(1), mark, 1);
    let mut errands = Vec::new();
    ledger.collect(10, NOW, &mut errands);
    assert!(errands.is_empty(), "nothing came of it: {errands:?}");
    ask(&ledger, key(1), NOW);
    ledger.collect(10, NOW, &mut errands);
    assert_eq!(errands[0].exchange.owed, 1);
}

#[test]
fn an_end_gives_everything_back() {
    let ledger = ledger(1_000, OnLoss::Local);
    for _ in 0..5 {
        ask(&ledger, key(1), NOW);
    }
    let mut errands = Vec::new();
    ledger.collect(10, NOW, &mut errands);
    ledger.settle(&errands[0], gives(&errands[0]), NOW);
    ask(&ledger, key(2), NOW);
    let mut last = Vec::new();
    ledger.end(NOW, &mut last);
    let told: u64 = last.iter().map(|errand| errand.exchange.owed).sum();
    let back: u64 = last.iter().map(|errand| errand.exchange.give_back).sum();
    assert_eq!((last.len(), told, back), (2, 1, 5));
    assert_eq!(ledger.standing(NOW), (0, 0));
}

#[test]
fn workers_give_out_what_there_is_and_no_more() {
    let ledger = ledger(1_000, OnLoss::Local);
    let passed = AtomicU64::new(0);
    let (granted, told) = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        if passes(&ask(&ledger, key(1), NOW)) {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        let (mut granted, mut told) = (0, 0);
        while workers.iter().any(|worker| !worker.is_finished()) {
            let mut errands = Vec::new();
            ledger.collect(10, NOW, &mut errands);
            for errand in &errands {
                granted += errand.exchange.want;
                told += errand.exchange.owed;
                ledger.settle(errand, gives(errand), NOW);
            }
        }
        (granted, told)
    });
    let mut last = Vec::new();
    ledger.end(NOW, &mut last);
    let left: u64 = last.iter().map(|errand| errand.exchange.give_back).sum();
    let told = told + last.iter().map(|errand| errand.exchange.owed).sum::<u64>();
    assert_eq!(passed.into_inner(), granted - left + told);
}
