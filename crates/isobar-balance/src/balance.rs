//! Which algorithms can be asked for, and what are they called?

use core::fmt;
use core::time::Duration;

use crate::Feedback;

/// How a server is chosen, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Balance {
    /// In turn, each as often as its weight says, and evenly interleaved.
    RoundRobin,
    /// The server with the fewest requests in flight for its weight, over all workers.
    LeastConnections,
    /// By chance, in proportion to the weights.
    Random,
    /// The server with the fewest requests in flight for its weight, of some that are drawn by chance.
    PowerOfTwo(Choices),
    /// The server with the least of average latency times requests in flight.
    LeastTime,
    /// Of two servers drawn by chance the one with less of latency, by its peaks, times requests in flight.
    PeakEwma,
    /// In turn, as often as follows from the load that servers report.
    OrcaWeightedRoundRobin(Orca),
    /// The server with the lowest latency among those that are not busy, by probes.
    Prequal(Prequal),
    /// The first server with room.
    FirstAvailable,
    /// By the request's key: the next of many points on a ring.
    RingHash,
    /// By the request's key: the ring of libmemcached's weighted ketama, for sharing its caches.
    Ketama,
    /// By the request's key: an entry of a table in which the servers take turns.
    Maglev,
    /// By the request's key: the server that draws highest for it, weights exact.
    Rendezvous,
    /// By the request's key: jump hashing that remembers who left.
    Memento,
}

/// How many servers are drawn by [`Balance::PowerOfTwo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Choices(u8);

impl Choices {
    /// Two.
    pub const DEFAULT: Self = Self(2);

    /// This many, at least 1, which is choosing by chance, and at most 16.
    #[must_use]
    pub const fn new(choices: u8) -> Self {
        match choices {
            0 => Self(1),
            1..=16 => Self(choices),
            _ => Self(16),
        }
    }

    /// How many.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// What [`Balance::OrcaWeightedRoundRobin`] makes of reports; the names are gRPC A58's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Orca {
    /// How long a server must have reported before its reports count.
    pub blackout: Duration,
    /// How old a report may be.
    pub expiration: Duration,
    /// How often weights are computed anew.
    pub update_period: Duration,
    /// What the part of requests that a server fails weighs against the part of it that is in use, in percent.
    pub error_penalty_percent: u16,
}

impl Orca {
    /// A58's: 10 s, 3 minutes, every second, and 100 %.
    pub const DEFAULT: Self = Self {
        blackout: Duration::from_secs(10),
        expiration: Duration::from_secs(180),
        update_period: Duration::from_secs(1),
        error_penalty_percent: 100,
    };
}

/// What [`Balance::Prequal`] probes and which probes it believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prequal {
    /// Servers that are probed for each request; 8 at most. The paper has 3.
    pub probes: u8,
    /// Servers that are remembered as candidates; 2 to 16, and never more than half of all. The paper has 16.
    pub pool: u8,
    /// How old a probe may be. The paper has 1 s.
    pub max_age: Duration,
    /// A server that reported within this time, in an answer or to a probe, is not probed.
    pub fresh: Duration,
    /// The part of the candidates that are not busy, in percent: the others are only chosen when there are no such.
    /// None: 84 from 32 servers on, which is the paper's, and 0 below, because the order of a few is of little use.
    pub quantile_percent: Option<u8>,
    /// How often a candidate may be chosen; 16 at most. None: what follows from the paper's equation 1.
    pub reuse: Option<u8>,
}

impl Prequal {
    /// The paper's; and a server that reported within 5 ms is not probed.
    pub const DEFAULT: Self = Self {
        probes: 3,
        pool: 16,
        max_age: Duration::from_secs(1),
        fresh: Duration::from_millis(5),
        quantile_percent: None,
        reuse: None,
    };
}

impl Balance {
    /// Every algorithm with its defaults, in the order in which the manual lists them.
    pub const ALL: &[Self] = &[
        Self::RoundRobin,
        Self::LeastConnections,
        Self::Random,
        Self::RingHash,
        Self::Ketama,
        Self::Maglev,
        Self::Rendezvous,
        Self::Memento,
        Self::PowerOfTwo(Choices::DEFAULT),
        Self::LeastTime,
        Self::PeakEwma,
        Self::OrcaWeightedRoundRobin(Orca::DEFAULT),
        Self::Prequal(Prequal::DEFAULT),
        Self::FirstAvailable,
    ];

    /// The name used in configuration, metrics and documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::Random => "random",
            Self::RingHash => "ring_hash",
            Self::Ketama => "ketama",
            Self::Maglev => "maglev",
            Self::Rendezvous => "rendezvous",
            Self::Memento => "memento",
            Self::PowerOfTwo(_) => "power_of_two",
            Self::LeastTime => "least_time",
            Self::PeakEwma => "peak_ewma",
            Self::OrcaWeightedRoundRobin(_) => "orca_weighted_round_robin",
            Self::Prequal(_) => "prequal",
            Self::FirstAvailable => "first_available",
        }
    }

    /// Whether requests of one [key](crate::Query::key) go to one server; a request without a key then goes to one by
    /// chance, in the shares of the algorithm.
    #[must_use]
    pub const fn is_keyed(self) -> bool {
        match self {
            Self::RingHash | Self::Ketama | Self::Maglev | Self::Rendezvous | Self::Memento => true,
            Self::RoundRobin
            | Self::LeastConnections
            | Self::Random
            | Self::PowerOfTwo(_)
            | Self::LeastTime
            | Self::PeakEwma
            | Self::OrcaWeightedRoundRobin(_)
            | Self::Prequal(_)
            | Self::FirstAvailable => false,
        }
    }

    /// Whether it goes by what servers say of themselves.
    #[must_use]
    pub const fn goes_by_reports(self) -> bool {
        matches!(self, Self::OrcaWeightedRoundRobin(_) | Self::Prequal(_))
    }

    /// What it wants to be told of requests that end, for [`ServerState::finished`](crate::ServerState::finished).
    #[must_use]
    pub const fn feedback(self) -> Feedback {
        match self {
            Self::LeastTime => Feedback::Average,
            Self::PeakEwma => Feedback::Peak,
            Self::Prequal(_) => Feedback::Pace,
            Self::RoundRobin
            | Self::LeastConnections
            | Self::Random
            | Self::PowerOfTwo(_)
            | Self::OrcaWeightedRoundRobin(_)
            | Self::FirstAvailable
            | Self::RingHash
            | Self::Ketama
            | Self::Maglev
            | Self::Rendezvous
            | Self::Memento => Feedback::Failures,
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Balance, Choices};

    #[test]
    fn names_are_different() {
        let mut names: std::vec::Vec<_> = Balance::ALL.iter().map(|balance| balance.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Balance::ALL.len());
    }

    #[test]
    fn choices_are_within_bounds() {
        for (asked, expected) in [(0, 1), (1, 1), (2, 2), (16, 16), (17, 16), (255, 16)] {
            assert_eq!(Choices::new(asked).number(), expected);
        }
    }
}
