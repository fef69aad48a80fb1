//! What is measured, and what has to come out?
//!
//! The table of the requirement; figures are upper bounds of ratios, except where bytes are said.

use clap::ValueEnum;
use serde::Serialize;

use super::client::Reuse;
use super::identity::KeyExchange;
use super::proxy::Proxy;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Row {
    /// 64 keep-alive connections, 1 KiB.
    Small,
    /// 64 keep-alive connections, 64 KiB answers.
    Medium,
    /// 16 keep-alive connections, 1 MiB answers.
    Large,
    /// 64 clients, each with a new connection for every request, 1 KiB.
    NewConnection,
    /// 1,000 busy keep-alive connections, 1 KiB.
    Busy,
    /// 7,500 idle connections, memory for each.
    Idle,
    /// 64 keep-alive connections within TLS 1.3, 1 KiB.
    Tls,
    /// 64 clients, each with a full handshake for every request, 1 KiB.
    TlsHandshake,
    /// The same with X25519MLKEM768.
    TlsHandshakeHybrid,
    /// 7,500 idle connections within TLS, memory for each.
    TlsIdle,
    /// HTTP/2 within TLS, HTTP/1.1 to the server, 16 connections with 4 streams each, 1 KiB.
    Http2,
    /// The same in the clear.
    Http2Plain,
    /// 7,500 idle connections of HTTP/2 within TLS, memory for each.
    Http2Idle,
    /// HTTP/2 on both sides in the clear: unary calls of gRPC, 16 connections with 4 streams each.
    Grpc,
    /// 64 keep-alive connections, 1 KiB, under one limit by address that refuses nobody.
    Limit,
    /// A TCP listener: 64 keep-alive connections, 1 KiB.
    Tcp,
    /// A TCP listener: 16 keep-alive connections, 1 MiB answers.
    TcpLarge,
    /// 7,500 idle connections of a TCP listener, memory for each.
    TcpIdle,
    /// DNS over UDP, 64 clients that ask from the same port again, as some resolvers do.
    UdpDns,
    /// The same, each question from a port of its own.
    UdpDnsOnce,
}

/// How one row is measured, and what has to come out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    /// What the report calls it.
    pub(super) title: &'static str,
    /// The path asked for; calls of gRPC have their own.
    pub(super) path: &'static str,
    /// Which of its listeners a proxy is asked at.
    pub(super) listener: Listener,
    /// What is spoken there.
    pub(super) protocol: Protocol,
    /// What is offered under TLS.
    pub(super) key_exchange: KeyExchange,
    /// What a proxy has to know for it, where not all do.
    pub(super) needs: Option<&'static str>,
    /// Connections under load, or idle.
    pub(super) connections: usize,
    /// How often each is used.
    pub(super) reuse: Reuse,
    /// What is measured.
    pub(super) measure: Measure,
    /// What the peers are tuned for.
    pub(super) tuning: Tuning,
    /// Requests over which system calls are counted; 0: they are not.
    pub(super) traced_requests: u64,
    /// What the ratio to the floor is a ratio to.
    pub(super) floor: Proxy,
    /// What must come out.
    pub(super) must: Bounds,
    /// What is aimed at.
    pub(super) aim: Bounds,
}

/// A listener that each configuration has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// In the clear.
    Plain,
    /// TLS; the protocol is chosen by ALPN.
    Tls,
    /// In the clear, HTTP/2 by prior knowledge.
    Http2Plain,
    /// The same, and HTTP/2 to the server as well.
    Grpc,
    /// In the clear, passed on as it is.
    Tcp,
    /// UDP; flows last as long as questions are asked.
    Udp,
    /// UDP; a flow ends with the answer.
    UdpOnce,
    /// In the clear, under a limit by address.
    Limited,
}

/// What is spoken with a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// One request at a time on each connection.
    Http1,
    /// So many at once on each connection.
    Http2 { streams: usize },
    /// Unary calls, so many at once on each connection.
    Grpc { streams: usize },
    /// DNS over UDP, one question at a time from each port.
    Dns,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// CPU time per request.
    Cpu,
    /// Bytes per idle connection.
    Memory,
}

/// What the peers are tuned for: each is given what it needed least CPU with when these were tried on 1 MiB answers,
/// one after the other, as ratios to the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tuning {
    /// Their defaults.
    SmallAnswers,
    /// HAProxy 2.6: 64 KiB 0.73, the same with splice 0.73, 128 KiB 1.23, the default with splice 1.30. nginx 1.22:
    /// 128 KiB unbuffered 0.79, 64 KiB unbuffered 1.00, 64 KiB buffered 1.05 to 1.59.
    LargeAnswers,
}

impl Tuning {
    /// HAProxy's `tune.bufsize`, in KiB.
    pub(super) const fn haproxy_buffer_kib(self) -> u32 {
        match self {
            Self::SmallAnswers => 16,
            Self::LargeAnswers => 64,
        }
    }

    /// nginx's `proxy_buffer_size`, in KiB.
    pub(super) const fn nginx_buffer_kib(self) -> u32 {
        match self {
            Self::SmallAnswers => 16,
            Self::LargeAnswers => 128,
        }
    }

    /// nginx's `proxy_buffering`.
    pub(super) const fn nginx_buffering(self) -> &'static str {
        match self {
            Self::SmallAnswers => "on",
            Self::LargeAnswers => "off",
        }
    }
}

/// Upper bounds; none: not asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// CPU per request in ratio to the floor.
    pub(super) floor: Option<f64>,
    /// CPU per request in ratio to the better of the peers.
    pub(super) peer: Option<f64>,
    /// System calls per request.
    pub(super) system_calls: Option<f64>,
    /// Bytes of memory for an idle connection.
    pub(super) bytes: Option<f64>,
}

impl Bounds {
    const NONE: Self = Self {
        floor: None,
        peer: None,
        system_calls: None,
        bytes: None,
    };

    const fn floor(ratio: f64) -> Self {
        Self {
            floor: Some(ratio),
            ..Self::NONE
        }
    }

    const fn peer(ratio: f64) -> Self {
        Self {
            peer: Some(ratio),
            ..Self::NONE
        }
    }

    const fn both(floor: f64, peer: f64) -> Self {
        Self {
            floor: Some(floor),
            peer: Some(peer),
            ..Self::NONE
        }
    }

    const fn bytes(bytes: f64) -> Self {
        Self {
            bytes: Some(bytes),
            ..Self::NONE
        }
    }
}

impl Listener {
    /// All of them, each at the index of its number.
    pub(super) const ALL: [Self; 8] = [
        Self::Plain,
        Self::Tls,
        Self::Http2Plain,
        Self::Grpc,
        Self::Tcp,
        Self::Udp,
        Self::UdpOnce,
        Self::Limited,
    ];

    /// Whether datagrams come there.
    pub(super) const fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::UdpOnce)
    }
}

impl Row {
    /// Whether a proxy can be measured in it at all; Envoy is a peer where HTTP/2 goes on to the server.
    pub(super) fn is_for(self, proxy: Proxy) -> bool {
        match proxy {
            Proxy::Floor => matches!(self.workload().listener, Listener::Plain | Listener::Tcp),
            Proxy::Unlimited => self == Self::Limit,
            Proxy::Envoy => self == Self::Grpc,
            Proxy::Dnsdist => self.workload().listener.is_udp(),
            Proxy::Haproxy => !self.workload().listener.is_udp(),
            // Debian's nginx passes connections on with a module that the other rows do without.
            Proxy::Nginx => self.workload().listener != Listener::Tcp,
            Proxy::Isobar => true,
        }
    }

    /// How this row is measured.
    pub(super) const fn workload(self) -> Workload {
        match self {
            Self::Small | Self::Medium | Self::Large | Self::NewConnection | Self::Busy | Self::Idle => self.in_clear(),
            Self::Tls | Self::TlsHandshake | Self::TlsHandshakeHybrid | Self::TlsIdle => self.within_tls(),
            Self::Http2 | Self::Http2Plain | Self::Http2Idle | Self::Grpc => self.over_http2(),
            Self::Limit => Workload {
                title: "64 keep-alive connections, 1 KiB, one limit by address",
                listener: Listener::Limited,
                floor: Proxy::Unlimited,
                must: Bounds::floor(1.05),
                aim: Bounds::NONE,
                ..SMALL
            },
            Self::Tcp | Self::TcpLarge | Self::TcpIdle => self.passed_on(),
            Self::UdpDns | Self::UdpDnsOnce => self.over_udp(),
        }
    }

    const fn passed_on(self) -> Workload {
        let small = Workload {
            title: "TCP passed on, 64 connections, 1 KiB",
            listener: Listener::Tcp,
            must: Bounds::floor(1.05),
            aim: Bounds::NONE,
            ..SMALL
        };
        match self {
            Self::TcpLarge => Workload {
                title: "TCP passed on, 16 connections, 1 MiB",
                path: "/1m",
                connections: 16,
                tuning: Tuning::LargeAnswers,
                traced_requests: 200,
                must: Bounds::floor(0.85),
                ..small
            },
            Self::TcpIdle => Workload {
                title: "idle connection of TCP that is passed on, memory",
                must: Bounds::bytes(1024.0),
                ..small.idle()
            },
            _ => small,
        }
    }

    const fn over_udp(self) -> Workload {
        let same_port = Workload {
            title: "DNS over UDP, 64 clients",
            listener: Listener::Udp,
            protocol: Protocol::Dns,
            must: Bounds::peer(1.0),
            aim: Bounds::NONE,
            ..SMALL
        };
        match self {
            Self::UdpDnsOnce => Workload {
                title: "DNS over UDP, 64 clients, each question from another port",
                listener: Listener::UdpOnce,
                reuse: Reuse::Never,
                traced_requests: 2_000,
                ..same_port
            },
            _ => same_port,
        }
    }

    const fn in_clear(self) -> Workload {
        match self {
            Self::Medium => Workload {
                title: "64 KiB answers, 64 connections",
                path: "/64k",
                tuning: Tuning::LargeAnswers,
                traced_requests: 1_000,
                must: Bounds::floor(1.1),
                aim: Bounds::floor(0.95),
                ..SMALL
            },
            Self::Large => Workload {
                title: "1 MiB answers, 16 connections",
                path: "/1m",
                connections: 16,
                tuning: Tuning::LargeAnswers,
                traced_requests: 200,
                must: Bounds::floor(0.8),
                aim: Bounds::floor(0.67),
                ..SMALL
            },
            Self::NewConnection => Workload {
                title: "new client connection per request, 64 clients, 1 KiB",
                reuse: Reuse::Never,
                traced_requests: 2_000,
                must: Bounds::peer(0.9),
                aim: Bounds::peer(0.8),
                ..SMALL
            },
            Self::Busy => Workload {
                title: "1,000 busy connections, 1 KiB",
                connections: 1000,
                must: Bounds::both(1.2, 0.65),
                aim: Bounds::floor(1.05),
                ..SMALL
            },
            Self::Idle => Workload {
                title: "idle client connection, memory",
                must: Bounds::bytes(2048.0),
                aim: Bounds::bytes(512.0),
                ..SMALL.idle()
            },
            _ => SMALL,
        }
    }

    const fn within_tls(self) -> Workload {
        let keep_alive = Workload {
            title: "TLS 1.3, 64 keep-alive connections, 1 KiB",
            listener: Listener::Tls,
            must: Bounds::peer(0.75),
            aim: Bounds::NONE,
            ..SMALL
        };
        let handshake = Workload {
            title: "TLS 1.3, full handshake per request, 64 clients, 1 KiB",
            reuse: Reuse::Never,
            traced_requests: 1_000,
            must: Bounds::peer(0.8),
            ..keep_alive
        };
        match self {
            Self::TlsHandshake => handshake,
            Self::TlsHandshakeHybrid => Workload {
                title: "TLS 1.3, full handshake per request with X25519MLKEM768, 64 clients, 1 KiB",
                key_exchange: KeyExchange::Hybrid,
                needs: Some("X25519MLKEM768"),
                must: Bounds::NONE,
                ..handshake
            },
            Self::TlsIdle => Workload {
                title: "idle client connection within TLS, memory",
                must: Bounds::peer(1.0),
                ..keep_alive.idle()
            },
            _ => keep_alive,
        }
    }

    const fn over_http2(self) -> Workload {
        let within_tls = Workload {
            title: "HTTP/2 within TLS to HTTP/1.1, 16 connections with 4 streams, 1 KiB",
            listener: Listener::Tls,
            protocol: Protocol::Http2 { streams: 4 },
            needs: Some("HTTP/2 by ALPN"),
            connections: 16,
            must: Bounds::peer(0.9),
            aim: Bounds::NONE,
            ..SMALL
        };
        match self {
            Self::Http2Plain => Workload {
                title: "HTTP/2 in the clear to HTTP/1.1, 16 connections with 4 streams, 1 KiB",
                listener: Listener::Http2Plain,
                needs: Some("HTTP/2 by prior knowledge"),
                ..within_tls
            },
            Self::Http2Idle => Workload {
                title: "idle client connection of HTTP/2 within TLS, memory",
                protocol: Protocol::Http2 { streams: 1 },
                must: Bounds::peer(1.0),
                ..within_tls.idle()
            },
            Self::Grpc => Workload {
                title: "HTTP/2 on both sides, unary calls of gRPC, 16 connections with 4 streams, 1 KiB",
                listener: Listener::Grpc,
                protocol: Protocol::Grpc { streams: 4 },
                needs: Some("HTTP/2 by prior knowledge, and HTTP/2 to the server"),
                must: Bounds::NONE,
                ..within_tls
            },
            _ => within_tls,
        }
    }
}

/// The row that the others differ from.
const SMALL: Workload = Workload {
    title: "64 keep-alive connections, 1 KiB",
    path: "/1k",
    listener: Listener::Plain,
    protocol: Protocol::Http1,
    key_exchange: KeyExchange::X25519,
    needs: None,
    connections: 64,
    reuse: Reuse::KeepAlive,
    measure: Measure::Cpu,
    tuning: Tuning::SmallAnswers,
    traced_requests: 5_000,
    floor: Proxy::Floor,
    must: Bounds {
        system_calls: Some(4.3),
        ..Bounds::both(1.15, 0.85)
    },
    aim: Bounds::both(1.05, 0.75),
};

impl Workload {
    /// The same with connections that wait.
    const fn idle(self) -> Self {
        Self {
            connections: 7500,
            reuse: Reuse::Once,
            measure: Measure::Memory,
            traced_requests: 0,
            ..self
        }
    }
}
