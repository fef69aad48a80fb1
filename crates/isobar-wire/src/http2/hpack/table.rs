//! What has been put into a table that both sides keep? Knows what entries count for and which have to go, and not what they mean.
//!
//! The bytes of all entries are in one buffer, the oldest in front. Those that have gone leave a gap there, which is closed when a new
//! entry would not fit in behind. Nothing is allocated before the first entry.
//!
//! *Source*: RFC 7541 sections 2.3.2 and 4.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::ENTRY_OVERHEAD;

/// Bytes of a gap that is worth closing instead of growing. A buffer is not longer than its table, and this.
const GAP: usize = 1_024;

/// What there is room for at first: the bytes of a few fields, and the entries of a usual message.
const FIRST_BYTES: usize = 512;
const FIRST_ENTRIES: usize = 16;

/// A dynamic table, whose entries have a note each that only one side sees.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// The oldest first.
    entries: VecDeque<Slot<T>>,
    bytes: Vec<u8>,
    /// What the first byte of `bytes` is counted as. Counts wrap around.
    base: u32,
    /// What the entries count for together.
    size: u32,
    limit: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot<T> {
    /// What its first byte is counted as.
    at: u32,
    name: u32,
    value: u32,
    note: T,
}

impl<T> Slot<T> {
    /// What it counts for. Less than the limit of the table, so that there is no overflow.
    fn size(&self) -> u32 {
        self.name + self.value + ENTRY_OVERHEAD
    }
}

/// An entry of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a, T> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) note: T,
}

impl<T: Copy> Table<T> {
    /// A table of at most so many bytes, as RFC 7541 counts them.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: Vec::new(),
            base: 0,
            size: 0,
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry that was put in before so many others.
    #[inline]
    pub(super) fn newest(&self, before: usize) -> Option<Entry<'_, T>> {
        let slot = self
            .entries
            .get(self.entries.len().checked_sub(before)?.checked_sub(1)?)?;
        let bytes = self.bytes.get(slot.at.wrapping_sub(self.base) as usize..)?;
        let (name, rest) = bytes.split_at_checked(slot.name as usize)?;
        Some(Entry {
            name,
            value: rest.get(..slot.value as usize)?,
            note: slot.note,
        })
    }

    /// Changes what fits in. The oldest entries go; all memory does when nothing fits in any more.
    pub(super) fn set_limit(&mut self, limit: u32) {
        if limit == 0 {
            *self = Self::new(0);
        }
        self.limit = limit;
        self.evict(0);
    }

    /// Puts an entry in, for which the oldest ones go. One that is larger than the table leaves it empty.
    ///
    /// *Cost*: a copy of its bytes, and now and then one of all others.
    pub(super) fn insert(&mut self, entry: Entry<'_, T>) {
        let (Ok(name), Ok(value)) = (u32::try_from(entry.name.len()), u32::try_from(entry.value.len())) else {
            return self.clear();
        };
        let overhead = name.saturating_add(ENTRY_OVERHEAD);
        let size = overhead.saturating_add(value);
        if size > self.limit {
            return self.clear();
        }
        self.evict(size);
        self.make_room(entry.name.len() + entry.value.len());
        #[expect(
            clippy::cast_possible_truncation,
            reason = "counts wrap around, and only differences are of use"
        )]
        let at = self.base.wrapping_add(self.bytes.len() as u32);
        self.bytes.extend_from_slice(entry.name);
        self.bytes.extend_from_slice(entry.value);
        if self.entries.capacity() == 0 {
            self.entries.reserve(FIRST_ENTRIES);
        }
        self.entries.push_back(Slot {
            at,
            name,
            value,
            note: entry.note,
        });
        self.size += size;
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.size = 0;
    }

    /// Takes out the oldest entries until one that counts for `size` fits in, which is not more than the limit.
    fn evict(&mut self, size: u32) {
        while self.size > self.limit - size {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.size -= oldest.size();
        }
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    /// Sees to it that so many bytes fit in behind the last entry.
    fn make_room(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() >= more {
            return;
        }
        let gap = match self.entries.front() {
            Some(oldest) => oldest.at.wrapping_sub(self.base),
            None => 0,
        };
        if gap as usize >= GAP.min(self.bytes.len() / 2) {
            self.bytes.drain(..gap as usize);
            self.base = self.base.wrapping_add(gap);
        }
        if self.bytes.capacity() - self.bytes.len() < more {
            self.grow(more);
        }
    }

    /// Doubles the buffer, but to no more than the table and the gap can fill.
    #[cold]
    fn grow(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        let most = self.limit as usize + GAP;
        let wanted = (self.bytes.capacity() * 2)
            .max(needed)
            .max(FIRST_BYTES)
            .min(most.max(needed));
        self.bytes.reserve_exact(wanted - self.bytes.len());
    }
}
