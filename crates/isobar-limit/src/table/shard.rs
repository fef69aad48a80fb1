//! Where in a part of the table is a key?
//!
//! A shard has buckets of eight entries, and a key may stand in either of two of them; mostly it stands where it would like to. One lock is
//! held for as long as a key is looked at; everything in here is read and written under it.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isobar_balance::Moment;

use crate::algorithm::State;
use crate::key::scramble;
use crate::memory::{Advise, filled};

/// Entries of a bucket.
pub(super) const WAYS: usize = 8;

/// Times that a lock is tried before the thread lets others run.
const SPINS: u32 = 100;

/// Entries of a bucket that are tried to be moved.
const MOVES: usize = 4;

/// The bits of a tag that say which entry of its bucket it would like to have: neither those by which a shard is found nor those by which
/// a bucket is.
const FAVOURITE_SHIFT: u32 = 24;

/// Nobody.
const EMPTY: u64 = 0;

/// All of one key, on one cache line.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Slot {
    tag: AtomicU64,
    note: AtomicU64,
    state: [AtomicU64; 2],
}

/// Eight entries, in four cache lines of one page. None of them is known to be the right one until it is read, so the processor
/// fetches them side by side.
#[derive(Debug, Default)]
#[repr(align(256))]
struct Bucket([Slot; WAYS]);

/// The parts of a table, which lie in memory one after the other.
#[derive(Debug)]
pub(super) struct Shards {
    locks: Box<[Lock]>,
    buckets: Box<[Bucket]>,
    /// Buckets of a shard: a power of two.
    each: usize,
    /// The times of logs: a row for each entry of the buckets, one after the other.
    times: Box<[AtomicU64]>,
    /// The length of a row.
    row: usize,
}

/// On lines of its own, so that nobody waits who asks in another shard.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lock(AtomicBool);

/// What is known of an entry besides its state, in one word: when it is as good as none, in ticks; how often it was
/// asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    /// In ticks from the origin; up to 2^40 - 1, which is never.
    expires: u64,
    /// What it was asked for; [`MOST_ASKED`] where it was more.
    pub(super) asked: u64,
    /// It stays until it expires.
    pub(super) established: bool,
}

/// 2^20 ns, about a millisecond.
const TICK_SHIFT: u32 = 20;
const NEVER: u64 = (1 << 40) - 1;
pub(super) const MOST_ASKED: u64 = (1 << 23) - 1;

impl Note {
    /// An entry that is as good as none from a moment on.
    pub(super) const fn new(fresh_from: Moment, asked: u64) -> Self {
        let tick = (fresh_from.nanoseconds() >> TICK_SHIFT) + 1;
        Self {
            expires: if tick < NEVER { tick } else { NEVER },
            asked: if asked < MOST_ASKED { asked } else { MOST_ASKED },
            established: false,
        }
    }

    const fn of(bits: u64) -> Self {
        Self {
            expires: bits >> 24,
            asked: bits >> 1 & MOST_ASKED,
            established: bits & 1 == 1,
        }
    }

    const fn bits(self) -> u64 {
        self.expires << 24 | self.asked << 1 | self.established as u64
    }

    pub(super) const fn is_over(self, now: Moment) -> bool {
        self.expires < NEVER && now.nanoseconds() >> TICK_SHIFT >= self.expires
    }

    pub(super) const fn is_for_ever(self) -> bool {
        self.expires == NEVER
    }
}

/// A shard whose lock is held.
pub(super) struct Held<'a> {
    lock: &'a Lock,
    buckets: &'a [Bucket],
    times: &'a [AtomicU64],
    row: usize,
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    bucket: usize,
    way: usize,
}

impl Shards {
    /// So many shards of so many buckets, with a row of so many times for each entry.
    pub(super) fn new((shards, each): (usize, usize), row: usize, advise: Advise) -> Self {
        debug_assert!(each.is_power_of_two(), "the other bucket is found by a mask");
        let buckets = shards * each;
        Self {
            locks: (0..shards).map(|_| Lock::default()).collect(),
            buckets: filled(buckets, advise),
            each,
            times: filled(buckets * WAYS * row, advise),
            row,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.locks) + size_of_val(&*self.buckets) + size_of_val(&*self.times)
    }

    pub(super) const fn len(&self) -> usize {
        self.locks.len()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.buckets.len() * WAYS
    }

    /// Takes the lock of a shard, of which there are so many. `relax` lets another thread run, for the case that the one that holds
    /// the lock was stopped.
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "there are as many buckets, and rows, as the shards have together"
    )]
    pub(super) fn hold(&self, shard: usize, relax: fn()) -> Held<'_> {
        let rows = self.each * WAYS * self.row;
        let lock = &self.locks[shard];
        lock.take(relax);
        Held {
            lock,
            buckets: &self.buckets[shard * self.each..][..self.each],
            times: &self.times[shard * rows..][..rows],
            row: self.row,
        }
    }
}

impl Lock {
    #[inline]
    fn take(&self, relax: fn()) {
        let Self(taken) = self;
        let mut spins = 0;
        while taken
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            while taken.load(Ordering::Relaxed) {
                spins += 1;
                if spins % SPINS == 0 {
                    relax();
                } else {
                    core::hint::spin_loop();
                }
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.lock.0.store(false, Ordering::Release);
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "a bucket is below the mask of their number, a way below eight, and there is a row for each"
)]
impl Held<'_> {
    /// The entry of a tag.
    #[inline]
    pub(super) fn find(&self, tag: u64) -> Option<Place> {
        let favourite = favourite(tag, self.buckets.len());
        if self.tag(favourite) == tag {
            return Some(favourite);
        }
        let mut all = self.homes(tag).into_iter().flat_map(places);
        all.find(|place| self.tag(*place) == tag)
    }

    /// A place for a tag that is not there: empty, expired, or emptied by moving its entry to its other bucket.
    pub(super) fn room(&self, tag: u64, now: Moment) -> Option<Place> {
        // Who stands there is found at the first look.
        let favourite = favourite(tag, self.buckets.len());
        if self.is_free(favourite, now) {
            return Some(favourite);
        }
        let homes = self.homes(tag);
        let free = homes.into_iter().find_map(|bucket| self.free(bucket, now));
        free.or_else(|| self.make_room(homes, now))
    }

    /// The entry on probation that asked for least.
    pub(super) fn least_on_probation(&self, tag: u64) -> Option<(Place, Note)> {
        let places = self.homes(tag).into_iter().flat_map(places);
        let notes = places.map(|place| (place, self.note(place)));
        let on_probation = notes.filter(|(_, note)| !note.established && !note.is_for_ever());
        on_probation.min_by_key(|(_, note)| note.asked)
    }

    /// The first free place of a bucket.
    fn free(&self, bucket: usize, now: Moment) -> Option<Place> {
        places(bucket).find(|place| self.is_free(*place, now))
    }

    fn is_free(&self, place: Place, now: Moment) -> bool {
        self.tag(place) == EMPTY || self.note(place).is_over(now)
    }

    /// Moves one of a few entries to its other bucket. A table that is full beyond what was promised would be searched in vain
    /// at every new key, so not all of them are tried.
    fn make_room(&self, homes: [usize; 2], now: Moment) -> Option<Place> {
        homes
            .into_iter()
            .flat_map(|home| places(home).take(MOVES))
            .find(|&place| {
                let tag = self.tag(place);
                let other = self.other(place.bucket, tag);
                let to = self.free(other, now).filter(|_| other != place.bucket);
                if let Some(to) = to {
                    self.write(to, tag, self.note(place), self.state(place));
                    for (from, to) in self.row(place).iter().zip(self.row(to)) {
                        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
                    }
                    self.clear(place);
                }
                to.is_some()
            })
    }

    fn slot(&self, place: Place) -> &Slot {
        &self.buckets[place.bucket].0[place.way]
    }

    pub(super) fn tag(&self, place: Place) -> u64 {
        self.slot(place).tag.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, place: Place) -> Note {
        Note::of(self.slot(place).note.load(Ordering::Relaxed))
    }

    pub(super) fn state(&self, place: Place) -> State {
        let [first, second] = &self.slot(place).state;
        [first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)]
    }

    /// The times of an entry's log; none where the table keeps no logs.
    pub(super) fn row(&self, place: Place) -> &[AtomicU64] {
        let begin = (place.bucket * WAYS + place.way) * self.row;
        &self.times[begin..begin + self.row]
    }

    pub(super) fn write(&self, place: Place, tag: u64, note: Note, state: State) {
        let slot = self.slot(place);
        slot.tag.store(tag, Ordering::Relaxed);
        slot.note.store(note.bits(), Ordering::Relaxed);
        let [first, second] = &slot.state;
        first.store(state[0], Ordering::Relaxed);
        second.store(state[1], Ordering::Relaxed);
    }

    pub(super) fn clear(&self, place: Place) {
        self.slot(place).tag.store(EMPTY, Ordering::Relaxed);
    }

    /// Entries that are not over.
    pub(super) fn live(&self, now: Moment) -> usize {
        let all = (0..self.buckets.len()).flat_map(places);
        all.filter(|place| !self.is_free(*place, now)).count()
    }

    fn homes(&self, tag: u64) -> [usize; 2] {
        let first = favourite(tag, self.buckets.len()).bucket;
        [first, self.other(first, tag)]
    }

    /// The other bucket of an entry: from either, the same difference leads to the other.
    #[expect(clippy::cast_possible_truncation, reason = "bits below the mask are wanted")]
    const fn other(&self, bucket: usize, tag: u64) -> usize {
        let mask = self.buckets.len() - 1;
        bucket ^ ((scramble(tag) as usize | 1) & mask)
    }
}

/// Where a tag stands if the place is free when it comes, in a shard of so many buckets.
#[expect(clippy::cast_possible_truncation, reason = "bits below the masks are wanted")]
const fn favourite(tag: u64, buckets: usize) -> Place {
    Place {
        bucket: tag as usize & (buckets - 1),
        way: (tag >> FAVOURITE_SHIFT) as usize & (WAYS - 1),
    }
}

fn places(bucket: usize) -> impl Iterator<Item = Place> {
    (0..WAYS).map(move |way| Place { bucket, way })
}
