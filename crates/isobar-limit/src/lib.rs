//! May it pass?
//!
//! Limits on how often, how many at once and how fast, by key. An [`Algorithm`] decides from a key's 16 bytes of state, a
//! cost and the time; a [`Table`] keeps the states of very many keys for all workers; a [`Transaction`] asks several limits and
//! takes from all or none. A [`Lease`] is how an instance shares a limit with others, and [`Enforcement`] and [`Guard`] say whether
//! a refusal counts.
//!
//! This crate sees hashes of keys and numbers. It knows no request, no configuration, no socket, no store and no clock:
//! the time comes in as a [`Moment`](isobar_balance::Moment).
//!
//! # Costs that are known later
//! Who asks says what a request is likely to cost; when it is known, [`Algorithm::settle`] corrects it, in either direction.
//!
//! # A new algorithm
//! One file in `algorithm/` with one type that implements [`Algorithm`], and one variant of [`Limit`] where its state has 16
//! bytes. Which requests it counts, where states are, and what a refusal comes to is not the algorithm's business.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod algorithm;
mod arrival;
mod decision;
mod enforcement;
mod guard;
mod key;
mod lease;
mod memory;
mod rate;
mod shared;
mod sketch;
mod table;
mod transaction;

pub use algorithm::{
    Algorithm, Bandwidth, Concurrency, FixedWindow, Gcra, Limit, Log, SlidingLog, SlidingWindow, State, TokenBucket,
};
pub use decision::{Decision, Quota, Receipt, Standing, Unit, Verdict, whole_seconds};
pub use enforcement::{Effect, Enforcement, Mode};
pub use guard::{Guard, GuardRules};
pub use key::Key;
pub use lease::{Exchange, Lease, LeaseMark, LeaseRules, LeaseVerdict, Share, StoreReply};
pub use memory::Advise;
pub use rate::Rate;
pub use shared::{KeyName, Shared, SharedAsk, SharedKind, Sharing, Terms};
pub use table::{Basis, Crowding, Grant, Table, TableSettings};
pub use transaction::{Claim, Denial, Outcome, SharedClaim, Transaction};
