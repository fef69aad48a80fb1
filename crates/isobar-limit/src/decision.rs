//! What comes of asking a limit?
//!
//! A decision is a small value: it says whether the request passes, what is left, and what has to be known to correct
//! it later. What a client is answered is the caller's business.

use core::time::Duration;

use isobar_balance::Moment;

use crate::algorithm::{Algorithm, State};

/// Whether a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does, now.
    Admitted,
    /// It does, after this long; its cost is taken.
    Delayed(Duration),
    /// It does not, and nothing is taken.
    Refused {
        /// When the same request would pass if nobody else asked; none: waiting alone does not help, because it costs
        /// more than there ever is, or because others have to end first.
        retry_in: Option<Duration>,
    },
}

impl Verdict {
    /// Whether it passes, be it later.
    #[must_use]
    pub const fn passes(self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// What a limit has left for a key: `r` and `t` of a `RateLimit` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whole units that would pass now, without delay.
    pub remaining: u64,
    /// When there will be more if nobody else asks; none: there is all there ever is, or others have to end first.
    pub more_in: Option<Duration>,
}

impl Standing {
    /// `t` in whole seconds, not too early.
    #[must_use]
    pub fn more_in_seconds(&self) -> Option<u64> {
        self.more_in.map(whole_seconds)
    }
}

/// Seconds that are not shorter than a length of time, as `Retry-After` and `t` want them.
#[must_use]
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// What was taken, so that it can be corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Units; 0 where the request was refused.
    pub cost: u64,
    /// When it was taken.
    pub at: Moment,
    /// What the algorithm has to know besides.
    pub(crate) mark: State,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it passes.
    pub verdict: Verdict,
    /// What is left after it, where that is known already; none: it follows from the receipt.
    told: Option<Standing>,
    /// What to correct it by.
    pub receipt: Receipt,
}

impl Decision {
    /// What was decided elsewhere than by an algorithm, and what was taken then.
    #[must_use]
    pub const fn made(verdict: Verdict, standing: Standing, (cost, at): (u64, Moment)) -> Self {
        Self {
            verdict,
            told: Some(standing),
            receipt: Receipt { cost, at, mark: [0; 2] },
        }
    }

    /// What is left after it, by the limit that made it.
    ///
    /// *Cost*: most requests pass and nobody asks, so it is worked out here: some divisions, without a look at the table.
    pub fn standing<A: Algorithm<State = State>>(&self, limit: &A) -> Standing {
        self.told
            .unwrap_or_else(|| limit.standing(&self.receipt.mark, self.receipt.at))
    }

    /// What was taken makes this the state; what is left follows from that.
    #[inline]
    pub(crate) const fn passed(verdict: Verdict, state: State, (cost, at): (u64, Moment)) -> Self {
        Self {
            verdict,
            told: None,
            receipt: Receipt { cost, at, mark: state },
        }
    }

    /// The same where the state alone does not say what is left.
    pub(crate) const fn leaving(self, standing: Standing) -> Self {
        Self {
            told: Some(standing),
            ..self
        }
    }

    pub(crate) const fn refused(standing: Standing, retry_in: Option<Duration>, now: Moment) -> Self {
        Self::made(Verdict::Refused { retry_in }, standing, (0, now))
    }
}

/// What a limit counts, by the names of `qu` in `RateLimit-Policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// `requests`, or what stands for them.
    Requests,
    /// `content-bytes`.
    ContentBytes,
    /// `concurrent-requests`.
    ConcurrentRequests,
}

/// What a limit promises: `q`, `w` and `qu` of a `RateLimit-Policy` field.
///
/// *Source*: draft-ietf-httpapi-ratelimit-headers-10, section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Units in a window.
    pub units: u64,
    /// The window; none: the limit knows no time.
    pub window: Option<Duration>,
    /// What is counted.
    pub unit: Unit,
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::whole_seconds;

    #[test]
    fn nobody_comes_back_too_early() {
        let check = |nanoseconds, expected| assert_eq!(whole_seconds(Duration::from_nanos(nanoseconds)), expected);
        check(0, 0);
        check(1, 1);
        check(1_000_000_000, 1);
        check(1_000_000_001, 2);
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
