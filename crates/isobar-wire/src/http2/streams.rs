//! Which streams are there? Finds them by number and by key, and remembers some that are gone.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::stream::Stream;

/// A stream, for as long as its holder has not closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    slot: u32,
    id: u32,
}

impl StreamKey {
    /// A small number, which another stream may have later.
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// Its number on its connection.
    #[must_use]
    pub fn id(self) -> u32 {
        self.id
    }
}

/// The streams of a connection that somebody holds.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Option<Stream>>,
    free: Vec<u32>,
    /// Those that are there, by number.
    order: Vec<StreamKey>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Takes in a stream. Its number is larger than those of all before it.
    pub(super) fn insert(&mut self, stream: Stream) -> StreamKey {
        let id = stream.id;
        let slot = if let Some(slot) = self.free.pop() {
            if let Some(free) = self.slots.get_mut(slot as usize) {
                *free = Some(stream);
            }
            slot
        } else {
            self.slots.push(Some(stream));
            // As many as there may be streams at once.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        };
        let key = StreamKey { slot, id };
        self.order.push(key);
        key
    }

    pub(super) fn find(&self, id: u32) -> Option<StreamKey> {
        // The newest is asked for most.
        if let Some(last) = self.order.last().filter(|last| last.id <= id) {
            return (last.id == id).then_some(*last);
        }
        let at = self.order.binary_search_by_key(&id, |key| key.id).ok()?;
        self.order.get(at).copied()
    }

    pub(super) fn at(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots
            .get_mut(key.slot())?
            .as_mut()
            .filter(|stream| stream.id == key.id)
    }

    pub(super) fn look_at(&self, key: StreamKey) -> Option<&Stream> {
        self.slots
            .get(key.slot())?
            .as_ref()
            .filter(|stream| stream.id == key.id)
    }

    pub(super) fn remove(&mut self, key: StreamKey) -> Option<Stream> {
        self.at(key)?;
        let stream = self.slots.get_mut(key.slot())?.take();
        self.free.push(key.slot);
        if let Ok(at) = self.order.binary_search_by_key(&key.id, |key| key.id) {
            self.order.remove(at);
        }
        if self.order.is_empty() && self.slots.len() > KEPT {
            *self = Self::default();
        }
        stream
    }

    /// All, by number.
    pub(super) fn all(&mut self, mut each: impl FnMut(StreamKey, &mut Stream)) {
        for &key in &self.order {
            if let Some(Some(stream)) = self.slots.get_mut(key.slot()) {
                each(key, stream);
            }
        }
    }
}

/// Slots that a connection without streams keeps.
const KEPT: usize = 4;

/// The numbers of some streams that are gone, the last ones.
#[derive(Debug)]
pub(super) struct Gone {
    ids: VecDeque<u32>,
    max: usize,
}

impl Gone {
    pub(super) fn new(max: usize) -> Self {
        Self {
            ids: VecDeque::new(),
            max,
        }
    }

    pub(super) fn push(&mut self, id: u32) {
        if self.ids.len() >= self.max {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
    }

    pub(super) fn has(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }
}
