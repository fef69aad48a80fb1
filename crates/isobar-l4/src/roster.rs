//! Which client connections does a worker have, so that a drain can wake the idle ones?

use std::cell::RefCell;
use std::task::Waker;

/// The client connections of one worker.
#[derive(Debug, Default)]
pub struct Roster {
    seats: RefCell<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Roster {
    /// Enters a connection; its seat.
    pub fn enter(&self) -> usize {
        let mut seats = self.seats.borrow_mut();
        match seats.free.pop() {
            Some(seat) => seat,
            None => {
                seats.wakers.push(None);
                seats.wakers.len() - 1
            }
        }
    }

    /// Notes whom to wake.
    ///
    /// *Cost*: a comparison while the task stays the same.
    pub fn note(&self, seat: usize, waker: &Waker) {
        if let Some(slot) = self.seats.borrow_mut().wakers.get_mut(seat)
            && !slot.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            *slot = Some(waker.clone());
        }
    }

    /// A connection ended.
    pub fn leave(&self, seat: usize) {
        let mut seats = self.seats.borrow_mut();
        if let Some(slot) = seats.wakers.get_mut(seat) {
            *slot = None;
            seats.free.push(seat);
        }
    }

    /// Wakes every connection: something changed that idle ones want to know.
    pub fn wake_all(&self) {
        // Woken tasks run later, so the borrow is over when they come here.
        for waker in self.seats.borrow().wakers.iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        let seats = self.seats.borrow();
        seats.wakers.len() - seats.free.len()
    }
}
