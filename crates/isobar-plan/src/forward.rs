//! Where do clients come in that want to go anywhere, and where may they go?

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use isobar_route::destination::{DestinationHost, DestinationRules};

use crate::{ClientTimeouts, IdleTimeouts, ListenerLimits, Name, Secret, TcpKeepalive};

/// One address on which clients name their destinations themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardProxy {
    /// Its name, unique among listeners of every kind.
    pub name: Name,
    /// The address it listens on; port 0 asks the kernel for a free one.
    pub address: SocketAddr,
    /// What it takes at most; of bodies it takes any.
    pub limits: ListenerLimits,
    /// How long a client may take.
    pub timeouts: ClientTimeouts,
    /// How long what is between it and its destination may take.
    pub waits: ForwardWaits,
    /// How it is found out that a client is gone without a word; none: only by the timeouts.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How it is found out that a destination, or the parent, is gone without a word; none: only by the timeouts.
    pub destination_keepalive: Option<TcpKeepalive>,
    /// Whether HTTP is spoken, SOCKS 5, or both.
    pub speaks: Speaks,
    /// Who may use it, and proves that with a password; none: whoever reaches it.
    pub users: Option<ProxyUsers>,
    /// Where they may go.
    pub rules: DestinationRules,
    /// The name of each rule, a label in metrics and the access log, and last of what holds where no rule does.
    pub rule_names: Arc<[Name]>,
    /// The limits on bytes that its clients fall under, by name; each once.
    pub byte_limits: Vec<Name>,
    /// What one user may have, or one address where nobody has to say who he is.
    pub per_user: UserLimits,
    /// What destinations are told of the way a request came.
    pub reveals: Reveals,
    /// The file by which browsers find the proxy; none: there is none.
    pub pac: Option<Pac>,
    /// The proxy that everything goes through; none: connections go straight to their destinations.
    pub parent: Option<ParentProxy>,
    /// How names of destinations are looked up.
    pub names: NameRules,
}

/// What is spoken with clients of a forward proxy. The first byte of a connection tells the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaks {
    /// Both.
    Both,
    /// CONNECT and requests in absolute-form.
    Http,
    /// SOCKS 5.
    Socks5,
}

/// How long what is between a forward proxy and a destination may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardWaits {
    /// Until the destination's name is known to stand for addresses.
    pub lookup: Duration,
    /// Until the connection stands, all of its addresses tried, and the parent's handshake done.
    pub connect: Duration,
    /// In which a request of HTTP, once it is sent, has to move on in some direction.
    pub read: Duration,
    /// In which a tunnel carries something.
    pub idle: IdleTimeouts,
}

/// Who may use a forward proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUsers {
    /// The file in which they are, in the form of `htpasswd`.
    pub file: Box<str>,
    /// Them, sorted by name. Filled in when the file was read.
    pub list: Arc<[ProxyUser]>,
}

/// One who may use a forward proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUser {
    /// The name.
    pub name: Box<str>,
    /// The hash of the password, made by bcrypt, as text.
    pub hash: Secret,
}

/// What one user may have of a forward proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserLimits {
    /// Open connections; none: any number.
    pub max_connections: Option<u32>,
    /// Requests and tunnels; none: any number.
    pub requests: Option<RequestRate>,
}

/// How many requests in which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRate {
    /// In a second.
    pub per_second: u32,
    /// At once, after a while without any.
    pub burst: u32,
}

/// What destinations are told of the way a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reveals {
    /// That it came through a proxy (`Via`).
    pub via: bool,
    /// Whose it is (`X-Forwarded-For`).
    pub client: bool,
}

/// The file by which browsers find the proxy (proxy auto-configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pac {
    /// The path at which it is asked for.
    pub path: Box<str>,
    /// `host:port` of the proxy as browsers reach it; none: where the one that asks has reached it.
    pub address: Option<Box<str>>,
}

/// A proxy that everything goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentProxy {
    /// Its host.
    pub host: DestinationHost,
    /// Its port.
    pub port: u16,
    /// What is spoken with it.
    pub protocol: ParentProtocol,
    /// Who this proxy says it is; none: nobody asks.
    pub login: Option<ParentLogin>,
}

/// What is spoken with a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParentProtocol {
    /// CONNECT, and absolute-form for requests of HTTP.
    Http,
    /// SOCKS 5.
    Socks5,
}

/// Who a proxy says it is to its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentLogin {
    /// The name.
    pub user: Box<str>,
    /// The file with the password.
    pub file: Box<str>,
    /// The password. Filled in when the file was read.
    pub password: Secret,
}

/// How names of destinations are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRules {
    /// Who is asked; empty: whom the system asks.
    pub servers: Arc<[SocketAddr]>,
    /// How long an answer is believed at least.
    pub min_ttl: Duration,
    /// How long an answer is believed at most.
    pub max_ttl: Duration,
    /// How long it is believed that a name has no address.
    pub negative_ttl: Duration,
    /// Names that are remembered at most.
    pub max_names: u32,
}

impl ProxyUsers {
    /// Takes these users.
    pub fn fill_in(&mut self, mut users: Vec<ProxyUser>) {
        users.sort_by(|a, b| a.name.cmp(&b.name));
        self.list = users.into();
    }
}
