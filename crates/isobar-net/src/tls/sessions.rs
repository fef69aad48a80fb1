//! What do later connections to a server go on from?
//!
//! Sessions are kept by address: servers that share a name need not know each other's.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::ClientSessionMemoryCache;

/// Addresses whose sessions are kept; of more, those are forgotten that came first.
const MAX_ADDRESSES: usize = 4096;

/// Sessions of an address that are kept: as many as the library has for four names, which servers behind one address may have.
const MAX_SESSIONS: usize = 32;

/// From then on the next connection begins anew: a certificate that has expired in the meantime is found out.
const LONGEST: Duration = Duration::from_hours(1);

/// What was agreed on with servers, shared between threads.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    of: HashMap<SocketAddr, OfServer>,
    /// In the order they came.
    order: VecDeque<SocketAddr>,
}

struct OfServer {
    sessions: Arc<ClientSessionMemoryCache>,
    since: Instant,
}

impl Sessions {
    /// The sessions of the server at an address.
    ///
    /// *Cost*: a lock, and an allocation where there were none.
    pub(super) fn at(&self, address: SocketAddr) -> Arc<ClientSessionMemoryCache> {
        self.at_time(address, Instant::now())
    }

    fn at_time(&self, address: SocketAddr, now: Instant) -> Arc<ClientSessionMemoryCache> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.of.get_mut(&address);
        let is_known = known.is_some();
        if let Some(OfServer { sessions, since }) = known
            && now.saturating_duration_since(*since) < LONGEST
        {
            return Arc::clone(sessions);
        }
        if !is_known {
            if kept.order.len() == MAX_ADDRESSES
                && let Some(first) = kept.order.pop_front()
            {
                kept.of.remove(&first);
            }
            kept.order.push_back(address);
        }
        let sessions = Arc::new(ClientSessionMemoryCache::new(MAX_SESSIONS));
        let of_server = OfServer {
            sessions: Arc::clone(&sessions),
            since: now,
        };
        kept.of.insert(address, of_server);
        sessions
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        let [.., a, b] = number.to_be_bytes();
        SocketAddr::from(([127, 0, a, b], 443))
    }

    #[test]
    fn sessions_of_an_address_are_kept_for_an_hour() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = sessions.at_time(address(1), now);
        assert!(Arc::ptr_eq(&first, &sessions.at_time(address(1), now + LONGEST / 2)));
        assert!(!Arc::ptr_eq(&first, &sessions.at_time(address(2), now)));
        let next = sessions.at_time(address(1), now + LONGEST);
        assert!(!Arc::ptr_eq(&first, &next));
        assert!(Arc::ptr_eq(&next, &sessions.at_time(address(1), now + LONGEST * 3 / 2)));
    }

    #[test]
    fn of_too_many_addresses_the_first_is_forgotten() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let all: Vec<_> = (0..=MAX_ADDRESSES)
            .map(|number| sessions.at_time(address(number), now))
            .collect();
        let kept = sessions.0.lock().unwrap();
        assert_eq!((kept.of.len(), kept.order.len()), (MAX_ADDRESSES, MAX_ADDRESSES));
        drop(kept);
        let at = |number: usize| sessions.at_time(address(number), now);
        assert!(Arc::ptr_eq(&at(MAX_ADDRESSES), &all[MAX_ADDRESSES]));
        assert!(Arc::ptr_eq(&at(1), &all[1]));
        assert!(!Arc::ptr_eq(&at(0), &all[0]));
    }
}
