//! What may one of several instances let pass without asking the others?
//!
//! Instances that share a limit ask a store for batches and give out of them without asking again. This is one instance's side
//! of that for one key: what it wants of the store, and what it does when there is nothing left. It does not know the
//! store, and nobody waits for it.

use core::time::Duration;

use isobar_balance::Moment;

use crate::Terms;
use crate::rate::nanoseconds;

/// How a limit is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseRules {
    /// A batch is what is likely to be asked within this time, at most the instance's half share of the limit.
    pub ahead: Duration,
    /// For how long what was not given out may still be.
    pub ttl: Duration,
    /// How much of its share an instance may give out before the store answered, in per cent; a request at least.
    pub advance: u32,
}

/// Whether a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseVerdict {
    /// It passes; by this it is put back.
    Admitted(LeaseMark),
    /// It does not pass.
    Refused {
        /// When there may be more; none: as soon as the store has answered.
        retry_in: Option<Duration>,
    },
}

/// What a request was given from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseMark {
    /// A batch that ends then.
    Batch(Moment),
    /// The advance.
    Advance,
}

/// What the store is to be told of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Units that are wanted; it may give fewer.
    pub want: u64,
    /// Units that passed without having been given; they count whether they are there or not.
    pub owed: u64,
    /// Units of an earlier batch that were not used and will not be.
    pub give_back: u64,
    /// What the store said with that batch.
    pub mark: u64,
}

/// What the store says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreReply {
    /// Units that it gave.
    pub units: u64,
    /// Units that it has left.
    pub left: u64,
    /// When it has more, where it gave less than was wanted or has nothing left.
    pub more_in: Option<Duration>,
    /// For how long the units may be given out; none: as long as any.
    pub lasts: Option<Duration>,
    /// What it wants to be told where some of them are given back.
    pub mark: u64,
}

/// What one instance has of a shared limit, for one key.
///
/// What the store gives is in its books when it gives it, and what is given out in advance comes into them as soon as the store
/// is told, whether it is there or not. So in any time `w` no more passes through `n` instances than the limit admits in
/// `w + ttl`, and `n` times the advance.
///
/// *Cost*: no allocation, no lock; 208 bytes.
#[derive(Debug, Clone, Default)]
pub struct Lease {
    /// What the store gave last, and what is left of what it gave before that.
    latest: Batch,
    earlier: Batch,
    /// What passed in advance, and how much of that the store is being told of.
    owed: u64,
    telling: u64,
    unused: Batch,
    /// The cost of a request that was refused for want of an answer.
    short: u64,
    is_asking: bool,
    /// The store had less than was wanted, and has no more before that.
    dry_until: Option<Moment>,
    /// What the store had left.
    elsewhere: u64,
    asked: Demand,
    last_asked: Moment,
}

/// What the store gave at once.
#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    left: u64,
    /// When it ends.
    until: Moment,
    mark: u64,
}

/// How much is asked, in the present interval and the one before.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    interval: u64,
    before: u64,
    present: u64,
}

/// What an instance is one of, and by which rules it shares.
#[derive(Debug, Clone, Copy)]
pub struct Share<'a> {
    /// The limit.
    pub terms: &'a Terms,
    /// How it is shared.
    pub rules: &'a LeaseRules,
    /// How many instances there are, as far as is known.
    pub instances: u32,
}

impl Share<'_> {
    /// Units that one instance has of the limit; one at least.
    fn units(self) -> u64 {
        (self.terms.burst() / u64::from(self.instances.max(1))).max(1)
    }

    /// Units that may pass in advance.
    fn advance(self) -> u64 {
        self.units().saturating_mul(self.rules.advance.into()) / 100
    }
}

impl Lease {
    /// Asks for a request.
    pub fn ask(&mut self, share: Share<'_>, cost: u64, now: Moment) -> LeaseVerdict {
        if cost > share.terms.burst() {
            // The store never has so much.
            return LeaseVerdict::Refused { retry_in: None };
        }
        self.asked.add(share.rules, cost, now);
        self.last_asked = now;
        self.expire(now);
        if cost <= self.latest.left.saturating_add(self.earlier.left) {
            let first = cost.min(self.earlier.left);
            let until = if first > 0 {
                self.earlier.until
            } else {
                self.latest.until
            };
            self.earlier.left -= first;
            self.latest.left -= cost - first;
            return LeaseVerdict::Admitted(LeaseMark::Batch(until));
        }
        if let Some(until) = self.dry_until.filter(|until| now < *until) {
            let retry_in = Some(Duration::from_nanos(until.since(now)));
            return LeaseVerdict::Refused { retry_in };
        }
        // Where the limit is reached, all instances are there at the same moment.
        let advance = if self.dry_until.is_some() { 0 } else { share.advance() };
        let owed = self.owed.saturating_add(cost);
        if owed <= advance.max(cost) {
            self.owed = owed;
            return LeaseVerdict::Admitted(LeaseMark::Advance);
        }
        self.short = self.short.max(cost);
        LeaseVerdict::Refused { retry_in: None }
    }

    /// Takes back what a request was given. What it was given from may have ended meanwhile: then it is lost, which is on the
    /// safe side.
    pub fn put_back(&mut self, mark: LeaseMark, cost: u64) {
        match mark {
            LeaseMark::Advance => self.owed = self.owed.saturating_sub(cost).max(self.telling),
            LeaseMark::Batch(until) => {
                for batch in [&mut self.earlier, &mut self.latest] {
                    if batch.until == until {
                        batch.left = batch.left.saturating_add(cost);
                        return;
                    }
                }
            }
        }
    }

    /// Whether the store should be told something.
    #[must_use]
    pub fn is_due(&self, share: Share<'_>, now: Moment) -> bool {
        !self.is_asking && (self.owed > 0 || self.unused.left > 0 || self.want(share, now) > 0)
    }

    /// What the store is to be told now; none: nothing, or it is being asked. Who is given something tells the store, and then
    /// [`granted`](Self::granted) or [`failed`](Self::failed).
    pub fn exchange(&mut self, share: Share<'_>, now: Moment) -> Option<Exchange> {
        self.expire(now);
        if !self.is_due(share, now) {
            return None;
        }
        let exchange = Exchange {
            want: self.want(share, now),
            owed: self.owed,
            give_back: core::mem::take(&mut self.unused.left),
            mark: self.unused.mark,
        };
        (self.is_asking, self.telling) = (true, self.owed);
        Some(exchange)
    }

    /// Everything that can be given back, and what is owed, before the key is forgotten; none: nothing.
    pub fn end(&mut self) -> Option<Exchange> {
        for batch in [&mut self.earlier, &mut self.latest] {
            self.unused.merge(core::mem::take(batch));
        }
        let owed = if self.is_asking {
            0
        } else {
            core::mem::take(&mut self.owed)
        };
        let give_back = core::mem::take(&mut self.unused.left);
        (owed > 0 || give_back > 0).then_some(Exchange {
            want: 0,
            owed,
            give_back,
            mark: self.unused.mark,
        })
    }

    /// The store was asked then, and said this.
    pub fn granted(&mut self, share: Share<'_>, (reply, asked): (StoreReply, Moment), now: Moment) {
        self.expire(now);
        self.owed = self.owed.saturating_sub(core::mem::take(&mut self.telling));
        (self.is_asking, self.short) = (false, 0);
        self.elsewhere = reply.left;
        if reply.units > 0 {
            if self.latest.left > 0 {
                self.unused.merge(core::mem::replace(&mut self.earlier, self.latest));
            }
            // From when the store was asked: by its own clock the units are no older.
            let lasts = reply.lasts.unwrap_or(share.rules.ttl).min(share.rules.ttl);
            self.latest = Batch {
                left: reply.units,
                until: asked.after(lasts),
                mark: reply.mark,
            };
        }
        self.dry_until = reply.more_in.map(|time| now.after(time));
        self.expire(now);
    }

    /// The store did not answer, or not in a way that can be understood. What it was to be given back is lost with it, and what is
    /// owed is told again, both of which is on the safe side.
    pub fn failed(&mut self) {
        (self.is_asking, self.telling) = (false, 0);
    }

    /// What is left to give out.
    #[must_use]
    pub fn left(&self, now: Moment) -> u64 {
        let live = |batch: &Batch| if now < batch.until { batch.left } else { 0 };
        live(&self.latest).saturating_add(live(&self.earlier))
    }

    /// What all instances together have left, as far as is known.
    #[must_use]
    pub fn remaining(&self, now: Moment) -> u64 {
        match self.dry_until {
            Some(_) => self.left(now),
            None => self.left(now).saturating_add(self.elsewhere),
        }
    }

    /// Units that passed in advance, of which the store does not know yet.
    #[must_use]
    pub const fn owed(&self) -> u64 {
        self.owed
    }

    /// Whether nothing is lost when the key is forgotten: nobody asked for as long as a lease lasts, and nothing is left or owed.
    #[must_use]
    pub fn is_idle(&self, rules: &LeaseRules, now: Moment) -> bool {
        let quiet = now.since(self.last_asked) >= nanoseconds(rules.ttl);
        let has_none = self.left(now) == 0 && self.owed == 0 && self.unused.left == 0;
        quiet && has_none && !self.is_asking && self.dry_until.is_none_or(|until| now >= until)
    }

    /// Ends batches whose time is over.
    pub fn expire(&mut self, now: Moment) {
        for batch in [&mut self.earlier, &mut self.latest] {
            if now >= batch.until {
                self.unused.merge(core::mem::take(batch));
            }
        }
    }

    fn want(&self, share: Share<'_>, now: Moment) -> u64 {
        if self.dry_until.is_some_and(|until| now < until) {
            return 0;
        }
        let expected = self.asked.expected(share.rules, now);
        let wanted = expected.min((share.units() / 2).max(1));
        let left = self.left(now);
        // A quarter is left when the next batch is sent for; and for somebody who came once, there is none.
        let ahead = if left > wanted / 4 || (expected <= 1 && self.dry_until.is_none()) {
            0
        } else {
            wanted
        };
        ahead.max(self.short.saturating_sub(left))
    }
}

impl Batch {
    /// Adds what is left of another one. Of two, only what the later one has is told to the store: the other is lost.
    fn merge(&mut self, other: Self) {
        if other.left == 0 {
            return;
        }
        if self.left > 0 && other.mark == self.mark {
            self.left = self.left.saturating_add(other.left);
        } else if self.left == 0 || other.mark > self.mark {
            *self = other;
        }
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
