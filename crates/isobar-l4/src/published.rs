//! How do workers learn that what they serve has changed?

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Something of which there are newer ones and older ones.
pub trait Generation {
    /// Counts them, from 1.
    fn generation(&self) -> u64;
}

/// Where the newest world is found.
#[derive(Debug)]
pub struct Published<W> {
    generation: AtomicU64,
    world: RwLock<Arc<W>>,
}

impl<W: Generation> Published<W> {
    /// Publishes the first world.
    #[must_use]
    pub fn new(world: W) -> Self {
        Self {
            generation: AtomicU64::new(world.generation()),
            world: RwLock::new(Arc::new(world)),
        }
    }

    /// Publishes another world; workers take it before their next request.
    pub fn publish(&self, world: W) {
        let generation = world.generation();
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
        self.generation.store(generation, Ordering::Release);
    }

    /// Which world is the newest.
    ///
    /// *Cost*: one load of a line that is written only by a reload.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The newest world.
    #[must_use]
    pub fn world(&self) -> Arc<W> {
        Arc::clone(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }
}
