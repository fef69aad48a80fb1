//! Are the servers well?
//!
//! One thread probes all servers, whatever the number of workers, each server on its own schedule. Its connections
//! are its own: no probe touches a pool or an in-flight counter.

mod any;
mod probe;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use isobar_balance::Chance;
use isobar_l7::World;
use isobar_net::runtime::{self, WorkerRuntime};
use isobar_plan::{Event, HealthCheck};
use isobar_upstream::{ProbeOutcome, Server, Upstream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::EventSink;
use crate::keeper::Keepers;
use crate::outliers::Judges;

/// The thread that probes.
pub(crate) struct Prober {
    worlds: Option<watch::Sender<Arc<World>>>,
    thread: Option<JoinHandle<()>>,
}

/// A server that is being probed.
struct Watch {
    server: Arc<Server>,
    check: HealthCheck,
    task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    pub(crate) fn start(world: Arc<World>, events: EventSink) -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(world);
        let body = move || {
            if let Err(error) = runtime::run(WorkerRuntime::default(), || supervise(receiver, events)) {
                panic!("the prober has no reactor: {error}");
            }
        };
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(body)?;
        Ok(Self {
            worlds: Some(sender),
            thread: Some(thread),
        })
    }

    /// Probes the servers of this world from now on; those it shares with the last one keep their schedule.
    pub(crate) fn watch(&self, world: Arc<World>) {
        if let Some(worlds) = &self.worlds {
            // A prober that is gone has panicked, and said so.
            let _ = worlds.send(world);
        }
    }

    pub(crate) fn stop(&mut self) {
        self.worlds = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps one task per server that is to be probed, and one per upstream that looks after it.
async fn supervise(mut worlds: watch::Receiver<Arc<World>>, events: EventSink) {
    let mut watches: Vec<Watch> = Vec::new();
    let mut keepers = Keepers::default();
    let mut judges = Judges::default();
    loop {
        let world = Arc::clone(&worlds.borrow_and_update());
        keepers.follow(&world, &events);
        judges.watch(&world, &events);
        let mut kept = Vec::with_capacity(watches.len());
        for upstream in &world.upstreams {
            let members = upstream.members();
            let Some(check) = &members.settings.health else {
                continue;
            };
            for server in &members.servers {
                let same = |watch: &Watch| Arc::ptr_eq(&watch.server, server) && watch.check == *check;
                let watch = match watches.iter().position(same) {
                    Some(position) => watches.swap_remove(position),
                    None => start_watch(upstream, server, check, &events),
                };
                kept.push(watch);
            }
        }
        watches = kept;
        drop(world);
        if worlds.changed().await.is_err() {
            return;
        }
    }
}

fn start_watch(upstream: &Arc<Upstream>, server: &Arc<Server>, check: &HealthCheck, events: &EventSink) -> Watch {
    let schedule = Schedule {
        upstream: Arc::clone(upstream),
        server: Arc::clone(server),
        check: Arc::new(check.clone()),
        events: Arc::clone(events),
    };
    let task = tokio::task::spawn_local(schedule.run()).abort_handle();
    Watch {
        server: Arc::clone(server),
        check: check.clone(),
        task,
    }
}

/// How often a server whose name does not resolve is looked at.
const UNRESOLVED_PAUSE: Duration = Duration::from_millis(50);

/// The probes of one server.
struct Schedule {
    upstream: Arc<Upstream>,
    server: Arc<Server>,
    check: Arc<HealthCheck>,
    events: EventSink,
}

impl Schedule {
    /// Probes at once, then at the interval, for ever.
    async fn run(self) {
        let seed = self
            .server
            .name()
            .bytes()
            .fold(1, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let mut chance = Chance::new(seed);
        loop {
            // A name that is not resolved yet says nothing about its server; without an address it gets no requests.
            while self.server.addresses().is_empty() {
                tokio::time::sleep(UNRESOLVED_PAUSE).await;
            }
            let began = Instant::now();
            let result = self.probe().await;
            let good = result.is_ok().then_some(began);
            self.take(ProbeOutcome {
                result,
                took: began.elapsed(),
            });
            if self.server.recovers(good, &self.check) {
                self.upstream.ring();
            }
            let interval = jittered(self.check.interval, &mut chance);
            tokio::time::sleep_until((began + interval).into()).await;
        }
    }

    async fn probe(&self) -> Result<(), String> {
        let addresses = self.server.addresses();
        if addresses.is_empty() {
            // The resolver has said why.
            return Err("its name does not resolve".to_owned());
        }
        let ask = |address| {
            let (server, check) = (Arc::clone(&self.server), Arc::clone(&self.check));
            async move { probe::run(address, server.address(), &check.probe).await }
        };
        any::any(&addresses, self.check.timeout, ask).await
    }

    fn take(&self, outcome: ProbeOutcome) {
        let reason = match &outcome.result {
            Ok(()) => "the probe succeeded".to_owned(),
            Err(reason) => reason.clone(),
        };
        let Some(transition) = self.server.probed(outcome) else {
            return;
        };
        self.upstream.refresh();
        (self.events)(Event::Health {
            upstream: self.upstream.name().clone(),
            server: self.server.name().clone(),
            from: transition.from,
            to: transition.to,
            reason,
        });
    }
}

/// The interval, moved by up to a tenth either way, so that many instances do not probe in step.
fn jittered(interval: Duration, chance: &mut Chance) -> Duration {
    let tenth = u64::try_from(interval.as_millis() / 10).unwrap_or(u64::MAX / 4);
    let moved = chance.below(tenth * 2 + 1);
    interval - Duration::from_millis(tenth) + Duration::from_millis(moved)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isobar_balance::Chance;

    use super::jittered;

    #[test]
    fn jitter_stays_within_a_tenth() {
        let mut chance = Chance::new(7);
        for interval in [1, 10, 200, 10_000] {
            let interval = Duration::from_millis(interval);
            let all: Vec<_> = (0..1000).map(|_| jittered(interval, &mut chance)).collect();
            assert!(
                all.iter().all(|d| *d >= interval * 9 / 10 && *d <= interval * 11 / 10),
                "{interval:?}"
            );
            assert!(
                interval < Duration::from_millis(100) || all.iter().any(|d| *d != all[0]),
                "{interval:?}"
            );
        }
    }
}
