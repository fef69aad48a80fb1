//! What is known of one server, by all workers?

mod service;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use isobar_balance::{Boards, Conduct, Health, Moment, ServerState, SessionTable, Standing, Tally};
use isobar_observe::ServerStats;
use isobar_plan::{HealthCheck, HealthState, Name, ServerAddress, ServerStatus, ServiceState};

use crate::adaptive::Concurrency;
use crate::checks::{Checks, Findings, state_of};
use crate::{Asking, Sharded, moment};

use service::Service;

/// What a name stands for, or why that is not known.
pub(crate) type Resolution = Result<Vec<SocketAddr>, String>;

/// One server. It lives as long as its upstream names it, whatever else a reload changes.
#[derive(Debug)]
pub struct Server {
    /// What sessions are remembered by: no other server of this process has had it.
    number: u32,
    name: Name,
    address: ServerAddress,
    state: Arc<ServerState>,
    conduct: Arc<Conduct>,
    concurrency: Concurrency,
    stats: Sharded<ServerStats>,
    /// What the task counts that asks it for its load; not there while there is none.
    asker_stats: OnceLock<Box<ServerStats>>,
    asking: Asking,
    available: AtomicBool,
    addresses: RwLock<Arc<[SocketAddr]>>,
    next_address: AtomicUsize,
    /// From when on a failure of it may be told of again.
    complaints: AtomicU64,
    /// Requests that sleep in the queue for a place at this very server.
    sleepers: AtomicU32,
    record: Mutex<Record>,
}

/// How far what is told of the failures of one server is apart.
const COMPLAINTS_APART_NANOSECONDS: u64 = 60 * 1_000_000_000;

/// How many servers there were. Four thousand million are more than a process lives to see.
static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// What the probes, the name resolution, an operator and the server's own answers say.
#[derive(Debug)]
struct Record {
    checks: Checks,
    /// Why it has no address; of no interest while it has one.
    unresolved: String,
    service: Service,
    arrival: Arrival,
    /// When it came, or came back, to others that were there already.
    since: Option<Moment>,
}

/// What it means that a server becomes available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It was there from the start, and is now known better.
    FromTheStart,
    /// It comes to others that are there already, or comes back to them.
    Later,
}

/// What a new server is told of where it belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joining<'a> {
    /// The settings of its upstream.
    pub(crate) of: &'a isobar_plan::Upstream,
    pub(crate) workers: usize,
    /// Can count its requests together with those of the others; it counts there until it is told not to.
    pub(crate) tally: &'a Arc<Tally>,
    /// Where its counts stand beside those of the others.
    pub(crate) boards: &'a Mutex<Boards>,
    pub(crate) arrival: Arrival,
}

/// What balancing is told of a server, as it is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What is believed of it. One that is drained stands as it would otherwise, for the sessions it has.
    pub(crate) standing: Standing,
    /// Whether no operator has taken it out of service.
    pub(crate) takes_new: bool,
    /// When it came, or came back, to others that were there already; none: it was there from the start.
    pub(crate) since: Option<Moment>,
}

/// How one probe went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// Nothing, or what was wrong, in words.
    pub result: Result<(), String>,
    /// How long it took.
    pub took: Duration,
}

/// A change of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: HealthState,
    /// What it is.
    pub to: HealthState,
}

impl Server {
    pub(crate) fn new(settings: &isobar_plan::Server, joining: Joining<'_>) -> Self {
        let Joining {
            of,
            workers,
            tally,
            boards,
            arrival,
        } = joining;
        let health = &of.health;
        let concurrency = Concurrency::new(settings.max_connections, of.adaptive_concurrency.as_ref());
        let mut boards = boards.lock().unwrap_or_else(PoisonError::into_inner);
        let state = boards.server(concurrency.limit()).and_in(Arc::clone(tally));
        let (addresses, unresolved): (Arc<[SocketAddr]>, _) = match settings.address {
            ServerAddress::Socket(address) => (Arc::new([address]), String::new()),
            ServerAddress::Name(..) => (Arc::new([]), "its name is not resolved yet".to_owned()),
        };
        let service = Service::new(settings.state);
        let available = !addresses.is_empty() && service.serves();
        let since = (available && arrival == Arrival::Later).then(|| moment(Instant::now()));
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed) % SessionTable::MAX_SERVER,
            name: settings.name.clone(),
            address: settings.address.clone(),
            state: Arc::new(state),
            conduct: Arc::default(),
            concurrency,
            stats: Sharded::new(workers),
            asker_stats: OnceLock::new(),
            asking: Asking::default(),
            available: AtomicBool::new(available),
            addresses: RwLock::new(addresses),
            next_address: AtomicUsize::new(0),
            complaints: AtomicU64::new(0),
            sleepers: AtomicU32::new(0),
            record: Mutex::new(Record {
                checks: Checks::new(health),
                unresolved,
                arrival: if available { Arrival::Later } else { arrival },
                since,
                service,
            }),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What sessions are remembered by.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Whether requests sleep in the queue for a place at this very server.
    pub(crate) fn is_awaited(&self) -> bool {
        self.sleepers.load(Ordering::Relaxed) > 0
    }

    /// A request goes to sleep for a place here.
    pub(crate) fn sleeper_comes(&self) {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
    }

    /// One that slept is called, or leaves.
    pub(crate) fn sleeper_goes(&self) {
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Where it is, as configured.
    #[must_use]
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// What balancing knows of it.
    #[must_use]
    pub fn state(&self) -> &Arc<ServerState> {
        &self.state
    }

    /// How its requests ended, where that is counted.
    #[must_use]
    pub fn conduct(&self) -> &Arc<Conduct> {
        &self.conduct
    }

    /// How many requests it is given at once.
    pub(crate) fn concurrency(&self) -> &Concurrency {
        &self.concurrency
    }

    /// Whether a failure of it may be told of now: once a minute, whoever asks.
    #[must_use]
    pub fn may_complain(&self, now: Instant) -> bool {
        // The first moment is 0, at which it may.
        let now = moment(now).since(Moment::default());
        let from = self.complaints.load(Ordering::Relaxed);
        let until = now + COMPLAINTS_APART_NANOSECONDS;
        let swap = |from| {
            self.complaints
                .compare_exchange(from, until, Ordering::Relaxed, Ordering::Relaxed)
        };
        now >= from && swap(from).is_ok()
    }

    /// What one worker counts of it.
    #[must_use]
    pub fn stats(&self, worker: usize) -> &ServerStats {
        self.stats.of(worker)
    }

    /// What all workers count of it, and the task that asks it for its load.
    pub fn all_stats(&self) -> impl Iterator<Item = &ServerStats> {
        let asker = self.asker_stats.get().map(|stats| &**stats);
        self.stats.iter().chain(asker)
    }

    /// What the one task counts that asks it for its load.
    #[must_use]
    pub fn asker_stats(&self) -> &ServerStats {
        self.asker_stats.get_or_init(Box::default)
    }

    /// Whether it is to be asked for its load.
    #[must_use]
    pub fn asking(&self) -> &Asking {
        &self.asking
    }

    /// Whether it may be given requests: it is not known to be unhealthy, it has an address, it is not ejected, and no
    /// operator has taken it out.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.available.load(Ordering::Acquire)
    }

    /// What balancing is told of it.
    ///
    /// *Cost*: a lock, which probes, operators and reloads take and requests do not.
    pub(crate) fn seen(&self) -> Seen {
        let record = self.record();
        Seen {
            standing: self.standing(&record),
            takes_new: record.service.is_enabled(),
            since: record.since,
        }
    }

    fn standing(&self, record: &Record) -> Standing {
        if self.is_available() {
            return Standing::Available;
        }
        match record.service.state() {
            ServiceState::Disabled => Standing::Out,
            _ if self.addresses().is_empty() => Standing::Out,
            ServiceState::Drain if record.is_healthy() && !record.service.is_ejected() => Standing::Available,
            ServiceState::Drain | ServiceState::Enabled => Standing::Doubtful,
        }
    }

    /// Whether no operator has taken it out of service.
    pub(crate) fn takes_new(&self) -> bool {
        self.record().service.is_enabled()
    }

    /// The addresses it stands for now.
    #[must_use]
    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.addresses.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The address for the next connection: they are taken in turn. None: its name does not resolve.
    #[must_use]
    pub fn next_address(&self) -> Option<SocketAddr> {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        match addresses.len() {
            0 => None,
            1 => addresses.first().copied(),
            n => addresses
                .get(self.next_address.fetch_add(1, Ordering::Relaxed) % n)
                .copied(),
        }
    }

    /// Takes in how a probe of one of its checks went; returns what that changed. A transition of the server must be
    /// followed by [`Upstream::refresh`](crate::Upstream::refresh).
    pub fn probed(&self, check: &HealthCheck, outcome: ProbeOutcome) -> Option<Findings> {
        let mut record = self.record();
        let findings = record.checks.take(check, outcome)?;
        self.settle(&mut record);
        Some(findings)
    }

    /// Takes in what its name stands for now; true when that changes whether it is available, or what is believed of it
    /// while it is not.
    pub fn resolved(&self, outcome: Resolution) -> bool {
        let mut record = self.record();
        let addresses = match outcome {
            Ok(addresses) if addresses.is_empty() => Err("its name has no address".to_owned()),
            other => other,
        };
        if let Err(reason) = &addresses {
            record.unresolved.clone_from(reason);
        }
        let addresses = addresses.unwrap_or_default();
        let appears = self.addresses().is_empty() != addresses.is_empty();
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses.into();
        self.settle(&mut record) | appears
    }

    pub(crate) fn reconfigure(&self, settings: &isobar_plan::Server, of: &isobar_plan::Upstream) {
        let (rules, health) = (of.adaptive_concurrency.as_ref(), &of.health);
        self.concurrency
            .reconfigure(settings.max_connections, rules, &self.state);
        let mut record = self.record();
        record.service.reconfigure(settings.state);
        record.checks.reconfigure(health);
        self.settle(&mut record);
    }

    /// What an operator is told of it, but for how warm it is.
    #[must_use]
    pub fn status(&self, settings: &isobar_plan::Server) -> ServerStatus {
        let record = self.record();
        let addresses = self.addresses().to_vec();
        let (health, reason) = if addresses.is_empty() {
            (HealthState::Unhealthy, record.unresolved.clone())
        } else {
            (state_of(record.checks.health()), record.checks.reason())
        };
        ServerStatus {
            name: self.name.clone(),
            weight: settings.weight,
            backup: settings.backup,
            priority: settings.priority,
            warmth_percent: 100,
            health,
            reason,
            last_probe: record.checks.last_probe(),
            checks: record.checks.each(),
            in_flight: self.state.in_flight(),
            limit: self.state.limit(),
            adaptive_limit: self.concurrency.adaptive_limit(),
            addresses,
            state: record.service.state(),
            state_by: record.service.state_by(),
            ejection: record.service.ejection(),
            ejections: record.service.ejections(),
        }
    }

    /// Brings `available` in line with the record; true when it changes.
    fn settle(&self, record: &mut Record) -> bool {
        let available = record.is_healthy() && !self.addresses().is_empty() && record.service.serves();
        let changed = self.available.swap(available, Ordering::AcqRel) != available;
        if available && changed && record.arrival == Arrival::Later {
            record.since = Some(moment(Instant::now()));
        }
        if available {
            record.arrival = Arrival::Later;
        }
        changed
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn is_healthy(&self) -> bool {
        self.checks.health() != Health::Unhealthy
    }
}

#[cfg(test)]
mod tests {
    use isobar_plan::HealthProbe;

    use super::*;

    fn check(probe: HealthProbe, interval_s: u64, fall: u32) -> HealthCheck {
        HealthCheck {
            proxy_protocol: None,
            name: "check".into(),
            port: None,
            tls: None,
            probe,
            interval: Duration::from_secs(interval_s),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall,
        }
    }

    fn upstream() -> isobar_plan::Upstream {
        let second = Duration::from_secs(1);
        isobar_plan::Upstream {
            name: "api".into(),
            balance: isobar_plan::Balance::RoundRobin,
            hash: Vec::new(),
            servers: Vec::new(),
            reports: None,
            health: Vec::new(),
            timeouts: isobar_plan::Timeouts {
                connect: second,
                send: second,
                read: second,
                idle: isobar_plan::IdleTimeouts::both(second),
            },
            tcp_keepalive: None,
            proxy_protocol: None,
            http_version: isobar_plan::HttpVersion::Http1,
            keep_alive: isobar_plan::KeepAlive {
                max_idle: 1,
                idle_timeout: second,
            },
            limits: isobar_plan::UpstreamLimits::default(),
            adaptive_concurrency: None,
            fair_share: None,
            queue: isobar_plan::Queue {
                max: 1,
                timeout: second,
                order: isobar_plan::QueueOrder::FirstCome,
            },
            outliers: None,
            retry_budget: None,
            tls: None,
            placement: Default::default(),
            sticky: None,
        }
    }

    fn http(path: &str) -> HealthProbe {
        HealthProbe::Http(isobar_plan::HttpProbe {
            method: "GET".into(),
            path: path.into(),
            host: None,
            headers: Vec::new(),
            expect: isobar_plan::StatusRanges(vec![(200, 299)]),
            body: None,
        })
    }

    #[test]
    fn other_settings_of_the_same_probe_revive_no_dead_server() {
        let settings = isobar_plan::Server {
            name: "a".into(),
            address: ServerAddress::Socket(SocketAddr::from(([127, 0, 0, 1], 9))),
            weight: 1,
            max_connections: None,
            backup: false,
            priority: 0,
            zone: None,
            state: ServiceState::Enabled,
        };
        let after = |old: HealthCheck, new: Option<HealthCheck>| {
            let of = |health| isobar_plan::Upstream { health, ..upstream() };
            let old = of(vec![Arc::new(old)]);
            let joining = Joining {
                of: &old,
                workers: 1,
                tally: &Arc::default(),
                boards: &Mutex::new(Boards::for_servers(1)),
                arrival: Arrival::FromTheStart,
            };
            let server = Server::new(&settings, joining);
            let outcome = ProbeOutcome {
                result: Err("refused".to_owned()),
                took: Duration::from_secs(1),
            };
            server.probed(&old.health[0], outcome);
            assert!(!server.is_available());
            let new: Vec<_> = new.map(Arc::new).into_iter().collect();
            server.reconfigure(&settings, &of(new));
            let status = server.status(&settings);
            (server.is_available(), status.health, status.reason)
        };
        let dead = (false, HealthState::Unhealthy, "refused".to_owned());
        let fresh = (true, HealthState::Unknown, String::new());
        let connects = || HealthProbe::Tcp(Vec::new());
        let tcp = || check(connects(), 1, 3);
        assert_eq!(after(tcp(), Some(tcp())), dead);
        assert_eq!(after(tcp(), Some(check(connects(), 9, 5))), dead);
        assert_eq!(after(check(http("/a"), 1, 3), Some(check(http("/a"), 1, 1))), dead);
        assert_eq!(after(check(http("/a"), 1, 3), Some(check(http("/b"), 1, 3))), fresh);
        assert_eq!(after(tcp(), Some(check(http("/a"), 1, 3))), fresh);
        assert_eq!(after(tcp(), None), fresh);
    }

    #[test]
    fn an_address_that_comes_or_goes_is_news_of_a_server_out_of_service() {
        let settings = isobar_plan::Server {
            name: "a".into(),
            address: ServerAddress::Name("a.example".into(), 80),
            weight: 1,
            max_connections: None,
            backup: false,
            priority: 0,
            zone: None,
            state: ServiceState::Drain,
        };
        let joining = Joining {
            of: &upstream(),
            workers: 1,
            tally: &Arc::default(),
            boards: &Mutex::new(Boards::for_servers(1)),
            arrival: Arrival::FromTheStart,
        };
        let server = Server::new(&settings, joining);
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        assert_eq!(server.seen().standing, Standing::Out);
        assert!(server.resolved(Ok(vec![address])));
        assert_eq!(server.seen().standing, Standing::Available, "for the sessions it has");
        assert!(!server.resolved(Ok(vec![address])));
        assert!(server.resolved(Err("gone".to_owned())));
        assert_eq!(server.seen().standing, Standing::Out);
    }
}
