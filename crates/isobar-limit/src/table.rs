//! What was taken by each of very many keys?
//!
//! A table of fixed size that all workers share. Where it is full it says so, and neither forgets who is being limited nor
//! turns away whoever is new: see [`Table`].

mod shard;

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use isobar_balance::Moment;

use crate::algorithm::{Algorithm, State};
use crate::key::below;
use crate::memory::Advise;
use crate::sketch::Sketch;
use crate::{Bandwidth, Decision, Key, LeaseMark, Receipt, SlidingLog, Standing, Verdict};

use self::shard::{Held, MOST_ASKED, Note, Place, Shards, WAYS};

/// How large a table is, and how it behaves.
#[derive(Debug, Clone, Copy)]
pub struct TableSettings {
    /// Keys that are sure to find room, but for a few in a million: from 1 to [`Table::MOST_KEYS`].
    pub max_keys: u32,
    /// For how long is remembered what a key took that found no room: the time in which its limit recovers.
    pub memory: Duration,
    /// Called by a thread that waits for another one's lock, now and then: lets other threads run.
    pub relax: fn(),
    /// Called with the address and the bytes of memory that is not written yet: may ask for large pages. It is read at random, and with
    /// small ones each read is two.
    pub advise: Advise,
}

/// States by key.
///
/// A key has an entry for as long as its state differs from a fresh one. What happens where a new key finds both of its
/// buckets full of those:
///
/// 1. An entry that was asked for twice, that was refused, or that has requests in flight is *established*: nothing takes
///    its place until it expires. So whoever is limited stays limited, and whoever is known stays known.
/// 2. The newcomer may take no more than its limit ever admits within [`memory`](TableSettings::memory), by a sketch that takes
///    it for more than it took in that time, never for less. Once it took that, it waits until the sketch has forgotten, also where there
///    is room again.
/// 3. An entry that was asked for once is *on probation*. The newcomer takes the place of the one that asked for least, once it
///    has asked for more than that by the sketch; what that one took is added to the sketch.
///
/// So a key that keeps to its limit is refused by mistake only where the table is full, or just was, and it has no entry; and one that does not
/// gets at most twice what its limit admits in that time, however keys come and go: once by the sketch, once by an entry.
///
/// *Shape*: shards of at most 256 buckets of 8 entries, a lock for each shard, which is held for one decision. An entry has 32
/// bytes, and there are two for every five keys more than `max_keys`; the sketch has 16 bytes for each key. Where it keeps
/// [logs](Self::with_logs), the times follow in the same place. Nothing is swept: who is expired is overwritten.
///
/// *Cost*: two cache lines for a key that is there, that of the lock and its own, and up to eight to find out that one is not; no allocation. A worker waits for another one only where both ask in one
/// shard at the same moment; locks are of this crate's own, because what is locked is a few words for some ten nanoseconds and
/// a pure crate knows no threads.
#[derive(Debug)]
pub struct Table {
    shards: Shards,
    /// Units that a log may have.
    log_units: u32,
    sketch: Sketch,
    memory: Duration,
    relax: fn(),
    estimated: AtomicU64,
    displaced: AtomicU64,
}

/// The entry of a key.
#[derive(Clone, Copy)]
struct Entry<'a> {
    place: Place<'a>,
    note: Note,
    key: Key,
}

/// A limit that is asked: for whom, for how much, and when.
#[derive(Clone, Copy)]
struct Asking<'a, A> {
    limit: &'a A,
    key: Key,
    cost: u64,
    now: Moment,
}

/// What a table decided, to settle it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// What the limit says.
    pub decision: Decision,
    key: Key,
    basis: Basis,
}

/// What a decision rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The key's own state.
    Entry,
    /// An estimate, because the table was full.
    Sketch,
    /// What an instance has of a limit that several share; none: nothing was taken.
    Lease(Option<LeaseMark>),
}

/// How often a table was too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowding {
    /// Decisions by an estimate.
    pub estimated: u64,
    /// Entries on probation that made room.
    pub displaced: u64,
}

impl Grant {
    /// What was decided for a key without a table.
    pub(crate) const fn leased(key: Key, decision: Decision, mark: Option<LeaseMark>) -> Self {
        Self {
            decision,
            key,
            basis: Basis::Lease(mark),
        }
    }

    /// What it rests on.
    #[must_use]
    pub const fn basis(&self) -> Basis {
        self.basis
    }

    /// Whose it is.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }
}

/// Buckets of a shard: many enough that chance fills all shards alike, few enough that workers seldom meet.
const FEWEST_BUCKETS: usize = 32;
const MOST_BUCKETS: usize = 256;

/// Shards that a table has if it can.
const SHARDS: usize = 256;

/// In the sketch a limit has at most so many grains.
const MOST_GRAINS_SHIFT: u32 = 22;

impl Table {
    /// The most keys of a table: 2^26, for which it takes 4 GB.
    pub const MOST_KEYS: u32 = 1 << 26;

    /// Units of all keys together of which a table may keep logs, by `max_keys` and the largest limit: what is kept of them takes 64 MiB
    /// at most. Whoever makes a table sees to that.
    pub const MOST_LOGGED: u64 = 5_000_000;

    /// A table without keys; its memory is taken now.
    #[must_use]
    pub fn new(settings: &TableSettings) -> Self {
        Self::with_logs(settings, 0)
    }

    /// The same for [logs](SlidingLog) of so many units, of which it keeps 8 bytes for each entry and unit.
    #[must_use]
    pub fn with_logs(settings: &TableSettings, units: u32) -> Self {
        let keys = settings.max_keys.clamp(1, Self::MOST_KEYS) as usize;
        let buckets = (keys + keys * 2 / 5).div_ceil(WAYS);
        let each = (buckets / SHARDS)
            .next_power_of_two()
            .clamp(FEWEST_BUCKETS, MOST_BUCKETS);
        let log_units = units.min(SlidingLog::MOST_UNITS);
        let row = log_units as usize;
        Self {
            log_units,
            shards: Shards::new((buckets.div_ceil(each), each), row, settings.advise),
            sketch: Sketch::new((keys / 2).max(1024), settings),
            memory: settings.memory,
            relax: settings.relax,
            estimated: AtomicU64::new(0),
            displaced: AtomicU64::new(0),
        }
    }

    /// How many entries there are, in use or not.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shards.capacity()
    }

    /// The memory it takes, all in all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.shards.bytes() + self.sketch.bytes()
    }

    /// The units that a log may have; 0: it keeps none.
    #[must_use]
    pub const fn log_units(&self) -> u32 {
        self.log_units
    }

    /// How often it was too small so far.
    #[must_use]
    pub fn crowding(&self) -> Crowding {
        Crowding {
            estimated: self.estimated.load(Ordering::Relaxed),
            displaced: self.displaced.load(Ordering::Relaxed),
        }
    }

    /// How many shards there are to [count](Self::live_in).
    #[must_use]
    pub const fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Keys in one shard whose state is not fresh; 0 past the last one.
    ///
    /// *Cost*: looks at 2,048 entries at most with the shard's lock held. Whoever wants to know of all of them asks for one after
    /// the other.
    #[must_use]
    pub fn live_in(&self, shard: usize, now: Moment) -> usize {
        if shard >= self.shards.len() {
            return 0;
        }
        self.shards.hold(shard, self.relax).live(now)
    }

    /// Asks the limit of a key.
    pub fn ask<A: Algorithm<State = State>>(&self, limit: &A, key: Key, cost: u64, now: Moment) -> Grant {
        let held = self.hold(key);
        let asking = Asking { limit, key, cost, now };
        if limit.as_log().is_some() {
            held.read_ahead(key.tag());
        }
        let place = known(&held, key, now).or_else(|| {
            // Who took everything while it had no entry does not begin anew because there is room again.
            let is_spent = self.sketch.remembers(now) && self.sketched(&asking) >= limit.most_within(self.memory);
            (!is_spent).then(|| self.begin(&held, &asking))?
        });
        if let Some((place, note)) = place {
            let entry = Entry { place, note, key };
            let decision = match limit.as_log() {
                None => entry.ask(limit, cost, now),
                Some(log) => entry.ask(&log.on(place.row()), cost, now),
            };
            return Grant {
                decision,
                key,
                basis: Basis::Entry,
            };
        }
        drop(held);
        self.estimated.fetch_add(1, Ordering::Relaxed);
        Grant {
            decision: self.judge(&asking),
            key,
            basis: Basis::Sketch,
        }
    }

    /// Takes bytes of something that has begun, and so is never refused: *returns* how long to wait before more of it is sent.
    ///
    /// Where the table is full, and has no room for the key, that is as long as the bytes take alone: who sends several at once is then
    /// not held together, each of them is.
    pub fn spend(&self, limit: &Bandwidth, key: Key, bytes: u64, now: Moment) -> Duration {
        let held = self.hold(key);
        let known = known(&held, key, now);
        let cost = bytes;
        let asking = Asking { limit, key, cost, now };
        if let Some((place, note)) = known.or_else(|| self.begin(&held, &asking)) {
            let mut state = place.state();
            let wait = limit.spend(&mut state, bytes, now);
            let mut next = Note::new(limit.fresh_from(&state), note.asked.saturating_add(bytes));
            next.established = note.asked > 0 || !wait.is_zero() || next.asked == MOST_ASKED;
            place.write(key.tag(), next, state);
            return wait;
        }
        drop(held);
        self.estimated.fetch_add(1, Ordering::Relaxed);
        self.sketch.add(key, self.grains(limit, bytes), now);
        limit.time_of(bytes)
    }

    /// Corrects a grant to what was really taken; see [`Algorithm::settle`].
    pub fn settle<A: Algorithm<State = State>>(&self, limit: &A, grant: &Grant, actual: u64, now: Moment) {
        let Grant { decision, key, basis } = *grant;
        let receipt = decision.receipt;
        if basis == Basis::Sketch {
            self.settle_estimate(limit, key, &receipt, actual);
            if actual <= receipt.cost {
                return;
            }
        }
        let held = self.hold(key);
        let more = actual.saturating_sub(receipt.cost);
        let place = match known(&held, key, now) {
            // There is nothing left to give back.
            None if actual <= receipt.cost => return,
            None => {
                let cost = more;
                self.begin(&held, &Asking { limit, key, cost, now })
            }
            known => known,
        };
        match place {
            Some((place, note)) => {
                let entry = Entry { place, note, key };
                match limit.as_log() {
                    None => entry.settle(limit, &receipt, (actual, now)),
                    Some(log) => entry.settle(&log.on(place.row()), &receipt, (actual, now)),
                }
            }
            None => {
                self.sketch.add(key, self.grains(limit, more), now);
            }
        }
    }

    /// What a key has left.
    #[must_use]
    pub fn standing<A: Algorithm<State = State>>(&self, limit: &A, key: Key, now: Moment) -> Standing {
        let held = self.hold(key);
        match (limit.as_log(), known(&held, key, now)) {
            (_, None) => limit.standing(&[0; 2], now),
            (None, Some((place, _))) => limit.standing(&place.state(), now),
            (Some(log), Some((place, _))) => log.on(place.row()).standing(&place.state(), now),
        }
    }

    /// The shard of a key, with its lock held.
    #[inline]
    fn hold(&self, key: Key) -> Held<'_> {
        #[expect(clippy::cast_possible_truncation, reason = "below the number of shards")]
        let shard = below(key.hash(), self.shards.len() as u64) as usize;
        self.shards.hold(shard, self.relax)
    }

    /// An entry for a key that has none, or whose own is over; none: there is no room.
    fn begin<'a, A: Algorithm>(&self, held: &'a Held<'_>, asking: &Asking<'_, A>) -> Option<(Place<'a>, Note)> {
        let (tag, now) = (asking.key.tag(), asking.now);
        let place = held
            .find(tag)
            .or_else(|| held.room(tag, now))
            .or_else(|| self.displace(held, asking))?;
        let unknown = Note::new(Moment::new(0), 0);
        place.write(tag, unknown, [0; 2]);
        Some((place, unknown))
    }

    /// What a key took by the sketch.
    fn sketched<A: Algorithm>(&self, asking: &Asking<'_, A>) -> u64 {
        self.sketch.estimate(asking.key, asking.now) << self.shift(asking.limit)
    }

    /// Takes the place of an entry on probation, for a newcomer that the sketch would let pass.
    fn displace<'a, A: Algorithm>(&self, held: &'a Held<'_>, asking: &Asking<'_, A>) -> Option<Place<'a>> {
        let (place, note) = held.least_on_probation(asking.key.tag())?;
        let asked = self.sketched(asking).saturating_add(asking.cost);
        if asked > asking.limit.most_within(self.memory) || asked <= note.asked {
            return None;
        }
        let moved = self.grains(asking.limit, note.asked);
        self.sketch.add(Key::new(place.tag()), moved, asking.now);
        place.clear();
        self.displaced.fetch_add(1, Ordering::Relaxed);
        Some(place)
    }

    /// Decides by the sketch.
    fn judge<A: Algorithm>(&self, asking: &Asking<'_, A>) -> Decision {
        let &Asking { limit, key, cost, now } = asking;
        let most = limit.most_within(self.memory);
        let taken = self.sketched(asking);
        let left = Duration::from_nanos(self.sketch.left(now));
        let standing = |taken: u64| Standing {
            remaining: most.saturating_sub(taken).min(limit.quota().units),
            more_in: (taken > 0).then_some(left),
        };
        if taken.saturating_add(cost) > most {
            return Decision::refused(standing(taken), (cost <= most).then_some(left), now);
        }
        let number = self.sketch.add(key, self.grains(limit, cost), now);
        Decision::passed(Verdict::Admitted, [number, 0], (cost, now)).leaving(standing(taken.saturating_add(cost)))
    }

    /// Takes back what an estimate was told too much.
    fn settle_estimate<A: Algorithm>(&self, limit: &A, key: Key, receipt: &Receipt, actual: u64) {
        let told = self.grains(limit, receipt.cost);
        let back = told.saturating_sub(self.grains(limit, actual));
        self.sketch.take_back(key, back, receipt.mark[0]);
    }

    /// By how many bits costs are shifted so that what a limit admits can be counted in the sketch.
    fn shift<A: Algorithm>(&self, limit: &A) -> u32 {
        let bits = u64::BITS - limit.most_within(self.memory).leading_zeros();
        bits.saturating_sub(MOST_GRAINS_SHIFT)
    }

    /// A cost in grains, rounded up.
    fn grains<A: Algorithm>(&self, limit: &A, cost: u64) -> u64 {
        let shift = self.shift(limit);
        (cost >> shift) + u64::from(cost & ((1 << shift) - 1) > 0)
    }
}

/// The entry that a key has.
#[inline]
fn known<'a>(held: &'a Held<'_>, key: Key, now: Moment) -> Option<(Place<'a>, Note)> {
    let place = held.find(key.tag())?;
    let note = place.note();
    (!note.is_over(now)).then_some((place, note))
}

impl Entry<'_> {
    #[inline]
    fn ask<A: Algorithm<State = State>>(&self, limit: &A, cost: u64, now: Moment) -> Decision {
        let mut state = self.place.state();
        let decision = limit.ask(&mut state, cost, now);
        let mut next = Note::new(limit.fresh_from(&state), self.note.asked.saturating_add(cost));
        // What it was asked for has to be known to be moved into the sketch.
        next.established = self.note.asked > 0 || !decision.verdict.passes() || next.asked == MOST_ASKED;
        self.place.write(self.key.tag(), next, state);
        decision
    }

    fn settle<A: Algorithm<State = State>>(&self, limit: &A, receipt: &Receipt, (actual, now): (u64, Moment)) {
        let mut state = self.place.state();
        limit.settle(&mut state, receipt, actual, now);
        let mut next = Note::new(limit.fresh_from(&state), self.note.asked);
        next.established = self.note.established;
        self.place.write(self.key.tag(), next, state);
    }
}

#[cfg(test)]
mod tests;
