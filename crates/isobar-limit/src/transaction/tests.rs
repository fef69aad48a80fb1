//! Does a request take from all of its limits, or from none?

use core::time::Duration;

use super::{Claim, Denial, Enforcement, Key, Limit, Moment, Outcome, Standing, Table, Transaction, Verdict};
use crate::{Algorithm, Concurrency, FixedWindow, Gcra, Rate, SlidingLog, SlidingWindow, TableSettings, TokenBucket};

const SECOND: u64 = 1_000_000_000;
const NOW: Moment = Moment::new(SECOND);

fn table() -> Table {
    let settings = TableSettings {
        max_keys: 1_000,
        memory: Duration::from_secs(60),
        relax: std::thread::yield_now,
        advise: |_, _| (),
    };
    Table::with_logs(&settings, 10)
}

fn limits() -> [Limit; 6] {
    let rate = Rate::per_minute(10);
    [
        Limit::Gcra(Gcra::new(rate, 10)),
        Limit::TokenBucket(TokenBucket::new(rate, 10)),
        Limit::FixedWindow(FixedWindow::new(rate)),
        Limit::SlidingWindow(SlidingWindow::new(rate)),
        Limit::Concurrency(Concurrency::new(2)),
        Limit::SlidingLog(SlidingLog::new(rate)),
    ]
}

fn claims<'a>(table: &'a Table, limits: &'a [Limit], enforcement: &'a Enforcement) -> std::vec::Vec<Claim<'a>> {
    let claim = |(key, limit)| Claim {
        table,
        limit,
        key: Key::new(key),
        cost: 1,
        enforcement,
        shared: None,
    };
    (1..).zip(limits).map(claim).collect()
}

fn ask(claims: &[Claim<'_>], now: Moment) -> Result<(Transaction, Outcome), Denial> {
    let mut transaction = Transaction::default();
    let outcome = transaction.ask(claims, now)?;
    Ok((transaction, outcome))
}

fn remaining(claims: &[Claim<'_>], now: Moment) -> std::vec::Vec<u64> {
    let of = |claim: &Claim<'_>| claim.table.standing(claim.limit, claim.key, now).remaining;
    claims.iter().map(of).collect()
}

#[test]
fn what_others_took_is_given_back_when_one_refuses() {
    let (table, limits) = (table(), limits());
    let claims = claims(&table, &limits, &Enforcement::FULL);
    let taken: std::vec::Vec<_> = (0..2).map(|_| ask(&claims, NOW).unwrap()).collect();
    assert_eq!(remaining(&claims, NOW), [8, 8, 8, 8, 0, 8]);
    for (index, (claim, left)) in claims.iter().zip([8, 8, 8, 8, 0, 8]).enumerate() {
        let grant = taken[1].0.grant(index).unwrap();
        assert_eq!(claim.standing(&grant.decision).remaining, left, "{index}");
    }
    // Both places are taken; none of the other limits has it in its books.
    for _ in 0..100 {
        let denial = ask(&claims, NOW).unwrap_err();
        assert_eq!(denial.claim, 4);
        assert_eq!(remaining(&claims, NOW), [8, 8, 8, 8, 0, 8]);
    }
    // One ends: its place is free, and what it took otherwise stays taken.
    let mut taken = taken.into_iter().map(|it| it.0);
    taken.next().unwrap().end(&claims, NOW);
    assert_eq!(remaining(&claims, NOW), [8, 8, 8, 8, 1, 8]);
    // The other is as if it had never come.
    taken.next().unwrap().give_back(&claims, NOW);
    assert_eq!(remaining(&claims, NOW), [9, 9, 9, 9, 2, 9]);
}

/// What a log remembers beside its state comes back as well: whoever asks a moment later has to wait as long as before.
#[test]
fn a_log_that_gives_back_has_the_times_it_had() {
    let table = table();
    let limits = [
        Limit::SlidingLog(SlidingLog::new(Rate::per_minute(3))),
        Limit::Concurrency(Concurrency::new(1)),
    ];
    let claims = claims(&table, &limits, &Enforcement::FULL);
    let standing = |now| table.standing(&limits[0], claims[0].key, Moment::new(now));
    let holder = ask(&claims, NOW).unwrap().0;
    for step in 2..60 {
        let now = Moment::new(step * SECOND);
        assert_eq!(ask(&claims, now).unwrap_err().claim, 1);
        let more_in = Some(Duration::from_secs(61 - step));
        let expected = Standing { remaining: 2, more_in };
        assert_eq!(standing(step * SECOND), expected, "{step}");
    }
    holder.end(&claims, Moment::new(60 * SECOND));
    let asks = [60, 60, 60, 61].map(|second| {
        let now = Moment::new(second * SECOND);
        let asked = ask(&claims, now).map(|it| it.0.end(&claims, now));
        asked.map_err(|denial| (denial.claim, denial.decision.verdict))
    });
    let retry_in = Some(Duration::from_secs(1));
    let refused = Err((0, Verdict::Refused { retry_in }));
    assert_eq!(asks, [Ok(()), Ok(()), refused, Ok(())]);
}

#[test]
fn a_cost_that_is_known_later_is_settled_with_one_of_them() {
    let (table, limits) = (table(), limits());
    let claims = claims(&table, &limits, &Enforcement::FULL);
    let (mut transaction, _) = ask(&claims, NOW).unwrap();
    transaction.settle(&claims, 1, 6, NOW);
    transaction.settle(&claims, 5, 7, NOW);
    // Only once.
    transaction.settle(&claims, 1, 0, NOW);
    assert_eq!(remaining(&claims, NOW), [9, 4, 9, 9, 1, 3]);
}

#[test]
fn a_shadow_refuses_nobody_and_says_so() {
    let (table, limits) = (table(), limits());
    let shadow = claims(&table, &limits, &Enforcement::SHADOW);
    for step in 0..20 {
        let (_, outcome) = ask(&shadow, NOW).unwrap();
        let concurrency = if step < 2 { 0 } else { 1 << 4 };
        let others = if step < 10 { 0 } else { 0b10_1111 };
        assert_eq!(outcome.would_refuse, concurrency | others, "{step}");
    }
    let ended = Enforcement {
        ends: Some(NOW),
        ..Enforcement::FULL
    };
    let ended = claims(&table, &limits, &ended);
    assert_eq!(ask(&ended, NOW).unwrap().1.would_refuse, 0);
}

#[test]
fn the_slowest_limit_says_how_long_to_wait() {
    let table = table();
    let limits = [200, 500].map(|milliseconds| {
        let rate = Rate::new(1, Duration::from_millis(milliseconds));
        Limit::Gcra(Gcra::new(rate, 1).with_delay(Duration::from_secs(1)))
    });
    let claims = claims(&table, &limits, &Enforcement::FULL);
    let delay = || ask(&claims, NOW).map(|it| it.1.delay.as_millis());
    assert_eq!((delay(), delay(), delay()), (Ok(0), Ok(500), Ok(1_000)));
    let Err(Denial { claim: 1, decision }) = ask(&claims, NOW) else {
        panic!("the second one refuses");
    };
    let retry_in = Some(Duration::from_millis(500));
    assert_eq!(decision.verdict, Verdict::Refused { retry_in });
    assert_eq!(limits[0].standing(&[0; 2], NOW).remaining, 1);
}
