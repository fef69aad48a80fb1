//! How much was taken in about the last window?
//!
//! Two windows are counted, the present one and the one before, and what was taken in the one before is taken to have
//! come evenly: of it counts as much as reaches into the window that ends now. How far that is off is measured in
//! `examples/accuracy.rs`.

use core::time::Duration;

use isobar_balance::Moment;

use super::{Algorithm, State};
use crate::rate::divide;
use crate::{Decision, Quota, Rate, Receipt, Standing, Unit, Verdict};

/// So many units in any window, by an estimate.
///
/// *Source*: HAProxy's `freq_ctr`; Cloudflare, "How we built rate limiting capable of scaling to millions of domains",
/// 2017. The part of the window before is rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingWindow {
    rate: Rate,
}

/// The present window and what was taken in it and in the one before.
#[derive(Debug, Clone, Copy)]
struct Counts {
    /// When the present window began.
    begin: u64,
    before: u32,
    taken: u32,
}

impl SlidingWindow {
    /// The most units of a window; a rate with more counts as one of these.
    pub const MOST_UNITS: u64 = u32::MAX as u64;

    /// The units of the rate in any window as long as its period.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate: Rate::new(rate.units().min(Self::MOST_UNITS), rate.period()),
        }
    }

    const fn period(&self) -> u64 {
        self.rate.period_nanoseconds()
    }

    fn current(&self, state: &State, now: Moment) -> Counts {
        let counts = Counts::of(state);
        let now = now.nanoseconds();
        let begin = now - now % self.period();
        if begin <= counts.begin {
            return counts;
        }
        let follows = begin - counts.begin <= self.period();
        Counts {
            begin,
            before: if follows { counts.taken } else { 0 },
            taken: 0,
        }
    }

    /// What is left of the present window, in nanoseconds; all of it while time runs backwards.
    fn left(&self, counts: Counts, now: Moment) -> u64 {
        let next = counts.begin.saturating_add(self.period());
        next.saturating_sub(now.nanoseconds()).min(self.period())
    }

    fn estimate(&self, counts: Counts, left: u64) -> u64 {
        let (whole, rest) = divide(u128::from(counts.before) * u128::from(left), self.period());
        u64::from(counts.taken) + whole + u64::from(rest > 0)
    }

    /// How long it takes until the estimate is no more than this, if nobody asks.
    fn until(&self, counts: Counts, now: Moment, most: u64) -> Duration {
        let left = self.left(counts, now);
        // Of a count, so much may reach into the window that the rest has room: count * left <= room * period.
        let reach = |count: u32, room: u64| match divide(u128::from(room) * u128::from(self.period()), count.into()) {
            (reach, _) if reach < self.period() => reach,
            _ => self.period(),
        };
        let wait = match most.checked_sub(counts.taken.into()) {
            Some(_) if counts.before == 0 => 0,
            Some(room) => left.saturating_sub(reach(counts.before, room)),
            None => left + self.period() - reach(counts.taken, most),
        };
        Duration::from_nanos(wait)
    }

    fn standing_of(&self, counts: Counts, now: Moment) -> Standing {
        let estimate = self.estimate(counts, self.left(counts, now));
        Standing {
            remaining: self.rate.units().saturating_sub(estimate),
            more_in: (estimate > 0).then(|| self.until(counts, now, (estimate - 1).min(self.rate.units() - 1))),
        }
    }
}

impl Algorithm for SlidingWindow {
    type State = State;

    #[inline]
    fn ask(&self, state: &mut State, cost: u64, now: Moment) -> Decision {
        let counts = self.current(state, now);
        let after = self.estimate(counts, self.left(counts, now)).saturating_add(cost);
        if after > self.rate.units() {
            let room = self.rate.units().checked_sub(cost);
            let retry_in = room.map(|room| self.until(counts, now, room));
            return Decision::refused(self.standing_of(counts, now), retry_in, now);
        }
        let counts = counts.plus(cost);
        *state = counts.state();
        Decision::passed(Verdict::Admitted, *state, (cost, now))
    }

    /// What was taken in the window before the last one is not given back, and what it cost more counts in the present one.
    fn settle(&self, state: &mut State, receipt: &Receipt, actual: u64, now: Moment) {
        let mut counts = self.current(state, now);
        if actual > receipt.cost {
            *state = counts.plus(actual - receipt.cost).state();
            return;
        }
        let back = u32::try_from(receipt.cost - actual).unwrap_or(u32::MAX);
        if counts.begin == receipt.mark[0] {
            counts.taken = counts.taken.saturating_sub(back);
        } else if counts.begin - self.period().min(counts.begin) == receipt.mark[0] {
            counts.before = counts.before.saturating_sub(back);
        }
        *state = counts.state();
    }

    fn standing(&self, state: &State, now: Moment) -> Standing {
        self.standing_of(self.current(state, now), now)
    }

    #[inline]
    fn fresh_from(&self, state: &State) -> Moment {
        let counts = Counts::of(state);
        let windows = match (counts.taken, counts.before) {
            (0, 0) => return Moment::new(0),
            (0, _) => 1,
            _ => 2,
        };
        Moment::new(counts.begin.saturating_add(self.period().saturating_mul(windows)))
    }

    /// Less than twice the limit in a window: all of one after a calm, and then what it makes room for as it moves out.
    fn most_within(&self, time: Duration) -> u64 {
        let windows = crate::rate::nanoseconds(time) / self.period();
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

impl Counts {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    const fn of(state: &State) -> Self {
        Self {
            begin: state[0],
            before: (state[1] >> 32) as u32,
            taken: state[1] as u32,
        }
    }

    const fn state(self) -> State {
        [self.begin, (self.before as u64) << 32 | self.taken as u64]
    }

    fn plus(self, cost: u64) -> Self {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        Self {
            taken: self.taken.saturating_add(cost),
            ..self
        }
    }
}
