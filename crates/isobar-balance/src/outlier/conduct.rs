//! How did the requests at one server end?

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use super::OutlierSettings;
use crate::Moment;

/// How a request at a server ended, as far as the server's own fault is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It was answered. A status of 4xx is the client's fault, and an answer.
    Answered,
    /// It was answered with 5xx, or the answer did not come or broke off.
    ServerError,
    /// No connection could be made.
    Unreachable,
}

/// Whether what was counted is enough to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an evaluation that is due should be made now and not at the next interval"]
pub enum Attention {
    /// It is not, or an evaluation is due already.
    None,
    /// [`OutlierDetector::evaluate`](super::OutlierDetector::evaluate) would eject the server now.
    Due,
}

/// One server's counters, shared by all workers; an evaluation compares them with what they were the last time.
///
/// *Cost*: an answer costs an atomic addition and a load, a failure some more.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Conduct {
    answered: AtomicU64,
    failed: AtomicU64,
    /// Of answers, in microseconds, where latency is counted.
    latency: AtomicU64,
    errors: Row,
    unreachable: Row,
    /// Failures within the time of the simple mode.
    fails: Row,
    /// When the last of these was, in nanoseconds.
    failed_at: AtomicU64,
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Row {
    now: AtomicU32,
    /// The longest since the last evaluation: a success that comes before it must not hide the failures.
    longest: AtomicU32,
}

/// What was counted up to a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) latency_us: u64,
}

/// The longest rows of failures since the last evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) errors: u32,
    pub(super) unreachable: u32,
    pub(super) fails: u32,
}

impl Conduct {
    /// Counts a request. The settings are those of the detector that follows this conduct.
    pub fn count(&self, verdict: Verdict, now: Moment, settings: &OutlierSettings) -> Attention {
        if verdict == Verdict::Answered {
            self.answered.fetch_add(1, Ordering::Relaxed);
            self.errors.end();
            self.unreachable.end();
            return Attention::None;
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        // Who cannot be reached gives no answers either; but an error of a server that answers shows that it can.
        let errors = self.errors.lengthen();
        let unreachable = match verdict {
            Verdict::Unreachable => self.unreachable.lengthen(),
            _ => {
                self.unreachable.end();
                0
            }
        };
        let fails = self.count_fail(now, settings);
        // Only the failure that reaches the number is reported, and not each that follows.
        let is_due = settings.consecutive_errors.is_some_and(|limit| limit.max(1) == errors)
            || settings
                .consecutive_unreachable
                .is_some_and(|limit| limit.max(1) == unreachable)
            || settings.max_fails.is_some_and(|simple| simple.max_fails == fails);
        if is_due { Attention::Due } else { Attention::None }
    }

    /// Counts how long an answer took, for detection by latency. *Cost*: an atomic addition.
    pub fn count_latency(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX >> 20);
        self.latency.fetch_add(us, Ordering::Relaxed);
    }

    /// Failures of which none came later than the time after the one before.
    fn count_fail(&self, now: Moment, settings: &OutlierSettings) -> u32 {
        let Some(simple) = settings.max_fails.filter(|simple| simple.max_fails > 0) else {
            return u32::MAX;
        };
        let before = self.failed_at.swap(now.nanoseconds(), Ordering::Relaxed);
        if Duration::from_nanos(now.since(Moment::new(before))) > simple.fail_timeout {
            self.fails.end();
        }
        self.fails.lengthen()
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            latency_us: self.latency.load(Ordering::Relaxed),
        }
    }

    /// The longest rows since this was last asked.
    pub(super) fn take_rows(&self) -> Rows {
        Rows {
            errors: self.errors.take_longest(),
            unreachable: self.unreachable.take_longest(),
            fails: self.fails.take_longest(),
        }
    }

    /// Ends all rows: what comes next is judged by itself.
    pub(super) fn forget_rows(&self) {
        for row in [&self.errors, &self.unreachable, &self.fails] {
            row.end();
            row.take_longest();
        }
    }
}

impl Row {
    fn lengthen(&self) -> u32 {
        let now = self.now.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.longest.fetch_max(now, Ordering::Relaxed);
        now
    }

    /// *Cost*: a load while there is none.
    fn end(&self) {
        if self.now.load(Ordering::Relaxed) != 0 {
            self.now.store(0, Ordering::Relaxed);
        }
    }

    fn take_longest(&self) -> u32 {
        match self.longest.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.longest.swap(0, Ordering::Relaxed),
        }
    }
}

impl Totals {
    /// What was counted since.
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self {
            answered: self.answered.wrapping_sub(earlier.answered),
            failed: self.failed.wrapping_sub(earlier.failed),
            latency_us: self.latency_us.wrapping_sub(earlier.latency_us),
        }
    }

    /// Requests.
    pub(super) const fn volume(self) -> u64 {
        self.answered + self.failed
    }
}
