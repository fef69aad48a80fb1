//! Where do datagrams come in, and where do they go?

use core::net::SocketAddr;
use core::time::Duration;

use crate::{Name, Priority, ProxySources, UpstreamId};

/// One address on which datagrams are taken that nobody looks into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpListener {
    /// Its name, unique among listeners of every kind.
    pub name: Name,
    /// The address it listens on; port 0 asks the kernel for a free one.
    pub address: SocketAddr,
    /// From whom it takes headers of the PROXY protocol; none: from nobody.
    pub proxy: Option<ProxySources>,
    /// Which datagrams belong together, and for how long.
    pub flows: FlowRules,
    /// Where they go.
    pub route: UdpRoute,
}

/// Which datagrams belong together, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRules {
    /// What makes a flow one.
    pub keyed_by: FlowKey,
    /// How long a flow lasts in which nothing is sent, in either direction.
    pub idle_timeout: Duration,
    /// Flows at once, over all workers, of which each has its share.
    pub max_flows: u32,
    /// After so many datagrams of a client its next one begins another flow; none: never.
    pub requests: Option<u32>,
    /// Datagrams of the server that are expected for each of the client; none: nobody knows.
    pub responses: Option<u32>,
    /// Whether the socket of a flow that came to its last expected answer carries others later.
    pub reuse_sockets: bool,
    /// How clients of QUIC are known by their connection IDs; none: they are not.
    pub quic: Option<QuicRules>,
}

/// What makes a flow one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlowKey {
    /// The client's address and port.
    Client,
    /// These, and the address that the client sends to.
    ClientAndDestination,
}

/// How connection IDs of QUIC are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuicRules {
    /// Bytes of the IDs that the servers choose.
    pub id_bytes: u8,
}

/// Where the datagrams of a listener go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpRoute {
    /// Its name; a label in metrics and the access log.
    pub name: Name,
    /// Where they go.
    pub upstream: UpstreamId,
    /// How much its flows matter when not all can be served.
    pub priority: Priority,
}
