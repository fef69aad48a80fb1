//! How often did an algorithm have to choose without the reports it goes by?

use core::sync::atomic::{AtomicU64, Ordering};

/// Counts the choices of algorithms that [go by reports](crate::Balance::goes_by_reports) for which there were too few
/// reports, so that what is known otherwise decided. Shared by all workers and by the groups that follow one another.
///
/// *Cost*: an atomic addition for each such choice, and nothing while there are reports.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Guesses(AtomicU64);

impl Guesses {
    /// How many there were.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
