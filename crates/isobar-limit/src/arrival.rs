//! When would the next request be due if all had come evenly?
//!
//! The theoretical arrival time of GCRA: what a key has taken and not had time to recover is how far that lies ahead of
//! now. It is one point in time, kept exactly: the first word of a state has the nanoseconds, the second parts of one.

use core::time::Duration;

use isobar_balance::Moment;

use crate::algorithm::State;
use crate::rate::{Rate, Span};
use crate::{Receipt, Standing};

/// A rate, and how far ahead of now the arrival time may lie for a request to pass at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meter {
    pub(crate) rate: Rate,
    /// Units that may be taken at once.
    pub(crate) burst: u64,
    /// What they are in time.
    ahead: Span,
    /// What one is in time.
    unit: Span,
}

/// What taking a cost would come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// The arrival time after it.
    after: Span,
    /// How long it is until it conforms.
    pub(crate) wait: u64,
}

impl Taken {
    /// The state after it.
    pub(crate) const fn state(&self) -> State {
        [self.after.whole, self.after.part]
    }
}

impl Meter {
    pub(crate) fn new(rate: Rate, burst: u64) -> Self {
        let burst = rate.burst(burst);
        Self {
            rate,
            burst,
            ahead: rate.time_of(burst),
            unit: rate.time_of(1),
        }
    }

    pub(crate) fn take(&self, state: &State, cost: u64, now: Moment) -> Taken {
        let present = Span::of(now.nanoseconds());
        let after = self.rate.sum(arrival(state).max(present), self.time_of(cost));
        let wait = self.rate.difference(after, self.rate.sum(present, self.ahead));
        Taken {
            after,
            wait: wait.at_least(),
        }
    }

    /// How long it is until anything conforms, in nanoseconds.
    pub(crate) fn debt(&self, state: &State, now: Moment) -> u64 {
        let conforming = self.rate.sum(Span::of(now.nanoseconds()), self.ahead);
        self.rate.difference(arrival(state), conforming).at_least()
    }

    /// See [`Algorithm::settle`](crate::Algorithm::settle).
    ///
    /// Had the cost been less, the arrival time would have been earlier by the difference from then on, until it met the
    /// present: from there on both are the same. It was ahead of now by what the receipt says at the time, has come nearer
    /// as time passed, and whoever asked since has only moved it away. So what is left of that lead is still the
    /// difference, and no more of it is given back.
    pub(crate) fn settle(&self, state: &mut State, receipt: &Receipt, actual: u64, now: Moment) {
        let arrival = arrival(state);
        let moved = if actual > receipt.cost {
            self.rate.sum(arrival, self.rate.time_of(actual - receipt.cost))
        } else {
            let paid = self.rate.time_of(receipt.cost - actual);
            let lead = Span::of(receipt.mark[0].saturating_sub(now.nanoseconds()));
            let untouched = *state == receipt.mark;
            self.rate
                .difference(arrival, if untouched { paid } else { paid.min(lead) })
        };
        *state = [moved.whole, moved.part];
    }

    pub(crate) fn standing(&self, state: &State, now: Moment) -> Standing {
        let present = Span::of(now.nanoseconds());
        let level = self.rate.difference(arrival(state), present);
        let behind = self.rate.difference(level, self.ahead);
        let (units, missing) = self.rate.units_and_missing(self.rate.difference(self.ahead, level));
        let remaining = units.min(self.burst);
        let more_in = (remaining < self.burst).then(|| {
            let due = if behind == Span::default() {
                missing
            } else {
                self.rate.sum(behind, self.unit)
            };
            Duration::from_nanos(due.at_least())
        });
        Standing { remaining, more_in }
    }

    /// How long it takes until so many units have come, of which there is mostly one.
    #[inline]
    fn time_of(&self, cost: u64) -> Span {
        match cost {
            1 => self.unit,
            cost => self.rate.time_of(cost),
        }
    }

    /// Whether so much could pass after a wait, be it more than the burst.
    pub(crate) fn could_wait(&self, cost: u64, max_delay: u64) -> bool {
        self.rate.time_of(cost) <= self.rate.sum(self.ahead, Span::of(max_delay))
    }

    /// The burst, and what comes in the time.
    pub(crate) fn most_within(&self, time: Duration) -> u64 {
        self.burst.saturating_add(self.rate.units_within(time))
    }
}

const fn arrival(state: &State) -> Span {
    Span {
        whole: state[0],
        part: state[1],
    }
}

/// When the arrival time is no longer ahead.
pub(crate) const fn fresh_from(state: &State) -> Moment {
    Moment::new(arrival(state).at_least())
}
