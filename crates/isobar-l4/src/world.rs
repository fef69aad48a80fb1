//! What do all workers serve?

use std::sync::Arc;
use std::time::Duration;

use isobar_observe::{ListenerStats, RouteStats};
use isobar_plan::{TcpListener, TcpRoute, UdpListener};
use isobar_upstream::{Sharded, Upstream};

use crate::published::{self, Generation};
use crate::throttle::Metering;
use crate::udp::ServerIds;
use crate::{LogHandle, OpenConnections};

/// Where the newest world is found.
pub type Published = published::Published<World>;

/// Everything the workers serve of TCP and UDP: one plan, made ready to run. Immutable; a reload publishes another.
#[derive(Debug)]
pub struct World {
    /// Counts the worlds, from 1.
    pub generation: u64,
    /// The listeners, in the plan's order.
    pub sites: Vec<Arc<Site>>,
    /// What listeners of HTTP over TLS pass on; whatever has no route there is decrypted.
    pub divided: Vec<Arc<Site>>,
    /// The listeners of UDP, in the plan's order.
    pub udp: Vec<Arc<UdpSite>>,
    /// How long connections go on whose listener or server is gone.
    pub drain_timeout: Duration,
    /// The access log; none: nothing is written.
    pub log: Option<Arc<LogHandle>>,
}

impl Generation for World {
    fn generation(&self) -> u64 {
        self.generation
    }
}

/// The rules of one listener.
#[derive(Debug)]
pub struct Site {
    /// What was asked of it.
    pub listener: TcpListener,
    /// What is counted; kept across reloads by the listener's name.
    pub stats: Arc<Sharded<ListenerStats>>,
    /// Its open connections; kept likewise.
    pub open: Arc<OpenConnections>,
    /// Its routes, in the listener's order.
    pub routes: Vec<SiteRoute>,
}

/// The rules of one listener of UDP.
#[derive(Debug)]
pub struct UdpSite {
    /// What was asked of it.
    pub listener: UdpListener,
    /// What is counted; kept across reloads by the listener's name.
    pub stats: Arc<Sharded<ListenerStats>>,
    /// Its flows; kept likewise.
    pub open: Arc<OpenConnections>,
    /// Which server chose which connection ID of QUIC; kept likewise.
    pub ids: Arc<ServerIds>,
    /// Where its flows go.
    pub route: SiteRoute,
}

/// Where the connections of a route go, and what is counted of it.
#[derive(Debug)]
pub struct SiteRoute {
    /// What is counted; kept across reloads by the listener's and the route's name.
    pub stats: Arc<Sharded<RouteStats>>,
    /// Where its connections go.
    pub upstream: Arc<Upstream>,
    /// The rates that bytes of its connections share.
    pub metering: Box<[Arc<dyn Metering>]>,
}

impl Site {
    /// A route's rules and counters.
    pub(crate) fn rules(&self, route: usize) -> Option<(&TcpRoute, &SiteRoute)> {
        Some((self.listener.routes.get(route)?, self.routes.get(route)?))
    }

    /// The rules and counters of each route, in the listener's order.
    pub fn routes(&self) -> impl Iterator<Item = (&TcpRoute, &SiteRoute)> {
        self.listener.routes.iter().zip(&self.routes)
    }
}
