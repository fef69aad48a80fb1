//! How many connections to its servers may an upstream have, and how does a new one come by an idle one's place?
//!
//! Every open connection holds a [`Permit`]. Where all are given out, some are held by idle connections, because no more
//! requests are in flight than there may be connections. Who needs one then says so ([`Wanted`]): the workers are called
//! to close idle connections, connections that become idle are closed, and each that ends makes room.
//!
//! Permits are given to those who wait in the order of the queue: by priority, and among those of one by deadline, where
//! they have one, or who came first. While anybody waits, a newcomer waits behind those that go before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use isobar_balance::Moment;
use isobar_plan::Priority;

use crate::queue::Seat;
use crate::{Sharded, Upstream};

/// The open connections to the servers of one upstream.
#[derive(Debug)]
pub struct Connections {
    open: AtomicU32,
    /// How many are in the line of `waiting`, to be read without its lock.
    wanted: AtomicU32,
    waiting: Mutex<Waiting>,
    sweepers: Sharded<Sweeper>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_number: u64,
    line: BTreeMap<Seat, Waker>,
    /// Those that a permit was taken for and that have not come for it.
    granted: BTreeSet<Seat>,
}

/// Who closes idle connections of one worker.
#[derive(Debug, Default)]
struct Sweeper {
    called: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// The right to have one connection open. Dropping it gives it back.
#[derive(Debug)]
pub struct Permit(Arc<Upstream>);

/// Somebody who needs a permit while all are given out.
#[derive(Debug)]
pub struct Wanted {
    upstream: Arc<Upstream>,
    priority: Priority,
    due: Option<Moment>,
    /// Where it stands, once it waits.
    seat: Option<Seat>,
}

impl Connections {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            open: AtomicU32::new(0),
            wanted: AtomicU32::new(0),
            waiting: Mutex::default(),
            sweepers: Sharded::new(workers),
        }
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::SeqCst)
    }

    /// How many idle ones are to be closed: those whose places others wait for, and those that are more than there may
    /// be since a reload. While there are any, none is to become idle.
    #[must_use]
    pub fn to_close(&self, max: Option<u32>) -> u32 {
        let wanted = self.wanted.load(Ordering::SeqCst);
        // Places that are free already count: for one that waits, one is closed and not one by each worker.
        max.map_or(0, |max| wanted.saturating_add(self.open()).saturating_sub(max))
    }

    /// Ready when idle connections of this worker are to be closed. One task per worker may call this.
    pub fn poll_sweep(&self, cx: &mut Context<'_>, worker: usize) -> Poll<()> {
        let sweeper = self.sweepers.of(worker);
        let mut waker = lock(&sweeper.waker);
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        if sweeper.called.swap(false, Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn take(&self, max: Option<u32>) -> bool {
        let max = max.unwrap_or(u32::MAX);
        let one_more = |open: u32| (open < max).then_some(open.saturating_add(1));
        self.open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }

    fn call_sweepers(&self) {
        for sweeper in self.sweepers.iter() {
            if !sweeper.called.swap(true, Ordering::SeqCst) {
                let waker = lock(&sweeper.waker).clone();
                waker.inspect(Waker::wake_by_ref);
            }
        }
    }

    /// Takes permits for those who wait, in order, as long as there are any: to be told of whatever may have made room.
    ///
    /// *Cost*: a load while nobody waits. That is read after what the caller did, and the room after who just joined has
    /// said so: one of the two sees the other.
    pub(crate) fn serve_waiting(&self, upstream: &Upstream) {
        if self.wanted.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut served = Vec::new();
        {
            let mut waiting = lock(&self.waiting);
            let max = upstream.members().settings.limits.max_connections;
            while !waiting.line.is_empty() && self.take(max) {
                if let Some((seat, waker)) = waiting.line.pop_first() {
                    waiting.granted.insert(seat);
                    served.push(waker);
                }
            }
            self.publish(&waiting);
        }
        // Out of the lock: to wake somebody may run code of others, which may come back here.
        served.into_iter().for_each(Waker::wake);
    }

    fn publish(&self, waiting: &Waiting) {
        let wanted = u32::try_from(waiting.line.len()).unwrap_or(u32::MAX);
        self.wanted.store(wanted, Ordering::SeqCst);
    }
}

impl Permit {
    /// A permit, if nobody waits for one and there are fewer than `max` connections; a `max` of none: any number.
    ///
    /// *Cost*: a load and one atomic operation.
    #[must_use]
    pub fn take(upstream: &Arc<Upstream>, max: Option<u32>) -> Option<Self> {
        let connections = upstream.connections();
        let is_free = connections.wanted.load(Ordering::SeqCst) == 0 && connections.take(max);
        is_free.then(|| Self(Arc::clone(upstream)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let connections = self.0.connections();
        connections.open.fetch_sub(1, Ordering::SeqCst);
        connections.serve_waiting(&self.0);
    }
}

impl Wanted {
    /// Somebody who needs a permit; `due` is when it must be answered, where the upstream's queue goes by that.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>, priority: Priority, due: Option<Moment>) -> Self {
        Self {
            upstream,
            priority,
            due,
            seat: None,
        }
    }

    /// Ready with a permit, when there is one and it is this one's turn.
    ///
    /// *Cost*: a lock shared by all workers, and an allocation.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        if self.is_granted() {
            return Poll::Ready(Permit(Arc::clone(&self.upstream)));
        }
        self.wait(cx.waker());
        // One that ended just before may have served nobody.
        self.upstream.connections().serve_waiting(&self.upstream);
        if self.is_granted() {
            return Poll::Ready(Permit(Arc::clone(&self.upstream)));
        }
        self.upstream.connections().call_sweepers();
        Poll::Pending
    }

    /// Whether a permit was taken for this one, which is its own from then on.
    fn is_granted(&mut self) -> bool {
        let connections = self.upstream.connections();
        let granted = self.seat.filter(|seat| lock(&connections.waiting).granted.remove(seat));
        self.seat = self.seat.filter(|_| granted.is_none());
        granted.is_some()
    }

    /// Stands in the line, with this one to be woken.
    fn wait(&mut self, waker: &Waker) {
        let connections = self.upstream.connections();
        let mut waiting = lock(&connections.waiting);
        let seat = self.seat.unwrap_or_else(|| {
            waiting.next_number += 1;
            Seat::new(self.priority, self.due, waiting.next_number)
        });
        self.seat = Some(seat);
        let mut before = None;
        // It may have been served since it looked.
        if !waiting.granted.contains(&seat) {
            before = waiting.line.insert(seat, waker.clone());
        }
        connections.publish(&waiting);
        drop(waiting);
        drop(before);
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let Some(seat) = self.seat else { return };
        let connections = self.upstream.connections();
        let mut waiting = lock(&connections.waiting);
        let waker = waiting.line.remove(&seat);
        let was_granted = waiting.granted.remove(&seat);
        connections.publish(&waiting);
        drop(waiting);
        drop(waker);
        if was_granted {
            // It is another's now.
            drop(Permit(Arc::clone(&self.upstream)));
        }
    }
}

/// What is guarded is whole between any two lock holders.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
