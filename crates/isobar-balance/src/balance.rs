//! Which algorithms can be asked for, and what are they called?

use core::fmt;

/// How a server is chosen, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Balance {
    /// In turn, each as often as its weight says, and evenly interleaved.
    RoundRobin,
    /// The server with the fewest requests in flight for its weight, over all workers.
    LeastConnections,
    /// By chance, in proportion to the weights.
    Random,
}

impl Balance {
    /// Every algorithm, in the order in which the manual lists them.
    pub const ALL: &[Self] = &[Self::RoundRobin, Self::LeastConnections, Self::Random];

    /// The name used in configuration, metrics and documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::Random => "random",
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
