//! What may be written about a forward proxy?

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use isobar_plan::{ParentProtocol, Speaks};
use isobar_route::destination::{Access, DomainError, DomainPattern, PortRange};

use super::{Label, OneOrMore, OrNone, SecretFile, TcpKeepalive, Whole};
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};
use crate::units::{Network, PerSecond, Span, Target};

settings! {
    /// A proxy whose clients say where they want to go. Special-purpose addresses (private, loopback, metadata of clouds…) and ports other
    /// than 80, 443, and 1024 and above are denied until a rule that allows them names their range, or them.
    pub struct ForwardProxy called "a forward proxy" {
        /// What is spoken with clients; the first byte of a connection tells the two apart.
        speaks: Speaks = Speaks::Both,
        /// The file with the names and passwords of those who may use it, as `htpasswd -B` writes it; without it, everybody who reaches the
        /// listener may.
        users: Option<SecretFile>,
        /// Who may go where. The first rule decides for which all that is written of it holds.
        rules: Vec<ForwardRule>,
        /// What becomes of those for whom no rule holds.
        otherwise: Access = Access::Allow,
        /// What one user may have; where nobody has to say who he is, one address (of IPv6, one `/64`).
        per_user: ForwardUserLimits,
        /// Whether destinations are told that a request came through a proxy (`Via`).
        via: bool = false,
        /// Whether destinations are told whose a request is (`X-Forwarded-For`).
        forwarded_for: bool = false,
        /// The file by which browsers find the proxy (proxy auto-configuration); `none`: there is none.
        pac: OrNone<Pac>,
        /// The proxy that everything goes through; without it, connections go straight to their destinations.
        parent: Option<ForwardParent>,
        /// How the names of destinations are looked up.
        names: ForwardNames,
        /// How long what is between the proxy and destinations may take.
        timeouts: ForwardTimeouts,
        /// How it is found out that a destination, or the parent, is gone without a word; `none`: only by the timeouts. For clients, the
        /// listener has one.
        tcp_keepalive: OrNone<TcpKeepalive>,
    }
}

settings! {
    /// Who may go where, or may not. What is left out holds for everybody.
    pub struct ForwardRule called "a rule of a forward proxy" {
        /// Its name in logs and metrics, unique within the listener. Without one it is `rule-` and its position.
        name: Option<Label>,
        /// What becomes of those for whom it holds.
        action: Access,
        /// Names that are asked for: `example.com` and all below it, or with `*.example.com` only those below. A destination that is asked for
        /// by its address has no name.
        domains: OneOrMore<Domain>,
        /// Where the destination's address is, the one that is connected to.
        addresses: OneOrMore<Network>,
        /// Which ports, such as `443` or `8000-8999`.
        ports: OneOrMore<Ports>,
        /// Who asks.
        users: OneOrMore<Label>,
    }
}

settings! {
    /// What one user of a forward proxy may have.
    pub struct ForwardUserLimits called "the limits of a user" {
        /// Open connections over all workers (429, and for SOCKS 5 `not allowed`); `none`: any number.
        max_connections: OrNone<Whole<1, 1_000_000>>,
        /// Requests and tunnels, evenly at this rate (429); `none`: any number.
        requests: OrNone<PerSecond>,
        /// Requests and tunnels at once, after a while without any.
        burst: Whole<1, 1_000_000> = Whole::of(100),
    }
}

settings! {
    /// The file by which browsers find the proxy.
    pub struct Pac called "the PAC file" short path {
        /// The path at which it is asked for.
        path: PacPath,
        /// The proxy as browsers reach it; without it, where the one that asks for the file has reached it.
        address: Option<Target>,
    }
}

settings! {
    /// A proxy that everything goes through.
    pub struct ForwardParent called "the parent of a forward proxy" short address {
        /// Where it is.
        address: Target,
        /// What is spoken with it.
        protocol: ParentProtocol = ParentProtocol::Http,
        /// Who this proxy says it is.
        user: Option<Label>,
        /// The file with the password for that.
        password_file: Option<SecretFile>,
    }
}

settings! {
    /// How the names of destinations are looked up. Answers are remembered for all workers.
    pub struct ForwardNames called "the names of a forward proxy" {
        /// Who is asked, over UDP and TCP; without any, whom the system asks, `/etc/hosts` first.
        servers: OneOrMore<NameServer>,
        /// How long an answer is believed at least, whatever it says itself.
        min_ttl: Span = Span::seconds(5),
        /// How long an answer is believed at most.
        max_ttl: Span = Span::seconds(3600),
        /// How long it is believed that a name has no address.
        negative_ttl: Span = Span::seconds(10),
        /// Names that are remembered at most; the one whose answer ends first makes room.
        max_names: Whole<1, 1_000_000> = Whole::of(10_000),
    }
}

settings! {
    /// How long what is between a forward proxy and destinations may take.
    pub struct ForwardTimeouts called "the timeouts of a forward proxy" {
        /// Until a name is looked up (504).
        lookup: Span = Span::seconds(5),
        /// Until the connection stands, several addresses and the parent's handshake included (504).
        connect: Span = Span::seconds(10),
        /// In which the answer to a request of HTTP has to begin, and then to go on (504).
        read: Span = Span::seconds(60),
        /// In which a tunnel has to carry something, in either direction.
        idle: Span = Span::seconds(600),
        /// In which a tunnel has to carry something from the client; `none`: only `idle` holds.
        client_idle: OrNone<Span>,
        /// In which a tunnel has to carry something to the client; `none`: only `idle` holds.
        server_idle: OrNone<Span>,
        /// In which a tunnel has to carry something once one side has ended, in place of `idle`; `none`: `idle` holds.
        half_closed: OrNone<Span>,
    }
}

impl Choice for Speaks {
    const EXPECTED: &'static str = "what is spoken with clients";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Both, "both", "HTTP and SOCKS 5"),
        (Self::Http, "http", "CONNECT and requests in absolute-form"),
        (Self::Socks5, "socks5", "SOCKS 5"),
    ];
}

impl Choice for ParentProtocol {
    const EXPECTED: &'static str = "what is spoken with a parent";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Http, "http", "CONNECT, and absolute-form for requests of HTTP"),
        (Self::Socks5, "socks5", "SOCKS 5; names are looked up by the parent"),
    ];
}

impl Choice for Access {
    const EXPECTED: &'static str = "`allow` or `deny`";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Allow, "allow", "they may go there"),
        (
            Self::Deny,
            "deny",
            "they may not, and are told which rule says so (403)",
        ),
    ];
}

/// A domain, as in `example.com` or `*.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(pub DomainPattern);

impl Word for Domain {
    fn read(text: &str) -> Result<Self, Misfit> {
        DomainPattern::parse(text).map(Self).map_err(|error| match error {
            DomainError::Address => Misfit::because(error.to_string()).help("write it in `addresses`"),
            DomainError::NotAscii => Misfit::because(error.to_string()),
            DomainError::Invalid => Misfit::OTHER,
        })
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        // It is one.
        Self(DomainPattern::parse("example.com").unwrap_or_else(|_| unreachable!("it is a domain")))
    }

    fn describe() -> WordShape {
        WordShape {
            name: "domain",
            expected: "a domain such as `example.com`".to_owned(),
            pattern: Some(r"^(\*?\.)?[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?$"),
            examples: &["example.com", "*.example.com"],
            range: None,
            number: false,
        }
    }
}

word_setting!(Domain);

/// A port, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports(pub PortRange);

impl Word for Ports {
    fn read(text: &str) -> Result<Self, Misfit> {
        let port = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let port: Option<u16> = text.parse().ok();
            port.filter(|port| is_number && *port > 0)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(PortRange { first, last })),
            (Some(first), Some(last)) => {
                Err(Misfit::because("the range is the wrong way round").help(format!("did you mean `{last}-{first}`?")))
            }
            _ => Err(Misfit::OTHER),
        }
    }

    fn write(&self) -> String {
        let PortRange { first, last } = self.0;
        match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        }
    }

    fn stand_in() -> Self {
        Self(PortRange { first: 443, last: 443 })
    }

    fn describe() -> WordShape {
        WordShape {
            name: "ports",
            expected: "a port from 1 to 65535, or a range such as `8000-8999`".to_owned(),
            pattern: Some("^[0-9]{1,5}(-[0-9]{1,5})?$"),
            examples: &["443", "8000-8999"],
            range: None,
            number: true,
        }
    }
}

word_setting!(Ports);

/// The address of a name server, written `10.0.0.53` or `10.0.0.53:5353`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

/// Where name servers are asked that say nothing else.
const DNS_PORT: u16 = 53;

impl Word for NameServer {
    fn read(text: &str) -> Result<Self, Misfit> {
        let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
        match text.parse().or_else(|_| bare()) {
            Ok(address) if address.port() > 0 => Ok(Self(address)),
            _ => Err(Misfit::OTHER),
        }
    }

    fn write(&self) -> String {
        match self.0.port() {
            DNS_PORT => self.0.ip().to_string(),
            _ => self.0.to_string(),
        }
    }

    fn stand_in() -> Self {
        Self(SocketAddr::from(([127, 0, 0, 1], DNS_PORT)))
    }

    fn describe() -> WordShape {
        WordShape {
            name: "name server",
            expected: "the address of a name server, such as `10.0.0.53`".to_owned(),
            pattern: Some(r"^[0-9A-Fa-f.:\[\]]+$"),
            examples: &["10.0.0.53", "127.0.0.1:5353", "[2001:db8::53]:53"],
            range: None,
            number: false,
        }
    }
}

word_setting!(NameServer);

/// The path of the PAC file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacPath(Box<str>);

impl PacPath {
    /// The path as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PacPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Word for PacPath {
    fn read(text: &str) -> Result<Self, Misfit> {
        const MAX_BYTES: usize = 256;
        let is_path = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic() && c != '#' && c != '?');
        match is_path && text.len() <= MAX_BYTES {
            true => Ok(Self(text.into())),
            false => Err(Misfit::OTHER),
        }
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self("/proxy.pac".into())
    }

    fn describe() -> WordShape {
        WordShape {
            name: "path of a PAC file",
            expected: "a path such as `/proxy.pac`".to_owned(),
            pattern: Some("^/[!-\"$->@-~]*$"),
            examples: &["/proxy.pac"],
            range: None,
            number: false,
        }
    }
}

word_setting!(PacPath);
