//! Which server takes the next request?
//!
//! A [`Group`] holds the servers that may be picked now and one algorithm over them; [`Group::pick`] returns the
//! caller's index of a server and takes a place on it. The counters live in [`ServerState`], shared by all workers
//! and by every group that holds the server, because load counted per worker is worth little: simulated with a
//! hundred servers at 90 % load, a request under least connections stays four times as long when sixteen workers
//! each count only their own.
//!
//! This crate sees slots, weights and counters. It knows no request, no configuration, no socket and no clock;
//! chance comes in as a seeded [`Chance`]. Whether a server is well is decided by a [`HealthTracker`] from the
//! results of probes, and by an [`OutlierDetector`] from how it answers; what to do about it is the caller's business:
//! it builds a new group.
//!
//! # What algorithms are told
//! Least connections and its like read what [`Group::pick`] counts. Algorithms that go by latency, and the charge for
//! failures that all of them make, need [`ServerState::finished`] when a request ends, with what
//! [`Balance::feedback`] says is wanted; those that go by what servers report need [`ServerState::reported`], and
//! [`Group::probes`] says whom to ask.
//!
//! # A new algorithm
//! One file in `policy/` with one type that implements [`Policy`], one variant of [`Balance`], one line in
//! `policy.rs` where the variant becomes the type. Limits, tiers, slots already tried and lost races are not the
//! algorithm's business: [`Group`] deals with them for all.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod balance;
mod chance;
mod group;
mod health;
mod outlier;
mod policy;
mod query;
mod server;

pub use balance::{Balance, Choices, Orca, Prequal};
pub use chance::Chance;
pub use group::{Candidate, Group, Pick, Tier};
pub use health::{Health, HealthTracker};
pub use outlier::{
    Attention, Change, Conduct, Ejection, FailurePercentage, LatencyRule, MaxFails, OutlierDetector, OutlierSettings,
    Reason, SuccessRate, Verdict,
};
pub use policy::{Member, Policy, Probes, View};
pub use query::{Moment, Query};
pub use server::{Feedback, Finish, Outcome, Report, ReportedLoad, ServerState};
