//! How many units in how long, and how long is a unit?
//!
//! A rate is a fraction of whole numbers and is never rounded: a unit of 3 per second takes 333,333,333 ns and a third.
//! What counts as a unit (a request, a byte, a token) is the caller's business.

use core::time::Duration;

/// So many units in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    units: u64,
    /// Nanoseconds.
    period: u64,
}

/// A length of time: whole nanoseconds, and parts of one. How many parts a nanosecond has says the rate: as many as units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) whole: u64,
    pub(crate) part: u64,
}

impl Rate {
    /// The most units in a period: 2^40, so that a terabyte a second can be written.
    pub const MOST_UNITS: u64 = 1 << 40;

    /// The longest period: 366 days.
    pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

    /// So many units in a period; what is outside of 1 to [`MOST_UNITS`](Self::MOST_UNITS) and 1 ns to
    /// [`LONGEST`](Self::LONGEST) counts as the nearest there is.
    #[must_use]
    pub fn new(units: u64, period: Duration) -> Self {
        Self {
            units: units.clamp(1, Self::MOST_UNITS),
            period: nanoseconds(period.min(Self::LONGEST)).max(1),
        }
    }

    /// So many units a second.
    #[must_use]
    pub fn per_second(units: u64) -> Self {
        Self::new(units, Duration::from_secs(1))
    }

    /// So many units a minute.
    #[must_use]
    pub fn per_minute(units: u64) -> Self {
        Self::new(units, Duration::from_secs(60))
    }

    /// Units in a period.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.units
    }

    /// How long the period is.
    #[must_use]
    pub const fn period(self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// In nanoseconds.
    pub(crate) const fn period_nanoseconds(self) -> u64 {
        self.period
    }

    /// Whole units that come in so long; the most there can be where they are more than that.
    #[must_use]
    pub fn units_within(self, time: Duration) -> u64 {
        self.units_of(Span {
            whole: nanoseconds(time),
            part: 0,
        })
    }

    /// A burst that there can be: at least a unit, and what comes within 146 years, so that all times can be counted.
    pub(crate) fn burst(self, units: u64) -> u64 {
        units.min(self.units_of(Span::of(1 << 62))).clamp(1, Self::MOST_UNITS)
    }

    /// How long it takes until so many units have come.
    pub(crate) fn time_of(self, units: u64) -> Span {
        let time = u128::from(units) * u128::from(self.period);
        let (whole, part) = divide(time, self.units);
        Span { whole, part }
    }

    /// Whole units that come in so long.
    pub(crate) fn units_of(self, span: Span) -> u64 {
        let units = u128::from(span.whole) * u128::from(self.units) + u128::from(span.part);
        divide(units, self.period).0
    }

    /// The same, and how long it takes until the next one has come.
    pub(crate) fn units_and_missing(self, span: Span) -> (u64, Span) {
        let units = u128::from(span.whole) * u128::from(self.units) + u128::from(span.part);
        let (count, over) = divide(units, self.period);
        let missing = self.period - over;
        let (whole, part) = (missing / self.units, missing % self.units);
        (count, Span { whole, part })
    }

    pub(crate) fn sum(self, a: Span, b: Span) -> Span {
        // Parts that another rate left behind are fewer than a nanosecond of this one.
        let part = a.part.min(self.units - 1) + b.part.min(self.units - 1);
        let carry = u64::from(part >= self.units);
        Span {
            whole: a.whole.saturating_add(b.whole).saturating_add(carry),
            part: part - carry * self.units,
        }
    }

    /// What `a` is longer than `b`; nothing where it is not.
    pub(crate) fn difference(self, a: Span, b: Span) -> Span {
        if a <= b {
            return Span::default();
        }
        let (more, less) = (a.part.min(self.units - 1), b.part.min(self.units - 1));
        let borrow = u64::from(more < less);
        Span {
            whole: (a.whole - b.whole).saturating_sub(borrow),
            part: more + borrow * self.units - less,
        }
    }
}

impl Span {
    pub(crate) const fn of(nanoseconds: u64) -> Self {
        Self {
            whole: nanoseconds,
            part: 0,
        }
    }

    /// In whole nanoseconds that are not shorter.
    pub(crate) const fn at_least(self) -> u64 {
        self.whole.saturating_add((self.part > 0) as u64)
    }
}

/// Nanoseconds of a length of time; 584 years at most.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Quotient and remainder, by a divisor that is not 0; the quotient is the most there can be where it is more than that.
///
/// Nearly all dividends have 64 bits, for which the processor has an instruction.
#[expect(clippy::cast_possible_truncation, reason = "a remainder is below its divisor")]
pub(crate) fn divide(dividend: u128, divisor: u64) -> (u64, u64) {
    if let Ok(dividend) = u64::try_from(dividend) {
        return (dividend / divisor, dividend % divisor);
    }
    let wide = u128::from(divisor);
    let quotient = u64::try_from(dividend / wide).unwrap_or(u64::MAX);
    (quotient, (dividend % wide) as u64)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::prelude::*;

    use super::{Rate, Span, divide};

    #[test]
    fn nothing_is_rounded() {
        let third = Rate::per_second(3);
        let one = third.time_of(1);
        assert_eq!(
            one,
            Span {
                whole: 333_333_333,
                part: 1
            }
        );
        let three = third.sum(third.sum(one, one), one);
        assert_eq!(three, Span::of(1_000_000_000));
        assert_eq!(third.difference(three, one), third.time_of(2));
        assert_eq!((third.units_of(three), third.units_of(Span::of(999_999_999))), (3, 2));
    }

    #[test]
    fn extremes_stay_within_bounds() {
        let check = |units, period, expected: (u64, u64)| {
            let rate = Rate::new(units, period);
            assert_eq!((rate.units, rate.period), expected);
        };
        check(0, Duration::ZERO, (1, 1));
        check(u64::MAX, Duration::MAX, (1 << 40, 366 * 86_400_000_000_000));
        let slowest = Rate::new(1, Duration::MAX);
        assert_eq!(slowest.time_of(u64::MAX).whole, u64::MAX);
        let fastest = Rate::new(u64::MAX, Duration::from_nanos(1));
        assert_eq!(fastest.units_within(Duration::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn division_is_that_of_wide_numbers(dividend: u128, shift in 0u32..128, divisor in 1u64..) {
            let dividend = dividend >> shift;
            let (quotient, remainder) = divide(dividend, divisor);
            let exact = dividend / u128::from(divisor);
            prop_assert_eq!(u128::from(quotient), exact.min(u128::from(u64::MAX)));
            prop_assert_eq!(u128::from(remainder), dividend % u128::from(divisor));
        }

        /// Sum and difference are inverse, whatever the rate.
        #[test]
        fn spans_add_up(units in 1u64..=Rate::MOST_UNITS, period in 1u64..1 << 54, a in 0u64..1 << 30, b in 0u64..1 << 30) {
            let rate = Rate::new(units, Duration::from_nanos(period));
            let sum = rate.sum(rate.time_of(a), rate.time_of(b));
            prop_assume!(sum.whole < u64::MAX / 2);
            prop_assert_eq!(sum, rate.time_of(a + b));
            prop_assert_eq!(rate.difference(sum, rate.time_of(b)), rate.time_of(a));
            prop_assert_eq!(rate.units_of(sum), a + b);
            prop_assert_eq!(rate.units_and_missing(sum), (a + b, rate.time_of(1)));
            let (count, missing) = rate.units_and_missing(Span::of(a));
            prop_assert_eq!(count, rate.units_of(Span::of(a)));
            prop_assert_eq!(rate.units_of(rate.sum(Span::of(a), missing)), count + 1);
        }
    }
}
