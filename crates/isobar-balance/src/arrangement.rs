//! How are servers put together in a group?

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{Balance, Guesses};

/// Everything a group is told beside its servers.
#[derive(Debug, Clone)]
pub struct Arrangement {
    /// How a server is chosen among those that stand together.
    pub balance: Balance,
    /// A bound on what a server may have in flight; for [algorithms by key](Balance::is_keyed), on others it has no
    /// effect. None: no bound but the servers' own limits.
    pub bound: Option<Bound>,
    /// The least part of a level's weight, in hundredths, that must be available for the availability of its servers to
    /// be believed; below it all are used. 0: it is always believed.
    pub panic_percent: u32,
    /// Servers of a level below which it never panics, because a fraction of few is none.
    pub panic_servers: usize,
    /// Where this balancer is, when servers nearby are to be preferred.
    pub locality: Option<Locality>,
    /// Where choices are counted that an algorithm by reports made without them; none: nowhere.
    pub guesses: Option<Arc<Guesses>>,
}

/// How much more than its share a server may have in flight.
///
/// A server may have `ceil(factor * t * w / W)` requests in flight when it takes one, where `t` is what all have, that
/// one included, `w` its weight and `W` the sum of weights. What finds its server at the bound goes to the next in its
/// key's order. With servers that are [counted in](crate::ServerState::counted_in) one [`Tally`](crate::Tally) this is
/// exact, however many workers pick at once, and costs the same for any number of servers; otherwise what they have is
/// added up at every pick, and may be off by what moves meanwhile. *Source*: Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", 2018.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The factor in hundredths: 125 allows a quarter more than the share. What is below 100 counts as 100, because
    /// with less some requests would find no server at all; what is above 100,000 counts as that.
    pub percent: u32,
}

impl Default for Bound {
    fn default() -> Self {
        Self { percent: 125 }
    }
}

/// A place whose inside is nearer, cheaper or safer than its outside, such as a data centre's zone; numbered by the
/// caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(pub u32);

/// Where this balancer is, and where its like are.
///
/// As much stays in the zone as its servers can bear: a zone with a third of the servers but half of the balancers keeps
/// two thirds of what its balancers get, and the rest goes where there are more servers than balancers. *Source*: the
/// zone-aware routing of Envoy, which counts servers where this weighs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locality {
    /// Its zone.
    pub zone: Zone,
    /// How many balancers there are in which zone, this one included. Empty, or without one in this zone: equally many
    /// in every zone that has servers or is this one.
    pub balancers: Vec<(Zone, u32)>,
    /// Available servers of a level below which zones do not matter, because a fraction of few is none.
    pub min_servers: usize,
}

impl Arrangement {
    /// The same in all but the algorithm: no bound, panic below a half of however few, no zones.
    #[must_use]
    pub const fn new(balance: Balance) -> Self {
        Self {
            balance,
            bound: None,
            panic_percent: 50,
            panic_servers: 0,
            locality: None,
            guesses: None,
        }
    }
}

impl From<Balance> for Arrangement {
    fn from(balance: Balance) -> Self {
        Self::new(balance)
    }
}

impl Locality {
    /// This zone, with balancers equally many everywhere, from six servers on as in Envoy.
    #[must_use]
    pub const fn new(zone: Zone) -> Self {
        Self {
            zone,
            balancers: Vec::new(),
            min_servers: 6,
        }
    }
}
