//! Which server takes the next request?
//!
//! A [`Group`] holds an upstream's servers in levels of priority and zones, and one algorithm over those that stand
//! together; [`Group::pick`] returns the caller's index of a server and takes a place on it. The counters live in
//! [`ServerState`], shared by all workers and by every group that holds the server, because load counted per worker is
//! worth little: simulated with a hundred servers at 90 % load, a request under least connections stays four times as
//! long when sixteen workers each count only their own.
//!
//! This crate sees slots, ids, weights and counters. It knows no request, no configuration, no socket and no clock;
//! chance comes in as a seeded [`Chance`]. Whether a server is well is decided by a [`HealthTracker`] from the
//! results of probes, and by an [`OutlierDetector`] from how it answers; what part of its weight a new one has by
//! [`SlowStart`], how many requests at once one can take by [`Gradient`], and which of very many are used by [`random_subset`] and [`Aperture`]; what to do about it is the
//! caller's business: it builds the [next](Group::next) group.
//!
//! A request of a session goes where its session is ([`Group::pick_for`]); a [`Token`] or a [`SessionTable`] says where that
//! is.
//!
//! # What algorithms are told
//! Least connections and its like read what [`Group::pick`] counts. Algorithms that go by latency, and the charge for
//! failures that all of them make, need [`ServerState::finished`] when a request ends, with what
//! [`Balance::feedback`] says is wanted; those that go by what servers report need [`ServerState::reported`], and
//! [`Group::probes`] says whom to ask.
//!
//! # A new algorithm
//! One file in `policy/` with one type that implements [`Policy`], one variant of [`Balance`], one line in
//! `policy.rs` where the variant becomes the type. Limits, levels, slots already tried and lost races are not the
//! algorithm's business: [`Group`] deals with them for all. One that sends requests of a key to one server is a file in
//! `policy/keyed/` and a variant of `Keyed` instead, and says in which order a key prefers the members.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod arrangement;
mod balance;
mod board;
mod budget;
mod chance;
mod fixed;
mod gradient;
mod group;
mod guesses;
mod health;
mod md5;
mod mix;
mod outlier;
mod policy;
mod query;
mod server;
mod slow_start;
mod sticky;
mod subset;
mod tally;
mod usual;

pub use arrangement::{Arrangement, Bound, Locality, Zone};
pub use balance::{Balance, Choices, Orca, Prequal};
pub use board::Boards;
pub use budget::{Allowance, Budget};
pub use chance::Chance;
pub use gradient::{Gradient, GradientRules};
pub use group::{Candidate, Group, Otherwise, Pick, Preference, Standing, Tier};
pub use guesses::Guesses;
pub use health::{Health, HealthTracker};
pub use outlier::{
    Attention, Change, Conduct, Ejection, FailurePercentage, LatencyRule, MaxFails, OutlierDetector, OutlierSettings,
    Outliers, Reason, SuccessRate, Verdict,
};
pub use policy::{Member, Policy, Probes, View, ketama_key};
pub use query::{Moment, Query};
pub use server::{Feedback, Finish, Outcome, Report, ReportedLoad, ServerState};
pub use slow_start::{SlowStart, Warmth};
pub use sticky::{Judgement, Keep, Kept, Seal, SessionTable, Token, Tokens, Visit};
pub use subset::{Aperture, Portion, random_subset};
pub use tally::Tally;
pub use usual::Usual;
