//! What was asked, and what is true?
//!
//! A [`Plan`] is everything the data plane is asked to do, already valid: names are resolved to ids, defaults
//! are filled in, ranges are checked. A [`Status`] is what the data plane says back. The two halves of Isobar
//! meet here and nowhere else, so this crate knows no YAML, no file, no socket and no clock.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod diff;
mod fair;
mod forward;
mod health;
mod http2;
mod keepalive;
mod limit;
mod listener;
mod logging;
mod overload;
mod placement;
mod reports;
mod retry;
mod service;
mod status;
mod sticky;
mod store;
mod tcp;
mod tls;
mod udp;
mod upstream;

pub use diff::{LimitChange, ListenerChange, PlanDiff, UpstreamChange};
pub use fair::{FairShare, FairStatus, FairWeight};
pub use forward::{
    ForwardProxy, ForwardWaits, NameRules, Pac, ParentLogin, ParentProtocol, ParentProxy, ProxyUser, ProxyUsers,
    RequestRate, Reveals, Speaks, UserLimits,
};
pub use health::{
    Authorities, CheckTls, HealthCheck, HealthProbe, HealthTls, HttpProbe, StatusRanges, TcpStep, Trust, UdpProbe,
};
pub use http2::{Http2, Http2Budgets, HttpVersion};
pub use isobar_balance::{Bound, SlowStart, Tier};
pub use keepalive::TcpKeepalive;
pub use limit::{
    Direction, Exhausted, GuardRules, Limit, LimitAlgorithm, LimitAnswer, LimitCosts, LimitCounting, LimitEnforcement,
    LimitHeaders, LimitKey, LimitKind, LimitMode, LimitNote, LimitOverride, LimitPace, MOST_LIMITS, MOST_LOG_UNITS,
    MOST_LOGGED, MissingKey, Rate, Settlement, least_byte_burst,
};
pub use listener::{
    Action, Cidr, ClientTimeouts, Forwarding, HeaderOp, Listener, ListenerLimits, Route, RouteTimeouts, SourceLimits,
    UpstreamId,
};
pub use logging::{AccessLog, LogDestination, LogFormat};
pub use overload::{GradientRules, Priority, Queue, QueueOrder, UpstreamLimits};
pub use placement::{Locality, Panic, Placement};
pub use reports::{LoadProbe, ORCA_FIELDS, Reports};
pub use retry::{Backoff, GrpcCodes, Hedge, HedgeAfter, Retry, RetryOn};
pub use service::{
    Comeback, EjectionCounts, EjectionStatus, OrderDone, OrderRefusal, OutlierSettings, Outliers, Reason, ServerOrder,
    ServiceChange, ServiceState,
};
pub use status::{
    CertificateStatus, CheckHealth, CheckReport, CheckStatus, EngineState, Event, HealthState, LimitStatus,
    ListenerStatus, LogStatus, PanicChange, RateLimitState, RateLimitStatus, ReportsStatus, ServerStatus, Status,
    UpstreamStatus, UpstreamTlsStatus,
};
pub use sticky::{Learned, LearnedFrom, Otherwise, Secret, Sticky, StickyBy, StickyCookie};
pub use store::{
    LeaseRules, OnLoss, SharedKind, SharedLimit, SharedTerms, Store, StoreLayout, StoreLogin, StoreStatus, StoreTls,
    shared_terms,
};
pub use tcp::{ProxyOthers, ProxySources, ProxyVersion, TcpLimits, TcpListener, TcpRoute, TlsRule};
pub use tls::{
    CertificateFiles, ClientCertificates, Hsts, ListenerTls, ServerTrust, Sessions, TicketKeys, TlsVersion,
    UnknownName, UpstreamTls, WithoutCertificate,
};
pub use udp::{FlowKey, FlowRules, QuicRules, UdpListener, UdpRoute};
pub use upstream::{Allowance, Balance, HashPart, IdleTimeouts, KeepAlive, Server, ServerAddress, Timeouts, Upstream};

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// The name of a listener, route, upstream or server, as written in the configuration and shown in logs and metrics.
pub type Name = Arc<str>;

/// Everything one instance is asked to do; immutable, and valid as a whole.
///
/// *Shape*: an [`UpstreamId`] indexes `upstreams` and is in range; names are unique within their kind;
/// a limit that a route names is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where clients of HTTP come in.
    pub listeners: Vec<Listener>,
    /// Where connections of TCP come in.
    pub tcp: Vec<TcpListener>,
    /// Where datagrams come in.
    pub udp: Vec<UdpListener>,
    /// Where clients of HTTP and SOCKS come in that name their destinations themselves.
    pub forward: Vec<ForwardProxy>,
    /// Where requests go.
    pub upstreams: Vec<Upstream>,
    /// What routes limit requests by.
    pub limits: Vec<Limit>,
    /// Through what instances share limits; those that a limit names are there.
    pub stores: Vec<Store>,
    /// Where finished requests are written down; none: nowhere.
    pub access_log: Option<AccessLog>,
    /// The listener for operators; none: there is none.
    pub admin: Option<Admin>,
    /// How long connections may finish their work after SIGTERM, or after their listener is gone.
    pub drain_timeout: Duration,
}

/// The listener for operators: health endpoints and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The address it listens on.
    pub address: SocketAddr,
}

/// What a listener of any kind listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The listener's name.
    pub name: &'a Name,
    /// The address in the plan.
    pub address: SocketAddr,
    /// What carries what comes there.
    pub transport: Transport,
}

/// What carries what comes to a listener. Two that differ in it can have the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Connections, of which the kernel keeps so many for us to accept.
    Tcp {
        /// How many.
        backlog: u32,
        /// How it is found out that one of them is gone; none: it is not.
        keepalive: Option<TcpKeepalive>,
    },
    /// Datagrams.
    Udp,
}

impl Endpoint<'_> {
    /// Whether the sockets of another one could be its own.
    #[must_use]
    pub fn has_sockets_of(self, other: Endpoint<'_>) -> bool {
        self.address == other.address && (self.transport == Transport::Udp) == (other.transport == Transport::Udp)
    }
}

impl Plan {
    /// What all listeners listen on: those of HTTP, then those of TCP, then those of UDP, then forward proxies.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint<'_>> {
        let http = self.listeners.iter().map(|listener| Endpoint {
            name: &listener.name,
            address: listener.address,
            transport: Transport::Tcp {
                backlog: listener.limits.backlog,
                keepalive: listener.tcp_keepalive,
            },
        });
        let tcp = self.tcp.iter().map(|listener| Endpoint {
            name: &listener.name,
            address: listener.address,
            transport: Transport::Tcp {
                backlog: listener.limits.backlog,
                keepalive: listener.tcp_keepalive,
            },
        });
        let udp = self.udp.iter().map(|listener| Endpoint {
            name: &listener.name,
            address: listener.address,
            transport: Transport::Udp,
        });
        let forward = self.forward.iter().map(|listener| Endpoint {
            name: &listener.name,
            address: listener.address,
            transport: Transport::Tcp {
                backlog: listener.limits.backlog,
                keepalive: listener.tcp_keepalive,
            },
        });
        http.chain(tcp).chain(udp).chain(forward)
    }

    /// The upstream an id stands for.
    ///
    /// *Panics* when the id is of another plan.
    #[must_use]
    pub fn upstream(&self, id: UpstreamId) -> &Upstream {
        &self.upstreams[id.0]
    }
}
