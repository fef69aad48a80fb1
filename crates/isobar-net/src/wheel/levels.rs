//! Which timers are due at a tick?
//!
//! The wheel as an algorithm: four levels of 64 slots, after Varghese and Lauck, "Hashed and Hierarchical Timing Wheels"
//! (1987). It knows ticks and entries in a slab; it knows no clock, no task and no connection, and carries a payload it
//! never looks at.
//!
//! A slot of level *k* stands for 64^*k* ticks and is opened when the first of them comes. What is in it is due by then,
//! or goes down to a finer level, or back up because its deadline has moved meanwhile. That last way is what makes moving a
//! deadline to a later time a plain store.

use std::mem;

const SLOT_BITS: u32 = 6;
const SLOTS: u32 = 1 << SLOT_BITS;
const LEVELS: u32 = 4;
/// The list of entries that are due and not yet taken, beside the slots.
const DUE_LIST: u32 = LEVELS * SLOTS;
/// The list an entry is in when it is in none.
const NO_LIST: u32 = u32::MAX;
/// The end of a list.
const NIL: u32 = u32::MAX;
/// The deadline of an entry that has none.
const NEVER: u64 = u64::MAX;
/// How far ahead a slot can be; what is later waits there and is put back when it comes up. Some nine days at 50 ms.
const HORIZON: u64 = (SLOTS as u64 - 1) << (SLOT_BITS * (LEVELS - 1));

/// Names an entry from [`Levels::insert`] to [`Levels::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u32);

/// The wheel.
#[derive(Debug)]
pub(super) struct Levels<P> {
    /// The tick up to which everything has been handled.
    tick: u64,
    entries: Vec<Entry<P>>,
    /// The first unused entry; they are linked by `next`.
    free: u32,
    /// The first entry of every slot, level by level, and of the due list.
    heads: [u32; DUE_LIST as usize + 1],
    /// Per level, the slots that have entries.
    occupied: [u64; LEVELS as usize],
}

#[derive(Debug)]
struct Entry<P> {
    payload: P,
    /// The tick at which it is due, or [`NEVER`].
    deadline: u64,
    /// The tick at which the slot it is in opens; at most `deadline` while it is in one.
    opens: u64,
    next: u32,
    previous: u32,
    list: u32,
    expired: bool,
}

impl<P: Default> Levels<P> {
    /// An empty wheel at tick 0.
    pub(super) fn new() -> Self {
        let heads = [NIL; DUE_LIST as usize + 1];
        Self {
            tick: 0,
            entries: Vec::new(),
            free: NIL,
            heads,
            occupied: [0; LEVELS as usize],
        }
    }

    /// Adds an entry without a deadline. *Cost*: none where one was removed before, otherwise room in the slab.
    pub(super) fn insert(&mut self) -> Id {
        let payload = P::default();
        let fresh = Entry {
            payload,
            deadline: NEVER,
            opens: 0,
            next: NIL,
            previous: NIL,
            list: NO_LIST,
            expired: false,
        };
        if self.free == NIL {
            let id = u32::try_from(self.entries.len()).expect("four billion timers do not fit into memory");
            self.entries.push(fresh);
            return Id(id);
        }
        let id = self.free;
        let entry = self.entry_mut(id);
        let next = entry.next;
        *entry = fresh;
        self.free = next;
        Id(id)
    }

    /// Removes an entry and gives its payload back. *Cost*: O(1).
    pub(super) fn remove(&mut self, id: Id) -> P {
        self.unlink(id.0);
        let free = self.free;
        let entry = self.entry_mut(id.0);
        entry.next = free;
        let payload = mem::take(&mut entry.payload);
        self.free = id.0;
        payload
    }

    /// Gives an entry a deadline, the next tick at the earliest, in place of the one it had.
    ///
    /// Returns the tick at which its slot opens.
    ///
    /// *Cost*: O(1); a store where the entry is in a slot that opens early enough.
    pub(super) fn set(&mut self, id: Id, deadline: u64) -> u64 {
        let deadline = deadline.max(self.tick + 1);
        let entry = self.entry_mut(id.0);
        entry.deadline = deadline;
        entry.expired = false;
        if entry.list < DUE_LIST && entry.opens <= deadline {
            return entry.opens;
        }
        self.unlink(id.0);
        self.link_by_deadline(id.0);
        self.entry(id.0).opens
    }

    /// Takes an entry's deadline away. It may stay in its slot until that opens. *Cost*: O(1).
    pub(super) fn clear(&mut self, id: Id) {
        let entry = self.entry_mut(id.0);
        entry.deadline = NEVER;
        entry.expired = false;
        if entry.list == DUE_LIST {
            self.unlink(id.0);
        }
    }

    /// Whether the deadline of an entry has passed and it was given no other since.
    pub(super) fn is_expired(&self, id: Id) -> bool {
        self.entry(id.0).expired
    }

    /// What the entry carries.
    pub(super) fn payload_mut(&mut self, id: Id) -> &mut P {
        &mut self.entry_mut(id.0).payload
    }

    /// The tick at which [`advance_to`](Self::advance_to) has something to do; none while no entry waits.
    pub(super) fn next_tick(&self) -> Option<u64> {
        (0..LEVELS).filter_map(|level| self.next_tick_of(level)).min()
    }

    /// Handles everything up to a tick. What became due waits for [`pop_due`](Self::pop_due).
    ///
    /// *Cost*: O(entries in the slots that open), however far the tick is.
    pub(super) fn advance_to(&mut self, tick: u64) {
        while let Some(next) = self.next_tick().filter(|&next| next <= tick) {
            self.tick = next;
            self.open_slots();
        }
        self.tick = self.tick.max(tick);
    }

    /// Takes the next entry that became due and lends its payload; the entry stays expired until it is set again.
    pub(super) fn pop_due(&mut self) -> Option<&mut P> {
        let id = self.heads[DUE_LIST as usize];
        if id == NIL {
            return None;
        }
        self.unlink(id);
        Some(&mut self.entry_mut(id).payload)
    }

    fn next_tick_of(&self, level: u32) -> Option<u64> {
        let shift = SLOT_BITS * level;
        let position = self.tick >> shift;
        // The current slot of a level is empty, because it was emptied when it opened: the first bit stands for the next one.
        let ahead = self.occupied[level as usize].rotate_right(slot_of(position + 1));
        (ahead != 0).then(|| (position + 1 + u64::from(ahead.trailing_zeros())) << shift)
    }

    /// Opens the slots that begin with the current tick, coarse ones first because they may fill finer ones.
    fn open_slots(&mut self) {
        for level in (0..LEVELS).rev() {
            let shift = SLOT_BITS * level;
            if self.tick & ((1 << shift) - 1) != 0 {
                continue;
            }
            let list = list_of(level, self.tick >> shift);
            loop {
                let id = self.heads[list as usize];
                if id == NIL {
                    break;
                }
                self.unlink(id);
                self.link_by_deadline(id);
            }
        }
    }

    /// Puts an entry that is in no list where its deadline says.
    fn link_by_deadline(&mut self, id: u32) {
        let deadline = self.entry(id).deadline;
        if deadline == NEVER {
            return;
        }
        if deadline <= self.tick {
            self.entry_mut(id).expired = true;
            self.link(id, DUE_LIST, self.tick);
            return;
        }
        let place = deadline.min(self.tick + HORIZON);
        // The coarsest level at which the two ticks are in different slots.
        let differing = u64::BITS - 1 - (place ^ self.tick).leading_zeros();
        let level = (differing / SLOT_BITS).min(LEVELS - 1);
        let shift = SLOT_BITS * level;
        self.link(id, list_of(level, place >> shift), place >> shift << shift);
    }

    fn link(&mut self, id: u32, list: u32, opens: u64) {
        let next = self.heads[list as usize];
        let entry = self.entry_mut(id);
        (entry.list, entry.opens, entry.next, entry.previous) = (list, opens, next, NIL);
        if next != NIL {
            self.entry_mut(next).previous = id;
        }
        self.heads[list as usize] = id;
        if list != DUE_LIST {
            self.occupied[(list / SLOTS) as usize] |= 1 << (list % SLOTS);
        }
    }

    fn unlink(&mut self, id: u32) {
        let entry = self.entry_mut(id);
        let (list, next, previous) = (entry.list, entry.next, entry.previous);
        if list == NO_LIST {
            return;
        }
        entry.list = NO_LIST;
        if next != NIL {
            self.entry_mut(next).previous = previous;
        }
        if previous != NIL {
            self.entry_mut(previous).next = next;
            return;
        }
        self.heads[list as usize] = next;
        if next == NIL && list != DUE_LIST {
            self.occupied[(list / SLOTS) as usize] &= !(1 << (list % SLOTS));
        }
    }

    fn entry(&self, id: u32) -> &Entry<P> {
        &self.entries[id as usize]
    }

    fn entry_mut(&mut self, id: u32) -> &mut Entry<P> {
        &mut self.entries[id as usize]
    }
}

/// The list of a level's slot at a position; positions past the last slot start over.
fn list_of(level: u32, position: u64) -> u32 {
    level * SLOTS + slot_of(position)
}

fn slot_of(position: u64) -> u32 {
    const LOW_BITS: u64 = SLOTS as u64 - 1;
    (position & LOW_BITS) as u32
}

#[cfg(test)]
mod tests;
