//! What does one worker thread have for all its connections?

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use isobar_balance::Chance;
use isobar_net::udp::Inbox;
use isobar_upstream::{Local, Retire, Upstream};

use crate::{Lines, Published, Roster, Shared, Site, UdpSite, World};

/// How often log lines are handed over, and servers that left are noticed.
const CHORES_INTERVAL: Duration = Duration::from_millis(250);

/// One worker thread's state. Never shared: what crosses threads is in the [`Published`] world.
#[derive(Debug)]
pub struct Worker {
    /// Its index among the workers.
    pub(crate) id: usize,
    pub(crate) shared: Shared,
    pub(crate) chance: RefCell<Chance>,
    pub(crate) roster: Roster,
    pub(crate) lines: Lines,
    /// Where datagrams are received into; none: none was yet.
    pub(crate) inbox: RefCell<Option<Inbox>>,
    published: Arc<Published>,
    world: RefCell<Rc<LocalWorld>>,
    cutting: Cell<bool>,
    next_connection: Cell<u64>,
}

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// Its index among the workers.
    pub id: usize,
    /// The seed of its random choices.
    pub seed: u64,
    /// Where the newest world is found.
    pub published: Arc<Published>,
    /// What its thread has.
    pub shared: Shared,
}

/// What a worker keeps for a server: whether it is one still.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    retired: Cell<bool>,
}

impl Kept {
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }
}

impl Retire for Kept {
    fn retire(&self) {
        self.retired.set(true);
    }
}

/// A world, as one worker sees it.
#[derive(Debug)]
pub(crate) struct LocalWorld {
    pub(crate) world: Arc<World>,
    sites: Vec<Rc<LocalSite>>,
    udp: Vec<Rc<LocalUdpSite>>,
    upstreams: Vec<Rc<Local<Kept>>>,
}

/// The rules of a listener, as one worker sees them.
#[derive(Debug)]
pub(crate) struct LocalSite {
    pub(crate) site: Arc<Site>,
    /// The upstream of each route.
    routes: Box<[Rc<Local<Kept>>]>,
}

/// The rules of a listener of UDP, as one worker sees them.
#[derive(Debug)]
pub(crate) struct LocalUdpSite {
    pub(crate) site: Arc<UdpSite>,
    pub(crate) upstream: Rc<Local<Kept>>,
}

impl LocalUdpSite {
    fn new(site: &Arc<UdpSite>, known: &mut Vec<Rc<Local<Kept>>>) -> Self {
        Self {
            site: Arc::clone(site),
            upstream: local(&site.route.upstream, known),
        }
    }
}

impl LocalSite {
    fn new(site: &Arc<Site>, known: &mut Vec<Rc<Local<Kept>>>) -> Self {
        let routes = site.routes.iter().map(|route| local(&route.upstream, known)).collect();
        let site = Arc::clone(site);
        Self { site, routes }
    }

    pub(crate) fn upstream(&self, route: usize) -> Option<&Rc<Local<Kept>>> {
        self.routes.get(route)
    }
}

impl Worker {
    /// A worker that serves the published world. Belongs to the thread that calls.
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        let world = LocalWorld::new(parts.published.world(), &[]);
        Self {
            id: parts.id,
            shared: parts.shared,
            chance: RefCell::new(Chance::new(parts.seed)),
            roster: Roster::default(),
            lines: Lines::default(),
            inbox: RefCell::new(None),
            published: parts.published,
            world: RefCell::new(Rc::new(world)),
            cutting: Cell::new(false),
            // The upper bits tell the workers' connections apart, and those of TCP from others.
            next_connection: Cell::new((parts.id as u64) << 48 | 1 << 47),
        }
    }

    /// The time to finish is over: every connection ends now.
    pub fn cut(&self) {
        self.cutting.set(true);
        self.roster.wake_all();
    }

    /// A world was published: connections find out whether their listener and server are still there.
    pub fn look_up(&self) {
        self.world().refresh();
        self.roster.wake_all();
    }

    /// Hands over log lines and notices servers that left, for as long as the worker lives.
    pub async fn chores(&self) {
        let timer = self.shared.wheel.timer();
        loop {
            timer.set(self.shared.wheel.now() + CHORES_INTERVAL);
            std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
            self.world().refresh();
            self.flush();
        }
    }

    /// Hands over the log lines that wait.
    pub fn flush(&self) {
        self.flush_log(&self.world());
    }

    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.get()
    }

    /// Which world is the newest.
    ///
    /// *Cost*: a load.
    pub(crate) fn generation(&self) -> u64 {
        self.published.generation()
    }

    /// The newest world.
    ///
    /// *Cost*: one load and a reference count while nothing was published.
    pub(crate) fn world(&self) -> Rc<LocalWorld> {
        let mut world = self.world.borrow_mut();
        if world.world.generation != self.published.generation() {
            self.flush_log(&world);
            let next = Rc::new(LocalWorld::new(self.published.world(), &world.upstreams));
            let last = std::mem::replace(&mut *world, next);
            last.retire_all_but(&world.upstreams);
        }
        Rc::clone(&world)
    }

    /// The number of a new connection.
    pub(crate) fn connection_number(&self) -> u64 {
        let number = self.next_connection.get();
        self.next_connection.set(number + 1);
        number
    }

    fn flush_log(&self, world: &LocalWorld) {
        if let Some(log) = &world.world.log {
            self.lines.flush(log);
        }
    }
}

impl LocalWorld {
    fn new(world: Arc<World>, last: &[Rc<Local<Kept>>]) -> Self {
        let mut known = last.to_vec();
        let sites = world.sites.iter().chain(&world.divided);
        let sites: Vec<_> = sites.map(|site| Rc::new(LocalSite::new(site, &mut known))).collect();
        let udp = world.udp.iter();
        let udp: Vec<_> = udp.map(|site| Rc::new(LocalUdpSite::new(site, &mut known))).collect();
        let is_used = |local: &Rc<_>| {
            let routes = sites.iter().flat_map(|site| &site.routes);
            let mut routes = routes.chain(udp.iter().map(|site| &site.upstream));
            routes.any(|used| Rc::ptr_eq(used, local))
        };
        known.retain(is_used);
        Self {
            world,
            sites,
            udp,
            upstreams: known,
        }
    }

    /// Has what is kept for servers that left retired.
    pub(crate) fn refresh(&self) {
        for local in &self.upstreams {
            local.view();
        }
    }

    fn retire_all_but(&self, upstreams: &[Rc<Local<Kept>>]) {
        let is_left = |local: &&Rc<_>| !upstreams.iter().any(|other| Rc::ptr_eq(local, other));
        self.upstreams.iter().filter(is_left).for_each(|local| local.retire());
    }

    /// The rules of a listener; none: it is gone.
    pub(crate) fn site(&self, name: &str) -> Option<&Rc<LocalSite>> {
        self.sites.iter().find(|site| &*site.site.listener.name == name)
    }

    /// The rules of a listener of UDP; none: it is gone.
    pub(crate) fn udp_site(&self, name: &str) -> Option<&Rc<LocalUdpSite>> {
        self.udp.iter().find(|site| &*site.site.listener.name == name)
    }

    /// The rules of a listener of UDP, also of one that is gone.
    pub(crate) fn udp_site_or_orphan(&self, site: &Arc<UdpSite>) -> Rc<LocalUdpSite> {
        let orphan = || Rc::new(LocalUdpSite::new(site, &mut self.upstreams.clone()));
        self.udp_site(&site.listener.name).map_or_else(orphan, Rc::clone)
    }

    /// The rules of a listener, also of one that is gone.
    pub(crate) fn site_or_orphan(&self, site: &Arc<Site>) -> Rc<LocalSite> {
        let orphan = || Rc::new(LocalSite::new(site, &mut self.upstreams.clone()));
        self.site(&site.listener.name).map_or_else(orphan, Rc::clone)
    }
}

fn local(upstream: &Arc<Upstream>, known: &mut Vec<Rc<Local<Kept>>>) -> Rc<Local<Kept>> {
    if let Some(same) = known.iter().find(|local| Arc::ptr_eq(local.upstream(), upstream)) {
        return Rc::clone(same);
    }
    let local = Rc::new(Local::new(Arc::clone(upstream)));
    known.push(Rc::clone(&local));
    local
}
