//! How does a test hold a server back until it has seen what it wants to see?

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::PATIENCE;

/// A gate that is closed until it is opened, shared by its clones.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    shared: Arc<(Mutex<Passage>, Condvar)>,
}

#[derive(Debug, Default)]
struct Passage {
    open: bool,
    waiting: usize,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until the gate is open, at most for [`PATIENCE`].
    pub fn pass(&self) {
        let (passage, opened) = &*self.shared;
        let mut passage = passage.lock().unwrap_or_else(PoisonError::into_inner);
        passage.waiting += 1;
        let waited = opened.wait_timeout_while(passage, PATIENCE, |passage| !passage.open);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting -= 1;
    }

    /// Opens it, for good.
    pub fn open(&self) {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).open = true;
        self.shared.1.notify_all();
    }

    /// How many wait before it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).waiting
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;
    use crate::eventually;

    #[test]
    fn a_gate_holds_until_it_is_opened() {
        let gate = Gate::new();
        let held = gate.clone();
        let thread = std::thread::spawn(move || held.pass());
        eventually("one waits", || gate.waiting() == 1);
        assert!(!thread.is_finished());
        gate.open();
        thread.join().unwrap();
        gate.pass();
    }
}
