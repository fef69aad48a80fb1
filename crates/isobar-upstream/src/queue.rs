//! Who waits while every server is at its limit?
//!
//! First come, first served, over all workers. Whoever waits is *asleep* until *called*, looks for a place with
//! [`View::place`](crate::View::place), and then leaves the queue or goes back to sleep where it stood. It keeps
//! these promises:
//!
//! - **Nobody sleeps beside a free place.** While a place is free that a sleeper would be given, somebody is awake.
//! - **Nobody is overtaken** by intent: no more are called than there are places for, and while anybody waits for
//!   whichever place comes, newcomers join behind. Who misses nevertheless, because a newcomer had not yet seen the
//!   queue or an algorithm gave the one place it may use to another, keeps its number.
//! - **Calls end.** A call that finds no place does so because somebody else was given it: two that may not use what
//!   is free never call each other in turn.
//!
//! One rule keeps all of them ([`WaitQueue::call_for_room`]): after whatever may leave a place to somebody (one was
//! given back, the servers changed, somebody joined, went back to sleep or left) those are called, in order, for
//! whom there is more room than there are others awake. Where that calls nobody although there is room, somebody
//! is awake, and the same rule is applied when that one has looked. A retry sleeps with the servers that failed it,
//! and room at those is no room for it, so that a place it may not use goes to the next behind it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use isobar_balance::Otherwise;

use crate::{Ask, Home, Members, Server, Upstream};

/// The queue of one upstream.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    /// All in `line`, to be read without its lock.
    length: AtomicU32,
    /// Those of them that a newcomer has to let go first, likewise.
    ahead: AtomicU32,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// Those not called, by their numbers.
    asleep: BTreeMap<u64, Arc<Waiter>>,
    /// Those of them that avoid a server, or wait for a certain one.
    choosy: u32,
    /// How many were called and have not told what came of it.
    awake: u32,
    next_number: u64,
}

#[derive(Debug)]
struct Waiter {
    /// Its place in the line, for as long as it waits.
    number: u64,
    /// The servers that failed it.
    avoid: Box<[Arc<Server>]>,
    /// The server it belongs to.
    home: Option<(Arc<Server>, Otherwise)>,
    called: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// As many requests wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

impl WaitQueue {
    /// How many wait.
    pub(crate) fn len(&self) -> u32 {
        self.length.load(Ordering::Relaxed)
    }

    /// Whether a newcomer that looked for a place now could take it from somebody who came before it. Sleepers that
    /// avoid a server or wait for a certain one do not count, or the other servers would stand idle for their sake.
    pub(crate) fn has_precedence(&self) -> bool {
        self.ahead.load(Ordering::Relaxed) > 0
    }

    /// Calls those for whom there is room now: to be told of whatever may have made some.
    ///
    /// *Cost*: a fence and a load while nobody waits. The fence orders what the caller did before the look at the
    /// queue, and for who just joined, the joining before the look for room: one of the two sees the other.
    pub(crate) fn call_for_room(&self, upstream: &Upstream) {
        fence(Ordering::SeqCst);
        if self.len() == 0 {
            return;
        }
        let members = upstream.members();
        let called = self.change(|line| line.call(&members));
        // Out of the lock: to wake somebody may run code of others, which may drop a ticket.
        for waiter in called {
            waiter.call();
        }
    }

    /// Works on the line, and publishes how long it is then.
    fn change<T>(&self, work: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = lock(&self.line);
        let result = work(&mut line);
        self.length.store(line.len(), Ordering::SeqCst);
        self.ahead.store(line.len() - line.choosy, Ordering::SeqCst);
        result
    }
}

impl Line {
    fn len(&self) -> u32 {
        let asleep = u32::try_from(self.asleep.len()).unwrap_or(u32::MAX);
        asleep.saturating_add(self.awake)
    }

    fn join(&mut self, max: u32, ask: &Ask<'_>) -> Result<Arc<Waiter>, QueueFull> {
        if self.len() >= max {
            return Err(QueueFull);
        }
        let waiter = Arc::new(Waiter {
            number: self.next_number,
            avoid: ask.avoid.into(),
            home: ask.home.map(|home| (Arc::clone(home.server), home.otherwise)),
            called: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        self.next_number += 1;
        self.sleep(&waiter);
        Ok(waiter)
    }

    fn sleep(&mut self, waiter: &Arc<Waiter>) {
        self.choosy += u32::from(waiter.is_choosy());
        if let Some((home, _)) = &waiter.home {
            home.sleeper_comes();
        }
        self.asleep.insert(waiter.number, Arc::clone(waiter));
    }

    /// Takes one that sleeps out of the line; false: it does not sleep.
    fn wake(&mut self, waiter: &Waiter) -> bool {
        if self.asleep.remove(&waiter.number).is_none() {
            return false;
        }
        self.choosy -= u32::from(waiter.is_choosy());
        if let Some((home, _)) = &waiter.home {
            home.sleeper_goes();
        }
        true
    }

    /// Takes a waiter out of the line, wherever in it it is.
    fn leave(&mut self, waiter: &Waiter) {
        if !self.wake(waiter) {
            self.awake -= 1;
        }
    }

    /// Takes out, in order, those for whom there is more room than there are others awake, and those who would wait
    /// for nothing because no server is left to them.
    ///
    /// *Cost*: a look at every server and at the sleepers that are called; while somebody sleeps that avoids a server,
    /// at all sleepers before it.
    fn call(&mut self, members: &Members) -> Vec<Arc<Waiter>> {
        let mut called = Vec::new();
        if self.asleep.is_empty() {
            return called;
        }
        let mut awake = self.awake;
        let mut choosy = self.choosy;
        // Neighbours mostly avoid the same servers, as a rule none.
        let mut avoid: &[Arc<Server>] = &[];
        let mut home = None;
        let mut room = members.room(avoid, home);
        for waiter in self.asleep.values() {
            choosy -= u32::from(waiter.is_choosy());
            if !is_same(&waiter.avoid, avoid) || !is_same_home(waiter.home(), home) {
                (avoid, home) = (&waiter.avoid, waiter.home());
                room = members.room(avoid, home);
            }
            if room.is_none_or(|room| room > awake) {
                awake += 1;
                called.push(Arc::clone(waiter));
            } else if choosy == 0 && !waiter.is_choosy() {
                break;
            }
        }
        for waiter in &called {
            self.wake(waiter);
        }
        self.awake = awake;
        called
    }
}

impl Waiter {
    fn is_choosy(&self) -> bool {
        !self.avoid.is_empty() || self.home.is_some()
    }

    fn home(&self) -> Option<Home<'_>> {
        let (server, otherwise) = self.home.as_ref()?;
        Some(Home {
            server,
            otherwise: *otherwise,
        })
    }

    fn call(&self) {
        self.called.store(true, Ordering::Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// How far a request has come in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It sleeps until it is called.
    Waiting,
    /// It was called, and has not told what came of it.
    Called,
}

/// A request's place in the queue of an upstream. Dropping it leaves the queue, and passes an unused call on.
#[derive(Debug)]
pub struct Ticket<Q: AsRef<Upstream>> {
    upstream: Q,
    waiter: Arc<Waiter>,
    turn: Turn,
}

impl<Q: AsRef<Upstream>> Ticket<Q> {
    /// Joins the queue of `upstream`, in which at most `max` wait, for a place at a server that is not in `avoid`.
    ///
    /// *Cost*: an allocation or two, and a lock shared by all workers.
    pub fn join(upstream: Q, max: u32, avoid: &[Arc<Server>]) -> Result<Self, QueueFull> {
        Self::join_for(upstream, max, &Ask::avoiding(avoid))
    }

    /// Joins the queue as [`join`](Self::join) does, for a place that a request would be given that asks like this.
    pub fn join_for(upstream: Q, max: u32, ask: &Ask<'_>) -> Result<Self, QueueFull> {
        let waiter = upstream.as_ref().queue().change(|line| line.join(max, ask))?;
        let ticket = Self {
            upstream,
            waiter,
            turn: Turn::Waiting,
        };
        // A place that was given back just before somebody was in the queue called nobody.
        ticket.call_for_room();
        Ok(ticket)
    }

    /// Ready when this request is to look for a place; then [`Self::served`] or [`Self::missed`] must be told.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn == Turn::Called {
            return Poll::Ready(());
        }
        let before = lock(&self.waiter.waker).replace(cx.waker().clone());
        drop(before);
        if self.waiter.called.swap(false, Ordering::AcqRel) {
            self.turn = Turn::Called;
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// A place was had: leaves the queue.
    pub fn served(self) {
        drop(self);
    }

    /// There was none: back to where it stood in the line.
    pub fn missed(&mut self) {
        if self.turn == Turn::Called {
            self.turn = Turn::Waiting;
            let waiter = &self.waiter;
            self.queue().change(|line| {
                line.awake -= 1;
                line.sleep(waiter);
            });
            self.call_for_room();
        }
    }

    fn queue(&self) -> &WaitQueue {
        self.upstream.as_ref().queue()
    }

    fn call_for_room(&self) {
        self.queue().call_for_room(self.upstream.as_ref());
    }
}

impl<Q: AsRef<Upstream>> Drop for Ticket<Q> {
    fn drop(&mut self) {
        self.queue().change(|line| line.leave(&self.waiter));
        self.call_for_room();
    }
}

fn is_same(left: &[Arc<Server>], right: &[Arc<Server>]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| Arc::ptr_eq(left, right))
}

fn is_same_home(left: Option<Home<'_>>, right: Option<Home<'_>>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => Arc::ptr_eq(left.server, right.server) && left.otherwise == right.otherwise,
        _ => false,
    }
}

/// A queue is whole between any two lock holders, so one that panicked left nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
