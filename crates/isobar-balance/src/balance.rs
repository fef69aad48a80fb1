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

impl Balance {
    /// Every algorithm, in the order in which the manual lists them.
    pub const ALL: &[Self] = &[
        Self::RoundRobin,
        Self::LeastConnections,
        Self::Random,
        Self::RingHash,
        Self::Ketama,
        Self::Maglev,
        Self::Rendezvous,
        Self::Memento,
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
        }
    }

    /// Whether requests of one [key](crate::Query::key) go to one server; a request without a key then goes to one by
    /// chance, in the shares of the algorithm.
    #[must_use]
    pub const fn is_keyed(self) -> bool {
        match self {
            Self::RingHash | Self::Ketama | Self::Maglev | Self::Rendezvous | Self::Memento => true,
            Self::RoundRobin | Self::LeastConnections | Self::Random => false,
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
