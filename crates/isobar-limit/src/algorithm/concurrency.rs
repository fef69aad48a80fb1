//! How many are there at once?
//!
//! Counts; who holds what, and that it is given back on every way out, is the caller's business.

use core::time::Duration;

use isobar_balance::Moment;

use super::{Algorithm, State};
use crate::{Decision, Quota, Receipt, Standing, Unit, Verdict};

/// So many units in flight.
///
/// A request that ends is [settled](Algorithm::settle) to 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    most: u64,
}

impl Concurrency {
    /// At most so many at once.
    #[must_use]
    pub const fn new(most: u64) -> Self {
        Self { most }
    }
}

impl Algorithm for Concurrency {
    type State = State;

    #[inline]
    fn ask(&self, state: &mut State, cost: u64, now: Moment) -> Decision {
        let after = state[0].saturating_add(cost);
        if after > self.most {
            return Decision::refused(self.standing(state, now), None, now);
        }
        state[0] = after;
        Decision::passed(Verdict::Admitted, *state, (cost, now))
    }

    fn settle(&self, state: &mut State, receipt: &Receipt, actual: u64, _now: Moment) {
        state[0] = state[0].saturating_sub(receipt.cost).saturating_add(actual);
    }

    fn standing(&self, state: &State, _now: Moment) -> Standing {
        Standing {
            remaining: self.most.saturating_sub(state[0]),
            more_in: None,
        }
    }

    /// Never while something is in flight.
    #[inline]
    fn fresh_from(&self, state: &State) -> Moment {
        Moment::new(if state[0] == 0 { 0 } else { u64::MAX })
    }

    /// As many as there may be at once, where none ends.
    fn most_within(&self, _time: Duration) -> u64 {
        self.most
    }

    fn quota(&self) -> Quota {
        Quota {
            units: self.most,
            window: None,
            unit: Unit::ConcurrentRequests,
        }
    }
}
