//! How much of its share does a server take that has only just come?
//!
//! A server that is new, or well again, has cold caches and no connections; all of its share at once would be too
//! much for it. When it came is the caller's knowledge: of servers that were there from the start nothing is to be
//! gained by holding them back, because then all are new.

use core::time::Duration;

use crate::Moment;
use crate::fixed::{halved, halvings};

/// Steps in which the share grows over the window. Between two steps it stands, so that a group holds for a while and
/// workers that look at different times agree.
const STEPS: u64 = 64;

/// The part of its weight that a server has now, in thousandths.
///
/// It works on weights relative to one another: where all members have the same part it changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Warmth {
    thousandths: u16,
}

impl Warmth {
    /// The whole weight.
    pub const FULL: Self = Self { thousandths: 1000 };

    /// This many thousandths, of which there are 1 to 1000: what is below or above is brought there.
    #[must_use]
    pub fn new(thousandths: u16) -> Self {
        Self {
            thousandths: thousandths.clamp(1, 1000),
        }
    }

    /// How many thousandths, 1 to 1000.
    #[must_use]
    pub const fn thousandths(self) -> u16 {
        self.thousandths
    }
}

impl Default for Warmth {
    fn default() -> Self {
        Self::FULL
    }
}

/// How the share of a new server grows.
///
/// Its part of its weight is `max(floor, (age / window)^(100 / aggression_percent))`. *Source*: the definition is
/// Envoy's (`SlowStartConfig`), with its defaults but for the window, which is off there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlowStart {
    /// From when it came until it has its whole share; zero: it has it at once.
    pub window: Duration,
    /// The least it starts with, in hundredths of its weight; what is over 100 is 100.
    pub floor_percent: u32,
    /// The curve: 100 is a straight line, more rises fast at first, less slowly at first; 0 counts as 1.
    pub aggression_percent: u32,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            floor_percent: 10,
            aggression_percent: 100,
        }
    }
}

impl SlowStart {
    /// The part of its weight that a server has which came at `since`.
    ///
    /// *Cost*: some hundred multiplications while it is new; it is for building groups, not for picking.
    #[must_use]
    pub fn warmth(&self, since: Moment, now: Moment) -> Warmth {
        let Some(step) = self.step(since, now) else {
            return Warmth::FULL;
        };
        let floor = self.floor_percent.min(100) * 10;
        let part = match step {
            0 => 0,
            _ => self.curve(step),
        };
        Warmth::new(u16::try_from(part.max(floor)).unwrap_or(1000))
    }

    /// When the part of its weight is another for the next time, and a group that holds it is to be built anew; none:
    /// it has all of it.
    #[must_use]
    pub fn next_step(&self, since: Moment, now: Moment) -> Option<Moment> {
        let next = u128::from(self.step(since, now)? + 1) * self.window.as_nanos();
        let nanoseconds = next.div_ceil(u128::from(STEPS));
        let after = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        Some(since.after(after))
    }

    /// Steps done, below [`STEPS`]; none: all.
    fn step(&self, since: Moment, now: Moment) -> Option<u64> {
        let age = u128::from(now.since(since)) * u128::from(STEPS);
        let step = age.checked_div(self.window.as_nanos())?;
        u64::try_from(step).ok().filter(|&step| step < STEPS)
    }

    /// `(step / STEPS)^(100 / aggression)` in thousandths: a power is a product of logarithms.
    fn curve(&self, step: u64) -> u32 {
        let age = halvings(step * (u64::MAX / STEPS + 1));
        let halvings = u128::from(age) * 100 / u128::from(self.aggression_percent.max(1));
        let part = halved(u64::try_from(halvings).unwrap_or(u64::MAX));
        let thousandths = (u128::from(part) * 1000 + (1 << 62)) >> 63;
        u32::try_from(thousandths).unwrap_or(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::{SlowStart, Warmth};
    use crate::Moment;
    use core::time::Duration;

    fn start(floor_percent: u32, aggression_percent: u32) -> SlowStart {
        SlowStart {
            window: Duration::from_secs(64),
            floor_percent,
            aggression_percent,
        }
    }

    const SINCE: Moment = Moment::new(1_000);

    fn at(seconds: u64) -> Moment {
        SINCE.after(Duration::from_secs(seconds))
    }

    /// Against the formula, worked out by hand.
    #[test]
    fn curves() {
        let check = |floor, aggression, expected: [u16; 6]| {
            let start = start(floor, aggression);
            let actual = [0, 1, 16, 32, 48, 64].map(|seconds| start.warmth(SINCE, at(seconds)).thousandths());
            assert_eq!(actual, expected, "floor {floor}, aggression {aggression}");
        };
        check(10, 100, [100, 100, 250, 500, 750, 1000]);
        check(0, 100, [1, 16, 250, 500, 750, 1000]);
        // The square root and the square.
        check(0, 200, [1, 125, 500, 707, 866, 1000]);
        check(0, 50, [1, 1, 63, 250, 563, 1000]);
        check(100, 100, [1000; 6]);
        check(4_000_000_000, 0, [1000; 6]);
        check(10, 0, [100, 100, 100, 100, 100, 1000]);
    }

    #[test]
    fn no_window_is_no_slow_start_and_time_may_run_backwards() {
        let none = SlowStart {
            window: Duration::ZERO,
            ..SlowStart::default()
        };
        assert_eq!(
            (none.warmth(SINCE, SINCE), none.next_step(SINCE, SINCE)),
            (Warmth::FULL, None)
        );
        assert_eq!(start(10, 100).warmth(at(30), SINCE).thousandths(), 100);
        let endless = SlowStart {
            window: Duration::MAX,
            ..SlowStart::default()
        };
        assert_eq!(endless.warmth(SINCE, Moment::new(u64::MAX)).thousandths(), 100);
        assert!(endless.next_step(SINCE, SINCE).is_some());
    }

    /// Following `next_step` sees every change, and ends.
    #[test]
    fn steps_lead_to_the_end() {
        for window in [1, 64, 65, 1_000_003, 30_000_000_000] {
            let start = SlowStart {
                window: Duration::from_nanos(window),
                ..start(0, 130)
            };
            let mut now = SINCE;
            let mut steps = 0;
            let mut last = start.warmth(SINCE, now);
            while let Some(next) = start.next_step(SINCE, now) {
                assert!(next > now, "window {window}, step {steps}");
                let before = Moment::new(next.nanoseconds() - 1);
                assert_eq!(
                    start.warmth(SINCE, before),
                    last,
                    "window {window}, before step {steps}"
                );
                now = next;
                let warmth = start.warmth(SINCE, now);
                assert!(warmth >= last);
                last = warmth;
                steps += 1;
            }
            assert_eq!(last, Warmth::FULL);
            assert!(steps <= 64);
        }
    }
}
