//! Are the servers well?
//!
//! One thread probes all servers, whatever the number of workers, each check of each server on its own schedule. Its
//! connections are its own: no probe touches a pool or an in-flight counter.

mod any;
mod news;
pub(crate) mod probe;
mod progress;
mod schedule;
mod tls;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use isobar_l7::World;
use isobar_plan::{HealthCheck, Name};
use isobar_upstream::{Server, Upstream};
use tokio::sync::{Semaphore, watch};

use self::news::News;
use self::schedule::Schedule;
pub(crate) use self::tls::Clients;
use self::tls::Secures;
use crate::EventSink;
use crate::limits::Seen;
use crate::upkeep::{self, PerUpstream};
use crate::{keeper, outliers};

/// Probes under way at most; further ones wait for their turn, which is no part of their timeout.
const MAX_PROBES: usize = 512;

/// First probes that are made at once after a start or a reload; where there are more, they are spread.
const MAX_AT_ONCE: usize = 64;

/// First probes follow each other after this at the latest, however long the interval is.
const LONGEST_STEP: Duration = Duration::from_millis(10);

/// The thread that probes.
pub(crate) struct Prober {
    tasks: Option<watch::Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be probed.
#[derive(Clone)]
struct Task {
    world: Arc<World>,
    clients: Clients,
}

/// A check of a server that is being made.
struct Watch {
    server: Arc<Server>,
    check: Arc<HealthCheck>,
    tls: Option<Secures>,
}

/// A check of a server that is to be made.
struct Wanted<'w> {
    upstream: &'w Arc<Upstream>,
    server: Arc<Server>,
    check: Arc<HealthCheck>,
    tls: Option<Secures>,
}

impl Watch {
    /// Whether it makes the check that is wanted, as it is wanted.
    fn is(&self, wanted: &Wanted<'_>) -> bool {
        let same_client = match (&self.tls, &wanted.tls) {
            (Some(one), Some(other)) => one.is(other),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.server, &wanted.server) && self.check == wanted.check && same_client
    }
}

impl Prober {
    pub(crate) fn start(world: Arc<World>, clients: Clients, events: EventSink) -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(Task { world, clients });
        let thread = upkeep::thread("health", || supervise(receiver, events))?;
        Ok(Self {
            tasks: Some(sender),
            thread: Some(thread),
        })
    }

    /// What secures the connections of probes at present.
    pub(crate) fn clients(&self) -> Clients {
        self.tasks
            .as_ref()
            .map(|tasks| tasks.borrow().clients.clone())
            .unwrap_or_default()
    }

    /// Probes the servers of this world from now on; checks it shares with the last one keep their schedule.
    pub(crate) fn watch(&self, world: Arc<World>, clients: Clients) {
        if let Some(tasks) = &self.tasks {
            // A prober that is gone has panicked, and said so.
            let _ = tasks.send(Task { world, clients });
        }
    }

    pub(crate) fn stop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps one task per check of a server, and one per upstream that looks after it.
async fn supervise(mut tasks: watch::Receiver<Task>, events: EventSink) {
    let room = Rc::new(Semaphore::new(MAX_PROBES));
    let news = News::new(Arc::clone(&events));
    let (mut keepers, mut judges) = (PerUpstream::default(), PerUpstream::default());
    // It ends with this thread's runtime.
    tokio::task::spawn_local(news.clone().spread());
    let mut limits_seen = Seen::default();
    let mut watches: HashMap<(*const Server, Name), upkeep::Task<Watch>> = HashMap::new();
    loop {
        let task = tasks.borrow_and_update().clone();
        let upstreams = || task.world.upstreams.iter();
        keepers.follow(upstreams(), |upstream| keeper::keep(upstream, Arc::clone(&events)));
        judges.follow(upstreams(), |upstream| outliers::judge(upstream, Arc::clone(&events)));
        let mut kept = HashMap::with_capacity(watches.len());
        let mut fresh = Vec::new();
        for wanted in wanted(&task) {
            let key = (Arc::as_ptr(&wanted.server), Name::clone(&wanted.check.name));
            match watches.remove(&key).filter(|watch| watch.of.is(&wanted)) {
                Some(watch) => drop(kept.insert(key, watch)),
                None => fresh.push((key, wanted)),
            }
        }
        let count = fresh.len();
        for (index, (key, wanted)) in fresh.into_iter().enumerate() {
            let delay = first_delay(index, count, wanted.check.interval);
            kept.insert(key, start_watch(wanted, delay, &room, &news));
        }
        watches = kept;
        let limits = task.world.limits.clone();
        drop(task);
        loop {
            limits_seen.look(&limits, &events);
            tokio::select! {
                changed = tasks.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = limits_seen.pause() => {}
            }
        }
    }
}

/// Every check of every server.
fn wanted(task: &Task) -> impl Iterator<Item = Wanted<'_>> {
    let secured = task.world.upstreams.iter().zip(&task.world.server_tls);
    secured.flat_map(|(upstream, tls)| {
        let members = upstream.members();
        let mut wanted = Vec::with_capacity(members.servers.len() * members.settings.health.len());
        for server in &members.servers {
            wanted.extend(members.settings.health.iter().map(|check| Wanted {
                upstream,
                server: Arc::clone(server),
                check: Arc::clone(check),
                tls: task.clients.of(check, tls.as_ref()),
            }));
        }
        wanted
    })
}

/// How long the first probe of one of `count` new checks waits. A few are made at once; many are spread over the
/// interval, so that neither this thread nor the servers' network is asked for everything at the same moment, now and
/// at every interval from then on.
fn first_delay(index: usize, count: usize, interval: Duration) -> Duration {
    let all = u32::try_from(count).unwrap_or(u32::MAX);
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    if count <= MAX_AT_ONCE {
        Duration::ZERO
    } else {
        (interval / all).min(LONGEST_STEP) * index
    }
}

fn start_watch(wanted: Wanted<'_>, delay: Duration, room: &Rc<Semaphore>, news: &News) -> upkeep::Task<Watch> {
    let schedule = Schedule {
        upstream: Arc::clone(wanted.upstream),
        server: Arc::clone(&wanted.server),
        question: probe::Question {
            check: Arc::clone(&wanted.check),
            server: wanted.server.address().clone(),
            tls: wanted.tls.clone(),
        },
        room: Rc::clone(room),
        news: news.clone(),
    };
    let watch = Watch {
        server: wanted.server,
        check: wanted.check,
        tls: wanted.tls,
    };
    upkeep::Task::start(watch, schedule.run(delay))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LONGEST_STEP, MAX_AT_ONCE, first_delay};

    #[test]
    fn few_are_probed_at_once_and_many_are_spread() {
        let second = Duration::from_secs(1);
        let last = |count, interval| first_delay(count - 1, count, interval);
        assert_eq!(last(1, second), Duration::ZERO);
        assert_eq!(last(MAX_AT_ONCE, 60 * second), Duration::ZERO);
        for count in [MAX_AT_ONCE + 1, 1000, 100_000] {
            assert_eq!(first_delay(0, count, second), Duration::ZERO);
            assert!(last(count, second) < second, "{count}");
            let steps = u32::try_from(count - 1).unwrap();
            assert!(last(count, 3600 * second) <= LONGEST_STEP * steps, "{count}");
        }
        assert!(last(5000, 10 * second) > 9 * second);
        assert_eq!(last(1000, Duration::ZERO), Duration::ZERO);
    }
}
