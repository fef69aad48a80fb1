//! What may one of several instances let pass without asking the others?
//!
//! Instances that share a limit ask a store for batches and give out of them without asking again. This is one instance's side
//! of that for one key: what it wants of the store, and what it does when there is nothing left. It does not know the
//! store, and nobody waits for the store but who has nothing left.

use core::time::Duration;

use isobar_balance::Moment;

use crate::algorithm::{Algorithm, State};
use crate::rate::nanoseconds;
use crate::{Gcra, Rate, Verdict};

/// What happens while the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnLoss {
    /// Each instance gives out its part of the limit.
    LocalShare,
    /// Everything passes.
    Open,
    /// Nothing does.
    Closed,
}

/// How a limit is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRules {
    /// What all instances may let pass together.
    pub rate: Rate,
    /// At once.
    pub burst: u64,
    /// How many instances there are, as far as is known.
    pub instances: u32,
    /// A batch is what is likely to be asked within this time, at most the instance's half share of the burst.
    pub ahead: Duration,
    /// For how long what was not given out may still be.
    pub ttl: Duration,
    /// How long the store may take to answer; after that it is lost, and is asked again as often.
    pub patience: Duration,
    /// What happens then.
    pub on_loss: OnLoss,
}

/// What an instance says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseVerdict {
    /// It passes.
    Admitted,
    /// There is nothing left, and the store was or will be asked: who asks again when it has answered, or is lost, is told.
    Wait,
    /// It does not pass.
    Refused {
        /// When there may be more; none: that is not known.
        retry_in: Option<Duration>,
    },
}

/// What the store is to be told. It is not asked twice at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Units that are wanted; it may give fewer.
    pub want: u64,
    /// Units of earlier batches that were not used and will not be.
    pub give_back: u64,
}

/// What one instance has of a shared limit, for one key.
///
/// What the store gives is in its books when it gives it, so all instances together never let more pass than it gave. It may
/// pass later than it was given, by [`ttl`](LeaseRules::ttl) at most: in any time `w` what passes is at most what the limit admits
/// in `w + ttl`. While the store is lost for everybody, under [`OnLoss::LocalShare`], the parts of all instances are added to
/// that, which are one limit more.
///
/// *Cost*: no allocation, no lock; 184 bytes.
#[derive(Debug, Clone)]
pub struct Lease {
    /// What the store gave last, and what is left of what it gave before that.
    latest: Batch,
    earlier: Batch,
    /// The cost of a request that waits for more than there is.
    short: u64,
    /// Since when the store is asked.
    pending: Option<Moment>,
    /// Since when it is lost; none: it is there, or was never asked.
    lost: Option<Moment>,
    /// Before that the store is not asked.
    not_before: Moment,
    /// The store had less than was wanted, and said when there is more.
    dry: bool,
    unused: u64,
    asked: Demand,
    share: Share,
}

/// What the store gave at once.
#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    left: u64,
    /// When it ends.
    until: Moment,
}

/// How much is asked, in the present interval and the one before.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    interval: u64,
    before: u64,
    present: u64,
}

/// The instance's part of the limit, for when the store is lost.
#[derive(Debug, Clone, Copy)]
struct Share {
    limit: Gcra,
    state: State,
}

impl Lease {
    /// A lease with nothing in it.
    #[must_use]
    pub fn new(rules: &LeaseRules) -> Self {
        let instances = u64::from(rules.instances.max(1));
        let nanoseconds = nanoseconds(rules.rate.period()).saturating_mul(instances);
        let (units, period) = if rules.rate.units() >= instances << 20 {
            // So many that nothing is lost by dividing them, while the period might become too long.
            (rules.rate.units() / instances, rules.rate.period())
        } else {
            (rules.rate.units(), Duration::from_nanos(nanoseconds))
        };
        Self {
            latest: Batch::default(),
            earlier: Batch::default(),
            short: 0,
            pending: None,
            lost: None,
            not_before: Moment::new(0),
            dry: false,
            unused: 0,
            asked: Demand::default(),
            share: Share {
                limit: Gcra::new(Rate::new(units, period), rules.burst / instances),
                state: [0; 2],
            },
        }
    }

    /// Asks for a request.
    pub fn ask(&mut self, rules: &LeaseRules, cost: u64, now: Moment) -> LeaseVerdict {
        self.asked.add(rules, cost, now);
        self.expire(now);
        if cost <= self.latest.left.saturating_add(self.earlier.left) {
            let first = cost.min(self.earlier.left);
            self.earlier.left -= first;
            self.latest.left -= cost - first;
            self.short = 0;
            return LeaseVerdict::Admitted;
        }
        if self.is_lost(rules, now) {
            return self.without_store(rules, cost, now);
        }
        if self.dry && now < self.not_before {
            let retry_in = Some(Duration::from_nanos(self.not_before.since(now)));
            return LeaseVerdict::Refused { retry_in };
        }
        self.short = self.short.max(cost);
        LeaseVerdict::Wait
    }

    /// What the store is to be told now; none: nothing, or it is being asked. Who is given something tells the store, and then
    /// [`granted`](Self::granted) or [`failed`](Self::failed).
    pub fn exchange(&mut self, rules: &LeaseRules, now: Moment) -> Option<Exchange> {
        self.expire(now);
        if self
            .pending
            .is_some_and(|since| now.since(since) < nanoseconds(rules.patience))
            || now < self.not_before
        {
            return None;
        }
        let (wanted, left) = (self.wanted(rules, now), self.left(now));
        // A quarter is left when the next batch is sent for.
        let ahead = if left > wanted / 4 { 0 } else { wanted };
        let want = ahead.max(self.short.saturating_sub(left));
        if want == 0 && self.unused == 0 {
            return None;
        }
        if self.pending.is_some() {
            self.lost = self.lost.or(Some(now));
        }
        self.pending = Some(now);
        Some(Exchange {
            want,
            give_back: core::mem::take(&mut self.unused),
        })
    }

    /// The store gave so many; `more_in` says when there is more, where it was less than was wanted.
    pub fn granted(&mut self, rules: &LeaseRules, units: u64, more_in: Option<Duration>, now: Moment) {
        self.expire(now);
        if units > 0 {
            if self.latest.left > 0 {
                self.unused = self.unused.saturating_add(self.earlier.left);
                self.earlier = self.latest;
            }
            self.latest = Batch {
                left: units,
                until: now.after(rules.ttl),
            };
        }
        self.short = 0;
        self.pending = None;
        self.lost = None;
        self.dry = more_in.is_some();
        self.not_before = now.after(more_in.unwrap_or(Duration::ZERO));
    }

    /// The store did not answer, or not in a way that can be understood. What it was to be given back is lost with it, which
    /// is on the safe side.
    pub fn failed(&mut self, rules: &LeaseRules, now: Moment) {
        self.pending = None;
        self.lost = self.lost.or(Some(now));
        self.dry = false;
        self.not_before = now.after(rules.patience);
    }

    /// Whether the store is lost: it failed, or takes longer than it may.
    #[must_use]
    pub fn is_lost(&self, rules: &LeaseRules, now: Moment) -> bool {
        let overdue = |since| now.since(since) >= nanoseconds(rules.patience);
        self.lost.is_some() || self.pending.is_some_and(overdue)
    }

    /// What is left to give out.
    #[must_use]
    pub fn left(&self, now: Moment) -> u64 {
        let live = |batch: &Batch| if now < batch.until { batch.left } else { 0 };
        live(&self.latest).saturating_add(live(&self.earlier))
    }

    fn expire(&mut self, now: Moment) {
        for batch in [&mut self.latest, &mut self.earlier] {
            if now >= batch.until {
                self.unused = self.unused.saturating_add(core::mem::take(&mut batch.left));
            }
        }
    }

    fn without_store(&mut self, rules: &LeaseRules, cost: u64, now: Moment) -> LeaseVerdict {
        match rules.on_loss {
            OnLoss::Open => LeaseVerdict::Admitted,
            OnLoss::Closed => LeaseVerdict::Refused { retry_in: None },
            OnLoss::LocalShare => match self.share.limit.ask(&mut self.share.state, cost, now).verdict {
                Verdict::Refused { retry_in } => LeaseVerdict::Refused { retry_in },
                Verdict::Admitted | Verdict::Delayed(_) => LeaseVerdict::Admitted,
            },
        }
    }

    fn wanted(&self, rules: &LeaseRules, now: Moment) -> u64 {
        let most = rules.burst / u64::from(rules.instances.max(1)) / 2;
        self.asked.expected(rules, now).min(most.max(1))
    }
}

impl Demand {
    fn at(self, rules: &LeaseRules, now: Moment) -> Self {
        let interval = now.nanoseconds() / nanoseconds(rules.ahead).max(1);
        match interval.saturating_sub(self.interval) {
            0 => self,
            1 => Self {
                interval,
                before: self.present,
                present: 0,
            },
            _ => Self {
                interval,
                before: 0,
                present: 0,
            },
        }
    }

    fn add(&mut self, rules: &LeaseRules, cost: u64, now: Moment) {
        *self = self.at(rules, now);
        self.present = self.present.saturating_add(cost);
    }

    fn expected(self, rules: &LeaseRules, now: Moment) -> u64 {
        let demand = self.at(rules, now);
        demand.before.max(demand.present)
    }
}

#[cfg(test)]
mod tests;
