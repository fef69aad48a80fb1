//! How do workers count without sharing a cache line?

/// One value per worker, each on cache lines of its own; written by its worker, read by anybody.
#[derive(Debug)]
pub struct Sharded<T>(Box<[Shard<T>]>);

/// 128 bytes: the two lines that the hardware prefetches together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard<T>(T);

impl<T: Default> Sharded<T> {
    /// Creates one value for each of `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Shard::default()).collect())
    }
}

impl<T> Sharded<T> {
    /// The value of one worker.
    ///
    /// *Panics* when there is no such worker: the number of workers is fixed for the life of a process.
    #[must_use]
    pub fn of(&self, worker: usize) -> &T {
        &self.0[worker].0
    }

    /// The values of all workers, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &shard.0)
    }
}
