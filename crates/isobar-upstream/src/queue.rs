//! Who waits while every server is at its limit?
//!
//! First come, first served, over all workers. A released place calls the one at the front; whoever is called
//! and does not use the call (the client left, the deadline passed) passes it on when dropped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The queue of one upstream.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    /// The length of `line`, to be read without its lock.
    length: AtomicU32,
    line: Mutex<VecDeque<Arc<Waiter>>>,
}

#[derive(Debug, Default)]
pub(crate) struct Waiter {
    called: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// As many requests wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

impl WaitQueue {
    pub(crate) fn len(&self) -> u32 {
        self.length.load(Ordering::Relaxed)
    }

    /// Joins the end of the line.
    pub(crate) fn join(&self, max: u32) -> Result<Arc<Waiter>, QueueFull> {
        let mut line = lock(&self.line);
        if line.len() >= max as usize {
            return Err(QueueFull);
        }
        let waiter = Arc::new(Waiter::default());
        line.push_back(Arc::clone(&waiter));
        self.measure(&line);
        drop(line);
        fence(Ordering::SeqCst);
        Ok(waiter)
    }

    /// A place may be free: calls the one at the front.
    ///
    /// *Cost*: a fence and a load while nobody waits. The fence orders the caller's release of the place before
    /// the look at the queue; [`Self::join`] has its counterpart, so that one of the two sees the other.
    pub(crate) fn call_one(&self) {
        fence(Ordering::SeqCst);
        if self.length.load(Ordering::Relaxed) == 0 {
            return;
        }
        let front = {
            let mut line = lock(&self.line);
            let front = line.pop_front();
            self.measure(&line);
            front
        };
        if let Some(waiter) = front {
            waiter.call();
        }
    }

    /// Several places may be free (a server came back, a limit was raised): calls everybody, in order.
    pub(crate) fn call_all(&self) {
        fence(Ordering::SeqCst);
        let everybody = {
            let mut line = lock(&self.line);
            let everybody = std::mem::take(&mut *line);
            self.measure(&line);
            everybody
        };
        for waiter in everybody {
            waiter.call();
        }
    }

    fn rejoin_front(&self, waiter: &Arc<Waiter>) {
        let mut line = lock(&self.line);
        line.push_front(Arc::clone(waiter));
        self.measure(&line);
        drop(line);
        fence(Ordering::SeqCst);
    }

    /// Takes a waiter out of the line; false: it was called already.
    fn leave(&self, waiter: &Arc<Waiter>) -> bool {
        let mut line = lock(&self.line);
        let Some(position) = line.iter().position(|other| Arc::ptr_eq(other, waiter)) else {
            return false;
        };
        line.remove(position);
        self.measure(&line);
        true
    }

    fn measure(&self, line: &VecDeque<Arc<Waiter>>) {
        self.length
            .store(u32::try_from(line.len()).unwrap_or(u32::MAX), Ordering::SeqCst);
    }
}

impl Waiter {
    fn call(&self) {
        self.called.store(true, Ordering::Release);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }
}

/// How far a request has come in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// In the line, with one try due: a place that was released just before it joined called nobody.
    Look,
    /// In the line, until called.
    Waiting,
    /// Called, and so out of the line; the call is not used yet.
    Called,
    /// Out of the line, with the call used.
    Served,
}

/// A request's place in the queue of an upstream. Dropping it leaves the queue, and passes an unused call on.
#[derive(Debug)]
pub struct Ticket<Q: AsRef<crate::Upstream>> {
    upstream: Q,
    waiter: Arc<Waiter>,
    turn: Turn,
}

impl<Q: AsRef<crate::Upstream>> Ticket<Q> {
    /// Joins the queue of `upstream`, in which at most `max` wait.
    pub fn join(upstream: Q, max: u32) -> Result<Self, QueueFull> {
        let waiter = upstream.as_ref().queue().join(max)?;
        Ok(Self {
            upstream,
            waiter,
            turn: Turn::Look,
        })
    }

    /// Ready when this request may try for a place; then [`Self::served`] or [`Self::missed`] must be told.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.turn {
            Turn::Look | Turn::Called | Turn::Served => return Poll::Ready(()),
            Turn::Waiting => {}
        }
        *lock(&self.waiter.waker) = Some(cx.waker().clone());
        if self.waiter.called.swap(false, Ordering::AcqRel) {
            self.turn = Turn::Called;
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// A place was had.
    pub fn served(mut self) {
        if self.turn != Turn::Called && !self.queue().leave(&self.waiter) {
            // Called while it looked: one call too many, and somebody else's.
            self.queue().call_one();
        }
        self.turn = Turn::Served;
    }

    /// There was none: back to the front of the line if it had left it, and one more look, because a place
    /// may have been released between the try and the return to the line.
    pub fn missed(&mut self) {
        self.turn = match self.turn {
            Turn::Called => {
                self.queue().rejoin_front(&self.waiter);
                Turn::Look
            }
            Turn::Look | Turn::Waiting | Turn::Served => Turn::Waiting,
        };
    }

    fn queue(&self) -> &WaitQueue {
        self.upstream.as_ref().queue()
    }
}

impl<Q: AsRef<crate::Upstream>> Drop for Ticket<Q> {
    fn drop(&mut self) {
        let unused_call = match self.turn {
            Turn::Served => false,
            Turn::Called => true,
            Turn::Look | Turn::Waiting => !self.queue().leave(&self.waiter),
        };
        if unused_call {
            self.queue().call_one();
        }
    }
}

/// A queue is whole between any two lock holders, so one that panicked left nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
