//! How fast may bytes go?
//!
//! A bucket that may be overdrawn. What is asked before an answer begins is refused while the key is too deep in debt;
//! what is sent of an answer that has begun always passes, and the decision says how long to wait before more is sent.

use core::time::Duration;

use isobar_balance::Moment;

use super::{Algorithm, State};
use crate::arrival::{self, Meter};
use crate::rate::nanoseconds;
use crate::{Decision, Quota, Rate, Receipt, Standing, Unit, Verdict};

/// Bytes at a rate, a burst of them at once, and a debt that answers under way may run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    meter: Meter,
    /// Nanoseconds; none: what begins is never refused.
    max_delay: Option<u64>,
}

/// Bytes of a piece at least: fewer are not worth a system call.
const LEAST_PIECE: u64 = 2 * 1024;

/// Bytes of a piece at most.
const MOST_PIECE: u64 = 64 * 1024;

/// How many pieces go in a second, where they are neither the least nor the largest.
const PIECES_A_SECOND: u64 = 200;

impl Bandwidth {
    /// The least burst of a rate: what it has in a hundredth of a second, because nobody wakes up more exactly than that on a busy
    /// machine, and what is not sent by then would be lost.
    #[must_use]
    pub fn least_burst(rate: Rate) -> u64 {
        rate.units_within(Duration::from_millis(10)).max(1)
    }

    /// A limit to a rate, with so many bytes at once, that nothing is refused for: all wait for their turn.
    #[must_use]
    pub fn pacing(rate: Rate, burst: u64) -> Self {
        Self {
            meter: Meter::new(rate, burst),
            max_delay: None,
        }
    }

    /// The same limit, under which nothing begins while there is a debt.
    #[must_use]
    pub const fn refusing(self) -> Self {
        Self {
            meter: self.meter,
            max_delay: Some(0),
        }
    }

    /// Bytes that whoever shares the rate sends before it waits for its next turn: a two-hundredth of a second's, within bounds.
    #[must_use]
    pub fn piece(&self) -> u64 {
        let rate = self.meter.rate;
        rate.units_within(Duration::from_nanos(1_000_000_000 / PIECES_A_SECOND))
            .clamp(LEAST_PIECE, MOST_PIECE)
    }

    /// How long bytes take that nobody else shares the rate with.
    pub(crate) fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_nanos(self.meter.rate.time_of(bytes).at_least())
    }

    /// A limit to a rate, with so many bytes at once; a new answer waits for `max_delay` at most, otherwise it is refused.
    #[must_use]
    pub fn new(rate: Rate, burst: u64, max_delay: Duration) -> Self {
        Self {
            meter: Meter::new(rate, burst),
            max_delay: Some(nanoseconds(max_delay)),
        }
    }

    /// Takes bytes of an answer that has begun: *returns* how long to wait before more of it is sent.
    ///
    /// Whoever sends in pieces and waits as it is told sends a burst, the rate, and one piece at most.
    pub fn spend(&self, state: &mut State, bytes: u64, now: Moment) -> Duration {
        let taken = self.meter.take(state, bytes, now);
        *state = taken.state();
        Duration::from_nanos(taken.wait)
    }
}

impl Algorithm for Bandwidth {
    type State = State;

    /// Asks whether an answer may begin; `cost` is what is known to be sent, and may be more than the burst. It passes as
    /// soon as the key has no debt, whatever it costs: what it costs is what the next one waits for. Where the limit only paces, it
    /// passes in any case, and waits with its bytes.
    fn ask(&self, state: &mut State, cost: u64, now: Moment) -> Decision {
        let debt = match self.max_delay {
            None => 0,
            Some(_) => self.meter.debt(state, now),
        };
        if let Some(max_delay) = self.max_delay
            && debt > max_delay
        {
            let retry_in = Duration::from_nanos(debt - max_delay);
            return Decision::refused(self.meter.standing(state, now), Some(retry_in), now);
        }
        let taken = self.meter.take(state, cost, now);
        *state = taken.state();
        let verdict = match debt {
            0 => Verdict::Admitted,
            wait => Verdict::Delayed(Duration::from_nanos(wait)),
        };
        Decision::passed(verdict, *state, (cost, now))
    }

    fn settle(&self, state: &mut State, receipt: &Receipt, actual: u64, now: Moment) {
        self.meter.settle(state, receipt, actual, now);
    }

    fn standing(&self, state: &State, now: Moment) -> Standing {
        self.meter.standing(state, now)
    }

    fn fresh_from(&self, state: &State) -> Moment {
        arrival::fresh_from(state)
    }

    /// Without what one answer, or one piece of each, costs past the burst.
    fn most_within(&self, time: Duration) -> u64 {
        self.meter
            .most_within(time.saturating_add(Duration::from_nanos(self.max_delay.unwrap_or(0))))
    }

    fn quota(&self) -> Quota {
        Quota {
            units: self.meter.rate.units(),
            window: Some(self.meter.rate.period()),
            unit: Unit::ContentBytes,
        }
    }
}
