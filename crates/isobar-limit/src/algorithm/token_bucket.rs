//! Are there tokens left?
//!
//! A bucket is filled at a rate, up to a burst; a request takes its cost out of it. It says the same as GCRA without a
//! delay, in the other way of counting: what is kept is how much of the bucket is empty, and when that was so.

use core::time::Duration;

use isobar_balance::Moment;

use super::{Algorithm, State};
use crate::rate::divide;
use crate::{Decision, Quota, Rate, Receipt, Standing, Unit, Verdict};

/// Tokens at a rate, and a bucket of them.
///
/// A token has as many grains as it takes time to come, so that any time brings whole ones and nothing is rounded; the
/// time is counted in nanoseconds, and in more than one where the bucket would otherwise hold too many grains to count.
/// It then fills too slowly rather than too fast, by less than one part in 2^20.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    rate: Rate,
    pub(super) burst: u64,
    /// The length of a tick is this power of two, in nanoseconds.
    pub(super) tick: u32,
    /// Grains that come in a tick.
    grains: u64,
    /// Grains of a token.
    token: u64,
}

/// Grains a bucket holds at most.
const MOST_GRAINS: u128 = 1 << 62;

impl TokenBucket {
    /// A bucket of so many tokens, from 1 to [`Rate::MOST_UNITS`], that fills at this rate.
    #[must_use]
    pub fn new(rate: Rate, burst: u64) -> Self {
        let burst = rate.burst(burst);
        let divisor = greatest_common_divisor(rate.units(), rate.period_nanoseconds());
        let (grains, token) = (rate.units() / divisor, rate.period_nanoseconds() / divisor);
        let mut tick = 0;
        let mut scaled = token;
        while u128::from(burst) * u128::from(scaled) > MOST_GRAINS {
            tick += 1;
            scaled = (token >> tick) + u64::from(!token.is_multiple_of(1 << tick));
        }
        Self {
            rate,
            burst,
            tick,
            grains,
            token: scaled,
        }
    }

    const fn full(&self) -> u64 {
        self.burst * self.token
    }

    /// The empty part of the bucket now, and the tick at which it is so.
    fn filled(&self, state: &State, now: Moment) -> (u64, u64) {
        let [last, empty] = *state;
        let tick = now.nanoseconds() >> self.tick;
        let passed = tick.saturating_sub(last);
        let came = passed.saturating_mul(self.grains);
        // What is settled late can overdraw it, and another rate may have left behind more than there is room for.
        (last.max(tick), empty.saturating_sub(came))
    }

    fn grains_of(&self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.token)
    }

    /// How long it takes until so many grains have come, in nanoseconds.
    fn time_of(&self, grains: u128) -> u64 {
        let (ticks, rest) = divide(grains, self.grains);
        ticks.saturating_add(u64::from(rest > 0)).saturating_mul(1 << self.tick)
    }

    fn standing_of(&self, empty: u64) -> Standing {
        let remaining = self.full().saturating_sub(empty) / self.token;
        let more_in = (remaining < self.burst).then(|| {
            let wanted = self.grains_of(remaining + 1) + u128::from(empty);
            Duration::from_nanos(self.time_of(wanted.saturating_sub(self.full().into())))
        });
        Standing { remaining, more_in }
    }
}

impl Algorithm for TokenBucket {
    type State = State;

    #[inline]
    fn ask(&self, state: &mut State, cost: u64, now: Moment) -> Decision {
        let (tick, empty) = self.filled(state, now);
        let after = u128::from(empty) + self.grains_of(cost);
        let full = u128::from(self.full());
        let Some(after) = u64::try_from(after).ok().filter(|_| after <= full) else {
            let retry_in = (cost <= self.burst).then(|| Duration::from_nanos(self.time_of(after - full)));
            return Decision::refused(self.standing_of(empty), retry_in, now);
        };
        *state = [tick, after];
        Decision::passed(Verdict::Admitted, *state, (cost, now))
    }

    /// The bucket was as empty as the receipt says, has been filled since, and whoever asked has only emptied it more: what
    /// is left of that emptiness is given back at most.
    fn settle(&self, state: &mut State, receipt: &Receipt, actual: u64, now: Moment) {
        if actual > receipt.cost {
            let more = self.grains_of(actual - receipt.cost);
            state[1] = state[1].saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
            return;
        }
        let paid = u64::try_from(self.grains_of(receipt.cost - actual)).unwrap_or(u64::MAX);
        let untouched = *state == receipt.mark;
        let left = if untouched {
            paid
        } else {
            self.filled(&receipt.mark, now).1
        };
        state[1] = state[1].saturating_sub(paid.min(left));
    }

    fn standing(&self, state: &State, now: Moment) -> Standing {
        self.standing_of(self.filled(state, now).1)
    }

    #[inline]
    fn fresh_from(&self, state: &State) -> Moment {
        let since = state[0].saturating_mul(1 << self.tick);
        Moment::new(since.saturating_add(self.time_of(state[1].into())))
    }

    fn most_within(&self, time: Duration) -> u64 {
        self.burst.saturating_add(self.rate.units_within(time))
    }

    fn quota(&self) -> Quota {
        Quota {
            units: self.rate.units(),
            window: Some(self.rate.period()),
            unit: Unit::Requests,
        }
    }
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
