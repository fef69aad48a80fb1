//! What of a shared limit may this instance give out?
//!
//! A [`Ledger`] has a [`Lease`](isobar_limit::Lease) for each key of one limit; workers ask it, and it decides at once. What it
//! wants of the other instances it collects as [`Errand`]s, which somebody else runs in batches: what a store is, how it is
//! reached and how long it takes is not known here. Of a [`Store`] it knows whether it can be reached, and how many instances
//! there are.
#![forbid(unsafe_code)]

mod ledger;
mod store;

pub use ledger::{Errand, Ledger};
pub use store::{Contact, Store};
