//! Why was a request sent again?

use crate::catalogue::{Cell, Reading};
use crate::{Cause, Counter};

/// Why a request was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// No connection to the server could be made or secured.
    ConnectFailure,
    /// The server closed its connection before its answer began.
    Closed,
    /// The server did not take the request, or not begin its answer, in time.
    Timeout,
    /// The server answered with a status that is tried again.
    Status,
}

impl RetryReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::ConnectFailure, Self::Closed, Self::Timeout, Self::Status];

    /// The reason that a cause is; none: it is not one for which requests are sent again.
    #[must_use]
    pub const fn of(cause: Cause) -> Option<Self> {
        match cause {
            Cause::ConnectFailed | Cause::ConnectTimeout | Cause::TlsFailed => Some(Self::ConnectFailure),
            Cause::ServerClosed | Cause::ServerRefused => Some(Self::Closed),
            Cause::SendTimeout | Cause::ReadTimeout | Cause::TryTimeout => Some(Self::Timeout),
            _ => None,
        }
    }

    /// The word for it in metrics.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect_failure",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Status => "status",
        }
    }
}

/// Retries counted by their reason, written by one thread.
#[derive(Debug, Default)]
pub struct ByReason([Counter; RetryReason::ALL.len()]);

impl ByReason {
    /// Counts a retry.
    pub fn count(&self, reason: RetryReason) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.increment();
        }
    }
}

/// The sum of one or more [`ByReason`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReasonTotals([u64; RetryReason::ALL.len()]);

impl Cell for ByReason {
    type Total = ReasonTotals;
    const SPLIT: Option<&'static str> = Some("reason");

    fn add_to(&self, total: &mut ReasonTotals) {
        for (total, count) in total.0.iter_mut().zip(&self.0) {
            *total = total.wrapping_add(count.value());
        }
    }

    fn reading(total: &ReasonTotals) -> Reading<'_> {
        let reasons = RetryReason::ALL.into_iter().map(RetryReason::text);
        Reading::Split(reasons.zip(total.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::{ByReason, Reading, ReasonTotals, RetryReason};
    use crate::catalogue::Cell;
    use crate::{Cause, RetrySafe};

    #[test]
    fn each_reason_is_counted_apart() {
        let (shard, mut total) = (ByReason::default(), ReasonTotals::default());
        shard.count(RetryReason::Closed);
        shard.count(RetryReason::Status);
        shard.count(RetryReason::Status);
        shard.add_to(&mut total);
        shard.add_to(&mut total);
        let expected = vec![("connect_failure", 0), ("closed", 2), ("timeout", 0), ("status", 4)];
        assert_eq!(ByReason::reading(&total), Reading::Split(expected));
    }

    #[test]
    fn nothing_is_sent_again_for_a_cause_that_forbids_it() {
        for cause in Cause::ALL {
            let never = cause.retry_safe() == RetrySafe::Never || !cause.blames_one_server();
            assert!(!(never && RetryReason::of(cause).is_some()), "{cause}");
        }
    }
}
