//! What did a limit decide?

use crate::Counter;
use crate::catalogue::{Cell, Reading};

/// What came of a request as far as one limit is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitOutcome {
    /// It passed.
    Admitted,
    /// It passed, after a wait.
    Delayed,
    /// It was refused.
    Refused,
    /// It passed because the refusal does not count: the limit, or this key of it, is in shadow, or it was disarmed.
    ShadowRefused,
    /// The limit would have let it pass, another one refused it; nothing was taken.
    Returned,
    /// Its client is one that the limit does not hold for.
    Exempt,
    /// Its client is one that is always refused.
    Denied,
    /// It lacks what the limit goes by, and the limit does not hold for those.
    Skipped,
    /// The limit had ended, and was not asked.
    Ended,
}

impl LimitOutcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Admitted,
        Self::Delayed,
        Self::Refused,
        Self::ShadowRefused,
        Self::Returned,
        Self::Exempt,
        Self::Denied,
        Self::Skipped,
        Self::Ended,
    ];

    /// The word for it in metrics.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Delayed => "delayed",
            Self::Refused => "refused",
            Self::ShadowRefused => "shadow_refused",
            Self::Returned => "returned",
            Self::Exempt => "exempt",
            Self::Denied => "denied",
            Self::Skipped => "skipped",
            Self::Ended => "ended",
        }
    }
}

/// Decisions of a limit counted by what came of them, written by one thread.
#[derive(Debug, Default)]
pub struct ByLimitOutcome([Counter; LimitOutcome::ALL.len()]);

impl ByLimitOutcome {
    /// Counts a decision.
    #[inline]
    pub fn count(&self, outcome: LimitOutcome) {
        if let Some(counter) = self.0.get(outcome as usize) {
            counter.increment();
        }
    }
}

/// The sum of one or more [`ByLimitOutcome`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitOutcomeTotals([u64; LimitOutcome::ALL.len()]);

impl Cell for ByLimitOutcome {
    type Total = LimitOutcomeTotals;
    const SPLIT: Option<&'static str> = Some("outcome");

    fn add_to(&self, total: &mut LimitOutcomeTotals) {
        for (total, count) in total.0.iter_mut().zip(&self.0) {
            *total = total.wrapping_add(count.value());
        }
    }

    fn reading(total: &LimitOutcomeTotals) -> Reading<'_> {
        let outcomes = LimitOutcome::ALL.into_iter().map(LimitOutcome::text);
        Reading::Split(outcomes.zip(total.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{ByLimitOutcome, LimitOutcome, LimitOutcomeTotals, Reading};
    use crate::catalogue::Cell;

    #[test]
    fn each_outcome_is_counted_apart() {
        let (shard, mut total) = (ByLimitOutcome::default(), LimitOutcomeTotals::default());
        for (index, outcome) in LimitOutcome::ALL.into_iter().enumerate() {
            (0..=index).for_each(|_| shard.count(outcome));
        }
        shard.add_to(&mut total);
        let Reading::Split(parts) = ByLimitOutcome::reading(&total) else {
            panic!("it is split");
        };
        let expected: Vec<_> = LimitOutcome::ALL.map(LimitOutcome::text).into_iter().zip(1..).collect();
        assert_eq!(parts, expected);
    }
}
