//! How do bytes share the rate of a limit, also when it is changed meanwhile?
//!
//! What counts the bytes of a client outlives plans: it holds on to the [`Line`] of its limit, and finds there the limit as it is now.
//! Turns and waits are [`isobar_l4::throttle`]'s business.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use isobar_balance::Moment;
use isobar_l4::throttle::{Meter, Metering, Subject, UsedUp, Way};
use isobar_limit::{Denial, Effect, Key, Transaction, Verdict};
use isobar_observe::{Cause, LimitOutcome};
use isobar_plan::{Direction, Exhausted, LimitAlgorithm, LimitKind};
use isobar_upstream::moment;

use super::{Look, RunningLimit, look};

/// Where those who share the rate of a limit find out what it is now.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Counts the changes.
    generation: AtomicU64,
    /// None: there is no such limit any more, and nobody waits.
    current: RwLock<Weak<RunningLimit>>,
}

impl Line {
    /// From now on the limit is this one; an empty reference: there is none.
    pub(super) fn lead_to(&self, limit: Weak<RunningLimit>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !Weak::ptr_eq(&current, &limit) {
            *current = limit;
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn current(&self) -> Option<Arc<RunningLimit>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.upgrade()
    }
}

/// One client's part of the rate of a limit.
#[derive(Debug)]
struct Metered {
    line: Arc<Line>,
    /// Of the line, when it was last looked at.
    generation: u64,
    limit: Option<Arc<RunningLimit>>,
    key: Key,
    worker: usize,
}

/// A part of a limit's rate, for a key of it.
pub(super) fn meter(limit: &Arc<RunningLimit>, key: Key, worker: usize) -> Box<dyn Meter> {
    let line = limit.line();
    Box::new(Metered {
        generation: line.generation(),
        line: Arc::clone(line),
        limit: Some(Arc::clone(limit)),
        key,
        worker,
    })
}

impl Metered {
    fn counts(&self, way: Way) -> bool {
        { self.limit.as_ref() }.is_some_and(|limit| counts(limit.settings().counting.kind, way))
    }
}

/// Whether a limit of this kind counts bytes that go this way.
pub(super) fn counts(kind: LimitKind, way: Way) -> bool {
    let LimitKind::Bandwidth { direction, .. } = kind else {
        return false;
    };
    match way {
        Way::Up => direction != Direction::Download,
        Way::Down => direction != Direction::Upload,
    }
}

/// Whether bytes that are not there are waited for.
fn paces(limit: &RunningLimit) -> bool {
    let kind = limit.settings().counting.kind;
    matches!(
        kind,
        LimitKind::Bandwidth {
            exhausted: Exhausted::Pace,
            ..
        }
    )
}

impl Meter for Metered {
    fn piece(&self, way: Way) -> Option<u64> {
        if !self.counts(way) {
            return None;
        }
        let limit = self.limit.as_deref().filter(|limit| paces(limit))?;
        match limit.claim(self.key).limit {
            LimitAlgorithm::Bandwidth(rate) => Some(rate.piece()),
            _ => None,
        }
    }

    fn spend(&mut self, way: Way, bytes: u64, now: Instant) -> Duration {
        let generation = self.line.generation();
        if generation != self.generation {
            self.generation = generation;
            self.limit = self.line.current();
        }
        match &self.limit {
            Some(limit) => limit.spend((self.key, self.worker), (way, bytes), moment(now)),
            None => Duration::ZERO,
        }
    }

    fn is_changed(&mut self) -> bool {
        self.generation != self.line.generation()
    }

    fn waited(&self, time: Duration) {
        if let Some(limit) = &self.limit {
            limit.stats().of(self.worker).throttled.observe(time);
        }
    }
}

impl Metering for RunningLimit {
    fn meter(
        self: Arc<Self>,
        subject: &Subject<'_>,
        worker: usize,
        now: Instant,
    ) -> Result<Option<Box<dyn Meter>>, UsedUp> {
        let present = moment(now);
        match look(subject, &self, present) {
            Look::Passes(outcome) => {
                self.count(worker, outcome);
                Ok(None)
            }
            Look::Turned(outcome, cause) => {
                self.count(worker, outcome);
                Err(self.used_up(cause, None))
            }
            Look::Counted { key, .. } => self.begin(key, worker, present),
        }
    }
}

impl RunningLimit {
    /// Counts bytes that went for a key: *returns* how long to wait before more go this way.
    pub(super) fn spend(&self, (key, worker): (Key, usize), (way, bytes): (Way, u64), now: Moment) -> Duration {
        let claim = self.claim(key);
        let LimitAlgorithm::Bandwidth(rate) = claim.limit else {
            return Duration::ZERO;
        };
        let effect = claim.enforcement.effect(key, now);
        if !counts(self.settings().counting.kind, way) || effect == Effect::Ended {
            return Duration::ZERO;
        }
        let stats = self.stats().of(worker);
        match way {
            Way::Up => stats.upload_bytes.add(bytes),
            Way::Down => stats.download_bytes.add(bytes),
        }
        let table = self.table();
        if effect == Effect::Binding {
            let wait = table.spend(rate, key, bytes, now);
            return if paces(self) { wait } else { Duration::ZERO };
        }
        // In shadow nobody waits, so that a debt would have no end.
        if bytes > 0 {
            let asked = table.ask(&rate.refusing(), key, bytes, now);
            if !asked.decision.verdict.passes() {
                stats.excess_bytes.add(bytes);
            }
        }
        Duration::ZERO
    }

    /// Asks whether something may begin that is counted for a key.
    fn begin(self: Arc<Self>, key: Key, worker: usize, present: Moment) -> Result<Option<Box<dyn Meter>>, UsedUp> {
        match Transaction::default().ask(&[self.claim(key)], present) {
            Err(Denial { decision, .. }) => {
                self.decided(worker, (LimitOutcome::Refused, decision.verdict), present);
                let retry_in = match decision.verdict {
                    Verdict::Refused { retry_in } => retry_in,
                    Verdict::Admitted | Verdict::Delayed(_) => None,
                };
                Err(self.used_up(Cause::RateLimited, retry_in))
            }
            Ok(outcome) => {
                let came_to = match outcome.would_refuse {
                    0 => LimitOutcome::Admitted,
                    _ => LimitOutcome::ShadowRefused,
                };
                self.decided(worker, (came_to, Verdict::Admitted), present);
                Ok(Some(meter(&self, key, worker)))
            }
        }
    }

    fn used_up(&self, cause: Cause, retry_in: Option<Duration>) -> UsedUp {
        UsedUp {
            cause,
            limit: self.name().clone(),
            retry_in,
        }
    }
}
