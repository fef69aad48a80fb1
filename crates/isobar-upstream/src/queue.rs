//! Who waits while every server is at its limit?
//!
//! First come, first served, over all workers: among those of one priority, where places are not [divided](shares) between
//! parties among those of one party, and unless settings ask for another order or [patience] has run out. Whoever waits is *asleep* until *called*, looks for a place with
//! [`View::place`](crate::View::place), and then leaves the queue or goes back to sleep where it stood. It keeps
//! these promises:
//!
//! - **Nobody sleeps beside a free place.** While a place is free that a sleeper would be given, somebody is awake.
//! - **Nobody is overtaken** by intent, except by whom the order puts first: no more are called than there are places
//!   for, and while anybody of no lower priority waits for whichever place comes, newcomers join the line. Who misses nevertheless, because a newcomer had not yet seen the
//!   queue or an algorithm gave the one place it may use to another, keeps its number.
//! - **Calls end.** A call that finds no place does so because somebody else was given it: two that may not use what
//!   is free never call each other in turn.
//!
//! One rule keeps all of them ([`WaitQueue::call_for_room`]): after whatever may leave a place to somebody (one was
//! given back, the servers changed, somebody joined, went back to sleep or left) those are called, in order, for
//! whom there is more room than there are others awake. Where that calls nobody although there is room, somebody
//! is awake, and the same rule is applied when that one has looked. A retry sleeps with the servers that failed it,
//! and room at those is no room for it, so that a place it may not use goes to the next behind it. Where the upstream
//! as a whole has a limit, room is what that leaves to the priority, if it is less.
//!
//! A full queue takes in somebody of a higher priority in place of the last of the lowest, who is told so; and of one
//! priority, somebody of a party with less than its share of the queue in place of the last of the party with most.

mod lanes;
mod line;
mod patience;
mod shares;

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use isobar_plan::{FairStatus, Priority, Queue};

use crate::{Ask, Upstream};
pub(crate) use lanes::Made;
pub(crate) use line::Seat;
use line::{Departure, Line, News, Waiter};
use shares::Party;

/// The queue of one upstream.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    /// All in `line` of each priority, to be read without its lock.
    lengths: [AtomicU32; 3],
    /// Those of them that a newcomer of the priority has to let go first, likewise.
    ahead: [AtomicU32; 3],
    line: Mutex<Line>,
}

/// As many requests wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueFull {
    /// Nobody has more of the queue than the newcomer's party would have.
    ForEverybody,
    /// The newcomer's party has its share of the queue, or more.
    HasItsShare,
}

/// Another request has the place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Displaced {
    /// It matters more, or came later while those who come first wait in vain.
    ByPrecedence,
    /// Its party had less of the queue than this one's.
    ByShare,
}

/// A place that counts as its party's; to be given to the [place](crate::Place::counts_for).
#[derive(Debug, Clone, Copy)]
#[must_use = "the place counts as held until it is told to count for its party"]
pub struct Held {
    party: Party,
    since: Instant,
}

impl WaitQueue {
    /// How many wait.
    pub(crate) fn len(&self) -> u32 {
        self.lengths().iter().sum()
    }

    /// How many of each priority wait.
    pub(crate) fn lengths(&self) -> [u32; 3] {
        self.lengths.each_ref().map(|length| length.load(Ordering::Relaxed))
    }

    /// Whether a newcomer that looked for a place now could take it from somebody who goes before it.
    pub(crate) fn has_precedence(&self, over: Priority) -> bool {
        self.ahead[over.index()].load(Ordering::Relaxed) > 0
    }

    /// Calls those for whom there is room now: to be told of whatever may have made some.
    ///
    /// *Cost*: a fence and three loads while nobody waits; otherwise a lock shared by all workers, and a look at the room
    /// for each different wish of those who wait, but for wishes for one server that is full. The fence orders what the caller did before the look at the
    /// queue, and for who just joined, the joining before the look for room: one of the two sees the other.
    pub(crate) fn call_for_room(&self, upstream: &Upstream, made: Made<'_>) {
        fence(Ordering::SeqCst);
        if self.len() == 0 {
            return;
        }
        // The state is read under the lock: nobody goes by an older one than somebody did before.
        let called = self.change(|line| line.call((&upstream.members(), upstream.gate()), made));
        // Out of the lock: to wake somebody may run code of others, which may drop a ticket.
        for waiter in called {
            waiter.call();
        }
    }

    /// One that waited was served, and left before it was answered.
    pub(crate) fn waited_in_vain(&self, class: Priority) {
        lock(&self.line).waited_in_vain(class);
    }

    /// A place was given back that counted as a party's.
    pub(crate) fn ended(&self, held: Held) {
        lock(&self.line).ended(held.party, held.since.elapsed());
    }

    /// How what there is is divided.
    pub(crate) fn fair_status(&self) -> FairStatus {
        let (keys, [most_waiting, most_in_flight]) = lock(&self.line).crowd();
        FairStatus {
            keys,
            most_waiting,
            most_in_flight,
        }
    }

    /// Works on the line, and publishes how long it is then.
    fn change<T>(&self, work: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = lock(&self.line);
        let result = work(&mut line);
        let lengths = line.lengths();
        let publish = |to: &[AtomicU32; 3], from: [u32; 3]| {
            to.iter()
                .zip(from)
                .for_each(|(to, from)| to.store(from, Ordering::SeqCst));
        };
        publish(&self.lengths, lengths.all);
        publish(&self.ahead, lengths.ahead);
        result
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
    departure: Departure,
}

impl<Q: AsRef<Upstream>> Ticket<Q> {
    /// Joins the queue of `upstream` for a place at a server that the request has not tried.
    ///
    /// *Cost*: an allocation or two, and a lock shared by all workers.
    pub fn join(upstream: Q, queue: &Queue, ask: &Ask<'_>) -> Result<Self, QueueFull> {
        let (waiter, displaced) = upstream.as_ref().queue().change(|line| line.join(queue, ask))?;
        displaced.inspect(|displaced| displaced.wake());
        let ticket = Self {
            upstream,
            waiter,
            turn: Turn::Waiting,
            departure: Departure::Other,
        };
        // A place that was given back just before somebody was in the queue called nobody.
        ticket.call_for_room();
        Ok(ticket)
    }

    /// Ready when this request is to look for a place; then [`Self::served`] or [`Self::missed`] must be told.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Displaced>> {
        if self.turn == Turn::Called {
            return Poll::Ready(Ok(()));
        }
        let before = lock(&self.waiter.waker).replace(cx.waker().clone());
        drop(before);
        match self.waiter.news() {
            Ok(News::Called) => {
                self.turn = Turn::Called;
                Poll::Ready(Ok(()))
            }
            Ok(_) => Poll::Pending,
            Err(displaced) => Poll::Ready(Err(displaced)),
        }
    }

    /// A place was had, `now`: leaves the queue. *Returns* what the place counts for, where places are divided.
    pub fn served(mut self, now: Instant) -> Option<Held> {
        self.departure = Departure::Served;
        let party = self.waiter.seat.party();
        let is_counted = self.turn == Turn::Called && party != Party::NOBODY;
        is_counted.then_some(Held { party, since: now })
    }

    /// It waited for as long as it could: leaves the queue.
    pub fn gave_up(mut self) {
        self.departure = Departure::GaveUp;
    }

    /// There was none: back to where it stood in the line.
    pub fn missed(&mut self) {
        if self.turn == Turn::Called {
            self.turn = Turn::Waiting;
            let waiter = &self.waiter;
            self.queue().change(|line| line.missed(waiter));
            self.call_for_room();
        }
    }

    fn queue(&self) -> &WaitQueue {
        self.upstream.as_ref().queue()
    }

    fn call_for_room(&self) {
        self.queue().call_for_room(self.upstream.as_ref(), Made::Otherwise);
    }
}

impl<Q: AsRef<Upstream>> Drop for Ticket<Q> {
    fn drop(&mut self) {
        self.queue().change(|line| line.leave(&self.waiter, self.departure));
        self.call_for_room();
    }
}

/// A queue is whole between any two lock holders, so one that panicked left nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
