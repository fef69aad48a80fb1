//! Where do connections of TCP come in, and where do they go?

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use isobar_route::HostPattern;

use crate::{Cidr, Name, Priority, Retry, SourceLimits, TcpKeepalive, Timeouts, UpstreamId};

/// One address on which connections are taken whose bytes nobody looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpListener {
    /// Its name, unique among listeners of every kind.
    pub name: Name,
    /// The address it listens on; port 0 asks the kernel for a free one.
    pub address: SocketAddr,
    /// What it takes at most.
    pub limits: TcpLimits,
    /// From whom it takes headers of the PROXY protocol; none: from nobody.
    pub proxy: Option<ProxySources>,
    /// How it is found out that a client is gone without a word; none: only by the timeouts.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// From the accept to the end of the PROXY header, and of the client's hello where that is read.
    pub handshake_timeout: Duration,
    /// Whether the client's hello is waited for: a route goes by it, or an upstream's key.
    pub reads_hello: bool,
    /// Its routes in the order written; the rule's precedence, then this order, decides.
    pub routes: Arc<[TcpRoute]>,
}

/// From whom a listener takes headers of the PROXY protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySources {
    /// Proxies whose connections begin with a header.
    pub from: Vec<Cidr>,
    /// What becomes of the connections of all others.
    pub others: ProxyOthers,
}

/// What becomes of connections that are not from a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyOthers {
    /// They are closed.
    Refuse,
    /// They are served, without a header.
    Accept,
}

/// In which form of the PROXY protocol servers are told of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary, with what else is known of the connection.
    V2,
}

/// What a client has to ask for in its TLS handshake to fall under a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsRule {
    /// The names it takes; one that takes any takes connections without TLS too.
    pub server_name: HostPattern,
    /// The protocol that has to be among those offered (ALPN); none: none has to.
    pub alpn: Option<Box<[u8]>>,
}

/// What a listener of TCP takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Open client connections over all workers; past it, connections wait in the kernel's backlog.
    pub max_connections: u32,
    /// What one source may have.
    pub sources: SourceLimits,
    /// Connections the kernel keeps for us to accept.
    pub backlog: u32,
}

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpRoute {
    /// Its name, unique within the listener; a label in metrics and the access log.
    pub name: Name,
    /// Which connections it takes.
    pub rule: TlsRule,
    /// Where they go.
    pub upstream: UpstreamId,
    /// The upstream's timeouts with the route's own in their place. Those for connecting and for idleness hold.
    pub timeouts: Timeouts,
    /// When another server is tried, if no connection can be made: what it says of requests is without meaning here.
    pub retry: Retry,
    /// How much its connections matter when not all can be served.
    pub priority: Priority,
    /// The limits on bytes that its connections fall under, by name; each once.
    pub limits: Vec<Name>,
}
