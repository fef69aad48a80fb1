//! How loaded are the servers, when somebody wants to know?
//!
//! One thread asks, whatever the number of workers. There is one task for each server whose upstream has it asked, and
//! one connection, which is kept: no request waits for a probe, and none touches a pool or an in-flight counter. Workers
//! say that they want to know ([`isobar_upstream::Asking`]); how often a server is asked is bounded by the answer, because
//! there is one question at a time, and by the upstream's budget. The same thread watches whether upstreams that go by
//! reports have any.
//!
//! The thread is started by the first plan that has anything for it.

mod budget;
mod probe;
mod watch;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use isobar_l7::reports::hear;
use isobar_l7::{ServerTls, World};
use isobar_plan::{Plan, Reports};
use isobar_upstream::{Server, Upstream};
use tokio::sync::watch as channel;

use crate::EventSink;
use crate::upkeep::{self, PerUpstream, Task};
use budget::Budget;
use probe::Connection;

/// After a probe that failed the server is left alone for this long; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// It is never left alone for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The thread that asks.
pub(crate) struct LoadProber {
    running: Option<Running>,
}

struct Running {
    worlds: channel::Sender<Option<Arc<World>>>,
    thread: JoinHandle<()>,
}

impl LoadProber {
    /// No thread yet.
    pub(crate) const fn new() -> Self {
        Self { running: None }
    }

    /// Starts the thread, if the plan needs it and it does not run.
    ///
    /// *Errors*: there can be no further thread.
    pub(crate) fn prepare(&mut self, plan: &Plan, events: &EventSink) -> std::io::Result<()> {
        if self.running.is_some() || plan.upstreams.iter().all(|upstream| upstream.reports.is_none()) {
            return Ok(());
        }
        let (worlds, receiver) = channel::channel(None);
        let events = Arc::clone(events);
        let thread = upkeep::thread("load", || supervise(receiver, events))?;
        self.running = Some(Running { worlds, thread });
        Ok(())
    }

    /// Asks the servers of this world from now on; those it shares with the last one keep their connections.
    pub(crate) fn watch(&self, world: Arc<World>) {
        if let Some(running) = &self.running {
            // A prober that is gone has panicked, and said so.
            let _ = running.worlds.send(Some(world));
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(Running { worlds, thread }) = self.running.take() {
            drop(worlds);
            let _ = thread.join();
        }
    }
}

/// Which server a task asks, for which upstream and by which rules.
struct Asked {
    upstream: Arc<Upstream>,
    server: Arc<Server>,
    reports: Arc<Reports>,
    budget: Rc<Budget>,
    /// What secures the connection; none: nothing does.
    tls: Option<ServerTls>,
}

impl Asked {
    fn is_secured_by(&self, tls: Option<&ServerTls>) -> bool {
        match (&self.tls, tls) {
            (Some(one), Some(other)) => one.is(other),
            (None, None) => true,
            _ => false,
        }
    }
}

/// Keeps a task for each server that is asked, and one for each upstream that goes by reports.
async fn supervise(mut worlds: channel::Receiver<Option<Arc<World>>>, events: EventSink) {
    let mut asked: Vec<Task<Asked>> = Vec::new();
    let mut watched = PerUpstream::default();
    loop {
        let world = worlds.borrow_and_update().clone();
        let upstreams = world.as_ref().map(|world| &world.upstreams[..]).unwrap_or_default();
        let by_reports = |upstream: &&Arc<Upstream>| upstream.members().settings.reports.is_some();
        watched.follow(upstreams.iter().filter(by_reports), |upstream| {
            watch::watch(upstream, Arc::clone(&events))
        });
        let mut still_asked = Vec::new();
        let secured = world.as_ref().map(|world| &world.server_tls[..]).unwrap_or_default();
        for (upstream, tls) in upstreams.iter().zip(secured) {
            let members = upstream.members();
            let Some(reports) = &members.settings.reports else {
                continue;
            };
            let Some(probe) = &reports.probe else { continue };
            let by_the_same =
                |task: &&Task<Asked>| Arc::ptr_eq(&task.of.upstream, upstream) && task.of.reports == *reports;
            let budget = asked.iter().find(by_the_same).map(|task| Rc::clone(&task.of.budget));
            let budget = budget.unwrap_or_else(|| Rc::new(Budget::new(probe.max_per_second)));
            for server in &members.servers {
                let same = |task: &Task<Asked>| {
                    by_the_same(&task) && Arc::ptr_eq(&task.of.server, server) && task.of.is_secured_by(tls.as_ref())
                };
                still_asked.push(match asked.iter().position(same) {
                    Some(position) => asked.swap_remove(position),
                    None => start(Asked {
                        upstream: Arc::clone(upstream),
                        server: Arc::clone(server),
                        reports: Arc::clone(reports),
                        budget: Rc::clone(&budget),
                        tls: tls.clone(),
                    }),
                });
            }
        }
        asked = still_asked;
        drop(world);
        if worlds.changed().await.is_err() {
            return;
        }
    }
}

fn start(of: Asked) -> Task<Asked> {
    let asker = Asker {
        server: Arc::clone(&of.server),
        reports: Arc::clone(&of.reports),
        budget: Rc::clone(&of.budget),
        tls: of.tls.clone(),
    };
    Task::start(of, asker.run())
}

/// What asks one server.
struct Asker {
    server: Arc<Server>,
    reports: Arc<Reports>,
    budget: Rc<Budget>,
    tls: Option<ServerTls>,
}

impl Asker {
    /// Asks whenever somebody wants it, for ever.
    async fn run(self) {
        let Some(settings) = &self.reports.probe else { return };
        let stats = self.server.asker_stats();
        let mut connection = None;
        let mut pause = FIRST_PAUSE;
        loop {
            poll_fn(|cx| self.server.asking().poll_wanted(cx)).await;
            self.budget.turn().await;
            stats.load_probes.increment();
            let asking = self.ask(&mut connection);
            let said = tokio::time::timeout(settings.timeout, asking).await.ok().flatten();
            if let Some(said) = &said {
                hear(said, &self.server, stats, Instant::now());
            }
            if said.is_some_and(|said| said.report.is_some()) {
                pause = FIRST_PAUSE;
            } else {
                // What it still says on this connection would be taken for the answer to another question.
                connection = None;
                stats.load_probes_failed.increment();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            self.server.asking().done();
        }
    }

    /// Asks once, on the connection that was kept or on a new one; none: there was no answer.
    async fn ask(&self, kept: &mut Option<Connection>) -> Option<isobar_l7::reports::Said> {
        if let Some(mut connection) = kept.take().filter(|kept| kept.is_usable(&self.server))
            && let Some(said) = connection.ask(&self.reports).await
        {
            *kept = connection.may_stay().then_some(connection);
            return Some(said);
        }
        // A server may close an idle connection at any time: that says nothing of it.
        let mut connection = Connection::open(&self.server, &self.reports, self.tls.as_ref()).await?;
        let said = connection.ask(&self.reports).await?;
        *kept = connection.may_stay().then_some(connection);
        Some(said)
    }
}
