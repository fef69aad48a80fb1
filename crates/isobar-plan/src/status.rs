//! What is true right now?

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use isobar_balance::Tier;

use crate::{
    EjectionCounts, EjectionStatus, LimitNote, ListenerChange, Name, PlanDiff, ServiceChange, ServiceState, StoreStatus,
};

/// A snapshot of the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What the engine as a whole is doing.
    pub state: EngineState,
    /// How many worker threads there are.
    pub workers: usize,
    /// Time since the engine started.
    pub uptime: Duration,
    /// Plans applied since the start, the first included.
    pub generation: u64,
    /// The listeners.
    pub listeners: Vec<ListenerStatus>,
    /// The upstreams.
    pub upstreams: Vec<UpstreamStatus>,
    /// The limits on requests.
    pub limits: Vec<RateLimitStatus>,
    /// What limits are shared through.
    pub stores: Vec<StoreStatus>,
    /// The access log, where there is one.
    pub access_log: Option<LogStatus>,
}

/// What the engine as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineState {
    /// Taking connections.
    Running,
    /// Finishing what it has, taking no more.
    Draining,
}

/// A listener, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Name,
    /// The address it really listens on.
    pub address: SocketAddr,
    /// Open client connections, by worker.
    pub connections: Vec<u32>,
    /// Its certificates, in the order of the plan.
    pub certificates: Vec<CertificateStatus>,
}

/// A certificate, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Its file.
    pub file: Box<str>,
    /// The names it is shown for; empty: none could be read yet.
    pub names: Vec<Box<str>>,
    /// When it ends to be valid, since 1970; none: none could be read yet.
    pub valid_until: Option<Duration>,
    /// Why what is in its files now cannot be used.
    pub problem: Option<String>,
}

/// An upstream, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: Name,
    /// Requests waiting for a server.
    pub queued: u32,
    /// The levels that panic: too little of them is available for that to be believed, and all their servers are used.
    pub panicking: Vec<Tier>,
    /// Sessions that are remembered; none: sessions are not, or are known by what clients bring along.
    pub sessions: Option<u64>,
    /// What it knows of its servers by their reports; none: it does not go by them.
    pub reports: Option<ReportsStatus>,
    /// Those of them of each priority, in the order of [`Priority::ALL`](crate::Priority::ALL).
    pub queued_by: [u32; 3],
    /// Requests that may wait.
    pub queue_max: u32,
    /// How what there is is divided between keys; none: it is not.
    pub fair: Option<crate::FairStatus>,
    /// Requests in flight at its servers.
    pub requests: LimitStatus,
    /// Open connections to its servers.
    pub connections: LimitStatus,
    /// Its servers.
    pub servers: Vec<ServerStatus>,
    /// What secures connections to them; none: nothing does.
    pub tls: Option<UpstreamTlsStatus>,
}

/// What secures connections to servers, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTlsStatus {
    /// Why what is in its files now cannot be used; none: it can.
    pub problem: Option<String>,
    /// Whether there is anything to secure connections with, be it from an earlier reading of the files.
    pub in_use: bool,
    /// The certificate that is shown to servers; none: there is none to show.
    pub certificate: Option<CertificateStatus>,
}

/// What an upstream goes by that goes by reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportsStatus {
    /// Whether enough servers report: otherwise it goes by what is known here.
    pub informed: bool,
    /// Choices that were made without reports since the start.
    pub fallback_picks: u64,
    /// Servers that the algorithm remembers as candidates.
    pub candidates: u32,
}

/// A limit on requests, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// Its name.
    pub name: Name,
    /// Whether it refuses.
    pub state: RateLimitState,
    /// Keys that it has something in its books of.
    pub keys: u64,
    /// Keys that are sure to find room.
    pub max_keys: u32,
    /// Bytes that its table takes.
    pub bytes: u64,
    /// Decisions by an estimate because the table was full.
    pub estimated: u64,
    /// Keys asked for once that made room for others.
    pub evicted: u64,
}

/// Whether a limit refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateLimitState {
    /// It does.
    Enforced,
    /// It only counts.
    Shadow,
    /// It refused more than it may, and only counts from then on.
    Disarmed,
    /// It has ended, and is not asked.
    Expired,
}

impl RateLimitState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Enforced, Self::Shadow, Self::Disarmed, Self::Expired];

    /// The word for it in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Shadow => "shadow",
            Self::Disarmed => "disarmed",
            Self::Expired => "expired",
        }
    }
}

/// How close something is to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitStatus {
    /// How many there are.
    pub used: u32,
    /// How many there may be; none: any number.
    pub max: Option<u32>,
}

/// A server, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its name.
    pub name: Name,
    /// Its weight.
    pub weight: u32,
    /// Whether it is a backup.
    pub backup: bool,
    /// Its level, unless it is a backup.
    pub priority: u8,
    /// The part of its weight that it has now, in hundredths: less than all while it starts slowly.
    pub warmth_percent: u32,
    /// What the probes say.
    pub health: HealthState,
    /// Why the health is what it is: the last probes' or the name resolution's own words.
    pub reason: String,
    /// How long the last probe took; none: there was none.
    pub last_probe: Option<Duration>,
    /// What each of its health checks says, in the order of the plan.
    pub checks: Vec<CheckHealth>,
    /// Requests it is answering.
    pub in_flight: u32,
    /// Requests it is given at once now; none: any number.
    pub limit: Option<u32>,
    /// The part of that limit that was found from latency; none: it is not looked for.
    pub adaptive_limit: Option<u32>,
    /// The addresses it stands for now; empty: its name does not resolve.
    pub addresses: Vec<SocketAddr>,
    /// What an operator wants of it.
    pub state: ServiceState,
    /// Which operator said so; none: the configuration.
    pub state_by: Option<SocketAddr>,
    /// Whether it is out for how it answered.
    pub ejection: Option<EjectionStatus>,
    /// How often it was.
    pub ejections: EjectionCounts,
}

impl ServerStatus {
    /// Whether it is well enough for requests, as far as its probes and its name go.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.health != HealthState::Unhealthy && !self.addresses.is_empty()
    }

    /// Whether it is given new requests, whoever they are of.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.is_well() && self.weight > 0 && self.state == ServiceState::Enabled && self.ejection.is_none()
    }
}

/// What one health check says of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckHealth {
    /// The check's name.
    pub name: Name,
    /// What its probes say.
    pub health: HealthState,
}

/// What is known of a server's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// Not probed yet; it is given requests.
    Unknown,
    /// Given requests.
    Healthy,
    /// Given none.
    Unhealthy,
}

/// What happened about panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PanicChange {
    /// It began.
    Entered,
    /// It is over.
    Left,
}

/// The access log, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    /// Lines written.
    pub written: u64,
    /// Lines dropped because the writer could not keep up or failed.
    pub dropped: u64,
    /// The last error of the writer, until a write succeeds again.
    pub error: Option<String>,
}

/// One line of `/health/detailed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// The dependency: `listener web`, `upstream api`, `access_log`, `configuration`.
    pub name: String,
    /// How it is.
    pub status: CheckStatus,
    /// Why, in words.
    pub detail: String,
    /// How long finding out took: the probe's own time for a server, the look-up's for the rest.
    pub took: Duration,
}

/// How a dependency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStatus {
    /// Good.
    Pass,
    /// Worse than it should be; requests are still answered.
    Warn,
    /// Requests that need it fail.
    Fail,
}

/// Something an operator wants to read in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A listener opened, moved or closed.
    Listener {
        /// Its name.
        name: Name,
        /// Its address.
        address: SocketAddr,
        /// What happened.
        change: ListenerChange,
    },
    /// A server's health changed.
    Health {
        /// Its upstream.
        upstream: Name,
        /// Its name.
        server: Name,
        /// What it was.
        from: HealthState,
        /// What it is.
        to: HealthState,
        /// Why.
        reason: String,
    },
    /// A level of an upstream began to use all its servers whether they are well or not, or ended doing so.
    Panic {
        /// The upstream.
        upstream: Name,
        /// The level.
        tier: Tier,
        /// Which of the two.
        change: PanicChange,
        /// How many of its servers are available.
        available: u32,
        /// How many it has.
        servers: u32,
    },
    /// A server was taken out of service, or back in.
    Service {
        /// Its upstream.
        upstream: Name,
        /// Its name.
        server: Name,
        /// What happened.
        change: ServiceChange,
    },
    /// What one of several health checks says of a server changed, and the server's health did not.
    Check {
        /// The upstream.
        upstream: Name,
        /// The server.
        server: Name,
        /// The check.
        check: Name,
        /// What it said.
        from: HealthState,
        /// What it says.
        to: HealthState,
        /// Why.
        reason: String,
    },
    /// An upstream that goes by reports began or ceased to have enough of them.
    Reports {
        /// The upstream.
        upstream: Name,
        /// Whether it has enough.
        informed: bool,
    },
    /// A plan was taken into service.
    Applied {
        /// Which one, counted from 1.
        generation: u64,
        /// What it changed.
        diff: PlanDiff,
    },
    /// A certificate could not be used, or can be again.
    Certificate {
        /// The listener.
        listener: Name,
        /// The certificate's file.
        file: Box<str>,
        /// Why it cannot be used; none: it can.
        problem: Option<String>,
        /// Whether an earlier one from the same files stays in use.
        in_use: bool,
    },
    /// What secures the connections to an upstream's servers could not be read, or can be again.
    UpstreamTls {
        /// The upstream.
        upstream: Name,
        /// Why it cannot be used; none: it can.
        problem: Option<String>,
        /// Whether what was read before stays in use.
        in_use: bool,
    },
    /// A connection to a server could not be secured.
    ServerTls {
        /// The server's upstream.
        upstream: Name,
        /// The server.
        server: Name,
        /// Why.
        reason: String,
    },
    /// A limit ended, or was disarmed, or is in force again.
    Limit {
        /// Its name.
        name: Name,
        /// What it was.
        from: RateLimitState,
        /// What it is.
        to: RateLimitState,
        /// What people wrote about it.
        of: LimitNote,
    },
    /// A store of limits was lost, or answers again.
    Store {
        /// Its name.
        name: Name,
        /// Why it is lost; none: it answers.
        lost: Option<String>,
        /// How many instances share limits through it, as far as is known.
        instances: u32,
    },
    /// The access log cannot be written.
    AccessLogFailed {
        /// Why.
        error: String,
    },
    /// No descriptors are left; accepting pauses for a moment.
    OutOfDescriptors,
    /// Draining ended.
    Drained {
        /// Connections that were closed because the time was up.
        cut: u32,
    },
}
