//! Who keeps limits that instances share of one mind?
//!
//! One thread, with a task for each store that a limit is shared through; the first plan with one starts it. A task goes on for as long
//! as its store is written as it was, and gives back what is left when it is over. No worker waits for any of it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use isobar_l7::World;
use isobar_plan::{Event, Plan, Store as Settings};
use isobar_redis::Members;
use isobar_share::Store;
use isobar_upstream::moment;
use tokio::sync::watch;

use crate::EventSink;
use crate::upkeep;

/// The stores that there are, and the thread that asks them.
pub(crate) struct Sharing {
    stores: Vec<Arc<Store>>,
    running: Option<Running>,
}

struct Running {
    wanted: watch::Sender<Option<Wanted>>,
    thread: JoinHandle<()>,
}

/// What is to be shared.
#[derive(Clone)]
struct Wanted {
    world: Arc<World>,
    stores: Arc<[Settings]>,
}

/// A task of a store.
struct Task {
    store: Arc<Store>,
    settings: Settings,
    members: watch::Sender<Members>,
    work: tokio::task::JoinHandle<()>,
}

impl Sharing {
    /// No thread yet.
    pub(crate) const fn new() -> Self {
        Self {
            stores: Vec::new(),
            running: None,
        }
    }

    /// The stores of a plan, in its order; those of a name that there was before are the same objects.
    pub(crate) fn stores(&mut self, plan: &Plan) -> Vec<Arc<Store>> {
        let last = std::mem::take(&mut self.stores);
        let store = |settings: &Settings| {
            let same = last.iter().find(|store| *store.name() == settings.name);
            same.map_or_else(
                || Arc::new(Store::new(settings.name.clone(), settings.instances)),
                Arc::clone,
            )
        };
        self.stores = plan.stores.iter().map(store).collect();
        self.stores.clone()
    }

    /// Starts the thread, if the plan needs it and it does not run.
    ///
    /// *Errors*: there can be no further thread.
    pub(crate) fn prepare(&mut self, plan: &Plan, events: &EventSink) -> std::io::Result<()> {
        if self.running.is_some() || plan.stores.is_empty() {
            return Ok(());
        }
        let (wanted, receiver) = watch::channel(None);
        let events = Arc::clone(events);
        let thread = upkeep::thread("sharing", || supervise(receiver, events))?;
        self.running = Some(Running { wanted, thread });
        Ok(())
    }

    /// Shares the limits of this world from now on.
    pub(crate) fn watch(&self, world: Arc<World>, plan: &Plan) {
        if let Some(running) = &self.running {
            let stores = plan.stores.clone().into();
            // A thread that is gone has panicked, and said so.
            let _ = running.wanted.send(Some(Wanted { world, stores }));
        }
    }

    /// Gives everything back, for as long as a store may take to answer.
    pub(crate) fn stop(&mut self) {
        if let Some(Running { wanted, thread }) = self.running.take() {
            drop(wanted);
            let _ = thread.join();
        }
    }
}

/// Keeps a task for each store.
async fn supervise(mut wanted: watch::Receiver<Option<Wanted>>, events: EventSink) {
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        let mut next = Vec::new();
        if let Some(Wanted { world, stores }) = &now {
            for (store, settings) in world.stores.iter().zip(&**stores) {
                let members = members(world, store);
                let same = |task: &Task| Arc::ptr_eq(&task.store, store) && task.settings == *settings;
                next.push(match tasks.iter().position(same) {
                    Some(position) => {
                        let task = tasks.swap_remove(position);
                        // A task that is over is one whose thread is.
                        let _ = task.members.send(members);
                        task
                    }
                    None => start(store, settings, members, &events),
                });
            }
        }
        end(std::mem::replace(&mut tasks, next)).await;
        drop(now);
        if wanted.changed().await.is_err() {
            return end(tasks).await;
        }
    }
}

/// The ledgers of the limits that are shared through a store.
fn members(world: &World, store: &Arc<Store>) -> Members {
    let shared = world.limits.iter().filter_map(|limit| {
        let ledger = limit.ledger()?;
        Arc::ptr_eq(ledger.store(), store).then(|| (limit.name().clone(), Arc::clone(ledger)))
    });
    shared.collect()
}

fn start(store: &Arc<Store>, settings: &Settings, members: Members, events: &EventSink) -> Task {
    let (sender, receiver) = watch::channel(members);
    let (name, events) = (store.name().clone(), Arc::clone(events));
    let news = move |lost, instances| {
        let name = name.clone();
        events(Event::Store { name, lost, instances });
    };
    let of = (Arc::clone(store), settings.clone());
    let work = isobar_redis::serve(of, receiver, || moment(Instant::now()), news);
    Task {
        store: Arc::clone(store),
        settings: settings.clone(),
        members: sender,
        work: tokio::task::spawn_local(work),
    }
}

/// Has tasks give back what they have; each takes no longer than its store may take to answer.
async fn end(tasks: Vec<Task>) {
    for Task { members, work, .. } in tasks {
        drop(members);
        let _ = work.await;
    }
}
