//! What does one worker thread have for all its connections?

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use isobar_balance::Chance;
use isobar_l4::{Lines, Roster, Shared};
use isobar_net::limits::descriptor_limit;
use isobar_net::scratch::Scratch;
use isobar_net::splice::Pipes;
use isobar_net::wheel::Wheel;
use isobar_plan::{HttpVersion, ServerAddress, Upstream};
use isobar_upstream::{Local, LocalServer, moment};
use isobar_wire::Field;

use crate::exchange::Exchange;
use crate::pool::{Allowance, Pool};
use crate::{Published, Site, World};

/// Idle exchanges kept for reuse: about as many as requests are under way at once on one worker.
const MAX_SPARE_EXCHANGES: usize = 1024;

/// Idle exchanges that are never given back.
const MIN_SPARE_EXCHANGES: usize = 64;

/// Pipes kept for the next large body.
const MAX_IDLE_PIPES: usize = 64;

/// Idle connections to servers have at most this part of the descriptors that the process may have.
const IDLE_PART: u64 = 4;

/// How many idle connections are closed at a time when descriptors have run out.
const MADE_ROOM: usize = 16;

/// How often idle connections to servers are looked through and log lines handed over.
const CHORES_INTERVAL: Duration = Duration::from_millis(250);

/// One worker thread's state. Never shared: what crosses threads is in the [`Published`] world.
#[derive(Debug)]
pub struct Worker {
    /// Its index among the workers.
    pub(crate) id: usize,
    pub(crate) wheel: Wheel,
    pub(crate) scratch: Rc<Scratch>,
    pub(crate) pipes: Pipes,
    pub(crate) chance: RefCell<Chance>,
    pub(crate) roster: Roster,
    pub(crate) lines: Lines,
    /// What its pools may keep together.
    pub(crate) allowance: Allowance,
    /// Room for the fields of the response head that is being read.
    pub(crate) response_fields: RefCell<Vec<Field>>,
    published: Arc<Published>,
    world: RefCell<Rc<LocalWorld>>,
    /// Room for what a connection gathers before it is sent.
    pub(crate) outbox: RefCell<Vec<u8>>,
    /// Boxed, because it is the boxes that are reused: an idle connection holds none.
    #[expect(clippy::vec_box)]
    spare: RefCell<Vec<Box<Exchange>>>,
    draining: Cell<bool>,
    cutting: Cell<bool>,
    next_connection: Cell<u64>,
}

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// Its index among the workers.
    pub id: usize,
    /// How many there are.
    pub workers: usize,
    /// The seed of its random choices.
    pub seed: u64,
    /// Where the newest world is found.
    pub published: Arc<Published>,
}

/// A world, as one worker sees it.
#[derive(Debug)]
pub(crate) struct LocalWorld {
    pub(crate) world: Arc<World>,
    pub(crate) sites: Vec<Rc<LocalSite>>,
    upstreams: Vec<Rc<Local<Pool>>>,
}

/// The rules of a listener, as one worker sees them.
#[derive(Debug)]
pub(crate) struct LocalSite {
    pub(crate) site: Arc<Site>,
    pub(crate) generation: u64,
    /// The upstream of each route.
    routes: Box<[Rc<Local<Pool>>]>,
}

impl LocalSite {
    fn new(site: &Arc<Site>, generation: u64, known: &[Rc<Local<Pool>>]) -> Self {
        let routes = site.routes().map(|(_, route)| local(&route.upstream, known)).collect();
        Self {
            site: Arc::clone(site),
            generation,
            routes,
        }
    }

    /// The last rules of a listener that is gone.
    pub(crate) fn orphan(site: &Arc<Site>, world: &LocalWorld) -> Self {
        Self::new(site, world.world.generation, &world.upstreams)
    }

    pub(crate) fn upstream(&self, route: usize) -> Option<&Rc<Local<Pool>>> {
        self.routes.get(route)
    }
}

impl Worker {
    /// A worker that serves the published world. Belongs to the thread that calls.
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        let world = LocalWorld::new(parts.published.world(), &[]);
        let idle = descriptor_limit() / IDLE_PART / parts.workers.max(1) as u64;
        Self {
            id: parts.id,
            wheel: Wheel::new(Instant::now()),
            scratch: Rc::default(),
            pipes: Pipes::new(MAX_IDLE_PIPES),
            chance: RefCell::new(Chance::new(parts.seed)),
            roster: Roster::default(),
            lines: Lines::default(),
            allowance: Allowance::new(usize::try_from(idle).unwrap_or(usize::MAX)),
            response_fields: RefCell::new(Vec::new()),
            published: parts.published,
            world: RefCell::new(Rc::new(world)),
            outbox: RefCell::new(Vec::new()),
            spare: RefCell::new(Vec::new()),
            draining: Cell::new(false),
            cutting: Cell::new(false),
            // The upper bits tell the workers' connections apart.
            next_connection: Cell::new((parts.id as u64) << 48),
        }
    }

    /// Its index among the workers.
    #[must_use]
    pub fn id(&self) -> usize {
        self.id
    }

    /// The timers; somebody has to drive them.
    #[must_use]
    pub fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    /// What it shares with whoever else serves connections on its thread.
    #[must_use]
    pub fn shared(&self) -> Shared {
        Shared {
            wheel: self.wheel.clone(),
            scratch: Rc::clone(&self.scratch),
            pipes: self.pipes.clone(),
        }
    }

    /// The newest rules of a listener; none: it is gone.
    #[must_use]
    pub fn site(&self, name: &str) -> Option<Arc<Site>> {
        self.world().site(name).map(|site| Arc::clone(&site.site))
    }

    /// Open client connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.roster.connections()
    }

    /// Finishes what there is: idle connections close now, busy ones after their exchange.
    pub fn drain(&self) {
        self.draining.set(true);
        self.roster.wake_all();
    }

    /// The time to finish is over: every exchange ends now, with an answer where none has begun.
    pub fn cut(&self) {
        self.draining.set(true);
        self.cutting.set(true);
        self.roster.wake_all();
    }

    /// A world was published: idle connections of a listener that is gone close now.
    pub fn look_up(&self) {
        self.world();
        self.roster.wake_all();
    }

    /// Closes idle connections to servers in time and hands over log lines, for as long as the worker lives.
    pub async fn chores(&self) {
        let timer = self.wheel.timer();
        loop {
            timer.set(self.wheel.now() + CHORES_INTERVAL);
            let world = self.world();
            std::future::poll_fn(|cx| {
                self.poll_sweep(cx, &world);
                timer.poll_expired(cx)
            })
            .await;
            let world = self.world();
            let now = self.wheel.now();
            for local in &world.upstreams {
                let view = local.view();
                for server in view.servers() {
                    server.own.sweep(&view.settings().keep_alive, now);
                    sweep_shared(server, view.settings(), now);
                    if self.id == 0 {
                        // Nobody else looks at the charge of a server that gets no requests, and while there is one the
                        // choice among all others takes longer.
                        let _ = server.server.state().charge(moment(now));
                    }
                }
                close_idle(local);
            }
            self.flush_log(&world);
            self.give_back_spare();
        }
    }

    /// Closes some idle connections to servers, for their descriptors; false: there are none.
    #[must_use]
    pub fn make_room(&self) -> bool {
        let world = self.world();
        let mut left = MADE_ROOM;
        for local in &world.upstreams {
            for server in local.view().servers() {
                left -= server.own.close_oldest(left);
            }
        }
        left < MADE_ROOM
    }

    /// Closes idle connections of upstreams that need their places for others.
    fn poll_sweep(&self, cx: &mut Context<'_>, world: &LocalWorld) {
        for local in &world.upstreams {
            if local.upstream().connections().poll_sweep(cx, self.id).is_ready() {
                close_idle(local);
            }
        }
    }

    /// After a burst, idle exchanges are given back by halves.
    fn give_back_spare(&self) {
        let mut spare = self.spare.borrow_mut();
        let kept = (spare.len() / 2).max(MIN_SPARE_EXCHANGES);
        spare.truncate(kept);
    }

    /// Hands over the log lines that wait.
    pub fn flush(&self) {
        self.flush_log(&self.world());
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.get()
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

    /// An exchange to use: one that was used before, where there is one.
    pub(crate) fn exchange(&self) -> Box<Exchange> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back an exchange.
    pub(crate) fn recycle(&self, mut exchange: Box<Exchange>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < MAX_SPARE_EXCHANGES {
            exchange.clear();
            spare.push(exchange);
        }
    }

    fn flush_log(&self, world: &LocalWorld) {
        if let Some(log) = &world.world.log {
            self.lines.flush(log);
        }
    }
}

/// Lets go of connections that requests share and that are of no more use.
fn sweep_shared(server: &LocalServer<Pool>, settings: &Upstream, now: Instant) {
    let shares = settings.http_version != HttpVersion::Http1;
    let is_current = |address: SocketAddr| {
        let is_name = matches!(server.server.address(), ServerAddress::Name(..));
        shares && (!is_name || server.server.addresses().contains(&address))
    };
    server.own.sharing().sweep(&settings.keep_alive, now, is_current);
}

/// Closes as many idle connections of an upstream as it has too many.
fn close_idle(local: &Local<Pool>) {
    let view = local.view();
    let max = view.settings().limits.max_connections;
    let mut left = local.upstream().connections().to_close(max) as usize;
    for server in view.servers() {
        left -= server.own.close_oldest(left);
    }
}

impl LocalWorld {
    fn new(world: Arc<World>, known: &[Rc<Local<Pool>>]) -> Self {
        let upstreams: Vec<_> = world.upstreams.iter().map(|upstream| local(upstream, known)).collect();
        let site = |site| Rc::new(LocalSite::new(site, world.generation, &upstreams));
        let sites = world.sites.iter().map(site).collect();
        Self {
            world,
            sites,
            upstreams,
        }
    }

    /// Lets go of what is kept for upstreams that left: a tunnel may hold on to this world for hours.
    fn retire_all_but(&self, upstreams: &[Rc<Local<Pool>>]) {
        let is_left = |local: &&Rc<_>| !upstreams.iter().any(|other| Rc::ptr_eq(local, other));
        self.upstreams.iter().filter(is_left).for_each(|local| local.retire());
    }

    /// The rules of a listener; none: it is gone.
    pub(crate) fn site(&self, name: &str) -> Option<&Rc<LocalSite>> {
        self.sites.iter().find(|site| &*site.site.listener.name == name)
    }
}

fn local(upstream: &Arc<isobar_upstream::Upstream>, known: &[Rc<Local<Pool>>]) -> Rc<Local<Pool>> {
    let same = known.iter().find(|local| Arc::ptr_eq(local.upstream(), upstream));
    same.map_or_else(|| Rc::new(Local::new(Arc::clone(upstream))), Rc::clone)
}
