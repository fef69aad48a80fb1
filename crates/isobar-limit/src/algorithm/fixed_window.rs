//! How much was taken in this window?
//!
//! Windows follow each other without a gap from the origin of time on, and each begins with nothing taken. So twice the
//! limit passes around an edge: all of one window at its end, and all of the next at its beginning.

use core::time::Duration;

use isobar_balance::Moment;

use super::{Algorithm, State};
use crate::{Decision, Quota, Rate, Receipt, Standing, Unit, Verdict};

/// So many units in each window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedWindow {
    rate: Rate,
}

impl FixedWindow {
    /// The units of the rate in each window as long as its period.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self { rate }
    }

    /// When the window began that counts, and what was taken in it. The last one stays while time runs backwards.
    const fn current(&self, state: &State, now: Moment) -> State {
        let now = now.nanoseconds();
        let begin = now - now % self.rate.period_nanoseconds();
        if begin > state[0] { [begin, 0] } else { *state }
    }

    /// Until the next window begins.
    const fn left(&self, begin: u64, now: Moment) -> Duration {
        let next = begin.saturating_add(self.rate.period_nanoseconds());
        Duration::from_nanos(next.saturating_sub(now.nanoseconds()))
    }

    fn standing_of(&self, [begin, taken]: State, now: Moment) -> Standing {
        Standing {
            remaining: self.rate.units().saturating_sub(taken),
            more_in: (taken > 0).then(|| self.left(begin, now)),
        }
    }
}

impl Algorithm for FixedWindow {
    type State = State;

    #[inline]
    fn ask(&self, state: &mut State, cost: u64, now: Moment) -> Decision {
        let [begin, taken] = self.current(state, now);
        let after = taken.saturating_add(cost);
        if after > self.rate.units() {
            let retry_in = (cost <= self.rate.units()).then(|| self.left(begin, now));
            return Decision::refused(self.standing_of([begin, taken], now), retry_in, now);
        }
        *state = [begin, after];
        Decision::passed(Verdict::Admitted, *state, (cost, now))
    }

    /// What was taken in a window that is over is not given back, and what it cost more counts in the present one.
    fn settle(&self, state: &mut State, receipt: &Receipt, actual: u64, now: Moment) {
        if actual > receipt.cost {
            let [begin, taken] = self.current(state, now);
            *state = [begin, taken.saturating_add(actual - receipt.cost)];
        } else if state[0] == receipt.mark[0] {
            state[1] = state[1].saturating_sub(receipt.cost - actual);
        }
    }

    fn standing(&self, state: &State, now: Moment) -> Standing {
        self.standing_of(self.current(state, now), now)
    }

    #[inline]
    fn fresh_from(&self, state: &State) -> Moment {
        if state[1] == 0 {
            return Moment::new(0);
        }
        Moment::new(state[0].saturating_add(self.rate.period_nanoseconds()))
    }

    /// Every window that the time touches.
    fn most_within(&self, time: Duration) -> u64 {
        let windows = crate::rate::nanoseconds(time) / self.rate.period_nanoseconds();
        windows.saturating_add(2).saturating_mul(self.rate.units())
    }

    fn quota(&self) -> Quota {
        Quota {
            units: self.rate.units(),
            window: Some(self.rate.period()),
            unit: Unit::Requests,
        }
    }
}
