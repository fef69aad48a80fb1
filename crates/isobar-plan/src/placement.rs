//! Which servers stand together, and how far is what is known of them believed?

use alloc::vec::Vec;

use isobar_balance::{Bound, SlowStart};

use crate::Name;

/// How the servers of an upstream are put together. The default is none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// A bound on what a server has in flight, for algorithms by key; none: no bound but the servers' own limits.
    pub bound: Option<Bound>,
    /// Where this instance is among the zones of its servers; none: zones do not matter.
    pub locality: Option<Locality>,
    /// When the health of servers is not believed; none: it always is.
    pub panic: Option<Panic>,
    /// How the share of a server grows that is new or well again; none: it has all of it at once.
    pub slow_start: Option<SlowStart>,
}

/// Where this instance is, and where its like are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locality {
    /// Its zone.
    pub zone: Name,
    /// How many instances there are in which zone, this one included; empty: equally many in every zone.
    pub balancers: Vec<(Name, u32)>,
    /// Available servers of a level below which zones do not matter.
    pub min_servers: u32,
}

/// When the health of servers is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panic {
    /// The part of a level's weight, in hundredths, below which all its servers are used; 1 to 100.
    pub below_percent: u32,
    /// Servers of a level below which it never panics.
    pub min_servers: u32,
}
