//! How many connections to its servers may an upstream have, and how does a new one come by an idle one's place?
//!
//! Every open connection holds a [`Permit`]. Where all are given out, some are held by idle connections, because no more
//! requests are in flight than there may be connections. Who needs one then says so ([`Wanted`]): the workers are called
//! to close idle connections, connections that become idle are closed, and each that ends makes room.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::{Sharded, Upstream};

/// The open connections to the servers of one upstream.
#[derive(Debug)]
pub struct Connections {
    open: AtomicU32,
    /// How many are in `waiting`, to be read without its lock.
    wanted: AtomicU32,
    waiting: Mutex<Waiting>,
    sweepers: Sharded<Sweeper>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_number: u64,
    wakers: Vec<(u64, Waker)>,
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
    /// Its number among the waiting, once it waits.
    number: Option<u64>,
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

    /// Wakes all that wait: whoever comes first takes what there is.
    pub(crate) fn call_waiting(&self) {
        if self.wanted.load(Ordering::SeqCst) > 0 {
            let wakers: Vec<Waker> = lock(&self.waiting)
                .wakers
                .iter()
                .map(|(_, waker)| waker.clone())
                .collect();
            wakers.iter().for_each(Waker::wake_by_ref);
        }
    }
}

impl Permit {
    /// A permit, if there are fewer than `max` connections; none: any number.
    ///
    /// *Cost*: one atomic operation.
    #[must_use]
    pub fn take(upstream: &Arc<Upstream>, max: Option<u32>) -> Option<Self> {
        upstream.connections().take(max).then(|| Self(Arc::clone(upstream)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let connections = self.0.connections();
        connections.open.fetch_sub(1, Ordering::SeqCst);
        connections.call_waiting();
    }
}

impl Wanted {
    /// Somebody who needs a permit.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream, number: None }
    }

    /// Ready with a permit, when there are fewer than `max` connections.
    pub fn poll(&mut self, cx: &mut Context<'_>, max: Option<u32>) -> Poll<Permit> {
        if let Some(permit) = Permit::take(&self.upstream, max) {
            return Poll::Ready(permit);
        }
        let connections = self.upstream.connections();
        self.number = Some(lock(&connections.waiting).note(self.number, cx.waker()));
        connections.publish();
        // One that ended just before may have called nobody.
        if let Some(permit) = Permit::take(&self.upstream, max) {
            return Poll::Ready(permit);
        }
        connections.call_sweepers();
        Poll::Pending
    }
}

impl Connections {
    fn publish(&self) {
        let waiting = lock(&self.waiting);
        let wanted = u32::try_from(waiting.wakers.len()).unwrap_or(u32::MAX);
        self.wanted.store(wanted, Ordering::SeqCst);
    }
}

impl Waiting {
    /// Notes whom to wake; its number.
    fn note(&mut self, number: Option<u64>, waker: &Waker) -> u64 {
        let known = self.wakers.iter_mut().find(|(known, _)| Some(*known) == number);
        if let Some((number, known)) = known {
            known.clone_from(waker);
            return *number;
        }
        self.next_number += 1;
        self.wakers.push((self.next_number, waker.clone()));
        self.next_number
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let connections = self.upstream.connections();
            lock(&connections.waiting).wakers.retain(|(known, _)| *known != number);
            connections.publish();
            // A call that this one got and did not use is another's.
            connections.call_waiting();
        }
    }
}

/// What is guarded is whole between any two lock holders.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
