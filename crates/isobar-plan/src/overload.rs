//! What may an upstream be given, and who comes first when that is scarce?

use core::time::Duration;

pub use isobar_balance::GradientRules;

/// How much a request matters when not all can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// It comes first, and may use everything.
    Critical,
    /// As most do.
    #[default]
    Normal,
    /// It comes last, and is the first to be refused.
    Low,
}

impl Priority {
    /// All of them, the most important first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Normal, Self::Low];

    /// The word for it in configuration and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Its position in [`ALL`](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// How many hundredths of an upstream's limits it may use.
    #[must_use]
    pub const fn share_percent(self) -> u32 {
        match self {
            Self::Critical => 100,
            Self::Normal => 95,
            Self::Low => 80,
        }
    }
}

/// What all servers of an upstream are given at once at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpstreamLimits {
    /// Requests in flight; past it they wait in the queue. None: no limit.
    pub max_requests: Option<u32>,
    /// Open connections, idle ones included. None: no limit.
    pub max_connections: Option<u32>,
}

impl UpstreamLimits {
    /// How many requests may be in flight when one of this priority is added, itself among them; none: any number.
    ///
    /// Each needs a connection, so that no more can be in flight than there may be connections.
    #[must_use]
    pub fn most_requests(&self, priority: Priority) -> Option<u32> {
        let most = match (self.max_requests, self.max_connections) {
            (Some(requests), Some(connections)) => requests.min(connections),
            (requests, connections) => requests.or(connections)?,
        };
        let share = (u64::from(most) * u64::from(priority.share_percent())).div_ceil(100);
        Some(u32::try_from(share).unwrap_or(u32::MAX))
    }
}

/// Where requests wait while every server is at its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Requests that wait at most, over all workers; past it the answer is 503 at once. 0: none waits.
    pub max: u32,
    /// How long a request waits at most (503).
    pub timeout: Duration,
    /// Who is served first among those of one priority.
    pub order: QueueOrder,
}

/// Who is served first among those of one priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueOrder {
    /// Who came first.
    FirstCome,
    /// Who has to be answered first.
    Deadline,
}

#[cfg(test)]
mod tests {
    use super::{Priority, UpstreamLimits};

    #[test]
    fn each_priority_has_its_share_of_the_smaller_limit() {
        let check = |max_requests, max_connections, expected: Option<[u32; 3]>| {
            let limits = UpstreamLimits {
                max_requests,
                max_connections,
            };
            let most = Priority::ALL.map(|priority| limits.most_requests(priority));
            assert_eq!(most, expected.map_or([None; 3], |most| most.map(Some)), "{limits:?}");
        };
        check(None, None, None);
        check(Some(100), None, Some([100, 95, 80]));
        check(Some(100), Some(40), Some([40, 38, 32]));
        check(None, Some(10), Some([10, 10, 8]));
        check(Some(1), None, Some([1, 1, 1]));
        check(Some(u32::MAX), None, Some([u32::MAX, 4_080_218_931, 3_435_973_836]));
    }
}
