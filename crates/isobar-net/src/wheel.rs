//! How does a connection learn that it has waited too long?
//!
//! One coarse wheel per worker in place of a timer per operation: a connection moves its deadline many times per request and
//! hardly ever meets it, so moving must cost nothing. Which deadlines there are and what happens at them is not known here.

mod levels;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use self::levels::{Id, Levels};

/// The length of a tick: a deadline is met at the first tick at or past it, never before.
pub const TICK: Duration = Duration::from_millis(TICK_MS);

const TICK_MS: u64 = 50;

/// A tick that does not come.
const NEVER: u64 = u64::MAX;

/// The timer wheel of one worker. Clones are handles to the same wheel.
#[derive(Debug, Clone)]
pub struct Wheel {
    shared: Rc<Shared>,
}

/// One deadline that can be set, moved and taken away, for one task; dropping it gives its place in the wheel back.
#[derive(Debug)]
pub struct Timer {
    shared: Rc<Shared>,
    id: Id,
}

#[derive(Debug)]
struct Shared {
    /// When tick 0 was.
    origin: Instant,
    /// Never borrowed while a waker is woken or dropped, since that may run a task's own code.
    levels: RefCell<Levels<Option<Waker>>>,
    /// The tick the driver sleeps until.
    sleeps_until: Cell<u64>,
    /// Wakes the driver when an earlier tick is wanted.
    driver: RefCell<Option<Waker>>,
}

impl Wheel {
    /// A wheel whose ticks are counted from `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let shared = Shared {
            origin: now,
            levels: RefCell::new(Levels::new()),
            sleeps_until: Cell::new(NEVER),
            driver: RefCell::new(None),
        };
        Self {
            shared: Rc::new(shared),
        }
    }

    /// A timer without a deadline. A connection takes one for its life.
    ///
    /// *Cost*: 48 bytes, kept for the next timer when this one is dropped.
    #[must_use]
    pub fn timer(&self) -> Timer {
        let id = self.shared.levels.borrow_mut().insert();
        Timer {
            shared: Rc::clone(&self.shared),
            id,
        }
    }

    /// The time, for deadlines and measurements: that of the runtime, which tests can stop.
    ///
    /// *Cost*: reads the clock, without a system call.
    #[must_use]
    pub fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Wakes the tasks whose deadlines have passed, for ever.
    ///
    /// Sleeps until the next slot that has timers; while there are none, or they are far away, the worker is not woken.
    pub async fn drive(&self) {
        let mut sleep = pin!(tokio::time::sleep_until(self.shared.origin.into()));
        let mut set_to = NEVER;
        poll_fn(|cx| {
            loop {
                self.handle(self.now());
                let next = self.next_tick().unwrap_or(NEVER);
                self.shared.driver_sleeps(next, cx.waker());
                if next == NEVER {
                    return Poll::<()>::Pending;
                }
                if set_to != next {
                    sleep.as_mut().reset(self.shared.instant(next).into());
                    set_to = next;
                }
                ready!(sleep.as_mut().poll(cx));
                // A sleep that is over must be set again before it is asked again.
                set_to = NEVER;
            }
        })
        .await;
    }

    /// Wakes the tasks whose deadlines have passed by `now`: what [`drive`](Self::drive) does, for a caller with a clock of
    /// its own.
    pub fn handle(&self, now: Instant) {
        self.shared.levels.borrow_mut().advance_to(self.shared.tick_before(now));
        while let Some(waker) = self.shared.pop_due() {
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The tick, counted from the start, at which [`handle`](Self::handle) has something to do; none while nothing waits.
    #[must_use]
    pub fn next_tick(&self) -> Option<u64> {
        self.shared.levels.borrow().next_tick()
    }
}

impl Timer {
    /// Sets the deadline, or moves it.
    ///
    /// The timer expires at the deadline or up to two ticks later. A deadline in the past expires with the next tick.
    ///
    /// *Cost*: O(1), no allocation, no clock; a store where the deadline moves to a later time.
    pub fn set(&self, deadline: Instant) {
        let tick = self.shared.tick_after(deadline);
        let mut levels = self.shared.levels.borrow_mut();
        let opens = levels.set(self.id, tick);
        drop(levels);
        if opens < self.shared.sleeps_until.get() {
            self.shared.wake_driver(opens);
        }
    }

    /// Takes the deadline away.
    pub fn clear(&self) {
        self.shared.levels.borrow_mut().clear(self.id);
    }

    /// Whether the deadline has passed; setting or clearing it makes this false again.
    ///
    /// *Cost*: a load. The wheel decides, at its ticks, so that a task that runs before it was woken sees the same.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.shared.levels.borrow().is_expired(self.id)
    }

    /// Names the task to wake at the deadline; the one named before is forgotten.
    ///
    /// *Cost*: a comparison where the same task was named before.
    pub fn register(&self, waker: &Waker) {
        let mut levels = self.shared.levels.borrow_mut();
        let slot = levels.payload_mut(self.id);
        if slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        let old = slot.replace(waker.clone());
        drop(levels);
        drop(old);
    }

    /// Ready when the deadline has passed; pending, also without a deadline, otherwise.
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_expired() {
            return Poll::Ready(());
        }
        self.register(cx.waker());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let waker = self.shared.levels.borrow_mut().remove(self.id);
        drop(waker);
    }
}

impl Shared {
    /// The next task whose timer became due, if it named itself.
    fn pop_due(&self) -> Option<Option<Waker>> {
        self.levels.borrow_mut().pop_due().map(Option::take)
    }

    fn driver_sleeps(&self, until: u64, waker: &Waker) {
        self.sleeps_until.set(until);
        let mut known = self.driver.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            let old = known.replace(waker.clone());
            drop(known);
            drop(old);
        }
    }

    fn wake_driver(&self, tick: u64) {
        self.sleeps_until.set(tick);
        let driver = self.driver.borrow_mut().take();
        if let Some(waker) = driver {
            waker.wake();
        }
    }

    /// The last tick that is not after the instant.
    fn tick_before(&self, instant: Instant) -> u64 {
        whole_ticks(instant.saturating_duration_since(self.origin))
    }

    /// The first tick that is not before the instant.
    fn tick_after(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.origin);
        whole_ticks(since.saturating_add(TICK - Duration::from_nanos(1)))
    }

    fn instant(&self, tick: u64) -> Instant {
        self.origin + Duration::from_millis(tick.saturating_mul(TICK_MS))
    }
}

/// Without the 128-bit division that `Duration::as_nanos` would bring.
fn whole_ticks(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000 / TICK_MS) + u64::from(duration.subsec_millis()) / TICK_MS
}

#[cfg(test)]
mod tests;
