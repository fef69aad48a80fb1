//! How far has a probe come?
//!
//! A probe that runs out of time cannot say why itself; what it was waiting for is kept here.

use std::cell::RefCell;
use std::rc::Rc;

/// What a probe is waiting for, in words that follow "no answer within 5s, ".
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Rc<RefCell<String>>);

impl Progress {
    /// Notes what comes next.
    pub(super) fn now(&self, waits_for: impl Into<String>) {
        *self.0.borrow_mut() = waits_for.into();
    }

    /// What it was waiting for at last; empty: nothing was noted.
    pub(super) fn words(&self) -> String {
        self.0.borrow().clone()
    }
}
