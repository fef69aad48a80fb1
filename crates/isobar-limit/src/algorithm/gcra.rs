//! How far ahead of its time does a request come?
//!
//! The generic cell rate algorithm. With a delay it is the leaky bucket as a queue: requests are spread instead of
//! refused, as long as none waits too long.

use core::time::Duration;

use isobar_balance::Moment;

use super::{Algorithm, State};
use crate::arrival::{self, Meter};
use crate::rate::nanoseconds;
use crate::{Decision, Quota, Rate, Receipt, Standing, Unit, Verdict};

/// Requests evenly at a rate, and a burst of them at once.
///
/// *Source*: ITU-T I.371, the virtual scheduling algorithm; delays as in nginx's `limit_req` without `nodelay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    meter: Meter,
    /// Nanoseconds.
    max_delay: u64,
}

impl Gcra {
    /// A limit to a rate, with so many units at once: from 1 to [`Rate::MOST_UNITS`].
    #[must_use]
    pub fn new(rate: Rate, burst: u64) -> Self {
        Self {
            meter: Meter::new(rate, burst),
            max_delay: 0,
        }
    }

    /// The same limit, under which requests past the burst wait for this long at most.
    #[must_use]
    pub fn with_delay(self, max_delay: Duration) -> Self {
        Self {
            max_delay: nanoseconds(max_delay),
            ..self
        }
    }
}

impl Algorithm for Gcra {
    type State = State;

    #[inline]
    fn ask(&self, state: &mut State, cost: u64, now: Moment) -> Decision {
        let taken = self.meter.take(state, cost, now);
        if taken.wait > self.max_delay {
            let standing = self.meter.standing(state, now);
            let ever = cost <= self.meter.burst || self.max_delay > 0 && self.meter.could_wait(cost, self.max_delay);
            let retry_in = ever.then(|| Duration::from_nanos(taken.wait - self.max_delay));
            return Decision::refused(standing, retry_in, now);
        }
        *state = taken.state();
        let verdict = match taken.wait {
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

    #[inline]
    fn fresh_from(&self, state: &State) -> Moment {
        arrival::fresh_from(state)
    }

    fn most_within(&self, time: Duration) -> u64 {
        self.meter
            .most_within(time.saturating_add(Duration::from_nanos(self.max_delay)))
    }

    fn quota(&self) -> Quota {
        Quota {
            units: self.meter.rate.units(),
            window: Some(self.meter.rate.period()),
            unit: Unit::Requests,
        }
    }
}
