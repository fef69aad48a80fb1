//! What may be written about a listener?

use isobar_plan::Priority;

use super::{
    ForwardProxy, Http2, Label, ListenerTls, OrNone, ProxyProtocol, Route, TcpKeepalive, TlsRedirect, UdpFlows, Whole,
};
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::units::{ByteSize, ListenAddress, Network, Rate, Span};

settings! {
    /// One address on which clients are served.
    pub struct Listener called "a listener" {
        /// Its name in logs and metrics, unique among listeners. Without one it is `listener-` and its position.
        name: Option<Label>,
        /// The address it listens on; `:8080` is every IPv4 address of the machine, port 0 asks for a free port.
        address: ListenAddress,
        /// What clients speak. A listener of TCP or UDP takes none of the settings that are for HTTP.
        protocol: Protocol = Protocol::Http,
        /// How clients get to where they say they want to go, for `protocol: forward_proxy`.
        forward_proxy: Option<ForwardProxy>,
        /// Proxies in front that say who the client is with the PROXY protocol; without it, no such header is taken.
        proxy_protocol: Option<ProxyProtocol>,
        /// How it is found out that a client of TCP is gone without a word; `none`: only by the timeouts.
        tcp_keepalive: OrNone<TcpKeepalive>,
        /// How connections are secured; without it, they are not.
        tls: Option<ListenerTls>,
        /// With `tls`: connections that are passed on without being decrypted, by the name (`sni`) and protocol (`alpn`) that clients ask for, to
        /// servers with certificates of their own. All others are decrypted here.
        passthrough: Vec<Route>,
        /// Whether HTTP/2 is spoken beside HTTP/1, and how: with clients that ask for it in their TLS handshake (ALPN), and without
        /// TLS with those that begin with it. `false` alone turns it off.
        http2: Http2,
        /// Sends every client to the same address over TLS, at this port; without it, clients are served here.
        redirect_to_https: Option<TlsRedirect>,
        /// Which datagrams belong together, and for how long. For `protocol: udp`.
        udp: UdpFlows,
        /// What it takes at most. Past a limit clients get the stated answer.
        limits: ListenerLimits,
        /// How long a client may take.
        timeouts: ClientTimeouts,
        /// Proxies whose forwarding fields (`X-Forwarded-For` and its kin) are believed and extended. Those of all
        /// other clients are removed.
        trusted_proxies: Vec<Network>,
        /// Whether servers are also sent the standard `Forwarded` field (RFC 7239).
        forwarded: bool = false,
        /// How much requests matter when not all can be served. A route can have a priority of its own.
        priority: Priority = Priority::Normal,
        /// Limits that the requests of all its routes fall under, by name; those of a route come on top.
        request_limits: Vec<Label>,
        /// Which requests go where. The most specific rule decides, then the order.
        routes: Vec<Route>,
        /// The upstream every request goes to; short for one route that takes everything.
        upstream: Option<Label>,
    }
}

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2, HTTP/1.1 and HTTP/1.0.
    Http,
    /// Anything over TCP, which is passed on as it is.
    Tcp,
    /// Anything over UDP, likewise.
    Udp,
    /// HTTP to a proxy, and SOCKS 5.
    ForwardProxy,
}

impl Choice for Protocol {
    const EXPECTED: &'static str = "a protocol";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Http, "http", "HTTP/2, HTTP/1.1 and HTTP/1.0"),
        (Self::Tcp, "tcp", "anything over TCP, which is passed on as it is"),
        (
            Self::Udp,
            "udp",
            "anything over UDP, such as DNS or QUIC, which is passed on as it is",
        ),
        (
            Self::ForwardProxy,
            "forward_proxy",
            "HTTP to a proxy (CONNECT and absolute-form), and SOCKS 5: clients say where they want to go",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word.to_ascii_lowercase().as_str() {
            "https" | "tls" => Some("write `protocol: http`, and `tls` with a certificate beside it"),
            "h2" | "http2" | "h2c" => Some("write `protocol: http`: HTTP/2 is spoken with whoever asks for it"),
            "h3" | "http3" => Some("HTTP/3 is not supported yet; `protocol: udp` passes it on as it is"),
            "quic" => Some("write `protocol: udp`, and `udp: { quic: {} }` beside it"),
            "dns" => Some("write `protocol: udp`, and another listener with `protocol: tcp`"),
            "socks" | "socks5" | "connect" | "proxy" | "forward" => Some("did you mean `forward_proxy`?"),
            _ => None,
        }
    }
}

settings! {
    /// What a listener takes at most.
    pub struct ListenerLimits called "the limits of a listener" {
        /// Open client connections over all workers; past it, connections wait in the kernel's backlog.
        max_connections: Whole<1, 10_000_000> = Whole::of(10_000),
        /// Open connections of one source: an address, of IPv6 a network of 64 bits. Past it, a new one is closed; `none`: no limit.
        max_connections_per_source: OrNone<Whole<1, 10_000_000>>,
        /// New connections of one source in a time, such as `20/s`. Past it, one is closed; `none`: no limit.
        new_connections_per_source: OrNone<Rate>,
        /// Bytes of a request head, request line included (431, or 414 when the target alone is longer).
        max_head_bytes: ByteSize<1024, 65_535> = ByteSize::of(32 << 10),
        /// Header fields of a request (431).
        max_headers: Whole<1, 256> = Whole::of(100),
        /// Bytes of a request body (413); `none`: no limit.
        max_body_bytes: OrNone<ByteSize<0, { u64::MAX }>>,
        /// Connections the kernel keeps until they are accepted.
        backlog: Whole<1, 65_535> = Whole::of(4096),
    }
}

settings! {
    /// How long a client may take.
    pub struct ClientTimeouts called "the timeouts of a listener" {
        /// From the end of one exchange, or the accept, to the first byte of the next request.
        idle: Span = Span::seconds(60),
        /// From the accept to the end of the PROXY header and of the TLS handshake, or of the client's hello where TCP goes by
        /// it (the connection is closed).
        handshake: Span = Span::seconds(10),
        /// From the first byte of a request head to its last (408).
        head: Span = Span::seconds(10),
        /// For every further KiB of a request body, or its end (408).
        body: Span = Span::seconds(30),
        /// For the client to take some bytes of the answer (the connection is closed).
        write: Span = Span::seconds(30),
        /// How old a connection may become before it ends after what it is doing, up to a tenth less by chance; `none`: as old as it
        /// likes.
        max_age: OrNone<Span>,
    }
}
