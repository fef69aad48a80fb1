//! How would this have gone?
//!
//! Runs a [`Scenario`] of servers, requests and mishaps in virtual time and tells what came of it as a [`Report`]. The
//! servers are models; the balancing is not: every choice is made by `isobar-balance`, over the same groups and
//! counters that carry live traffic. One seed replays a run exactly, event by event.
//!
//! This crate knows no file, clock, thread or terminal, and no request beyond its work and its key. What queueing
//! theory says about a scenario is in [`theory`], and every run is checked against Little's law.
//!
//! *Cost*: two events a request and what the algorithm's choice costs: with 100 servers 1 to 4 million requests a second,
//! as `examples/events.rs` measures it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod agenda;
mod arrivals;
mod draws;
mod expectation;
mod histogram;
mod meter;
mod report;
mod scenario;
mod series;
mod service;
mod simulation;
mod station;
mod tally;
pub mod theory;

pub use expectation::{Expectation, Law};
pub use histogram::Histogram;
pub use report::{Ends, Little, Report, ServerReport};
pub use scenario::{
    Antagonist, Arrivals, Balancers, Change, Counters, Discipline, Failing, Keys, Nonsense, Queue, Reports, Retry,
    Scenario, Server, Traced, Wear, What,
};
pub use series::{Cell, Point, Series};
pub use service::{Service, Shape};
pub use simulation::Simulation;
