//! How far is the sliding window's estimate off? Prints the table of `docs/limiting-accuracy.md`: the same requests are asked of
//! the estimate, of the fixed window and of the exact log, each with a state of its own for every client.
//!
//! `zcat access.log.gz | cargo run --release -p isobar-limit --example accuracy` with an access log in the common or combined
//! format; without one only traffic that is made up.
#![expect(clippy::print_stdout, reason = "prints tables")]

use std::collections::HashMap;
use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use isobar_balance::{Chance, Moment};
use isobar_limit::{Algorithm, FixedWindow, Rate, SlidingLog, SlidingWindow};

const SEED: u64 = 20_261_128;
const SECOND: u64 = 1_000_000_000;
const CLIENTS: u64 = 100;
const HOURS: u64 = 4;

/// When requests come, in nanoseconds, and whose they are; in the order they come.
type Traffic = Vec<(u64, u64)>;

/// What an algorithm made of some traffic, beside the exact log.
#[derive(Debug, Default)]
struct Errors {
    requests: u64,
    exact: u64,
    admitted: u64,
    /// Passed, where the log has no room for it, of the requests that this algorithm itself let pass.
    wrongly_admitted: u64,
    /// Refused, where the log would have had room.
    wrongly_refused: u64,
    /// Of any client, the most that passed within a window.
    most: u64,
}

fn main() {
    let minute = Duration::from_secs(60);
    println!("Seed {SEED}. Limits a minute and client; wrong decisions in hundredths of all requests.\n");
    println!(
        "| traffic | limit | requests | the log passes | estimate: passes | wrongly passed | wrongly refused | most in a minute | fixed window: \
         passes | most in a minute |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut access = String::new();
    if !io::stdin().is_terminal() && io::stdin().read_to_string(&mut access).is_ok() && !access.is_empty() {
        let traffic = recorded(&access);
        for limit in [10, 20, 50] {
            row("access log, by client", &traffic, Rate::new(limit, minute));
        }
    }
    for (name, per_minute) in [
        ("Poisson, half the limit", 50),
        ("Poisson, the limit", 100),
        ("Poisson, twice the limit", 200),
    ] {
        row(name, &poisson(per_minute), Rate::new(100, minute));
    }
    row("bursts of 60, two a minute", &bursts(60, 30), Rate::new(100, minute));
    row("bursts of 100, one in 40 s", &bursts(100, 40), Rate::new(100, minute));
    row(
        "on for 20 s, off for 50 s, 6/s",
        &on_off(20, 50, 6),
        Rate::new(100, minute),
    );
    row(
        "on for 5 s, off for 60 s, 30/s",
        &on_off(5, 60, 30),
        Rate::new(100, minute),
    );
}

fn row(name: &str, traffic: &Traffic, rate: Rate) {
    let (sliding, fixed) = (SlidingWindow::new(rate), FixedWindow::new(rate));
    let (estimate, window) = (compare(&sliding, traffic, rate), compare(&fixed, traffic, rate));
    let percent = |count: u64| count as f64 * 100.0 / estimate.requests as f64;
    println!(
        "| {name} | {} | {} | {:.2} % | {:.2} % | {:.2} % | {:.2} % | {} | {:.2} % | {} |",
        rate.units(),
        estimate.requests,
        percent(estimate.exact),
        percent(estimate.admitted),
        percent(estimate.wrongly_admitted),
        percent(estimate.wrongly_refused),
        estimate.most,
        percent(window.admitted),
        window.most,
    );
}

fn compare<A: Algorithm<State = [u64; 2]>>(limit: &A, traffic: &Traffic, rate: Rate) -> Errors {
    let log = SlidingLog::new(rate);
    // Beside the log that decides for itself, one that knows what this algorithm let pass: what it would have said.
    let unlimited = SlidingLog::new(Rate::new(SlidingLog::MOST_UNITS.into(), rate.period()));
    let mut states = HashMap::new();
    let mut errors = Errors::default();
    for &(now, client) in traffic {
        let now = Moment::new(now);
        let (state, exact, passed) = states
            .entry(client)
            .or_insert_with(|| ([0; 2], log.log(), unlimited.log()));
        errors.requests += 1;
        errors.exact += u64::from(log.ask(exact, 1, now).verdict.passes());
        let within = u64::from(SlidingLog::MOST_UNITS) - unlimited.standing(passed, now).remaining;
        let has_room = within < rate.units();
        if limit.ask(state, 1, now).verdict.passes() {
            errors.admitted += 1;
            errors.wrongly_admitted += u64::from(!has_room);
            unlimited.ask(passed, 1, now);
            errors.most = errors.most.max(within + 1);
        } else {
            errors.wrongly_refused += u64::from(has_room);
        }
    }
    errors
}

/// Clients and times of an access log; within a second, requests come evenly. The first one comes in the middle of a window, so
/// that an edge lies within what follows it.
fn recorded(access: &str) -> Traffic {
    let mut seconds: Vec<(u64, u64)> = access.lines().filter_map(entry).collect();
    seconds.sort_by_key(|entry| entry.0);
    let begin = seconds.first().map_or(0, |entry| entry.0);
    let mut traffic = Vec::with_capacity(seconds.len());
    for together in seconds.chunk_by(|a, b| a.0 == b.0) {
        let pause = SECOND / together.len() as u64;
        let at = |index: u64, second: u64| (second - begin + 90) * SECOND + index * pause;
        traffic.extend((0..).zip(together).map(|(index, entry)| (at(index, entry.0), entry.1)));
    }
    traffic
}

/// The second of a line, from some origin, and a number for its client.
fn entry(line: &str) -> Option<(u64, u64)> {
    let (client, rest) = line.split_once(' ')?;
    let (_, rest) = rest.split_once('[')?;
    let (time, _) = rest.split_once(']')?;
    let mut parts = time.split(['/', ':', ' ']);
    let day: u64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = 0;
    for _ in 0..3 {
        clock = clock * 60 + parts.next()?.parse::<u64>().ok()?;
    }
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|name| *name == month)? as u64;
    // Days of made-up months: only what lies within one month has to be right.
    let days = (year * 12 + month) * 31 + day;
    let hash = client.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Some((days * 86_400 + clock, hash))
}

/// Requests of all clients in order, each client with its own beginning.
fn of_clients(mut times: impl FnMut(&mut Chance) -> Vec<u64>) -> Traffic {
    let mut chance = Chance::new(SEED);
    let mut traffic = Vec::new();
    for client in 0..CLIENTS {
        let begin = chance.below(120 * SECOND) + 60 * SECOND;
        traffic.extend(times(&mut chance).into_iter().map(|time| (begin + time, client)));
    }
    traffic.sort_unstable();
    traffic
}

fn poisson(per_minute: u64) -> Traffic {
    let mean = 60.0 * SECOND as f64 / per_minute as f64;
    of_clients(|chance| {
        let (mut now, mut times) = (0, Vec::new());
        while now < HOURS * 3_600 * SECOND {
            let uniform = (chance.bits() >> 11) as f64 / (1u64 << 53) as f64;
            #[expect(clippy::cast_possible_truncation, reason = "a pause is at most forty times the mean")]
            let pause = (-(1.0 - uniform).ln() * mean) as u64;
            now += pause;
            times.push(now);
        }
        times
    })
}

/// So many at once, within a tenth of a second, every so many seconds.
fn bursts(size: usize, every: u64) -> Traffic {
    of_clients(|chance| {
        let starts = (0..HOURS * 3_600 / every).map(|index| index * every * SECOND);
        let mut times: Vec<u64> = starts
            .flat_map(|start| std::iter::repeat_n(start, size))
            .map(|start| start + chance.below(SECOND / 10))
            .collect();
        times.sort_unstable();
        times
    })
}

/// Evenly for some seconds, and then nothing for some, about.
fn on_off(on: u64, off: u64, per_second: u64) -> Traffic {
    of_clients(|chance| {
        let (mut now, mut times) = (0, Vec::new());
        while now < HOURS * 3_600 * SECOND {
            times.extend((0..on * per_second).map(|index| now + index * SECOND / per_second));
            now += on * SECOND + chance.below(2 * off * SECOND);
        }
        times
    })
}
