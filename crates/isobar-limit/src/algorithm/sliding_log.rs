//! What exactly was taken in the last window?
//!
//! Remembers each request of it. Exact, and as large as the limit: for few keys with small limits, and as the measure for
//! what estimates.

use alloc::collections::VecDeque;
use core::time::Duration;

use isobar_balance::Moment;

use super::Algorithm;
use crate::{Decision, Quota, Rate, Receipt, Standing, Unit, Verdict};

/// So many units in any window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingLog {
    rate: Rate,
}

/// What was taken in the last window, the oldest first. *Cost*: 16 bytes for each unit of the limit, taken when it is made.
#[derive(Debug, Clone)]
pub struct Log {
    /// When, in nanoseconds, and how much.
    pub(super) entries: VecDeque<(u64, u64)>,
    /// How many there are at most.
    most: usize,
    /// What they add up to.
    taken: u64,
}

impl SlidingLog {
    /// The most units of a window, because each may be an entry.
    pub const MOST_UNITS: u64 = 1 << 16;

    /// The units of the rate, at most [`MOST_UNITS`](Self::MOST_UNITS), in any window as long as its period.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate: Rate::new(rate.units().min(Self::MOST_UNITS), rate.period()),
        }
    }

    /// A log with nothing in it.
    #[must_use]
    pub fn log(&self) -> Log {
        // Each has a unit at least.
        let most = usize::try_from(self.rate.units()).unwrap_or(usize::MAX);
        Log {
            entries: VecDeque::with_capacity(most),
            most,
            taken: 0,
        }
    }

    const fn begin(&self, now: u64) -> Option<u64> {
        now.checked_sub(self.rate.period_nanoseconds())
    }

    /// How many entries are a window old, and what they add up to.
    fn old(&self, log: &Log, now: u64) -> (usize, u64) {
        let Some(begin) = self.begin(now) else {
            return (0, 0);
        };
        let old = log.entries.iter().take_while(|entry| entry.0 <= begin);
        old.fold((0, 0), |(count, sum), entry| (count + 1, sum.saturating_add(entry.1)))
    }

    /// Adds what passes now, in place of what is a window old. What is refused changes nothing: its clock may be wrong.
    fn add(&self, log: &mut Log, now: u64, cost: u64) {
        let (count, sum) = self.old(log, now);
        log.entries.drain(..count);
        log.taken = log.taken.saturating_sub(sum);
        log.add(now, cost);
    }

    /// How long until no more than this is taken.
    fn until(&self, log: &Log, now: Moment, most: u64) -> Duration {
        let mut taken = log.taken;
        let last = log.entries.iter().find(|(_, cost)| {
            taken = taken.saturating_sub(*cost);
            taken <= most
        });
        let free = last.map_or(0, |(at, _)| at.saturating_add(self.rate.period_nanoseconds()));
        Duration::from_nanos(free.saturating_sub(now.nanoseconds()))
    }
}

impl Algorithm for SlidingLog {
    type State = Log;

    /// *Cost*: linear in what is forgotten, and where it refuses in what has to be forgotten before it would not.
    fn ask(&self, log: &mut Log, cost: u64, now: Moment) -> Decision {
        let present = log.latest().max(now.nanoseconds());
        let taken = log.taken.saturating_sub(self.old(log, present).1);
        if taken.saturating_add(cost) > self.rate.units() {
            let room = self.rate.units().checked_sub(cost);
            let retry_in = room.map(|room| self.until(log, now, room));
            return Decision::refused(self.standing(log, now), retry_in, now);
        }
        self.add(log, present, cost);
        Decision {
            verdict: Verdict::Admitted,
            standing: self.standing(log, now),
            receipt: Receipt {
                cost,
                at: now,
                mark: [present, 0],
            },
        }
    }

    fn settle(&self, log: &mut Log, receipt: &Receipt, actual: u64, now: Moment) {
        if actual > receipt.cost {
            let present = log.latest().max(now.nanoseconds());
            self.add(log, present, actual - receipt.cost);
            return;
        }
        let taken_at = receipt.mark[0];
        let place = log.entries.partition_point(|&(at, _)| at < taken_at);
        if let Some((at, cost)) = log.entries.get_mut(place)
            && *at == taken_at
        {
            let back = (receipt.cost - actual).min(*cost);
            *cost -= back;
            log.taken = log.taken.saturating_sub(back);
            if *cost == 0 {
                log.entries.remove(place);
            }
        }
    }

    fn standing(&self, log: &Log, now: Moment) -> Standing {
        let (count, gone) = self.old(log, log.latest().max(now.nanoseconds()));
        let taken = log.taken.saturating_sub(gone);
        let most = taken.saturating_sub(1).min(self.rate.units() - 1);
        let more_in = (count < log.entries.len()).then(|| self.until(log, now, most));
        Standing {
            remaining: self.rate.units().saturating_sub(taken),
            more_in,
        }
    }

    fn fresh_from(&self, log: &Log) -> Moment {
        match log.entries.back() {
            Some((at, _)) => Moment::new(at.saturating_add(self.rate.period_nanoseconds())),
            None => Moment::new(0),
        }
    }

    fn most_within(&self, time: Duration) -> u64 {
        let windows = crate::rate::nanoseconds(time) / self.rate.period_nanoseconds();
        windows.saturating_add(1).saturating_mul(self.rate.units())
    }

    fn quota(&self) -> Quota {
        Quota {
            units: self.rate.units(),
            window: Some(self.rate.period()),
            unit: Unit::Requests,
        }
    }
}

impl Log {
    fn latest(&self) -> u64 {
        self.entries.back().map_or(0, |entry| entry.0)
    }

    /// What comes at one moment is one entry. Where there is no room for another, because requests cost more than they were
    /// said to, the last one grows and counts as of now.
    fn add(&mut self, at: u64, cost: u64) {
        if cost == 0 {
            return;
        }
        self.taken = self.taken.saturating_add(cost);
        let full = self.entries.len() >= self.most;
        match self.entries.back_mut() {
            Some((last, sum)) if *last == at || full => {
                *last = at;
                *sum = sum.saturating_add(cost);
            }
            _ => self.entries.push_back((at, cost)),
        }
    }
}
