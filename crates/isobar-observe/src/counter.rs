//! How does one thread count what other threads read?
//!
//! By being the only one that writes: a relaxed load and a relaxed store are plain moves on every machine Isobar
//! runs on, where an atomic addition would lock a cache line. Nothing here enforces the single writer; two writers
//! lose counts but never corrupt them.

use core::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows, written by one thread and read by any.
///
/// *Cost*: an addition is a load and a store, without a lock. *Range*: wraps past 2^64.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the count; only the owning thread may call it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one; only the owning thread may call it.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// The count so far, as any thread may read it.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many of something there are, counted up and down by one thread and read by any.
///
/// *Cost*: as a [`Counter`]'s.
#[derive(Debug, Default)]
pub struct Level(Counter);

impl Level {
    /// There is one more; only the owning thread may call it.
    #[inline]
    pub fn raise(&self) {
        self.0.add(1);
    }

    /// There is one less; only the owning thread may call it.
    #[inline]
    pub fn lower(&self) {
        self.0.add(u64::MAX);
    }

    /// How many there are, as any thread may read it.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.value()
    }
}

#[cfg(test)]
mod tests {
    use super::{Counter, Level};

    #[test]
    fn a_level_goes_up_and_down() {
        let level = Level::default();
        level.raise();
        level.raise();
        level.lower();
        assert_eq!(level.value(), 1);
        level.lower();
        assert_eq!(level.value(), 0);
    }

    #[test]
    fn a_reader_sees_what_the_writer_counted() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..10_000).for_each(|_| counter.increment()));
            let mut last = 0;
            while !writer.is_finished() {
                let now = counter.value();
                assert!(now >= last, "the count went back from {last} to {now}");
                last = now;
            }
        });
        assert_eq!(counter.value(), 10_000);
    }

    #[test]
    fn a_count_wraps_rather_than_panics() {
        let counter = Counter::default();
        counter.add(u64::MAX);
        counter.add(3);
        assert_eq!(counter.value(), 2);
    }
}
