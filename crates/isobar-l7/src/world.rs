//! What do all workers serve, and how do they learn that it changed?

use std::sync::Arc;

use isobar_l4::published::{self, Generation};
use isobar_l4::{LogHandle, OpenConnections};
use isobar_observe::{ListenerStats, RouteStats};
use isobar_plan::{Listener, Route};
use isobar_route::RouteTable;
use isobar_share::Store;
use isobar_upstream::{Sharded, Upstream};

use crate::{FairKeys, RunningLimit, ServerTls, SiteTls};

/// Everything the workers serve: one plan, made ready to run. Immutable; a reload publishes another.
#[derive(Debug)]
pub struct World {
    /// Counts the worlds, from 1.
    pub generation: u64,
    /// The listeners, in the plan's order.
    pub sites: Vec<Arc<Site>>,
    /// The upstreams, in the plan's order.
    pub upstreams: Vec<Arc<Upstream>>,
    /// What secures the connections to the servers of each; none: nothing does.
    pub server_tls: Vec<Option<ServerTls>>,
    /// The limits, in the plan's order.
    pub limits: Vec<Arc<RunningLimit>>,
    /// What limits are shared through, in the plan's order.
    pub stores: Vec<Arc<Store>>,
    /// The access log; none: nothing is written.
    pub log: Option<Arc<LogHandle>>,
}

/// Where the newest world is found.
pub type Published = published::Published<World>;

impl Generation for World {
    fn generation(&self) -> u64 {
        self.generation
    }
}

/// The rules of one listener.
#[derive(Debug)]
pub struct Site {
    /// What was asked of it.
    pub listener: Listener,
    /// What is counted; kept across reloads by the listener's name.
    pub stats: Arc<Sharded<ListenerStats>>,
    /// Its open connections; kept likewise.
    pub open: Arc<OpenConnections>,
    /// What secures its connections; none: nothing does.
    pub tls: Option<SiteTls>,
    table: RouteTable,
    routes: Vec<SiteRoute>,
}

/// A route, and what is counted of it.
#[derive(Debug)]
pub struct SiteRoute {
    /// What is counted; kept across reloads by the listener's and the route's name.
    pub stats: Arc<Sharded<RouteStats>>,
    /// Where its requests go.
    pub upstream: Arc<Upstream>,
    /// What secures the connections to its servers; none: nothing does.
    pub tls: Option<ServerTls>,
    /// The limits that its requests fall under, in the order in which they are asked.
    pub limits: Box<[Arc<RunningLimit>]>,
    /// With whom a request shares the upstream; none: with nobody.
    pub fair: Option<Arc<FairKeys>>,
}

/// What a site is made of.
#[derive(Debug)]
pub struct SiteParts {
    /// What was asked of the listener.
    pub listener: Listener,
    /// Its counters.
    pub stats: Arc<Sharded<ListenerStats>>,
    /// Its open connections.
    pub open: Arc<OpenConnections>,
    /// What secures its connections; none: nothing does.
    pub tls: Option<SiteTls>,
    /// Its routes, in the listener's order.
    pub routes: Vec<SiteRoute>,
}

impl Site {
    /// Makes the rules of a listener ready to run.
    #[must_use]
    pub fn new(parts: SiteParts) -> Self {
        let table = RouteTable::new(parts.listener.routes.iter().map(|route| &route.rule));
        debug_assert_eq!(parts.routes.len(), parts.listener.routes.len());
        Self {
            listener: parts.listener,
            stats: parts.stats,
            open: parts.open,
            tls: parts.tls,
            table,
            routes: parts.routes,
        }
    }

    /// The route for a request, as an index into the listener's routes.
    pub(crate) fn route(&self, host: &[u8], path: &[u8]) -> Option<usize> {
        self.table.find(host, path)
    }

    /// A route's rules and counters.
    pub(crate) fn rules(&self, route: usize) -> Option<(&Route, &SiteRoute)> {
        Some((self.listener.routes.get(route)?, self.routes.get(route)?))
    }

    /// What is counted of each route, in the listener's order.
    pub fn routes(&self) -> impl Iterator<Item = (&Route, &SiteRoute)> {
        self.listener.routes.iter().zip(&self.routes)
    }
}
