//! Do limits and counts hold when many workers pick at once?

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use std::time::Duration;

use isobar_balance::{
    Balance, Candidate, Chance, Conduct, Feedback, Finish, Group, Moment, Outcome, OutlierSettings, Pick, Query,
    Report, ServerState, Tier, Verdict,
};

const WORKERS: usize = 8;
const PICKS: usize = 20_000;
const LIMITS: [u32; 4] = [1, 2, 3, 5];

/// Counts kept beside the group's own, in another way: how many hold a place on each server at this moment.
#[derive(Default)]
struct Witness {
    holders: [AtomicU32; LIMITS.len()],
}

impl Witness {
    fn enter(&self, slot: u32) {
        let holders = self.holders[slot as usize].fetch_add(1, Ordering::SeqCst) + 1;
        assert!(
            holders <= LIMITS[slot as usize],
            "{holders} hold a place on server {slot}"
        );
    }

    fn leave(&self, slot: u32) {
        self.holders[slot as usize].fetch_sub(1, Ordering::SeqCst);
    }
}

/// Picks and releases with up to three places in hand; returns how many picks were given a place.
fn work(group: &Group, servers: &[Candidate], witness: &Witness, seed: u64) -> usize {
    let mut chance = Chance::new(seed);
    let mut held = Vec::new();
    let mut given = 0;
    let release = |slot: u32| {
        witness.leave(slot);
        servers[slot as usize].state.release();
    };
    for _ in 0..PICKS {
        match group.pick(&Query::default(), &mut chance) {
            Pick::Server { slot, .. } => {
                witness.enter(slot);
                held.push(slot);
                given += 1;
            }
            Pick::Full => {}
            Pick::NoneAvailable => panic!("servers are available all the time"),
        }
        if held.len() > chance.index(4) {
            release(held.swap_remove(chance.index(held.len())));
        }
    }
    held.into_iter().for_each(release);
    given
}

#[test]
fn limits_are_exact_and_counts_return_to_zero() {
    for &balance in Balance::ALL {
        let candidate = |(slot, limit): (u32, u32)| Candidate {
            slot,
            weight: limit,
            tier: Tier::Primary,
            state: Arc::new(ServerState::new(Some(limit))),
        };
        let servers: Vec<Candidate> = (0..).zip(LIMITS).map(candidate).collect();
        let group = Group::new(balance, servers.clone(), 1);
        let witness = Witness::default();
        let start = Barrier::new(WORKERS);
        let given: usize = thread::scope(|scope| {
            let worker = |seed| {
                let (group, servers, witness, start) = (&group, &servers, &witness, &start);
                scope.spawn(move || {
                    start.wait();
                    work(group, servers, witness, seed)
                })
            };
            let workers: Vec<_> = (0..WORKERS as u64).map(worker).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert!(given > PICKS, "{balance}: {given} places given");
        for server in &servers {
            assert_eq!(server.state.in_flight(), 0, "{balance}, server {}", server.slot);
        }
    }
}

/// While one server always has room, a pick finds a place, however many races for the others are lost.
#[test]
fn room_is_found_among_contended_servers() {
    for &balance in Balance::ALL {
        let candidate = |slot| Candidate {
            slot,
            weight: if slot == 0 { 1 } else { 1000 },
            tier: Tier::Primary,
            state: Arc::new(ServerState::new((slot != 0).then_some(1))),
        };
        let servers: Vec<Candidate> = (0..5).map(candidate).collect();
        let group = Group::new(balance, servers.clone(), 1);
        let start = Barrier::new(WORKERS);
        thread::scope(|scope| {
            for seed in 0..WORKERS as u64 {
                let (group, servers, start) = (&group, &servers, &start);
                scope.spawn(move || {
                    let mut chance = Chance::new(seed);
                    start.wait();
                    for _ in 0..PICKS {
                        match group.pick(&Query::default(), &mut chance) {
                            Pick::Server { slot, .. } => servers[slot as usize].state.release(),
                            other => panic!("{balance}: server 0 has room, but the pick was {other:?}"),
                        }
                    }
                });
            }
        });
        assert!(servers.iter().all(|server| server.state.in_flight() == 0), "{balance}");
    }
}

/// Runs this on every worker at once.
fn on_all_workers(work: impl Fn(u64) + Sync) {
    let start = Barrier::new(WORKERS);
    thread::scope(|scope| {
        for seed in 0..WORKERS as u64 {
            let (work, start) = (&work, &start);
            scope.spawn(move || {
                start.wait();
                work(seed);
            });
        }
    });
}

/// No failure is lost or counted twice, and all leave, while workers look on and time passes.
#[test]
fn charges_are_exact_and_end() {
    const FAILURES: u32 = 20_000;
    let all = FAILURES * u32::try_from(WORKERS).unwrap();
    let server = ServerState::new(None);
    let fail = |now, outcome| {
        let finish = Finish {
            now,
            latency: Duration::ZERO,
            in_flight: 1,
            outcome,
        };
        server.finished(&finish, Feedback::Failures);
    };
    let at = |ms| Moment::default().after(Duration::from_millis(ms));
    on_all_workers(|_| {
        let retry_after = Some(Duration::from_secs(10));
        (0..FAILURES).for_each(|_| fail(at(0), Outcome::Failure { retry_after }));
    });
    assert_eq!(server.charge(at(9_000)), all);
    assert_eq!(server.charge(at(10_300)), 0);
    on_all_workers(|worker| {
        for step in 0..u64::from(FAILURES) {
            let now = at(20_000 + step + worker * 3);
            fail(now, Outcome::Failure { retry_after: None });
            let charge = server.charge(now);
            assert!(charge <= all, "a count ran below zero: {charge}");
        }
    });
    assert_eq!(server.charge(at(120_000)), 0);
}

/// With room for all, every pick finds a place, whatever is told of servers meanwhile.
#[test]
fn picks_hold_while_everything_is_reported() {
    for &balance in Balance::ALL {
        let candidate = |slot| Candidate {
            slot,
            weight: 1 + slot,
            tier: Tier::Primary,
            state: Arc::new(ServerState::new(Some(4))),
        };
        let servers: Vec<Candidate> = (0..6).map(candidate).collect();
        let group = Group::new(balance, servers.clone(), 1);
        on_all_workers(|seed| {
            let mut chance = Chance::new(seed);
            for step in 0..5_000 {
                let query = Query {
                    now: Moment::default().after(Duration::from_millis(step)),
                    ..Query::default()
                };
                let Pick::Server { slot, tier } = group.pick(&query, &mut chance) else {
                    panic!("{balance}: there is room for three each of {WORKERS}");
                };
                let state = &servers[slot as usize].state;
                let outcome = match step % 7 {
                    0 => Outcome::Failure { retry_after: None },
                    _ => Outcome::Success,
                };
                let finish = Finish {
                    now: query.now,
                    latency: Duration::from_micros(step),
                    in_flight: state.in_flight(),
                    outcome,
                };
                state.finished(&finish, balance.feedback());
                state.release();
                for probed in group.probes(tier, &query, &mut chance).iter() {
                    let report = Report {
                        in_flight: Some(probed),
                        ..Report::default()
                    };
                    servers[probed as usize].state.reported(&report, query.now);
                }
            }
        });
        assert!(servers.iter().all(|server| server.state.in_flight() == 0), "{balance}");
    }
}

/// One worker, and no other, is told that a row of failures is long enough.
#[test]
fn a_row_of_failures_is_due_once() {
    let conduct = Conduct::default();
    let due = AtomicU32::new(0);
    let settings = OutlierSettings {
        consecutive_errors: Some(1_000),
        ..OutlierSettings::DEFAULT
    };
    on_all_workers(|_| {
        for _ in 0..1_000 {
            let attention = conduct.count(Verdict::ServerError, Moment::default(), &settings);
            due.fetch_add(
                u32::from(attention == isobar_balance::Attention::Due),
                Ordering::Relaxed,
            );
        }
    });
    assert_eq!(due.into_inner(), 1);
}
