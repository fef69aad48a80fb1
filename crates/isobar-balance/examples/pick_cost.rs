//! What does a pick cost? Prints nanoseconds per pick and release, and microseconds to build a group, on one thread, for
//! each algorithm and size, as the tables of `docs/algorithms.md`.
//!
//! `cargo run --release -p isobar-balance --example pick_cost`
#![expect(clippy::print_stdout, reason = "prints tables")]

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use isobar_balance::{
    Balance, Boards, Candidate, Chance, Finish, Group, Moment, Outcome, Pick, Query, Report, ReportedLoad,
};

const ROUNDS: u32 = 7;
const SIZES: [u32; 4] = [3, 100, 1_000, 10_000];

/// How the servers of a measured group look.
#[derive(Debug, Clone, Copy)]
enum Servers {
    /// All alike and idle.
    Idle,
    /// Idle, with weights 1 to 7.
    Weighted,
    /// Idle, with weights that are all different and have no short cycle.
    Different,
    /// Alike, with up to 9 requests in flight each: a tenth is idle.
    Busy,
    /// Alike, with 1 to 3 requests in flight each: none is idle.
    Loaded,
}

impl Servers {
    const ALL: [Self; 5] = [Self::Idle, Self::Weighted, Self::Different, Self::Busy, Self::Loaded];
}

fn candidates(servers: Servers, count: u32) -> Vec<Candidate> {
    let mut chance = Chance::new(1);
    let mut boards = Boards::for_servers(count as usize);
    let candidate = |slot: u32| {
        let state = Arc::new(boards.server(Some(1_000_000)));
        let (weight, in_flight) = match servers {
            Servers::Idle => (1, 0),
            Servers::Weighted => (1 + slot % 7, 0),
            Servers::Different => (60_001 - slot, 0),
            Servers::Busy => (1, chance.below(10)),
            Servers::Loaded => (1, 1 + chance.below(3)),
        };
        assert!((0..in_flight).all(|_| state.try_acquire()));
        Candidate {
            weight,
            ..Candidate::new(slot, u64::from(slot), state)
        }
    };
    (0..count).map(candidate).collect()
}

/// Gives each server a past: latencies and reports, all of about the same size.
fn warm(candidates: &[Candidate], balance: Balance, chance: &mut Chance) {
    for candidate in candidates {
        let latency = Duration::from_micros(5_000 + chance.below(2_000));
        let finish = Finish {
            now: Moment::default(),
            latency,
            in_flight: 1,
            outcome: Outcome::Success,
        };
        candidate.state.finished(&finish, balance.feedback());
        let report = Report {
            in_flight: Some(candidate.state.in_flight()),
            latency: Some(latency),
            load: Some(ReportedLoad {
                utilization: 0.5,
                rps: 100.0,
                eps: 0.0,
            }),
        };
        candidate.state.reported(&report, Moment::default());
    }
}

/// The fastest of some rounds: what disturbs a measurement only ever adds to it.
fn fastest(mut round: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Of a pick, the question whom to probe after it, and the release; a pick every 100 ns.
fn nanoseconds_per_pick(balance: Balance, candidates: &[Candidate]) -> f64 {
    let group = Group::new(balance, candidates.to_vec(), 1);
    let mut chance = Chance::new(1);
    warm(candidates, balance, &mut chance);
    let picks = 20_000_000 / (200 + candidates.len());
    let mut now = 0;
    fastest(|| {
        let start = Instant::now();
        for _ in 0..picks {
            now += 100;
            let query = Query {
                now: Moment::new(now),
                ..Query::default()
            };
            if let Pick::Server { slot, tier } = black_box(group.pick(black_box(&query), &mut chance)) {
                black_box(group.probes(tier, &query, &mut chance));
                candidates[slot as usize].state.release();
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / picks as f64
    })
}

/// The same while two threads pick and release among the same servers: of each, where both have a processor.
fn nanoseconds_for_two(balance: Balance, candidates: &[Candidate]) -> f64 {
    let group = Group::new(balance, candidates.to_vec(), 1);
    let picks = 10_000_000 / (200 + candidates.len());
    let work = |seed| {
        let mut chance = Chance::new(seed);
        for step in 0..picks {
            let query = Query {
                now: Moment::new(step as u64 * 100),
                ..Query::default()
            };
            if let Pick::Server { slot, .. } = black_box(group.pick(black_box(&query), &mut chance)) {
                candidates[slot as usize].state.release();
            }
        }
    };
    fastest(|| {
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| work(1));
            work(2);
        });
        start.elapsed().as_secs_f64() * 1e9 / picks as f64
    })
}

fn microseconds_per_build(balance: Balance, candidates: &[Candidate]) -> f64 {
    fastest(|| {
        let candidates = candidates.to_vec();
        let start = Instant::now();
        let group = Group::new(balance, black_box(candidates), 1);
        let took = start.elapsed();
        drop(black_box(group));
        took.as_secs_f64() * 1e6
    })
}

fn table(title: &str, algorithms: &[(Balance, Servers)], cost: impl Fn(Balance, &[Candidate]) -> f64) {
    println!("{title}; the fastest of {ROUNDS} rounds\n");
    println!("| algorithm | servers | n = 3 | 100 | 1000 | 10000 |");
    println!("|---|---|---:|---:|---:|---:|");
    for &(balance, servers) in algorithms {
        let cost = SIZES.map(|count| cost(balance, &candidates(servers, count)));
        let servers = format!("{servers:?}").to_lowercase();
        let [three, hundred, thousand, most] = cost;
        println!("| `{balance}` | {servers} | {three:.0} | {hundred:.0} | {thousand:.0} | {most:.0} |");
    }
    println!();
}

fn main() {
    let mut picks = Vec::new();
    for &balance in Balance::ALL {
        picks.extend(Servers::ALL.map(|servers| (balance, servers)));
    }
    table("ns per pick and release", &picks, nanoseconds_per_pick);
    let together: Vec<_> = Servers::ALL
        .iter()
        .map(|&servers| (Balance::LeastConnections, servers))
        .collect();
    table(
        "ns per pick and release on each of two threads",
        &together,
        nanoseconds_for_two,
    );
    let mut builds = Vec::new();
    for &balance in Balance::ALL {
        builds.extend([Servers::Idle, Servers::Weighted, Servers::Different].map(|servers| (balance, servers)));
    }
    table("µs to build a group", &builds, microseconds_per_build);
}
