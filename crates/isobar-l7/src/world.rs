//! What do all workers serve, and how do they learn that it changed?

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use isobar_observe::{ListenerStats, RouteStats};
use isobar_plan::{Listener, Route};
use isobar_route::RouteTable;
use isobar_upstream::{Sharded, Upstream};

use crate::{LogHandle, ServerTls, SiteTls};

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
    /// The access log; none: nothing is written.
    pub log: Option<Arc<LogHandle>>,
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

/// How many connections of one listener each worker has open.
#[derive(Debug)]
pub struct OpenConnections {
    all: AtomicU32,
    workers: Sharded<AtomicU32>,
}

impl OpenConnections {
    /// None open at any of `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            all: AtomicU32::new(0),
            workers: Sharded::new(workers),
        }
    }

    /// Counts a connection that opens, unless there are `max`: exact, whichever workers accept at once. The worker
    /// that accepts may count it for another one. False: it is not counted.
    #[must_use]
    pub fn opens(&self, worker: usize, max: u32) -> bool {
        let counted = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
            (all < max).then_some(all + 1)
        });
        if counted.is_ok() {
            self.workers.of(worker).fetch_add(1, Ordering::Relaxed);
        }
        counted.is_ok()
    }

    /// Counts a connection of a worker that closed.
    pub fn closed(&self, worker: usize) {
        self.workers.of(worker).fetch_sub(1, Ordering::Relaxed);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }

    /// The open connections of every worker, in order.
    pub fn by_worker(&self) -> impl Iterator<Item = u32> {
        self.workers.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// The open connections of all workers.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }
}

/// Where the newest world is found.
#[derive(Debug)]
pub struct Published {
    generation: AtomicU64,
    world: RwLock<Arc<World>>,
}

impl Published {
    /// Publishes the first world.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self {
            generation: AtomicU64::new(world.generation),
            world: RwLock::new(Arc::new(world)),
        }
    }

    /// Publishes another world; workers take it before their next request.
    pub fn publish(&self, world: World) {
        let generation = world.generation;
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
        self.generation.store(generation, Ordering::Release);
    }

    /// Which world is the newest.
    ///
    /// *Cost*: one load of a line that is written only by a reload.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The newest world.
    #[must_use]
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }
}
