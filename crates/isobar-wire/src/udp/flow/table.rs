//! Where are the flows, by client, by connection ID and by age? Knows no limit and no count's meaning.

use core::hash::{BuildHasher, Hasher};
use core::net::SocketAddr;
use core::time::Duration;

use alloc::vec::Vec;

use super::KeyedBy;
use super::lists::Lists;
use crate::udp::quic::ConnectionId;

/// The list of slots without a flow.
const FREE: u32 = 0;
/// The list of flows whose client has not sent anything since it was answered; the quietest first.
const FRESH: u32 = 1;
/// The list of the other flows; the quietest first.
const ASSURED: u32 = 2;

/// Between whom a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) from: SocketAddr,
    /// Without meaning for who is who where flows are keyed by clients.
    pub(super) to: SocketAddr,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) requests: u32,
    pub(super) responses: u32,
    id: Option<ConnectionId>,
    quiet_since: Duration,
}

/// The list of flows whose keys have hashes alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain(u32);

/// Flows by slot; a slot in the list of free ones has none.
#[derive(Debug, Clone)]
pub(super) struct Table<S> {
    keyed_by: KeyedBy,
    hasher: S,
    entries: Vec<Entry>,
    len: u32,
    /// By [`FREE`], [`FRESH`] and [`ASSURED`].
    by_age: Lists,
    /// By the hash of what makes a flow one.
    by_key: Lists,
    /// By the hash of the connection ID; the newest of several flows first.
    by_id: Lists,
}

impl<S: BuildHasher> Table<S> {
    pub(super) fn new(keyed_by: KeyedBy, max_flows: u32, hasher: S) -> Self {
        let slots = usize::try_from(max_flows).unwrap_or(usize::MAX);
        let chains = chains_for(max_flows);
        Self {
            keyed_by,
            hasher,
            entries: Vec::with_capacity(slots),
            len: 0,
            by_age: Lists::new(3, slots),
            by_key: Lists::new(chains, slots),
            by_id: Lists::new(chains, slots),
        }
    }

    /// Makes room for so many flows. Chains are rearranged where they would become long.
    pub(super) fn reserve(&mut self, max_flows: u32) {
        let slots = usize::try_from(max_flows).unwrap_or(usize::MAX);
        let chains = chains_for(max_flows);
        self.entries.reserve(slots.saturating_sub(self.entries.len()));
        self.by_age.reserve(slots);
        if chains <= self.by_key.len() {
            return;
        }
        let mut by_key = Lists::new(chains, slots);
        let mut by_id = Lists::new(chains, slots);
        for (slot, entry) in (0..).zip(&self.entries) {
            by_key.add_slot();
            by_id.add_slot();
            if self.by_key.list_of(slot).is_some() {
                by_key.push_front(chain(self.hash_of(&entry.key), chains), slot);
            }
        }
        // From the oldest of each chain, so that the newest flow of a connection stays in front.
        for old in 0..u32::try_from(self.by_id.len()).unwrap_or(u32::MAX) {
            let mut next = self.by_id.first(old);
            while let Some(slot) = next {
                if let Some(id) = self.entry(slot).and_then(|entry| entry.id) {
                    by_id.push_back(chain(self.hasher.hash_one(id), chains), slot);
                }
                next = self.by_id.after(slot);
            }
        }
        self.by_key = by_key;
        self.by_id = by_id;
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Where a key is looked for, until the chains are rearranged.
    pub(super) fn chain_of(&self, key: &Key) -> Chain {
        Chain(chain(self.hash_of(key), self.by_key.len()))
    }

    pub(super) fn find(&self, key: &Key, Chain(chain): Chain) -> Option<u32> {
        let first = self.by_key.first(chain);
        let is_it = |slot: &u32| self.entry(*slot).is_some_and(|entry| self.is_same(&entry.key, key));
        core::iter::successors(first, |&slot| self.by_key.after(slot)).find(is_it)
    }

    /// The newest flow of a connection.
    pub(super) fn find_id(&self, id: &ConnectionId) -> Option<u32> {
        let first = self.by_id.first(chain(self.hasher.hash_one(id), self.by_id.len()));
        let is_it = |slot: &u32| self.entry(*slot).is_some_and(|entry| entry.id == Some(*id));
        core::iter::successors(first, |&slot| self.by_id.after(slot)).find(is_it)
    }

    /// The flow in a slot; none: there is none.
    pub(super) fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        if !self.is_open(slot) {
            return None;
        }
        self.entries.get_mut(usize::try_from(slot).ok()?)
    }

    /// A slot without a flow.
    pub(super) fn free_slot(&mut self) -> u32 {
        self.by_age
            .first(FREE)
            .unwrap_or_else(|| u32::try_from(self.entries.len()).unwrap_or(u32::MAX))
    }

    /// Begins a flow in a slot that has none; it is found in the chain of its key.
    pub(super) fn open(&mut self, slot: u32, key: Key, Chain(chain): Chain) {
        debug_assert!(!self.is_open(slot), "the slot has a flow");
        let entry = Entry {
            key,
            requests: 0,
            responses: 0,
            id: None,
            quiet_since: Duration::ZERO,
        };
        match usize::try_from(slot).ok().and_then(|slot| self.entries.get_mut(slot)) {
            Some(place) => *place = entry,
            None => {
                self.entries.push(entry);
                self.by_age.add_slot();
                self.by_key.add_slot();
                self.by_id.add_slot();
            }
        }
        self.by_key.push_front(chain, slot);
        self.by_age.push_back(FRESH, slot);
        self.len += 1;
    }

    /// Ends the flow in a slot, where there is one.
    pub(super) fn close(&mut self, slot: u32) {
        if self.is_open(slot) {
            self.by_key.remove(slot);
            self.by_id.remove(slot);
            self.by_age.push_front(FREE, slot);
            self.len -= 1;
        }
    }

    /// Makes a flow that goes on unknown to its client's next datagram.
    pub(super) fn forget_key(&mut self, slot: u32) {
        self.by_key.remove(slot);
    }

    /// Notes by which ID the server of a flow calls its connection.
    pub(super) fn set_id(&mut self, slot: u32, id: ConnectionId) {
        let chains = self.by_id.len();
        match self.entry_mut(slot) {
            Some(entry) if entry.id != Some(id) => entry.id = Some(id),
            _ => return,
        }
        self.by_id.push_front(chain(self.hasher.hash_one(id), chains), slot);
    }

    /// Notes that something was sent in a flow.
    pub(super) fn touch(&mut self, slot: u32, now: Duration) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.quiet_since = now;
        }
        if let Some(list @ (FRESH | ASSURED)) = self.by_age.list_of(slot) {
            self.by_age.push_back(list, slot);
        }
    }

    /// Notes that the client of a flow has sent something since it was answered.
    pub(super) fn assure(&mut self, slot: u32) {
        self.by_age.push_back(ASSURED, slot);
    }

    /// The flow that has been quiet longest, and since when.
    pub(super) fn quietest(&self) -> Option<(u32, Duration)> {
        let since = |list| {
            let slot = self.by_age.first(list)?;
            Some((slot, self.entry(slot)?.quiet_since))
        };
        let both = since(FRESH).into_iter().chain(since(ASSURED));
        both.min_by_key(|&(_, since)| since)
    }

    /// The quietest of the flows whose client has not sent anything since it was answered, other than `but`.
    pub(super) fn quietest_fresh(&self, but: Option<u32>) -> Option<u32> {
        let first = self.by_age.first(FRESH);
        core::iter::successors(first, |&slot| self.by_age.after(slot)).find(|&slot| Some(slot) != but)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Key)> {
        let entries = (0..).zip(&self.entries);
        entries.filter_map(|(slot, entry)| self.is_open(slot).then_some((slot, &entry.key)))
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(slot).ok()?)
    }

    fn is_open(&self, slot: u32) -> bool {
        matches!(self.by_age.list_of(slot), Some(FRESH | ASSURED))
    }

    fn is_same(&self, left: &Key, right: &Key) -> bool {
        match self.keyed_by {
            KeyedBy::Client => left.from == right.from,
            KeyedBy::ClientAndLocal => left == right,
        }
    }

    fn hash_of(&self, key: &Key) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        add(key.from, &mut hasher);
        if self.keyed_by == KeyedBy::ClientAndLocal {
            add(key.to, &mut hasher);
        }
        hasher.finish()
    }
}

/// Adds what there is of an address in as few words as it has: a third of what [`Hash`](core::hash::Hash) of it costs.
fn add(address: SocketAddr, hasher: &mut impl Hasher) {
    match address {
        SocketAddr::V4(address) => {
            hasher.write_u64(u64::from(address.ip().to_bits()) << 16 | u64::from(address.port()));
        }
        SocketAddr::V6(address) => {
            hasher.write_u128(address.ip().to_bits());
            hasher.write_u64(u64::from(address.scope_id()) << 16 | u64::from(address.port()));
        }
    }
}

/// As many chains as flows, rounded up to a power of two.
fn chains_for(max_flows: u32) -> usize {
    usize::try_from(max_flows.max(1).next_power_of_two()).unwrap_or(usize::MAX)
}

/// The chain of a hash; there are a power of two of them, and fewer than 2³².
fn chain(hash: u64, chains: usize) -> u32 {
    let chains = u32::try_from(chains).unwrap_or(u32::MAX).max(1);
    let [_, _, _, _, low @ ..] = hash.to_be_bytes();
    u32::from_be_bytes(low) & (chains - 1)
}
