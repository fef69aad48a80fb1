//! How does an upstream stay itself while its settings, servers and their health change?

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use isobar_balance::{Arrangement, Candidate, Group, Standing, Tier};
use isobar_observe::UpstreamStats;
use isobar_plan::{Name, ServerAddress, UpstreamStatus};

use crate::queue::WaitQueue;
use crate::server::Resolution;
use crate::{Server, Sharded, hash};

/// A set of servers that can answer the same requests, as all workers share it.
#[derive(Debug)]
pub struct Upstream {
    name: Name,
    workers: usize,
    members: RwLock<Arc<Members>>,
    /// Serialises the writers of `members`.
    change: Mutex<()>,
    /// The epoch of `members`, to be compared without its lock.
    epoch: AtomicU64,
    queue: WaitQueue,
    stats: Sharded<UpstreamStats>,
}

/// One consistent state of an upstream; immutable.
#[derive(Debug)]
pub struct Members {
    /// Its settings.
    pub settings: isobar_plan::Upstream,
    /// Its servers; a slot is an index into this.
    pub servers: Box<[Arc<Server>]>,
    /// Those that may be picked, and the algorithm over them.
    pub group: Group,
    /// Counts the states.
    epoch: u64,
}

impl Members {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The slots of those of `servers` that are here.
    pub(crate) fn slots(&self, servers: &[Arc<Server>]) -> Vec<u32> {
        let slot = |server| self.servers.iter().position(|known| Arc::ptr_eq(known, server));
        servers
            .iter()
            .filter_map(|server| u32::try_from(slot(server)?).ok())
            .collect()
    }

    /// How many places are free at the servers from which a request that avoids `avoid` would be given one; none:
    /// no server is left to it. Says what a pick from `group` would find.
    pub(crate) fn room(&self, avoid: &[Arc<Server>]) -> Option<u32> {
        self.group.room(&self.slots(avoid))
    }
}

impl AsRef<Self> for Upstream {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Upstream {
    /// An upstream for `workers` workers. Of its servers' names nothing is known.
    #[must_use]
    pub fn new(settings: isobar_plan::Upstream, workers: usize) -> Self {
        Self::knowing(settings, workers, |_| None)
    }

    /// An upstream whose servers' names stand for what `known` says of them; what it does not know is to be
    /// [told](Server::resolved).
    #[must_use]
    pub fn knowing(
        settings: isobar_plan::Upstream,
        workers: usize,
        known: impl Fn(&ServerAddress) -> Option<Resolution>,
    ) -> Self {
        let new = |server| new_server(server, &settings, workers, &known);
        let servers = settings.servers.iter().map(new).collect();
        let members = members(settings.clone(), servers, 1, None);
        Self {
            name: settings.name,
            workers,
            members: RwLock::new(Arc::new(members)),
            change: Mutex::new(()),
            epoch: AtomicU64::new(1),
            queue: WaitQueue::default(),
            stats: Sharded::new(workers),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its state now.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts its states: an epoch that differs from a cached one means that [`Self::members`] is worth another look.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Takes new settings. Servers of the same name and address keep counters, health and connections; of the names of
    /// others nothing is known.
    pub fn reconfigure(&self, settings: isobar_plan::Upstream) {
        self.reconfigure_knowing(settings, |_| None);
    }

    /// Takes new settings, as [`reconfigure`](Self::reconfigure) does; the names of new servers stand for what `known`
    /// says of them.
    pub fn reconfigure_knowing(
        &self,
        settings: isobar_plan::Upstream,
        known: impl Fn(&ServerAddress) -> Option<Resolution>,
    ) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.members();
        let (old_health, health) = (old.settings.health.as_ref(), settings.health.as_ref());
        let servers = settings.servers.iter().map(|server| {
            let same = |known: &&Arc<Server>| *known.name() == server.name && *known.address() == server.address;
            match old.servers.iter().find(same) {
                Some(same) => {
                    same.reconfigure(server, old_health, health);
                    Arc::clone(same)
                }
                None => new_server(server, &settings, self.workers, &known),
            }
        });
        let servers = servers.collect();
        self.publish(settings, servers);
    }

    /// Takes in that the availability of servers changed.
    pub fn refresh(&self) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.members();
        self.publish(old.settings.clone(), old.servers.clone());
    }

    /// What one worker counts of it.
    #[must_use]
    pub fn stats(&self, worker: usize) -> &UpstreamStats {
        self.stats.of(worker)
    }

    /// What all workers count of it.
    pub fn all_stats(&self) -> impl Iterator<Item = &UpstreamStats> {
        self.stats.iter()
    }

    /// What an operator is told of it.
    #[must_use]
    pub fn status(&self) -> UpstreamStatus {
        let members = self.members();
        let servers = members.servers.iter().zip(&members.settings.servers);
        UpstreamStatus {
            name: self.name.clone(),
            queued: self.queue.len(),
            servers: servers.map(|(server, settings)| server.status(settings)).collect(),
        }
    }

    /// Whether requests wait that a new one has to let go first: it joins the queue before it looks for a place.
    #[must_use]
    pub fn has_queue(&self) -> bool {
        self.queue.has_precedence()
    }

    pub(crate) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    fn publish(&self, settings: isobar_plan::Upstream, servers: Box<[Arc<Server>]>) {
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        let next = Arc::new(members(settings, servers, epoch, Some(&self.members().group)));
        // The epoch first: a worker that goes by it is never behind those who look at the state itself, as the queue
        // does. In between, workers read the old state once more.
        self.epoch.store(epoch, Ordering::Release);
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.queue.call_for_room(self);
    }
}

fn new_server(
    server: &isobar_plan::Server,
    of: &isobar_plan::Upstream,
    workers: usize,
    known: impl Fn(&ServerAddress) -> Option<Resolution>,
) -> Arc<Server> {
    let new = Server::new(server, of.health.as_ref(), workers);
    if matches!(server.address, ServerAddress::Name(..))
        && let Some(outcome) = known(&server.address)
    {
        new.resolved(outcome);
    }
    Arc::new(new)
}

/// The state with these settings and servers, whose group comes after `last`.
///
/// The name's hash and the epoch move the random start of rotating algorithms from state to state.
fn members(settings: isobar_plan::Upstream, servers: Box<[Arc<Server>]>, epoch: u64, last: Option<&Group>) -> Members {
    let candidate = |((slot, server), settings): ((u32, &Arc<Server>), &isobar_plan::Server)| Candidate {
        label: Some(ketama_label(&settings.address)),
        weight: settings.weight,
        tier: if settings.backup { Tier::Backup } else { Tier::PRIMARY },
        standing: standing(server),
        ..Candidate::new(slot, hash(settings.name.as_bytes(), 0), Arc::clone(server.state()))
    };
    let candidates: Vec<_> = (0..).zip(&servers).zip(&settings.servers).map(candidate).collect();
    let seed = hash(settings.name.as_bytes(), epoch);
    let arrangement = Arrangement {
        panic_percent: NO_PANIC,
        ..Arrangement::new(settings.balance)
    };
    let group = match last {
        Some(last) => last.next(arrangement, candidates, seed),
        None => Group::new(arrangement, candidates, seed),
    };
    Members {
        settings,
        servers,
        group,
        epoch,
    }
}

/// A server whose probes fail is never tried, however few others there are.
const NO_PANIC: u32 = 0;

fn standing(server: &Server) -> Standing {
    if server.is_available() {
        Standing::Available
    } else if server.addresses().is_empty() {
        Standing::Out
    } else {
        Standing::Doubtful
    }
}

/// What libmemcached calls a server: it leaves out memcached's own port.
fn ketama_label(address: &ServerAddress) -> Arc<str> {
    let (host, port) = match address {
        ServerAddress::Socket(address) => (address.ip().to_string(), address.port()),
        ServerAddress::Name(name, port) => (name.to_string(), *port),
    };
    if port == 11_211 {
        host.into()
    } else {
        format!("{host}:{port}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::ketama_label;
    use isobar_plan::ServerAddress;

    #[test]
    fn labels_are_libmemcacheds() {
        let check = |address: ServerAddress, expected: &str| assert_eq!(&*ketama_label(&address), expected);
        check(ServerAddress::Socket("10.0.1.1:11211".parse().unwrap()), "10.0.1.1");
        check(ServerAddress::Socket("10.0.1.1:8080".parse().unwrap()), "10.0.1.1:8080");
        check(ServerAddress::Name("cache-a".into(), 11_211), "cache-a");
        check(ServerAddress::Name("cache-a".into(), 80), "cache-a:80");
    }
}
