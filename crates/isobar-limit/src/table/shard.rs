//! Where in a part of the table is a key?
//!
//! A shard has buckets of eight entries, and a key may stand in either of two of them. One lock is held for as long as a
//! key is looked at; everything in here is read and written under it.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isobar_balance::Moment;

use crate::algorithm::State;
use crate::key::scramble;

/// Entries of a bucket: their tags are one cache line.
pub(super) const WAYS: usize = 8;

/// Times that a lock is tried before the thread lets others run.
const SPINS: u32 = 100;

/// Entries of a bucket that are tried to be moved.
const MOVES: usize = 4;

/// Nobody.
const EMPTY: u64 = 0;

/// Eight entries, in four cache lines of one page: a key that is there costs three of them, of which two are neighbours that
/// are fetched together.
#[derive(Debug, Default)]
#[repr(align(256))]
struct Bucket {
    tags: [AtomicU64; WAYS],
    notes: [AtomicU64; WAYS],
    states: [[AtomicU64; 2]; WAYS],
}

/// A part of the table.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Shard {
    locked: AtomicBool,
    /// A power of two of them.
    buckets: Box<[Bucket]>,
    /// The times of logs: a row for each entry of the buckets, one after the other.
    times: Box<[AtomicU64]>,
    /// The length of a row.
    row: usize,
}

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
    shard: &'a Shard,
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    bucket: usize,
    way: usize,
}

impl Shard {
    /// So many buckets, with a row of so many times for each of their entries.
    pub(super) fn new(buckets: usize, row: usize) -> Self {
        debug_assert!(buckets.is_power_of_two(), "the other bucket is found by a mask");
        Self {
            locked: AtomicBool::new(false),
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            times: (0..buckets * WAYS * row).map(|_| AtomicU64::new(0)).collect(),
            row,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.buckets) + size_of_val(&*self.times)
    }

    pub(super) const fn capacity(&self) -> usize {
        self.buckets.len() * WAYS
    }

    /// Takes the lock. `relax` lets another thread run, for the case that the one that holds the lock was stopped.
    pub(super) fn hold(&self, relax: fn()) -> Held<'_> {
        let mut spins = 0;
        while self
            .locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            while self.locked.load(Ordering::Relaxed) {
                spins += 1;
                if spins % SPINS == 0 {
                    relax();
                } else {
                    core::hint::spin_loop();
                }
            }
        }
        Held { shard: self }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shard.locked.store(false, Ordering::Release);
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "a bucket is below the mask of their number, a way below eight, and there is a row for each"
)]
impl Held<'_> {
    /// The entry of a tag.
    pub(super) fn find(&self, tag: u64) -> Option<Place> {
        self.homes(tag).into_iter().find_map(|bucket| {
            let tags = &self.shard.buckets[bucket].tags;
            let way = tags.iter().position(|it| it.load(Ordering::Relaxed) == tag)?;
            Some(Place { bucket, way })
        })
    }

    /// A place for a tag that is not there: empty, expired, or emptied by moving its entry to its other bucket.
    pub(super) fn room(&self, tag: u64, now: Moment) -> Option<Place> {
        // The first one if possible: who is looked for is then found at the first look.
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

    pub(super) fn tag(&self, place: Place) -> u64 {
        self.shard.buckets[place.bucket].tags[place.way].load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, place: Place) -> Note {
        Note::of(self.shard.buckets[place.bucket].notes[place.way].load(Ordering::Relaxed))
    }

    pub(super) fn state(&self, place: Place) -> State {
        let [first, second] = &self.shard.buckets[place.bucket].states[place.way];
        [first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)]
    }

    /// The times of an entry's log; none where the table keeps no logs.
    pub(super) fn row(&self, place: Place) -> &[AtomicU64] {
        let begin = (place.bucket * WAYS + place.way) * self.shard.row;
        &self.shard.times[begin..begin + self.shard.row]
    }

    pub(super) fn write(&self, place: Place, tag: u64, note: Note, state: State) {
        let bucket = &self.shard.buckets[place.bucket];
        bucket.tags[place.way].store(tag, Ordering::Relaxed);
        bucket.notes[place.way].store(note.bits(), Ordering::Relaxed);
        let [first, second] = &bucket.states[place.way];
        first.store(state[0], Ordering::Relaxed);
        second.store(state[1], Ordering::Relaxed);
    }

    pub(super) fn clear(&self, place: Place) {
        self.shard.buckets[place.bucket].tags[place.way].store(EMPTY, Ordering::Relaxed);
    }

    /// Entries that are not over.
    pub(super) fn live(&self, now: Moment) -> usize {
        let all = (0..self.shard.buckets.len()).flat_map(places);
        all.filter(|place| !self.is_free(*place, now)).count()
    }

    #[expect(clippy::cast_possible_truncation, reason = "bits below the mask are wanted")]
    fn homes(&self, tag: u64) -> [usize; 2] {
        let first = tag as usize & (self.shard.buckets.len() - 1);
        [first, self.other(first, tag)]
    }

    /// The other bucket of an entry: from either, the same difference leads to the other.
    #[expect(clippy::cast_possible_truncation, reason = "bits below the mask are wanted")]
    const fn other(&self, bucket: usize, tag: u64) -> usize {
        let mask = self.shard.buckets.len() - 1;
        bucket ^ ((scramble(tag) as usize | 1) & mask)
    }
}

fn places(bucket: usize) -> impl Iterator<Item = Place> {
    (0..WAYS).map(move |way| Place { bucket, way })
}
