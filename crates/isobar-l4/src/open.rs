//! How many connections does a listener have?

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use isobar_upstream::Sharded;

use crate::sources::Books;

/// How many connections of one listener each worker has open.
#[derive(Debug)]
pub struct OpenConnections {
    all: AtomicU32,
    workers: Sharded<AtomicU32>,
    /// What their sources have taken; made when it is first needed.
    sources: OnceLock<Books>,
}

impl OpenConnections {
    /// None open at any of `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            all: AtomicU32::new(0),
            workers: Sharded::new(workers),
            sources: OnceLock::new(),
        }
    }

    /// Counts a connection that opens, unless there are `max`: exact, whichever workers accept at once. The worker
    /// that accepts may count it for another one. False: it is not counted.
    #[must_use]
    pub fn opens(&self, worker: usize, max: u32) -> bool {
        let counted = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
            (all < max).then_some(all + 1)
        });
        if counted.is_ok() {
            self.workers.of(worker).fetch_add(1, Ordering::Relaxed);
        }
        counted.is_ok()
    }

    pub(crate) fn books(&self) -> &Books {
        self.sources.get_or_init(Books::new)
    }

    /// Counts a connection of a worker that closed.
    pub fn closed(&self, worker: usize) {
        self.workers.of(worker).fetch_sub(1, Ordering::Relaxed);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }

    /// The open connections of every worker, in order.
    pub fn by_worker(&self) -> impl Iterator<Item = u32> {
        self.workers.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// The open connections of all workers.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }
}
