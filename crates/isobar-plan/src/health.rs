//! How are servers probed?

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Name, ProxyVersion};

/// One thing that is asked of every server of an upstream, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Its name, unique within the upstream; a label in metrics and in the log.
    pub name: Name,
    /// The port that is asked; none: the server's own.
    pub port: Option<u16>,
    /// How the connection is secured; none: it is not.
    pub tls: Option<CheckTls>,
    /// In which form of the PROXY protocol the server is told that nobody else is spoken for; none: it is not.
    pub proxy_protocol: Option<ProxyVersion>,
    /// What is asked of a server.
    pub probe: HealthProbe,
    /// From the start of one probe to the start of the next; each is moved by up to a tenth of it at random.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// Good probes in a row after which an unhealthy server is healthy; at least 1. An unknown one needs one.
    pub rise: u32,
    /// Bad probes in a row after which a healthy server is unhealthy; at least 1.
    pub fall: u32,
}

impl HealthCheck {
    /// Whether the same is asked, at whatever times: answers to one count for the other.
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (Some(one), Some(other)) => one.asks_the_same(other),
            (one, other) => one == other,
        };
        let same_way = self.port == other.port && self.proxy_protocol == other.proxy_protocol;
        self.probe == other.probe && same_way && same_tls
    }
}

/// How the connection of a probe is secured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CheckTls {
    /// As those of requests to the servers are.
    OfUpstream,
    /// In its own way.
    Own(HealthTls),
}

impl CheckTls {
    /// Whether the same is written, whatever stands in the file: certificates are exchanged before they expire.
    fn asks_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own(one), Self::Own(other)) => one.asks_the_same(other),
            (one, other) => one == other,
        }
    }
}

/// How a probe secures its connection in its own way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthTls {
    /// Whose certificate is wanted, and what the server is told is wanted of it; none: the server's own name or address.
    pub server_name: Option<Box<str>>,
    /// Whose word is taken for the certificate.
    pub trust: Trust,
}

impl HealthTls {
    fn asks_the_same(&self, other: &Self) -> bool {
        let same_trust = match (&self.trust, &other.trust) {
            (Trust::File(one), Trust::File(other)) => one.file == other.file,
            (one, other) => one == other,
        };
        self.server_name == other.server_name && same_trust
    }
}

/// Whose word is taken for a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The authorities the system trusts.
    System,
    /// The authorities in a PEM file.
    File(Authorities),
    /// Nobody's: any certificate will do, and whoever sits between can answer in the server's place.
    Anyone,
}

/// The certificates of authorities in a PEM file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authorities {
    /// The file.
    pub file: Box<str>,
    /// What stands in it. Read by whoever may read files, before the plan is served; empty until then.
    pub pem: Arc<[u8]>,
}

impl Authorities {
    /// Those in a file that was not read yet.
    #[must_use]
    pub fn of_file(file: &str) -> Self {
        Self {
            file: file.into(),
            pem: Arc::default(),
        }
    }
}

/// What is asked of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthProbe {
    /// That it takes a connection, and says what is expected of it.
    Tcp(Vec<TcpStep>),
    /// That it answers a datagram.
    Udp(UdpProbe),
    /// That it answers an HTTP request.
    Http(HttpProbe),
    /// That it says that it serves, in the health checking protocol of gRPC.
    Grpc {
        /// The service that is asked for; empty: the server as a whole.
        service: Box<str>,
        /// The authority that is sent; none: the server's address as written.
        host: Option<Box<str>>,
    },
}

/// A request and what is wanted of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// The method.
    pub method: Box<str>,
    /// The path, query included.
    pub path: Box<str>,
    /// The Host field; none: the server's address as written.
    pub host: Option<Box<str>>,
    /// Further fields, names in lower case.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The statuses that count as good.
    pub expect: StatusRanges,
    /// What the body has to contain; none: the body is not looked at.
    pub body: Option<Box<[u8]>>,
}

/// Something that is said to a server, and what it has to say then. Either may be empty, but not both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpStep {
    /// What is sent.
    pub send: Box<[u8]>,
    /// What the server's words have to contain.
    pub expect: Box<[u8]>,
}

/// A datagram, and how the answer has to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpProbe {
    /// What is sent.
    pub send: Box<[u8]>,
    /// What the answer has to begin with; none: no answer is wanted, only that nobody says that the server is not there.
    pub expect: Option<Box<[u8]>>,
}

/// A set of status codes, as inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRanges(pub Vec<(u16, u16)>);

impl StatusRanges {
    /// Whether the set holds the status.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&status))
    }
}
