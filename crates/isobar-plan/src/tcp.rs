//! Where do connections of TCP come in, and where do they go?

use alloc::sync::Arc;
use core::net::SocketAddr;

use crate::{Name, Priority, Retry, Timeouts, UpstreamId};

/// One address on which connections are taken whose bytes nobody looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpListener {
    /// Its name, unique among listeners of every kind.
    pub name: Name,
    /// The address it listens on; port 0 asks the kernel for a free one.
    pub address: SocketAddr,
    /// What it takes at most.
    pub limits: TcpLimits,
    /// Its routes in the order written.
    pub routes: Arc<[TcpRoute]>,
}

/// What a listener of TCP takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Open client connections over all workers; past it, connections wait in the kernel's backlog.
    pub max_connections: u32,
    /// Connections the kernel keeps for us to accept.
    pub backlog: u32,
}

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpRoute {
    /// Its name, unique within the listener; a label in metrics and the access log.
    pub name: Name,
    /// Where they go.
    pub upstream: UpstreamId,
    /// The upstream's timeouts with the route's own in their place. Those for connecting and for idleness hold.
    pub timeouts: Timeouts,
    /// When another server is tried, if no connection can be made: what it says of requests is without meaning here.
    pub retry: Retry,
    /// How much its connections matter when not all can be served.
    pub priority: Priority,
}
