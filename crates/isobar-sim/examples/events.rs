//! How many events a second, on this machine?
//!
//! `cargo run --release -p isobar-sim --example events` prints a line for each algorithm and number of servers.

use std::time::Instant;

use isobar_balance::Balance;
use isobar_sim::{
    Arrivals, Balancers, Counters, Discipline, Queue, Reports, Retry, Scenario, Server, Service, Shape, Simulation,
};

/// Requests of each run.
const REQUESTS: u64 = 1_000_000;

fn scenario(balance: Balance, servers: u32) -> Scenario {
    let server = |number| Server {
        name: format!("server-{number}").into(),
        weight: 1,
        speed: 1.0,
        slots: 1,
        discipline: Discipline::Fifo,
        limit: None,
        antagonist: None,
        wear: None,
        present: true,
    };
    Scenario {
        balance,
        bound_percent: None,
        balancers: Balancers {
            count: 1,
            counters: Counters::Shared,
        },
        servers: (0..servers).map(server).collect(),
        arrivals: Arrivals::Poisson {
            rate: 90.0 * f64::from(servers),
        },
        service: Service {
            mean: 1e7,
            shape: Shape::Exponential,
        },
        keys: None,
        timeout: None,
        retry: Retry {
            attempts: 0,
            budget: None,
        },
        queue: Queue { max: 0, timeout: None },
        reports: Reports::WhenProbed,
        probe_time: 1_000_000,
        changes: Vec::new(),
        requests: REQUESTS,
        warm_up: REQUESTS / 10,
        seed: 1,
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
