//! What does one worker thread have for all its connections?

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use isobar_l4::{Lines, Roster, Shared};

use crate::{Background, Published, World};

/// How often log lines are handed over.
const CHORES_INTERVAL: Duration = Duration::from_millis(250);

/// One worker thread's state. Never shared: what crosses threads is in the [`Published`] world.
#[derive(Debug)]
pub struct Worker {
    /// Its index among the workers.
    pub(crate) id: usize,
    pub(crate) shared: Shared,
    pub(crate) roster: Roster,
    pub(crate) lines: Lines,
    pub(crate) background: Arc<dyn Background>,
    published: Arc<Published>,
    world: RefCell<Arc<World>>,
    draining: Cell<bool>,
    cutting: Cell<bool>,
    next_connection: Cell<u64>,
}

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// Its index among the workers.
    pub id: usize,
    /// Where the newest world is found.
    pub published: Arc<Published>,
    /// What its thread has.
    pub shared: Shared,
    /// Who looks names up and compares passwords.
    pub background: Arc<dyn Background>,
}

impl Worker {
    /// A worker that serves the published world. Belongs to the thread that calls.
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        Self {
            id: parts.id,
            shared: parts.shared,
            roster: Roster::default(),
            lines: Lines::default(),
            background: parts.background,
            world: RefCell::new(parts.published.world()),
            published: parts.published,
            draining: Cell::new(false),
            cutting: Cell::new(false),
            // The upper bits tell the workers' connections apart, and those of forward proxies from others.
            next_connection: Cell::new((parts.id as u64) << 48 | 1 << 46),
        }
    }

    /// Finishes what there is: idle connections close now, others after their request, tunnels when they end.
    pub fn drain(&self) {
        self.draining.set(true);
        self.roster.wake_all();
    }

    /// The time to finish is over: every connection ends now.
    pub fn cut(&self) {
        self.draining.set(true);
        self.cutting.set(true);
        self.roster.wake_all();
    }

    /// A world was published: connections find out whether their listener is still there.
    pub fn look_up(&self) {
        self.world();
        self.roster.wake_all();
    }

    /// Hands over log lines for as long as the worker lives.
    pub async fn chores(&self) {
        let timer = self.shared.wheel.timer();
        loop {
            timer.set(self.shared.wheel.now() + CHORES_INTERVAL);
            std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
            self.flush();
        }
    }

    /// Hands over the log lines that wait.
    pub fn flush(&self) {
        self.flush_log(&self.world());
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.get()
    }

    /// Which world is the newest.
    pub(crate) fn generation(&self) -> u64 {
        self.published.generation()
    }

    /// The newest world.
    ///
    /// *Cost*: one load and a reference count while nothing was published.
    pub(crate) fn world(&self) -> Arc<World> {
        let mut world = self.world.borrow_mut();
        if world.generation != self.published.generation() {
            self.flush_log(&world);
            *world = self.published.world();
        }
        Arc::clone(&world)
    }

    /// The number of a new connection.
    pub(crate) fn connection_number(&self) -> u64 {
        let number = self.next_connection.get();
        self.next_connection.set(number + 1);
        number
    }

    fn flush_log(&self, world: &World) {
        if let Some(log) = &world.log {
            self.lines.flush(log);
        }
    }
}
