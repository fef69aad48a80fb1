//! How even, how steady and how dear are the algorithms by key? Prints the tables of `docs/hashing.md`.
//!
//! `cargo run --release -p isobar-balance --example hashing`
#![expect(clippy::print_stdout, reason = "prints tables")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use isobar_balance::{Arrangement, Balance, Bound, Candidate, Chance, Group, Pick, Query, ServerState, Tally};

const SEED: u64 = 20_261_124;

fn main() {
    println!(
        "Seed {SEED}; {} keys a server, but at most {} in all.\n",
        Keys::PER_SERVER,
        Keys::MOST
    );
    evenness();
    weights();
    disruption();
    bounds();
    costs();
}

fn keyed() -> impl Iterator<Item = Balance> {
    Balance::ALL.iter().copied().filter(|balance| balance.is_keyed())
}

/// Random keys.
struct Keys;

impl Keys {
    const PER_SERVER: u64 = 10_000;
    const MOST: u64 = 1_000_000;

    fn of(servers: usize) -> impl Iterator<Item = u64> {
        let mut chance = Chance::new(SEED);
        let count = Self::MOST.min(Self::PER_SERVER * servers as u64);
        (0..count).map(move |_| chance.bits())
    }
}

/// Servers of these weights; the id says which, whatever its position.
fn servers(weights: impl IntoIterator<Item = (u64, u32)>, tally: Option<&Arc<Tally>>) -> Vec<Candidate> {
    let candidate = |(slot, (id, weight)): (u32, (u64, u32))| {
        let state = match tally {
            Some(tally) => ServerState::counted_in(Arc::clone(tally), None),
            None => ServerState::new(None),
        };
        let mut mixed = Chance::new(id);
        Candidate {
            weight,
            label: Some(format!("10.0.{}.{}:8080", id / 250, id % 250).into()),
            ..Candidate::new(slot, mixed.bits(), Arc::new(state))
        }
    };
    (0..).zip(weights).map(candidate).collect()
}

fn equal(count: usize) -> Vec<Candidate> {
    servers((0..count as u64).map(|id| (id, 1)), None)
}

/// The slot a key goes to; the place is given back.
fn slot_of(group: &Group, servers: &[Candidate], key: u64, chance: &mut Chance) -> usize {
    let query = Query {
        key: Some(key),
        ..Query::default()
    };
    match group.pick(&query, chance) {
        Pick::Server { slot, .. } => {
            servers[slot as usize].state.release();
            slot as usize
        }
        other => panic!("{other:?}"),
    }
}

fn counts(group: &Group, servers: &[Candidate]) -> Vec<u64> {
    let mut counts = vec![0; servers.len()];
    let mut chance = Chance::new(1);
    Keys::of(servers.len()).for_each(|key| counts[slot_of(group, servers, key, &mut chance)] += 1);
    counts
}

/// Largest and least share over the mean, and the deviation of shares in hundredths of the mean, without what is due to
/// the chance of the keys.
fn spread(counts: &[u64]) -> (f64, f64, f64) {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let largest = counts.iter().copied().max().unwrap_or(0) as f64 / mean;
    let least = counts.iter().copied().min().unwrap_or(0) as f64 / mean;
    let squares: f64 = counts.iter().map(|&count| (count as f64 / mean - 1.0).powi(2)).sum();
    let variance = squares / counts.len() as f64 - 1.0 / mean;
    (largest, least, variance.max(0.0).sqrt() * 100.0)
}

fn evenness() {
    println!("## Evenness\n");
    println!("| algorithm | servers | largest share / mean | least share / mean | deviation | by theory |");
    println!("|---|---|---|---|---|---|");
    for balance in keyed() {
        for count in [10, 100, 1000] {
            let servers = equal(count);
            let group = Group::new(balance, servers.clone(), 1);
            let (largest, least, deviation) = spread(&counts(&group, &servers));
            let ring = |points: f64| {
                let n = count as f64;
                format!("{:.1} %", ((n - 1.0) / (n * points + 1.0)).sqrt() * 100.0)
            };
            let theory = match balance {
                Balance::RingHash => ring(128.0),
                Balance::Ketama => ring(160.0),
                Balance::Maglev => "at most 1 % between any two".to_owned(),
                _ => "0".to_owned(),
            };
            println!("| `{balance}` | {count} | {largest:.3} | {least:.3} | {deviation:.2} % | {theory} |");
        }
    }
    println!();
}

fn weights() {
    println!("## Weights\n");
    println!("| algorithm | weight 1 | 2 | 5 | 10 | 100 |");
    println!("|---|---|---|---|---|---|");
    let weights = [1, 2, 5, 10, 100];
    let total: u32 = weights.iter().sum();
    println!(
        "| due | {} |",
        weights
            .map(|weight| format!("{:.2} %", f64::from(weight) * 100.0 / f64::from(total)))
            .join(" | ")
    );
    for balance in keyed() {
        let servers = servers((0..).zip(weights), None);
        let group = Group::new(balance, servers.clone(), 1);
        let mut chance = Chance::new(SEED);
        let mut counts = [0u32; 5];
        for _ in 0..1_000_000 {
            let key = chance.bits();
            counts[slot_of(&group, &servers, key, &mut chance)] += 1;
        }
        println!(
            "| `{balance}` | {} |",
            counts
                .map(|count| format!("{:.2} %", f64::from(count) / 10_000.0))
                .join(" | ")
        );
    }
    println!();
}

/// What of all keys moves, and what of that between servers that stay, in hundredths.
fn moved(balance: Balance, count: usize, change: Change) -> (f64, f64) {
    let all = equal(count);
    let (old, new) = match change {
        Change::Leaves | Change::Away => (all.clone(), {
            let mut fewer = all.clone();
            match change {
                Change::Away => fewer[count / 2].standing = isobar_balance::Standing::Out,
                _ => drop(fewer.remove(count / 2)),
            }
            fewer
        }),
        Change::Comes => (all[..count - 1].to_vec(), all.clone()),
    };
    let changed = match change {
        Change::Comes => count - 1,
        _ => count / 2,
    };
    let first = Group::new(balance, old, 1);
    let second = first.next(balance, new, 1);
    let mut chance = Chance::new(1);
    let (mut moves, mut between, mut keys) = (0u64, 0u64, 0u64);
    for key in Keys::of(count) {
        let before = slot_of(&first, &all, key, &mut chance);
        let after = slot_of(&second, &all, key, &mut chance);
        keys += 1;
        moves += u64::from(before != after);
        between += u64::from(before != after && before != changed && after != changed);
    }
    (moves as f64 * 100.0 / keys as f64, between as f64 * 100.0 / keys as f64)
}

#[derive(Debug, Clone, Copy)]
enum Change {
    /// A server is unavailable.
    Away,
    /// It leaves the configuration.
    Leaves,
    /// One more is configured.
    Comes,
}

fn disruption() {
    println!("## Disruption\n");
    println!(
        "| algorithm | servers | one is away | of these between others | one leaves | of these between others | one comes | of these between others | least possible |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for balance in keyed() {
        for count in [10, 100, 1000] {
            let cells = [Change::Away, Change::Leaves, Change::Comes].map(|change| {
                let (moves, between) = moved(balance, count, change);
                format!("{moves:.3} % | {between:.3} %")
            });
            println!(
                "| `{balance}` | {count} | {} | {:.3} % |",
                cells.join(" | "),
                100.0 / count as f64
            );
        }
    }
    println!();
}

/// As many requests in flight as 100 servers have at 50 each, of keys of which the first is wanted by a tenth.
fn bounds() {
    println!("## Bounds\n");
    println!("| algorithm | bound | largest load / mean | allowed | requests not at their first server |");
    println!("|---|---|---|---|---|");
    for balance in keyed() {
        for percent in [None, Some(200), Some(125), Some(105)] {
            let servers = equal(100);
            let arrangement = Arrangement {
                bound: percent.map(|percent| Bound { percent }),
                ..Arrangement::new(balance)
            };
            let group = Group::new(arrangement, servers.clone(), 1);
            let free = equal(100);
            let first = Group::new(balance, free.clone(), 1);
            let mut chance = Chance::new(SEED);
            let mut elsewhere = 0;
            for _ in 0..5000 {
                let key = if chance.below(10) == 0 { 5 } else { chance.bits() };
                let query = Query {
                    key: Some(key),
                    ..Query::default()
                };
                let Pick::Server { slot, .. } = group.pick(&query, &mut chance) else {
                    panic!("there is room");
                };
                elsewhere += u32::from(slot as usize != slot_of(&first, &free, key, &mut chance));
            }
            let largest = servers.iter().map(|server| server.state.in_flight()).max().unwrap_or(0);
            let bound = percent.map_or("none".to_owned(), |percent| {
                format!("{:.2}", f64::from(percent) / 100.0)
            });
            let allowed = percent.map_or("".to_owned(), |percent| {
                format!("{:.2}", f64::from((percent * 50).div_ceil(100)) / 50.0)
            });
            println!(
                "| `{balance}` | {bound} | {:.2} | {allowed} | {:.1} % |",
                f64::from(largest) / 50.0,
                f64::from(elsewhere) / 50.0
            );
        }
    }
    println!();
}

/// The least of some rounds, in nanoseconds a step: what disturbs a measurement only ever adds to it.
fn nanoseconds(rounds: usize, steps: usize, mut step: impl FnMut()) -> f64 {
    let mut round = || {
        let start = Instant::now();
        (0..steps).for_each(|_| step());
        start.elapsed().as_secs_f64() * 1e9 / steps as f64
    };
    (0..rounds).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn pick_cost(arrangement: &Arrangement, servers: &[Candidate], away: bool) -> f64 {
    let mut servers = servers.to_vec();
    if away {
        servers
            .iter_mut()
            .step_by(3)
            .for_each(|server| server.standing = isobar_balance::Standing::Out);
    }
    let group = Group::new(arrangement.clone(), servers.clone(), 1);
    let mut chance = Chance::new(SEED);
    let steps = 4_000_000 / (40 + servers.len());
    nanoseconds(5, steps, || {
        let key = chance.bits();
        black_box(slot_of(&group, &servers, key, &mut chance));
    })
}

fn costs() {
    println!("## Costs\n");
    println!("| algorithm | what | n = 3 | n = 100 | n = 1000 | n = 10000 |");
    println!("|---|---|---|---|---|---|");
    const SIZES: [usize; 4] = [3, 100, 1000, 10_000];
    for balance in keyed() {
        let row = |what: &str, cells: [String; 4]| println!("| `{balance}` | {what} | {} |", cells.join(" | "));
        let milliseconds = |count: usize, mut build: Box<dyn FnMut() + '_>| {
            let rounds = if count > 1000 { 3 } else { 10 };
            format!("{:.3} ms", nanoseconds(rounds, 1, &mut build) / 1e6)
        };
        row(
            "first group",
            SIZES.map(|count| {
                let servers = equal(count);
                milliseconds(
                    count,
                    Box::new(|| drop(black_box(Group::new(balance, servers.clone(), 1)))),
                )
            }),
        );
        row(
            "group after a change of health",
            SIZES.map(|count| {
                let servers = equal(count);
                let first = Group::new(balance, servers.clone(), 1);
                let mut away = servers;
                away[1].standing = isobar_balance::Standing::Out;
                milliseconds(
                    count,
                    Box::new(|| drop(black_box(first.next(balance, away.clone(), 1)))),
                )
            }),
        );
        row(
            "group after one more server",
            SIZES.map(|count| {
                let servers = equal(count);
                let first = Group::new(balance, servers[1..].to_vec(), 1);
                milliseconds(
                    count,
                    Box::new(|| drop(black_box(first.next(balance, servers.clone(), 1)))),
                )
            }),
        );
        let nanoseconds = |nanoseconds: f64| format!("{nanoseconds:.0} ns");
        let plain = Arrangement::new(balance);
        let bounded = Arrangement {
            bound: Some(Bound::default()),
            ..plain.clone()
        };
        row(
            "pick and release",
            SIZES.map(|count| nanoseconds(pick_cost(&plain, &equal(count), false))),
        );
        row(
            "the same, a third away",
            SIZES.map(|count| nanoseconds(pick_cost(&plain, &equal(count), true))),
        );
        row(
            "the same, bounded with a tally",
            SIZES.map(|count| {
                let tally = Arc::new(Tally::new());
                let counted = servers((0..count as u64).map(|id| (id, 1)), Some(&tally));
                nanoseconds(pick_cost(&bounded, &counted, false))
            }),
        );
        row(
            "the same, bounded without",
            SIZES.map(|count| nanoseconds(pick_cost(&bounded, &equal(count), false))),
        );
    }
}
