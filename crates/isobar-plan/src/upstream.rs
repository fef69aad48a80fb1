//! Which servers are there, and how are they treated?

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

pub use isobar_balance::{Allowance, Balance};

use crate::{
    FairShare, GradientRules, HealthCheck, HttpVersion, Name, Outliers, Placement, ProxyVersion, Queue, Reports,
    ServiceState, Sticky, TcpKeepalive, UpstreamLimits, UpstreamTls,
};

/// A set of servers that can answer the same requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name, unique among upstreams.
    pub name: Name,
    /// How a server is chosen.
    pub balance: Balance,
    /// What requests are told apart by, where the algorithm goes by keys; otherwise empty.
    pub hash: Vec<HashPart>,
    /// Its servers in the order written; names are unique within the upstream.
    pub servers: Vec<Server>,
    /// How connections to its servers are secured; none: they are not.
    pub tls: Option<UpstreamTls>,
    /// Which of its servers stand together, and how far what is known of them is believed.
    pub placement: Placement,
    /// How reports of its servers are read, where the algorithm goes by them; otherwise none.
    pub reports: Option<Arc<Reports>>,
    /// How its servers are probed: each has to pass all of these. Empty: they count as healthy.
    pub health: Vec<Arc<HealthCheck>>,
    /// How its servers are taken out for how they answer; none: they are not.
    pub outliers: Option<Outliers>,
    /// How long its servers may take.
    pub timeouts: Timeouts,
    /// In which form its servers are told of the clients of TCP connections; none: they are not.
    pub proxy_protocol: Option<ProxyVersion>,
    /// How it is found out that a server is gone without a word; none: only by the timeouts.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How connections to its servers are kept.
    pub keep_alive: KeepAlive,
    /// What is spoken with its servers.
    pub http_version: HttpVersion,
    /// What all its servers are given at once at most.
    pub limits: UpstreamLimits,
    /// How the limit of each server is found from latency; none: it is the configured one.
    pub adaptive_concurrency: Option<GradientRules>,
    /// Where requests wait while every server is at its limit.
    pub queue: Queue,
    /// Between whom its places are divided while requests wait; none: between nobody.
    pub fair_share: Option<Arc<FairShare>>,
    /// How sessions stay with their servers; none: every request is for itself.
    pub sticky: Option<Sticky>,
    /// How many requests may be sent again or hedged, as a part of all; none: there is no bound.
    pub retry_budget: Option<Allowance>,
}

/// One thing of a request, or of a TCP connection, that is part of its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashPart {
    /// The client's address, as trusted proxies tell it.
    ClientIp,
    /// The name that a client of a TCP listener asks for in its TLS handshake (SNI).
    Sni,
    /// The port that a client of a TCP listener connected to, as the PROXY protocol tells it.
    DestinationPort,
    /// The host asked for.
    Host,
    /// The path, in canonical form and without the query.
    Path,
    /// A request header.
    Header(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// A parameter of the query.
    Query(Box<str>),
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address as written; a label in metrics and the access log.
    pub name: Name,
    /// Where it is.
    pub address: ServerAddress,
    /// Its share relative to the others; 0 takes no new requests.
    pub weight: u32,
    /// Requests it takes at once, over all workers; none: no limit.
    pub max_connections: Option<u32>,
    /// Whether it serves only while no other server is available.
    pub backup: bool,
    /// Its level, unless it is a backup: 0 serves first.
    pub priority: u8,
    /// Where it is; none: in no zone that anybody else is in.
    pub zone: Option<Name>,
    /// What is wanted of it at first, until an operator says otherwise.
    pub state: ServiceState,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// At an address.
    Socket(SocketAddr),
    /// At the addresses a name stands for; the control plane resolves it and tells the data plane.
    Name(Box<str>, u16),
}

/// How long servers may take. A zero duration is never valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to be made (the next server is tried, then 504).
    pub connect: Duration,
    /// For the server to take some bytes of the request (504).
    pub send: Duration,
    /// For the first or the next bytes of the answer (504, or the connection is closed once the answer has begun).
    pub read: Duration,
    /// For bytes of a TCP connection, of an upgraded one such as a WebSocket, or of a stream (it is closed).
    pub idle: IdleTimeouts,
}

/// How long nothing may move between a client and a server that are only connected by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleTimeouts {
    /// In either direction.
    pub both: Duration,
    /// From the client to the server; none: only `both` holds.
    pub client: Option<Duration>,
    /// From the server to the client; none: likewise.
    pub server: Option<Duration>,
    /// In the direction that is left once the other has ended, in place of `both`; none: that goes on to hold.
    pub half_closed: Option<Duration>,
}

impl IdleTimeouts {
    /// Nothing may move in either direction for so long, and nothing else is asked.
    #[must_use]
    pub const fn both(both: Duration) -> Self {
        Self {
            both,
            client: None,
            server: None,
            half_closed: None,
        }
    }
}

/// How connections to servers are kept for the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle connections a worker keeps per server; 0: none are kept.
    pub max_idle: u32,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
}
