//! What does a pick cost? Prints nanoseconds per pick and release, on one thread, for each algorithm and size.
//!
//! `cargo run --release -p isobar-balance --example pick_cost`
#![expect(clippy::print_stdout, reason = "prints a table")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use isobar_balance::{Balance, Candidate, Chance, Group, Pick, Query, ServerState};

const ROUNDS: u32 = 7;

/// How the servers of a measured group look.
#[derive(Debug, Clone, Copy)]
enum Servers {
    /// All alike and idle.
    Equal,
    /// Weights 1 to 7.
    Weighted,
    /// Weights that make a long sequence.
    LongSequence,
    /// Alike, with up to 9 requests in flight each.
    Busy,
    /// Alike, with 1 to 3 requests in flight each: none is idle.
    Loaded,
}

fn candidates(servers: Servers, count: u32) -> Vec<Candidate> {
    let mut chance = Chance::new(1);
    let candidate = |slot: u32| {
        let state = Arc::new(ServerState::new(Some(1_000_000)));
        let (weight, in_flight) = match servers {
            Servers::Equal => (1, 0),
            Servers::Weighted => (1 + slot % 7, 0),
            Servers::LongSequence => (60_001 - slot, 0),
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

/// The fastest of some rounds: what disturbs a measurement only ever adds to it.
fn nanoseconds_per_pick(balance: Balance, candidates: &[Candidate]) -> f64 {
    let group = Group::new(balance, candidates.to_vec(), 1);
    let mut chance = Chance::new(1);
    let picks = 20_000_000 / (100 + candidates.len());
    let mut round = || {
        let start = Instant::now();
        for _ in 0..picks {
            if let Pick::Server { slot, .. } = black_box(group.pick(black_box(&Query::default()), &mut chance)) {
                candidates[slot as usize].state.release();
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / picks as f64
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("ns per pick and release; {ROUNDS} rounds, the fastest\n");
    println!(
        "{:<18} {:<14} {:>8} {:>8} {:>8}",
        "algorithm", "servers", "n=3", "n=100", "n=1000"
    );
    for &balance in Balance::ALL {
        for servers in [
            Servers::Equal,
            Servers::Weighted,
            Servers::LongSequence,
            Servers::Busy,
            Servers::Loaded,
        ] {
            let cost = [3, 100, 1000].map(|count| nanoseconds_per_pick(balance, &candidates(servers, count)));
            let servers = format!("{servers:?}");
            println!(
                "{balance:<18} {servers:<14} {:>8.1} {:>8.1} {:>8.1}",
                cost[0], cost[1], cost[2]
            );
        }
    }
}
