//! How does a limit count?
//!
//! One file each. An algorithm is a function of a key's state, a cost and the time; where states are kept and who may
//! change one is not its business.

mod bandwidth;
mod concurrency;
mod fixed_window;
mod gcra;
mod sliding_log;
mod sliding_window;
mod token_bucket;

use core::time::Duration;

use isobar_balance::Moment;

pub use bandwidth::Bandwidth;
pub use concurrency::Concurrency;
pub use fixed_window::FixedWindow;
pub use gcra::Gcra;
pub use sliding_log::{Log, SlidingLog};
pub use sliding_window::SlidingWindow;
pub use token_bucket::TokenBucket;

use crate::{Decision, Quota, Receipt, Standing};

/// The state of one key, 16 bytes; what the words mean is known to the algorithm alone. Two zeros: nothing was taken.
pub type State = [u64; 2];

/// A way to limit.
///
/// Time that goes backwards stands still, at the last request that passed: nothing more is admitted than if it had. None of the methods allocates, and
/// none overflows, whatever the state is.
pub trait Algorithm {
    /// What is kept for a key.
    type State;

    /// Takes `cost` units, where they are there.
    fn ask(&self, state: &mut Self::State, cost: u64, now: Moment) -> Decision;

    /// Corrects what was taken to what it really was: 0 gives everything back.
    ///
    /// What is given back is never more than makes the state what it would be if the true cost had been known, and it is
    /// exactly that where nothing else was asked in between. What it cost more is taken whether it is there or not.
    fn settle(&self, state: &mut Self::State, receipt: &Receipt, actual: u64, now: Moment);

    /// What is left.
    fn standing(&self, state: &Self::State, now: Moment) -> Standing;

    /// From when on the state is as good as none, if nobody asks.
    fn fresh_from(&self, state: &Self::State) -> Moment;

    /// The most units that are ever admitted within a time, beginning and end included.
    fn most_within(&self, time: Duration) -> u64;

    /// What it promises.
    fn quota(&self) -> Quota;

    /// The log that it is, for which a table has more of a key than 16 bytes; none: it is not one.
    #[inline]
    fn as_log(&self) -> Option<&SlidingLog> {
        None
    }
}

/// One of the algorithms as a table keeps their states: 16 bytes, and of a log the times beside them. A log of which there are only the
/// 16 bytes takes all that still counts for as old as the last that passed, and so is stricter than it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each type says what it is")]
pub enum Limit {
    TokenBucket(TokenBucket),
    Gcra(Gcra),
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    SlidingLog(SlidingLog),
    Concurrency(Concurrency),
    Bandwidth(Bandwidth),
}

macro_rules! each {
    ($limit:expr, $algorithm:ident => $result:expr) => {
        match $limit {
            Limit::TokenBucket($algorithm) => $result,
            Limit::Gcra($algorithm) => $result,
            Limit::FixedWindow($algorithm) => $result,
            Limit::SlidingWindow($algorithm) => $result,
            Limit::SlidingLog(log) => {
                let $algorithm = log.on(&[]);
                $result
            }
            Limit::Concurrency($algorithm) => $result,
            Limit::Bandwidth($algorithm) => $result,
        }
    };
}

impl Algorithm for Limit {
    type State = State;

    #[inline]
    fn ask(&self, state: &mut State, cost: u64, now: Moment) -> Decision {
        each!(self, it => it.ask(state, cost, now))
    }

    fn settle(&self, state: &mut State, receipt: &Receipt, actual: u64, now: Moment) {
        each!(self, it => it.settle(state, receipt, actual, now));
    }

    fn standing(&self, state: &State, now: Moment) -> Standing {
        each!(self, it => it.standing(state, now))
    }

    #[inline]
    fn fresh_from(&self, state: &State) -> Moment {
        each!(self, it => it.fresh_from(state))
    }

    fn most_within(&self, time: Duration) -> u64 {
        each!(self, it => it.most_within(time))
    }

    fn quota(&self) -> Quota {
        each!(self, it => it.quota())
    }

    #[inline]
    fn as_log(&self) -> Option<&SlidingLog> {
        match self {
            Self::SlidingLog(log) => Some(log),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
