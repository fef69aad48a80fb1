//! What has this instance of each key of a shared limit, and what does it have to tell?

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use isobar_balance::Moment;
use isobar_limit::{
    Decision, Exchange, Key, KeyName, Lease, LeaseMark, LeaseRules, LeaseVerdict, Share, Shared, SharedAsk, Sharing,
    Standing, StoreReply, Terms, Verdict,
};
use isobar_plan::OnLoss;

use crate::Store;

/// Keys of one part of a ledger, as many parts as there may be: a lock is held for no more than a look at so many.
const KEYS_OF_SHARD: u32 = 2_048;

/// Parts that every ledger has, and the most that one has.
const SHARDS: [u32; 2] = [64, 1_024];

/// When to come again for those for whom the store's answer is under way.
const SOON: Duration = Duration::from_millis(10);

/// The leases of one limit, by key.
///
/// *Shape*: 64 shards and more, a lock for each, which is held for one decision and never while anything is waited for. A key takes about 300
/// bytes, and is forgotten once nobody has asked for it for as long as a lease lasts.
///
/// *Cost*: a lock and a look-up; an allocation where a shard grows. Keys for which there is no room are decided by the instance's
/// own part.
#[derive(Debug)]
pub struct Ledger {
    store: Arc<Store>,
    rules: LeaseRules,
    on_loss: OnLoss,
    /// Keys of one shard at most.
    most: usize,
    shards: Box<[Mutex<Shard>]>,
    /// Where the next sweep begins, and the next collection.
    swept: AtomicUsize,
    collected: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    keys: HashMap<u64, Entry, BuildHasherDefault<Known>>,
    /// Keys of which the store is to be told something.
    due: Vec<Key>,
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    name: KeyName,
    terms: Terms,
    /// It is among those.
    is_due: bool,
}

/// What the store is to be told of one key, and asked for.
#[derive(Debug, Clone, Copy)]
pub struct Errand {
    /// The key.
    pub key: Key,
    /// What the store calls it.
    pub name: KeyName,
    /// What holds for it.
    pub terms: Terms,
    /// What is told and asked.
    pub exchange: Exchange,
    /// When.
    pub asked: Moment,
}

/// Keys are hashes that nobody can predict.
#[derive(Debug, Default)]
struct Known(u64);

impl Hasher for Known {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl Ledger {
    /// An empty one with room for so many keys.
    #[must_use]
    pub fn new(store: Arc<Store>, max_keys: u32, (rules, on_loss): (LeaseRules, OnLoss)) -> Self {
        let [least, most] = SHARDS;
        let shards = (max_keys / KEYS_OF_SHARD).next_power_of_two().clamp(least, most);
        Self {
            store,
            rules,
            on_loss,
            most: max_keys.div_ceil(shards) as usize,
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            swept: AtomicUsize::new(0),
            collected: AtomicUsize::new(0),
        }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether it has to be told what the store calls a key.
    #[must_use]
    pub fn wants_name(&self, key: Key) -> bool {
        !self.store.is_lost() && !self.shard(key).keys.contains_key(&key.hash())
    }

    /// Keys, and units that are leased and not given out.
    ///
    /// *Cost*: looks at every key, a shard at a time.
    #[must_use]
    pub fn standing(&self, now: Moment) -> (u64, u64) {
        let mut sums = (0, 0);
        for shard in &self.shards {
            let shard = hold(shard);
            sums.0 += shard.keys.len() as u64;
            for entry in shard.keys.values() {
                sums.1 += entry.lease.left(now);
            }
        }
        sums
    }

    /// Adds what the store is to be told now, so that there are no more than so many; *returns* whether that is all.
    pub fn collect(&self, most: usize, now: Moment, into: &mut Vec<Errand>) -> bool {
        let first = self.collected.load(Ordering::Relaxed);
        for index in first..first + self.shards.len() {
            let Some(shard) = self.of_turn(index) else {
                continue;
            };
            let Shard { keys, due } = &mut *hold(shard);
            while let Some(key) = due.pop() {
                if into.len() >= most {
                    due.push(key);
                    self.collected.store(index % self.shards.len(), Ordering::Relaxed);
                    return false;
                }
                let Some(entry) = keys.get_mut(&key.hash()) else {
                    continue;
                };
                entry.is_due = false;
                let share = share(&entry.terms, self);
                if let Some(exchange) = entry.lease.exchange(share, now) {
                    into.push(entry.errand(key, exchange, now));
                }
            }
        }
        true
    }

    /// What became of an errand; none: nobody knows.
    pub fn settle(&self, errand: &Errand, reply: Option<StoreReply>, now: Moment) {
        let mut shard = self.shard(errand.key);
        let Shard { keys, due } = &mut *shard;
        let Some(entry) = keys.get_mut(&errand.key.hash()) else {
            return;
        };
        let terms = entry.terms;
        match reply {
            Some(reply) => entry.lease.granted(share(&terms, self), (reply, errand.asked), now),
            None => entry.lease.failed(),
        }
        if entry.becomes_due(self, now) {
            due.push(errand.key);
            drop(shard);
            self.store.ring();
        }
    }

    /// Looks at one part of the keys: ends leases whose time is over, and forgets who was not asked for.
    pub fn sweep(&self, parts: usize, now: Moment) {
        let each = self.shards.len().div_ceil(parts.max(1));
        let first = self.swept.fetch_add(each, Ordering::Relaxed);
        for index in (0..each).map(|index| first.wrapping_add(index)) {
            let Some(shard) = self.of_turn(index) else {
                continue;
            };
            let Shard { keys, due } = &mut *hold(shard);
            let before = due.len();
            keys.retain(|key, entry| {
                entry.lease.expire(now);
                if entry.becomes_due(self, now) {
                    due.push(Key::new(*key));
                }
                entry.is_due || !entry.lease.is_idle(&self.rules, now)
            });
            if keys.len() < keys.capacity() / 8 {
                keys.shrink_to_fit();
            }
            if due.len() > before {
                self.store.ring();
            }
        }
    }

    /// Forgets all keys; adds what the store is to be given back.
    pub fn end(&self, now: Moment, into: &mut Vec<Errand>) {
        for shard in &self.shards {
            let mut shard = hold(shard);
            shard.due.clear();
            for (key, mut entry) in shard.keys.drain() {
                if let Some(exchange) = entry.lease.end() {
                    into.push(entry.errand(Key::new(key), exchange, now));
                }
            }
        }
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        // By other bits than those that find its place within the shard.
        #[expect(clippy::indexing_slicing, reason = "there are so many")]
        hold(&self.shards[(key.hash() >> 32) as usize % self.shards.len()])
    }

    fn of_turn(&self, turn: usize) -> Option<&Mutex<Shard>> {
        self.shards.get(turn % self.shards.len())
    }

    /// Decides while the store is lost.
    fn without_store(&self, ask: &SharedAsk<'_>, now: Moment) -> Shared {
        let burst = ask.terms.burst();
        let (verdict, remaining) = match self.on_loss {
            OnLoss::Local => return Shared::OwnPart(self.store.instances()),
            OnLoss::Open => (Verdict::Admitted, burst),
            OnLoss::Closed => (Verdict::Refused { retry_in: None }, 0),
        };
        let standing = Standing {
            remaining,
            more_in: None,
        };
        Shared::Decided(Decision::made(verdict, standing, (0, now)), None)
    }
}

impl Sharing for Ledger {
    fn ask(&self, ask: SharedAsk<'_>, now: Moment) -> Shared {
        let SharedAsk { key, name, terms, cost } = ask;
        let is_lost = self.store.is_lost();
        let mut shard = self.shard(key);
        let Shard { keys, due } = &mut *shard;
        if !keys.contains_key(&key.hash()) && !is_lost {
            let Some(name) = name.filter(|_| keys.len() < self.most) else {
                return Shared::OwnPart(self.store.instances());
            };
            let lease = Lease::default();
            let (name, terms, is_due) = (*name, *terms, false);
            let entry = Entry {
                lease,
                name,
                terms,
                is_due,
            };
            keys.insert(key.hash(), entry);
        }
        let Some(entry) = keys
            .get_mut(&key.hash())
            .filter(|entry| !is_lost || entry.lease.left(now) >= cost)
        else {
            drop(shard);
            return self.without_store(&ask, now);
        };
        entry.terms = *terms;
        let verdict = entry.lease.ask(share(terms, self), cost, now);
        let remaining = entry.lease.remaining(now);
        let is_news = entry.becomes_due(self, now);
        if is_news {
            due.push(key);
        }
        drop(shard);
        if is_news {
            self.store.ring();
        }
        decided(terms, (verdict, remaining), (cost, now))
    }

    fn put_back(&self, key: Key, mark: LeaseMark, cost: u64) {
        if let Some(entry) = self.shard(key).keys.get_mut(&key.hash()) {
            entry.lease.put_back(mark, cost);
        }
    }

    fn instances(&self) -> u32 {
        self.store.instances()
    }
}

impl Entry {
    /// Whether there is something to tell that was not known before.
    fn becomes_due(&mut self, ledger: &Ledger, now: Moment) -> bool {
        let was_due = self.is_due;
        self.is_due |= self.lease.is_due(share(&self.terms, ledger), now);
        self.is_due && !was_due
    }

    fn errand(&self, key: Key, exchange: Exchange, asked: Moment) -> Errand {
        Errand {
            key,
            name: self.name,
            terms: self.terms,
            exchange,
            asked,
        }
    }
}

fn share<'a>(terms: &'a Terms, ledger: &'a Ledger) -> Share<'a> {
    Share {
        terms,
        rules: &ledger.rules,
        instances: ledger.store.instances(),
    }
}

fn decided(terms: &Terms, (verdict, remaining): (LeaseVerdict, u64), (cost, now): (u64, Moment)) -> Shared {
    let burst = terms.burst();
    let unit = terms.rate.period() / u32::try_from(terms.rate.units()).unwrap_or(u32::MAX);
    let standing = |more_in| Standing {
        remaining: remaining.min(burst),
        more_in,
    };
    match verdict {
        LeaseVerdict::Admitted(mark) => {
            let more_in = (remaining < burst).then_some(unit);
            let decision = Decision::made(Verdict::Admitted, standing(more_in), (cost, now));
            Shared::Decided(decision, Some(mark))
        }
        LeaseVerdict::Refused { retry_in } => {
            let retry_in = Some(retry_in.unwrap_or(SOON)).filter(|_| cost <= burst);
            let verdict = Verdict::Refused { retry_in };
            Shared::Decided(Decision::made(verdict, standing(retry_in), (0, now)), None)
        }
    }
}

fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panics with it has changed one key at most.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
