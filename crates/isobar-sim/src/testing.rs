//! The scenario that tests vary.

use alloc::vec;
use alloc::vec::Vec;

use isobar_balance::Balance;

use crate::scenario::{Arrivals, Balancers, Counters, Discipline, Queue, Reports, Retry, Scenario, Server};
use crate::service::{Service, Shape};

/// So many servers with one slot each, half busy with exponential requests of 1 ms, balanced at random by one.
pub(crate) fn scenario(servers: u32) -> Scenario {
    Scenario {
        balance: Balance::Random,
        bound_percent: None,
        balancers: Balancers {
            count: 1,
            counters: Counters::Shared,
        },
        servers: (0..servers).map(server).collect::<Vec<_>>(),
        arrivals: Arrivals::Poisson {
            rate: 500.0 * f64::from(servers),
        },
        service: Service {
            mean: 1e6,
            shape: Shape::Exponential,
        },
        keys: None,
        timeout: None,
        retry: Retry {
            attempts: 0,
            budget: None,
        },
        queue: Queue {
            max: u32::MAX,
            timeout: None,
        },
        reports: Reports::WhenProbed,
        probe_time: 1_000_000,
        changes: vec![],
        requests: 20_000,
        warm_up: 2_000,
        seed: 1,
    }
}

fn server(number: u32) -> Server {
    Server {
        name: std::format!("s{number}").into(),
        weight: 1,
        speed: 1.0,
        slots: 1,
        discipline: Discipline::Fifo,
        limit: None,
        antagonist: None,
        wear: None,
        present: true,
    }
}
