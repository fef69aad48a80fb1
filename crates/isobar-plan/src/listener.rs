//! Where do clients come in, and which way do their requests take?

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use isobar_route::Rule;

use crate::{
    Hedge, Http2, ListenerTls, Name, Priority, ProxySources, Rate, Retry, TcpKeepalive, TcpLimits, TcpListener,
    TcpRoute, Timeouts,
};

/// The position of an upstream in [`Plan::upstreams`](crate::Plan::upstreams).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub usize);

/// One address on which HTTP is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, unique among listeners.
    pub name: Name,
    /// The address it listens on; port 0 asks the kernel for a free one.
    pub address: SocketAddr,
    /// From whom it takes headers of the PROXY protocol; none: from nobody.
    pub proxy: Option<ProxySources>,
    /// How it is found out that a client is gone without a word; none: only by the timeouts.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How connections are secured; none: they are not.
    pub tls: Option<ListenerTls>,
    /// Connections that are passed on without being decrypted, by what their clients ask for; all others are decrypted here. Empty
    /// without `tls`, and no rule takes what is no TLS.
    pub passthrough: Arc<[TcpRoute]>,
    /// How HTTP/2 is spoken, with those who ask for it (ALPN) and those who begin with it; none: only HTTP/1 is.
    pub http2: Option<Http2>,
    /// The port that clients are sent to over TLS, in place of any route; none: they are served here.
    pub redirect_to_tls: Option<u16>,
    /// What it takes at most.
    pub limits: ListenerLimits,
    /// How long a client may take.
    pub timeouts: ClientTimeouts,
    /// Whom it believes about the client's address, and what it tells servers.
    pub forwarding: Forwarding,
    /// Its routes in the order written; the rule's precedence, then this order, decides.
    pub routes: Arc<[Route]>,
}

impl Listener {
    /// What it asks of connections that are passed on.
    #[must_use]
    pub fn divided(&self) -> TcpListener {
        TcpListener {
            name: self.name.clone(),
            address: self.address,
            limits: TcpLimits {
                max_connections: self.limits.max_connections,
                sources: self.limits.sources,
                backlog: self.limits.backlog,
            },
            proxy: self.proxy.clone(),
            tcp_keepalive: self.tcp_keepalive,
            handshake_timeout: self.timeouts.handshake,
            reads_hello: true,
            routes: Arc::clone(&self.passthrough),
        }
    }
}

/// What a listener takes at most. Past a limit the client gets the stated answer, never a hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Open client connections over all workers; past it, connections wait in the kernel's backlog.
    pub max_connections: u32,
    /// What one source may have.
    pub sources: SourceLimits,
    /// Bytes of a request head, request line included (431, or 414 when the target alone is longer); at most 65,535.
    pub max_head_bytes: u32,
    /// Header fields of a request (431); at most 256.
    pub max_headers: u16,
    /// Bytes of a request body (413); none: no limit.
    pub max_body_bytes: Option<u64>,
    /// Connections the kernel keeps for us to accept.
    pub backlog: u32,
}

/// What one source of connections may have at a listener: an address, of IPv6 a network of 64 bits. Past it, a connection is
/// closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceLimits {
    /// Open connections over all workers; none: any number.
    pub max_connections: Option<u32>,
    /// New connections; none: any number.
    pub rate: Option<Rate>,
}

/// How long a client may take. A zero duration is never valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// From the end of one exchange (or the accept) to the first byte of the next.
    pub idle: Duration,
    /// From the accept to the end of the PROXY header and of the TLS handshake (the connection is closed).
    pub handshake: Duration,
    /// From the first byte of a head to its last (408).
    pub head: Duration,
    /// For every further [`BODY_PROGRESS_BYTES`](Self::BODY_PROGRESS_BYTES) of a request body, or its end (408).
    pub body: Duration,
    /// For the client to take some bytes of the answer (the connection is closed).
    pub write: Duration,
    /// How old a connection may become before it ends after what it is doing; none: as old as it likes. Up to a tenth less, by
    /// chance, so that those which came together do not leave together.
    pub max_age: Option<Duration>,
}

impl ClientTimeouts {
    /// How much of a body must arrive within [`body`](Self::body) for the deadline to move on: a byte now and then is no progress.
    pub const BODY_PROGRESS_BYTES: u64 = 1024;
}

/// Whom a listener believes about the client's address, and which fields it writes for servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Peers whose forwarding fields are believed and extended; those of all others are removed.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether the standard `Forwarded` field (RFC 7239) is written beside the `X-Forwarded-*` ones.
    pub forwarded: bool,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// A range from an address and a prefix length; bits past the prefix are cleared. None: the prefix is too long.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let network = match address {
            IpAddr::V4(v4) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::from((u32::from(v4) & mask).to_be_bytes())
            }
            IpAddr::V6(v6) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::from((u128::from(v6) & mask).to_be_bytes())
            }
            _ => return None,
        };
        Some(Self { network, prefix })
    }

    /// Its first address.
    #[must_use]
    pub const fn network(self) -> IpAddr {
        self.network
    }

    /// Whether the address lies in the range. An IPv4 address mapped into IPv6 is taken as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address.to_canonical(), self.prefix).is_some_and(|range| range.network == self.network)
    }
}

/// What is done with the requests a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name, unique within the listener; a label in metrics and the access log.
    pub name: Name,
    /// Which requests it takes.
    pub rule: Rule,
    /// What happens to them.
    pub action: Action,
    /// The upstream's timeouts with the route's own in their place.
    pub timeouts: RouteTimeouts,
    /// When its requests are sent again: as the upstream says, with the route's own settings in their place.
    pub retry: Retry,
    /// When its requests are given to a second server; none: never.
    pub hedge: Option<Hedge>,
    /// How much its requests matter when not all can be served.
    pub priority: Priority,
    /// The limits that its requests fall under, those of the listener first; each once, and [`MOST_LIMITS`](crate::MOST_LIMITS) at most.
    pub limits: Vec<Name>,
    /// Whether requests of gRPC-Web are made calls of gRPC for servers that speak HTTP/2.
    pub grpc_web: bool,
    /// Changes to the request's fields, in order, after the forwarding fields are set.
    pub request_headers: Vec<HeaderOp>,
    /// Changes to the response's fields, in order.
    pub response_headers: Vec<HeaderOp>,
}

/// The timeouts that hold for the requests of one route.
pub type RouteTimeouts = Timeouts;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes to a server of this upstream.
    Forward(UpstreamId),
}

/// One change to the fields of a message. Names are valid tokens in lower case, values valid field values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderOp {
    /// Replaces all fields of this name with one.
    Set(Box<str>, Box<str>),
    /// Adds a field beside those of the same name.
    Add(Box<str>, Box<str>),
    /// Removes all fields of this name.
    Remove(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::Cidr;

    #[test]
    fn cidr_contains() {
        let check = |network: &str, prefix, address: &str, expected| {
            let range = Cidr::new(network.parse().unwrap(), prefix).unwrap();
            assert_eq!(
                range.contains(address.parse().unwrap()),
                expected,
                "{network}/{prefix} {address}"
            );
        };
        check("10.0.0.0", 8, "10.255.0.1", true);
        check("10.0.0.0", 8, "11.0.0.0", false);
        check("10.1.2.3", 32, "10.1.2.3", true);
        check("10.1.2.3", 32, "10.1.2.4", false);
        check("0.0.0.0", 0, "203.0.113.9", true);
        check("0.0.0.0", 0, "::1", false);
        check("::", 0, "::1", true);
        check("2001:db8::", 32, "2001:db8:1::1", true);
        check("127.0.0.0", 8, "::ffff:127.0.0.1", true);
        assert_eq!(Cidr::new("10.0.0.0".parse().unwrap(), 33), None);
    }
}
