//! A plan becomes running listeners.
//!
//! The [`Engine`] owns the worker threads, the prober and the writer of the access log. It turns a plan into a world
//! (`assembly`), opens what has to be opened before anything else changes, publishes the world and tells the
//! workers. It goes on serving the last plan whatever happens to those who gave it; it knows no file but the access
//! log, no configuration text and no name resolution.
#![forbid(unsafe_code)]

mod accept;
mod assembly;
mod bindings;
mod certificates;
mod health;
mod keeper;
mod limits;
mod load_probes;
mod log_writer;
pub mod named_file;
mod names;
mod orders;
mod outliers;
mod report;
#[cfg(test)]
mod sample;
mod server_tls;
mod sharing;
mod site;
mod spread;
mod upkeep;
mod worker;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use isobar_observe::WorkerStats;
use isobar_plan::{Endpoint, Event, ListenerChange, Name, Plan, PlanDiff, ServerAddress};
use isobar_upstream::Sharded;

pub use certificates::TlsError;
pub use isobar_forward::{Attempt, Background, Found, LookupError, Nobody, Question};
pub use isobar_net::runtime::Io;

use crate::assembly::Registry;
use crate::bindings::{BindingId, Bindings};
use crate::health::{Clients, Prober};
use crate::load_probes::LoadProber;
use crate::sharing::Sharing;
use crate::worker::{Around, Command, Published, WorkerHandle};

/// How long connections whose time is up have to say so and to be logged.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a drain looks away at most while it waits for connections to end.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// How an engine is started; unlike a plan, none of it can change while it runs.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Worker threads; at least 1.
    pub workers: usize,
    /// How their connections move bytes.
    pub io: Io,
}

/// Takes what operators want to read.
type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// The running data plane. Dropping it stops the workers at once.
pub struct Engine {
    started: Instant,
    workers: Vec<WorkerHandle>,
    published: Published,
    worker_stats: Arc<Sharded<WorkerStats>>,
    prober: Prober,
    events: EventSink,
    state: Mutex<State>,
}

/// What changes when a plan is applied.
struct State {
    plan: Plan,
    generation: u64,
    registry: Registry,
    bindings: Bindings,
    load_prober: LoadProber,
    sharing: Sharing,
    /// When draining ends at the latest; none: the instance is not draining.
    drain_until: Option<Instant>,
}

/// Why a plan could not be taken into service. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A listener's address cannot be had.
    #[error("failed to listen on {address} ({name}): {source}")]
    Listen {
        /// The listener.
        name: Name,
        /// Its address.
        address: SocketAddr,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The access log cannot be opened.
    #[error("failed to open the access log {path}: {source}")]
    AccessLog {
        /// Its file.
        path: String,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The access log's template does not compile, which a valid plan's does.
    #[error("failed to read the access log's template: {0}")]
    Template(isobar_observe::access::TemplateError),
    /// Whose word is to be taken for a server's certificate cannot be found out.
    #[error("failed to read the certificate authorities{file} (health check {check} of {upstream}): {source}")]
    Authorities {
        /// The upstream.
        upstream: Name,
        /// Its check.
        check: Name,
        /// Where they are, in words.
        file: String,
        /// What was wrong.
        source: isobar_net::tls::TrustError,
    },
    /// A listener's connections cannot be secured as asked.
    #[error("failed to secure listener {listener}: {source}")]
    Tls {
        /// The listener.
        listener: Name,
        /// What was wrong.
        source: TlsError,
    },
    /// A thread cannot be started.
    #[error("failed to start a thread: {0}")]
    Worker(std::io::Error),
    /// The engine is being stopped.
    #[error("failed to apply the plan: the instance is draining")]
    Draining,
}

impl Engine {
    /// Opens every listener and starts the workers. What operators want to read goes to `events`, from any thread;
    /// it must not block. Forward proxies have nobody to look names up for them: see [`start_with`](Self::start_with).
    ///
    /// *Errors*: nothing is left behind.
    pub fn start(
        plan: Plan,
        options: EngineOptions,
        events: Box<dyn Fn(Event) + Send + Sync>,
    ) -> Result<Self, ApplyError> {
        Self::start_with(plan, options, events, Arc::new(Nobody))
    }

    /// Starts as [`start`](Self::start) does, with somebody who looks names up and compares passwords for forward proxies.
    ///
    /// *Errors*: nothing is left behind.
    pub fn start_with(
        plan: Plan,
        options: EngineOptions,
        events: Box<dyn Fn(Event) + Send + Sync>,
        background: Arc<dyn Background>,
    ) -> Result<Self, ApplyError> {
        let events: EventSink = Arc::from(events);
        let count = options.workers.max(1);
        let mut bindings = Bindings::default();
        let endpoints: Vec<_> = plan.endpoints().collect();
        let claims = bindings.claim(&endpoints, count)?;
        let clients = Clients::default().next(&plan)?;
        let mut load_prober = LoadProber::new();
        load_prober.prepare(&plan, &events).map_err(ApplyError::Worker)?;
        let mut sharing = Sharing::new();
        sharing.prepare(&plan, &events).map_err(ApplyError::Worker)?;
        let mut registry = Registry::new(count);
        let stores = sharing.stores(&plan);
        let worlds = registry.assemble((&plan, stores), 1, &events)?;
        let published = Published::new(worlds);
        let worker_stats = Arc::new(Sharded::new(count));
        let around = Around {
            events: Arc::clone(&events),
            background,
        };
        let workers = worker::start_all(&published, &around, &worker_stats, options.io).map_err(ApplyError::Worker)?;
        let prober = Prober::start(published.http.world(), clients, Arc::clone(&events)).map_err(ApplyError::Worker)?;
        load_prober.watch(published.http.world());
        sharing.watch(published.http.world(), &plan);
        bindings.settle(claims, &endpoints);
        let added = |listener: &Endpoint<'_>| (listener.name.clone(), ListenerChange::Added);
        let all = PlanDiff {
            listeners: endpoints.iter().map(added).collect(),
            ..PlanDiff::default()
        };
        let news = listener_events(&bindings, &all, &[ListenerChange::Added]);
        let state = State {
            plan,
            generation: 1,
            registry,
            bindings,
            load_prober,
            sharing,
            drain_until: None,
        };
        let engine = Self {
            started: Instant::now(),
            workers,
            published,
            worker_stats,
            prober,
            events,
            state: Mutex::new(state),
        };
        engine.listen(&mut engine.state().bindings, &[]);
        news.into_iter().for_each(|event| (engine.events)(event));
        let diff = PlanDiff::default();
        (engine.events)(Event::Applied { generation: 1, diff });
        Ok(engine)
    }

    /// Takes a new plan into service. What it does not change keeps sockets, connections, counters and health.
    ///
    /// *Errors*: nothing has changed.
    pub fn apply(&self, plan: Plan) -> Result<PlanDiff, ApplyError> {
        let mut state = self.state();
        let applied = self.take(&mut state, plan);
        // What was told of the names of this plan only is of use no more if it was refused.
        let State { plan, registry, .. } = &mut *state;
        registry.names().retain(plan);
        applied
    }

    fn take(&self, state: &mut State, plan: Plan) -> Result<PlanDiff, ApplyError> {
        if state.drain_until.is_some() {
            return Err(ApplyError::Draining);
        }
        let diff = PlanDiff::between(&state.plan, &plan);
        // Whatever can fail comes first.
        let endpoints: Vec<_> = plan.endpoints().collect();
        let claims = state.bindings.claim(&endpoints, self.workers.len())?;
        let clients = self.prober.clients().next(&plan)?;
        state
            .load_prober
            .prepare(&plan, &self.events)
            .map_err(ApplyError::Worker)?;
        state.sharing.prepare(&plan, &self.events).map_err(ApplyError::Worker)?;
        let generation = state.generation + 1;
        let stores = state.sharing.stores(&plan);
        let worlds = state.registry.assemble((&plan, stores), generation, &self.events)?;
        self.published.publish(worlds);
        let mut news = listener_events(&state.bindings, &diff, &[ListenerChange::Removed]);
        let gone = state.bindings.settle(claims, &endpoints);
        news.extend(listener_events(
            &state.bindings,
            &diff,
            &[ListenerChange::Added, ListenerChange::Moved],
        ));
        state.generation = generation;
        state.sharing.watch(self.published.http.world(), &plan);
        state.plan = plan;
        self.listen(&mut state.bindings, &gone);
        self.tell(|| Command::LookUp);
        self.prober.watch(self.published.http.world(), clients);
        state.load_prober.watch(self.published.http.world());
        news.into_iter().for_each(|event| (self.events)(event));
        (self.events)(Event::Applied {
            generation,
            diff: diff.clone(),
        });
        Ok(diff)
    }

    /// Tells at which addresses the servers are whose name and port these are
    /// ([`ServerAddress::Name`]). An error, or no address: they are down until told better. After a success the
    /// caller decides whether an error means that the old addresses stay: then it does not call.
    ///
    /// What is told of a name that only the next plan has is remembered until that was applied, or refused.
    pub fn resolved(&self, name: &str, port: u16, outcome: Result<Vec<SocketAddr>, String>) {
        let address = ServerAddress::Name(name.into(), port);
        // Held to the end, so that no plan comes between what is remembered and what the servers are told.
        let mut state = self.state();
        for upstream in &self.published.http.world().upstreams {
            let mut changed = false;
            for server in &upstream.members().servers {
                if *server.address() == address {
                    changed |= server.resolved(outcome.clone());
                }
            }
            if changed {
                upstream.refresh();
            }
        }
        state.registry.names().learn(address, outcome);
    }

    /// Opens the access log's file again, after it was moved away.
    pub fn reopen_access_log(&self) {
        self.state().registry.reopen_log();
    }

    /// Stops taking connections, lets what is there finish for at most `deadline`, and ends the rest. Blocks.
    /// How many connections were ended before they had finished.
    ///
    /// While it drains already, a further call brings the deadline forward and returns at once.
    pub fn drain(&self, deadline: Duration) -> u32 {
        if !self.begin_drain(Instant::now() + deadline) {
            return self.open_connections();
        }
        self.tell(|| Command::Drain);
        self.wait_for_connections(|| self.state().drain_until);
        let cut = self.open_connections();
        if cut > 0 {
            self.tell(|| Command::Cut);
            let end = Instant::now() + LAST_WORDS;
            self.wait_for_connections(|| Some(end));
        }
        (self.events)(Event::Drained { cut });
        cut
    }

    /// Notes when draining is to end; false: it has begun before.
    fn begin_drain(&self, until: Instant) -> bool {
        let mut state = self.state();
        let before = state.drain_until;
        state.drain_until = Some(before.map_or(until, |before| before.min(until)));
        // The workers have sockets of their own, which they close when nothing waits in them.
        state.bindings.close();
        before.is_none()
    }

    /// Waits until no client connection is open, or the end has come, which may change meanwhile.
    fn wait_for_connections(&self, end: impl Fn() -> Option<Instant>) {
        let mut pause = Duration::from_millis(1);
        while self.open_connections() > 0
            && let Some(left) = end().and_then(|end| end.checked_duration_since(Instant::now()))
        {
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Client connections open at all listeners, those that are gone included.
    fn open_connections(&self) -> u32 {
        self.state().registry.open_connections()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            worker.tell(command());
        }
    }

    /// Has the workers accept by the rules of the published world, and no longer from the sockets that are gone.
    fn listen(&self, bindings: &mut Bindings, gone: &[BindingId]) {
        for (binding, site) in bindings.iter_mut().zip(self.published.sites()) {
            let id = binding.id;
            let Some(sockets) = binding.take_fresh() else {
                self.tell(|| Command::Follow {
                    binding: id,
                    site: site.clone(),
                });
                continue;
            };
            for (worker, socket) in self.workers.iter().zip(sockets) {
                worker.tell(Command::Listen {
                    binding: id,
                    site: site.clone(),
                    socket,
                });
            }
        }
        for id in gone {
            self.tell(|| Command::Close(*id));
        }
    }
}

/// What is to be said of the listeners to which one of these changes happens.
fn listener_events(bindings: &Bindings, diff: &PlanDiff, changes: &[ListenerChange]) -> Vec<Event> {
    let wanted = diff.listeners.iter().filter(|(_, change)| changes.contains(change));
    let event = |(name, change): &(Name, ListenerChange)| {
        Some(Event::Listener {
            name: name.clone(),
            address: bindings.address(name)?,
            change: *change,
        })
    };
    wanted.filter_map(event).collect()
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tell(|| Command::Stop);
        for worker in &mut self.workers {
            worker.join();
        }
        self.prober.stop();
        let mut state = self.state();
        state.load_prober.stop();
        state.sharing.stop();
        state.registry.close_log();
    }
}
