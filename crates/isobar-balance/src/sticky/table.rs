//! To which server does a session belong that is known by what others made up?
//!
//! A table of fixed size, shared by all workers without a lock. A session is known by a hash of it, which decides about the
//! bucket it may stand in; where that is full, the session of the bucket that was asked for longest ago makes room. So
//! neither memory nor the time for a look depends on how many sessions somebody makes up.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::Moment;
use crate::mix::below;

/// Sessions of a bucket. The more there are, the fuller the table is before one has to make room: with 16, and three
/// quarters as many sessions as fit, one in fifty has no room (the mean excess of a Poisson distribution; a test counts).
const WAYS: usize = 16;

/// Nobody is there.
const EMPTY: u64 = 0;

/// Somebody is just being written down.
const BUSY: u64 = u64::MAX;

/// Times that a place in a bucket is taken by somebody else first, after which a session is not remembered.
const MAX_LOST_RACES: usize = 4;

/// When a session is asked for, and for how long it is remembered after that.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// When it is asked for.
    pub now: Moment,
    /// How long a session is remembered that nobody asks for; the precision is a second.
    pub ttl: Duration,
}

/// What becomes of a session that has a server already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It keeps it.
    First,
    /// It moves.
    Latest,
}

/// What came of remembering a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is remembered.
    Remembered,
    /// It is, and another one that would still have been remembered is not.
    Evicted,
    /// It is not: others were written down in its bucket at the same time, again and again.
    Lost,
}

/// Sessions with their servers.
#[derive(Debug)]
pub struct SessionTable {
    /// Bucket by bucket.
    entries: Box<[Entry]>,
    ways: usize,
}

/// A session. Its value is [`EMPTY`], [`BUSY`], or a server above the second it was last asked for in.
///
/// Whoever makes the value `BUSY` owns the entry until it writes another value; the key changes in between only.
#[derive(Debug, Default)]
struct Entry {
    key: AtomicU64,
    value: AtomicU64,
}

impl Entry {
    /// Its value, if it is this session's.
    fn of(&self, key: u64) -> Option<u64> {
        if self.key.load(Ordering::Acquire) != key {
            return None;
        }
        let value = self.value.load(Ordering::Acquire);
        // Another session may have been written down between the two.
        (value != EMPTY && value != BUSY && self.key.load(Ordering::Acquire) == key).then_some(value)
    }

    /// Puts another value in place of one that was seen, unless it is no longer there.
    fn swap(&self, seen: u64, value: u64) -> bool {
        self.value
            .compare_exchange(seen, value, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

impl Visit {
    /// The present second, counted from 1 so that no value is `EMPTY`.
    fn second(self) -> u32 {
        let second = self.now.nanoseconds() / 1_000_000_000 + 1;
        u32::try_from(second).unwrap_or(u32::MAX)
    }

    fn is_over(self, value: u64) -> bool {
        let idle = self.second().saturating_sub(second_of(value));
        u64::from(idle) > self.ttl.as_secs()
    }

    /// The value of a server that is asked for now.
    fn value(self, server: u32) -> u64 {
        u64::from(server) << 32 | u64::from(self.second())
    }
}

fn server_of(value: u64) -> u32 {
    (value >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn second_of(value: u64) -> u32 {
    value as u32
}

impl SessionTable {
    /// The largest number that stands for a server.
    pub const MAX_SERVER: u32 = u32::MAX - 1;

    /// A table for at most this many sessions, and at least one; its memory, 16 bytes for each, is taken now.
    #[must_use]
    pub fn new(max_entries: u32) -> Self {
        let max_entries = (max_entries as usize).max(1);
        let ways = max_entries.min(WAYS);
        let entries = max_entries / ways * ways;
        Self {
            entries: (0..entries).map(|_| Entry::default()).collect(),
            ways,
        }
    }

    /// How many sessions fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// The server of a session, which counts as asked for now.
    ///
    /// *Cost*: 16 comparisons at most, and a write once a second at most; no allocation and no lock.
    #[must_use]
    pub fn find(&self, key: u64, visit: Visit) -> Option<u32> {
        let (entry, value) = self.entry(key)?;
        if visit.is_over(value) {
            return None;
        }
        let server = server_of(value);
        if second_of(value) < visit.second() {
            // Who comes first has written it for all.
            entry.swap(value, visit.value(server));
        }
        Some(server)
    }

    /// Remembers the server of a session.
    ///
    /// *Cost*: no allocation and no lock; two looks at the 16 sessions of a bucket.
    pub fn remember(&self, key: u64, server: u32, visit: Visit, keep: Keep) -> Kept {
        debug_assert!(
            server <= Self::MAX_SERVER,
            "it would look like a session just being written down"
        );
        let value = visit.value(server.min(Self::MAX_SERVER));
        for _ in 0..MAX_LOST_RACES {
            if let Some((entry, old)) = self.entry(key) {
                let stays = keep == Keep::First && !visit.is_over(old);
                // That another session got the entry, the same server and the same second meanwhile is not noticed: it
                // would be sent to this one's server. Two swaps within a microsecond on a full bucket: it is let be.
                if stays || entry.swap(old, value) {
                    return Kept::Remembered;
                }
                continue;
            }
            let Some((entry, old)) = self.room(key) else {
                return Kept::Lost;
            };
            if entry.swap(old, BUSY) {
                entry.key.store(key, Ordering::Release);
                entry.value.store(value, Ordering::Release);
                return if old == EMPTY || visit.is_over(old) {
                    Kept::Remembered
                } else {
                    Kept::Evicted
                };
            }
        }
        Kept::Lost
    }

    /// Forgets the sessions of servers that are no longer wanted.
    ///
    /// *Cost*: a look at everything.
    pub fn retain(&self, is_wanted: impl Fn(u32) -> bool) {
        for entry in &self.entries {
            let value = entry.value.load(Ordering::Acquire);
            if value != EMPTY && value != BUSY && !is_wanted(server_of(value)) {
                // One that has just moved to another server stays.
                entry.swap(value, EMPTY);
            }
        }
    }

    /// How many sessions are remembered.
    ///
    /// *Cost*: a look at everything.
    #[must_use]
    pub fn count(&self, visit: Visit) -> usize {
        let values = self.entries.iter().map(|entry| entry.value.load(Ordering::Relaxed));
        values
            .filter(|&value| value != EMPTY && value != BUSY && !visit.is_over(value))
            .count()
    }

    /// A table of another size with the same sessions, as far as they fit: the last ones asked for.
    #[must_use]
    pub fn resized(&self, max_entries: u32) -> Self {
        let next = Self::new(max_entries);
        for entry in &self.entries {
            let key = entry.key.load(Ordering::Acquire);
            let Some(value) = entry.of(key) else { continue };
            let visit = Visit {
                now: Moment::new(u64::from(second_of(value).saturating_sub(1)) * 1_000_000_000),
                ttl: Duration::MAX,
            };
            let is_newer = |(_, old): (&Entry, u64)| second_of(old) <= second_of(value);
            if next.room(key).is_some_and(is_newer) {
                next.remember(key, server_of(value), visit, Keep::Latest);
            }
        }
        next
    }

    fn bucket(&self, key: u64) -> &[Entry] {
        let buckets = self.entries.len() / self.ways;
        // It is below the number of buckets, which is a `usize`.
        let from = usize::try_from(below(key, buckets as u64)).unwrap_or(0) * self.ways;
        self.entries.get(from..from + self.ways).unwrap_or_default()
    }

    fn entry(&self, key: u64) -> Option<(&Entry, u64)> {
        self.bucket(key).iter().find_map(|entry| Some((entry, entry.of(key)?)))
    }

    /// Where a new session of this bucket goes: an empty entry, or the one that was asked for longest ago.
    fn room(&self, key: u64) -> Option<(&Entry, u64)> {
        let entries = self.bucket(key).iter();
        let values = entries.map(|entry| (entry, entry.value.load(Ordering::Acquire)));
        values
            .filter(|&(_, value)| value != BUSY)
            .min_by_key(|&(_, value)| second_of(value))
    }
}

#[cfg(test)]
mod tests;
