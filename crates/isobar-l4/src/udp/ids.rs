//! Which server chose a connection ID of QUIC?
//!
//! The kernel gives datagrams to workers by the client's address. A client that changes it may come to another worker, which does
//! not have its flow and finds its server here: the one thing of a flow that workers share. It is touched when flows begin and end and
//! when servers choose IDs, which they do in the handshake, and not for each datagram.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isobar_upstream::Server;
use isobar_wire::udp::ConnectionId;

/// Locks, so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// The servers of the connection IDs that flows of one listener go by. There are no more than flows.
#[derive(Debug)]
pub struct ServerIds<S = Server> {
    hasher: RandomState,
    shards: [Mutex<HashMap<ConnectionId, Entry<S>>>; SHARDS],
}

#[derive(Debug)]
struct Entry<S> {
    server: Arc<S>,
    /// Flows that go by it.
    flows: u32,
}

impl<S> Default for ServerIds<S> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl<S> ServerIds<S> {
    /// The server that an ID is of.
    pub(super) fn find(&self, id: &ConnectionId) -> Option<Arc<S>> {
        self.shard(id).get(id).map(|entry| Arc::clone(&entry.server))
    }

    /// A flow goes by an ID of this server.
    pub(super) fn enter(&self, id: ConnectionId, server: &Arc<S>) {
        let mut shard = self.shard(&id);
        let entry = shard.entry(id).or_insert_with(|| Entry {
            server: Arc::clone(server),
            flows: 0,
        });
        entry.flows = entry.flows.saturating_add(1);
        if !Arc::ptr_eq(&entry.server, server) {
            entry.server = Arc::clone(server);
        }
    }

    /// A flow no longer goes by an ID.
    pub(super) fn leave(&self, id: &ConnectionId) {
        let mut shard = self.shard(id);
        if let Some(entry) = shard.get_mut(id) {
            entry.flows = entry.flows.saturating_sub(1);
            if entry.flows == 0 {
                shard.remove(id);
            }
        }
    }

    fn shard(&self, id: &ConnectionId) -> MutexGuard<'_, HashMap<ConnectionId, Entry<S>>> {
        let hash = usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or(0);
        self.shards[hash].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_as_long_as_a_flow_goes_by_it() {
        let servers = [Arc::new('a'), Arc::new('b')];
        let (ids, id) = (ServerIds::default(), ConnectionId::new(b"one").unwrap());
        assert_eq!(ids.find(&id), None);
        ids.enter(id, &servers[0]);
        ids.enter(id, &servers[0]);
        ids.leave(&id);
        assert_eq!(ids.find(&id).as_deref(), Some(&'a'));
        ids.enter(id, &servers[1]);
        assert_eq!(ids.find(&id).as_deref(), Some(&'b'), "what was said last counts");
        for _ in 0..3 {
            ids.leave(&id);
        }
        assert_eq!(ids.find(&id), None);
    }
}
