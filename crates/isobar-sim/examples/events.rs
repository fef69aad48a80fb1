//! How many events a second, on this machine?
//!
//! `cargo run --release -p isobar-sim --example events` prints a line for each algorithm and number of servers.

use std::time::Instant;

use isobar_balance::Balance;
use isobar_sim::{Scenario, Simulation};

/// Requests of each run.
const REQUESTS: u64 = 1_000_000;

fn scenario(balance: Balance, servers: u32) -> Scenario {
    Scenario {
        balance,
        requests: REQUESTS,
        warm_up: REQUESTS / 10,
        ..Scenario::plain(servers, 0.9, 1e7)
    }
}

#[expect(clippy::print_stdout, reason = "to print is what it is for")]
fn main() {
    println!("algorithm            servers   requests/s     events/s");
    for &balance in Balance::ALL {
        for servers in [10, 100, 1000, 5000] {
            let start = Instant::now();
            let report = Simulation::run(scenario(balance, servers)).expect("the scenario makes sense");
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "{:<20} {servers:>7} {:>12.0} {:>12.0}",
                balance.name(),
                REQUESTS as f64 / seconds,
                report.events as f64 / seconds
            );
        }
    }
}
