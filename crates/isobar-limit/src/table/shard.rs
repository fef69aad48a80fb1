//! Where in a part of the table is a key?
//!
//! A shard has buckets of eight entries, and a key may stand in either of two of them; mostly it stands where it would like to. One lock is
//! held for as long as a key is looked at; everything in here is read and written under it.

use alloc::boxed::Box;
use core::hint::black_box;
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

/// Words of a cache line.
const LINE: usize = 8;

/// Nobody.
const EMPTY: u64 = 0;

/// Words of an entry without a log: its tag, its note, its state.
const WORDS: usize = 4;

/// The parts of a table, which lie in memory one after the other: shards, of those buckets, of those entries.
#[derive(Debug)]
pub(super) struct Shards {
    locks: Box<[Lock]>,
    /// All that is known of a key is in one place, so that memory is waited for once: without a log on half of a cache line.
    words: Box<[AtomicU64]>,
    /// Words before the first entry, which begins a cache line.
    unused: usize,
    /// Buckets of a shard: a power of two.
    each: usize,
    /// Words of an entry: those of every one, and the times of its log.
    entry: usize,
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
    words: &'a [AtomicU64],
    buckets: usize,
    entry: usize,
}

/// An entry; there is one only while the lock of its shard is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    slot: &'a [AtomicU64; WORDS],
    row: &'a [AtomicU64],
}

impl Shards {
    /// So many shards of so many buckets, with a row of so many times for each entry.
    pub(super) fn new((shards, each): (usize, usize), row: usize, advise: Advise) -> Self {
        debug_assert!(each.is_power_of_two(), "the other bucket is found by a mask");
        let entry = WORDS + row;
        let words: Box<[AtomicU64]> = filled(shards * each * WAYS * entry + LINE, advise);
        Self {
            locks: (0..shards).map(|_| Lock::default()).collect(),
            unused: words.as_ptr().align_offset(LINE * size_of::<AtomicU64>()).min(LINE),
            words,
            each,
            entry,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.locks) + size_of_val(&*self.words)
    }

    pub(super) const fn len(&self) -> usize {
        self.locks.len()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.locks.len() * self.each * WAYS
    }

    /// Takes the lock of a shard, of which there are so many. `relax` lets another thread run, for the case that the one that holds
    /// the lock was stopped.
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "there are as many words as the shards have together"
    )]
    pub(super) fn hold(&self, shard: usize, relax: fn()) -> Held<'_> {
        let words = self.each * WAYS * self.entry;
        let lock = &self.locks[shard];
        lock.take(relax);
        Held {
            lock,
            words: &self.words[self.unused + shard * words..][..words],
            buckets: self.each,
            entry: self.entry,
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

impl Held<'_> {
    /// The entry of a tag.
    #[inline]
    pub(super) fn find(&self, tag: u64) -> Option<Place<'_>> {
        let index = self.homes(tag).find(|index| self.tag(*index) == tag)?;
        Some(self.place(index))
    }

    /// A place for a tag that is not there: empty, expired, or emptied by moving its entry to its other bucket.
    pub(super) fn room(&self, tag: u64, now: Moment) -> Option<Place<'_>> {
        let free = self.free(self.homes(tag), now);
        free.or_else(|| self.make_room(tag, now))
    }

    /// The entry on probation that asked for least.
    pub(super) fn least_on_probation(&self, tag: u64) -> Option<(Place<'_>, Note)> {
        let places = self.homes(tag).map(|index| self.place(index));
        let notes = places.map(|place| (place, place.note()));
        let on_probation = notes.filter(|(_, note)| !note.established && !note.is_for_ever());
        on_probation.min_by_key(|(_, note)| note.asked)
    }

    /// Moves one of a few entries to its other bucket. A table that is full beyond what was promised would be searched in vain
    /// at every new key, so not all of them are tried.
    fn make_room(&self, tag: u64, now: Moment) -> Option<Place<'_>> {
        let mut tried = self.homes(tag).filter(|index| index % WAYS < MOVES);
        tried.find_map(|index| {
            let (place, home) = (self.place(index), index / WAYS);
            let other = self.other(home, place.tag());
            let to = self.free(ways(other, place.tag()), now).filter(|_| other != home)?;
            to.write(place.tag(), place.note(), place.state());
            for (from, to) in place.row.iter().zip(to.row) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            place.clear();
            Some(place)
        })
    }

    /// The first free one of some entries.
    fn free(&self, mut among: impl Iterator<Item = usize>, now: Moment) -> Option<Place<'_>> {
        let index = among.find(|index| self.place(*index).is_free(now))?;
        Some(self.place(index))
    }

    /// Begins to read the two entries that a tag would like to have most, with the first times of their logs. Which of them it is only
    /// the memory knows, which so is waited for once.
    #[inline]
    pub(super) fn read_ahead(&self, tag: u64) {
        for index in self.homes(tag).take(2) {
            let begin = index * self.entry;
            for word in [begin, begin + LINE] {
                if let Some(word) = self.words.get(word) {
                    black_box(word.load(Ordering::Relaxed));
                }
            }
        }
    }

    /// Entries that are not over.
    pub(super) fn live(&self, now: Moment) -> usize {
        let all = (0..self.buckets * WAYS).map(|index| self.place(index));
        all.filter(|place| !place.is_free(now)).count()
    }

    /// Where a tag may stand, in the order in which it would like to.
    #[inline]
    fn homes(&self, tag: u64) -> impl Iterator<Item = usize> + use<> {
        let first = self.home(tag);
        ways(first, tag).chain(ways(self.other(first, tag), tag))
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "there are as many entries as are counted")]
    fn tag(&self, index: usize) -> u64 {
        self.words[index * self.entry].load(Ordering::Relaxed)
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "there are as many entries as are counted")]
    fn place(&self, index: usize) -> Place<'_> {
        let entry = &self.words[index * self.entry..][..self.entry];
        let (slot, row) = entry.split_first_chunk().expect("an entry has four words at least");
        Place { slot, row }
    }

    #[expect(clippy::cast_possible_truncation, reason = "bits below the mask are wanted")]
    const fn home(&self, tag: u64) -> usize {
        tag as usize & (self.buckets - 1)
    }

    /// The other bucket of an entry: from either, the same difference leads to the other.
    #[expect(clippy::cast_possible_truncation, reason = "bits below the mask are wanted")]
    const fn other(&self, bucket: usize, tag: u64) -> usize {
        let mask = self.buckets - 1;
        bucket ^ ((scramble(tag) as usize | 1) & mask)
    }
}

impl<'a> Place<'a> {
    pub(super) fn tag(self) -> u64 {
        let [tag, ..] = self.slot;
        tag.load(Ordering::Relaxed)
    }

    pub(super) fn note(self) -> Note {
        let [_, note, ..] = self.slot;
        Note::of(note.load(Ordering::Relaxed))
    }

    pub(super) fn state(self) -> State {
        let [_, _, first, second] = self.slot;
        [first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)]
    }

    /// The times of its log; none where the table keeps no logs.
    pub(super) const fn row(self) -> &'a [AtomicU64] {
        self.row
    }

    pub(super) fn write(self, tag: u64, note: Note, state: State) {
        for (word, value) in self.slot.iter().zip([tag, note.bits(), state[0], state[1]]) {
            word.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(self) {
        let [tag, ..] = self.slot;
        tag.store(EMPTY, Ordering::Relaxed);
    }

    fn is_free(self, now: Moment) -> bool {
        self.tag() == EMPTY || self.note().is_over(now)
    }
}

/// The entries of a bucket, from a tag's favourite on: then the one on its cache line, then those on the line beside it, and so on.
#[inline]
fn ways(bucket: usize, tag: u64) -> impl Iterator<Item = usize> {
    let favourite = (tag >> FAVOURITE_SHIFT) as usize & (WAYS - 1);
    (0..WAYS).map(move |step| bucket * WAYS + (favourite ^ step))
}
