//! What may be written about an upstream and its servers?

use isobar_balance::{Balance, Choices};
use isobar_plan::{HttpVersion, ProxyVersion, ServiceState};

use super::reports::{Orca, Prequal, Reports};
use super::{
    AdaptiveConcurrency, Compared, FairShare, HashPart, HealthChecks, Hedge, Label, Locality, OneOrMore, OrNone,
    OutlierDetection, Panic, Queue, Retry, SlowStart, Sticky, Subset, TcpKeepalive, UpstreamLimits, UpstreamTls, Whole,
};
use crate::setting::Setting;
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::units::{Percent, Span, Target};

settings! {
    /// A set of servers that can answer the same requests.
    pub struct Upstream called "an upstream" {
        /// How a server is chosen.
        balance: Balance = Balance::LeastConnections,
        /// How many servers `least_connections` and `power_of_two` compare: `all`, or so many drawn by chance, which is
        /// better where many instances do not know of each other's requests. Without it, `all` for
        /// `least_connections` and 2 for `power_of_two`; with the same number both are the same.
        choices: Option<Compared>,
        /// What requests are told apart by where `balance` goes by keys: one thing or several together. Without it, the
        /// client's address.
        hash: OneOrMore<HashPart>,
        /// What a server may have in flight at most, as a part of its share of what all have, where `balance` goes by
        /// keys; further requests go to the next server in their key's order. `none`: no bound.
        bounded_load: OrNone<Percent<100, 100_000>>,
        /// What is read of what servers report of themselves, where `balance` goes by that.
        reports: Option<Reports>,
        /// How `balance: prequal` chooses.
        prequal: Option<Prequal>,
        /// How `balance: orca_weighted_round_robin` weighs.
        orca: Option<Orca>,
        /// How connections to its servers are secured; without it, requests go to them in the clear.
        tls: Option<UpstreamTls>,
        /// Its servers; there must be at least one. An address alone is short for a server with all its defaults.
        servers: Vec<Server>,
        /// How much of the load stays in the zone of this instance; `none`: zones do not matter.
        locality: OrNone<Locality> = OrNone(Locality::absent()),
        /// When the health of servers is not believed; `none`: it always is.
        panic: OrNone<Panic> = OrNone(Panic::absent()),
        /// How the share of a server grows that is new in a running upstream, or well again; `none`: it has all of it
        /// at once.
        slow_start: OrNone<SlowStart> = OrNone(SlowStart::absent()),
        /// Which servers this instance uses, of very many; `none`: all.
        subset: OrNone<Subset>,
        /// How servers are probed, by one check or by a list of checks that all have to pass; `none`: they count as
        /// healthy.
        health: OrNone<HealthChecks>,
        /// How servers are taken out for a while for how they answer; `none`: they are not. Where nothing is written, by
        /// the default rules in upstreams of at least five servers.
        outlier_detection: OrNone<OutlierDetection> = OrNone(Some(OutlierDetection::default())),
        /// How long servers may take. A route can have timeouts of its own.
        timeouts: ServerTimeouts,
        /// In which form of the PROXY protocol servers are told who the client is, for TCP; `none`: they are not.
        proxy_protocol: OrNone<ProxyVersion>,
        /// How it is found out that a server is gone without a word, over TCP; `none`: only by the timeouts.
        tcp_keepalive: OrNone<TcpKeepalive>,
        /// How connections to servers are kept for the next request.
        keep_alive: KeepAlive,
        /// What is spoken with its servers.
        http_version: HttpVersion = HttpVersion::Http1,
        /// What all its servers are given at once at most.
        limits: UpstreamLimits,
        /// Finds from latency how many requests at once each server can work on; `none`: only `max_connections` holds.
        adaptive_concurrency: OrNone<AdaptiveConcurrency>,
        /// Where requests wait while every server is at its limit.
        queue: Queue,
        /// Between whom it is divided while requests wait, so that nobody takes it from the others; `none`: who came first is
        /// served first.
        fair_share: OrNone<FairShare>,
        /// When a request that failed is sent again. A route can have settings of its own.
        retry: Retry,
        /// How the requests of a session stay with one server; `none`: every request is for itself.
        sticky: OrNone<Sticky>,
        /// When a request that takes long is given to another server as well; `none`: never. A route can have its own.
        hedge: OrNone<Hedge>,
    }
}

impl Choice for Balance {
    const EXPECTED: &'static str = "a balancing algorithm";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::LeastConnections,
            Self::LeastConnections.name(),
            "the server with the fewest requests in flight for its weight, over all workers",
        ),
        (
            Self::RoundRobin,
            Self::RoundRobin.name(),
            "in turn, each as often as its weight says, and evenly interleaved",
        ),
        (
            Self::Random,
            Self::Random.name(),
            "by chance, in proportion to the weights",
        ),
        (
            Self::RingHash,
            Self::RingHash.name(),
            "by key, on a ring of points: a server that comes or goes moves no keys between others",
        ),
        (
            Self::Ketama,
            Self::Ketama.name(),
            "by key, where libmemcached's weighted ketama sends it",
        ),
        (
            Self::Maglev,
            Self::Maglev.name(),
            "by key, from a table in which all servers have equally many entries for their weight",
        ),
        (
            Self::Rendezvous,
            Self::Rendezvous.name(),
            "by key, the server that draws highest for it: exact shares, for some hundred servers",
        ),
        (
            Self::Memento,
            Self::Memento.name(),
            "by key, jump hashing for thousands of servers that come and go",
        ),
        (
            Self::PowerOfTwo(Choices::DEFAULT),
            Self::PowerOfTwo(Choices::DEFAULT).name(),
            "of two servers drawn by chance the one with fewer requests in flight for its weight; for many instances \
             that do not know of each other",
        ),
        (
            Self::LeastTime,
            Self::LeastTime.name(),
            "the server with the least of average latency times requests in flight",
        ),
        (
            Self::PeakEwma,
            Self::PeakEwma.name(),
            "of two servers drawn by chance the one with less of latency, by its peaks, times requests in flight",
        ),
        (
            Self::OrcaWeightedRoundRobin(isobar_balance::Orca::DEFAULT),
            Self::OrcaWeightedRoundRobin(isobar_balance::Orca::DEFAULT).name(),
            "in turn, as often as follows from the load that servers report in their answers",
        ),
        (
            Self::Prequal(isobar_balance::Prequal::DEFAULT),
            Self::Prequal(isobar_balance::Prequal::DEFAULT).name(),
            "the server with the lowest latency among those that are not busy, by what servers report",
        ),
        (
            Self::FirstAvailable,
            Self::FirstAvailable.name(),
            "the first server that has room, so that few are used",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "leastconn" | "least_conn" | "least_request" => Some("did you mean `least_connections`?"),
            "p2c" | "random_two" | "two_choices" => Some("did you mean `power_of_two`?"),
            "least_response_time" | "lrt" => Some("did you mean `least_time`?"),
            "ewma" => Some("did you mean `peak_ewma`?"),
            "first" => Some("did you mean `first_available`?"),
            "client_side_weighted_round_robin" => Some("did you mean `orca_weighted_round_robin`?"),
            "orca" => Some("did you mean `orca_weighted_round_robin`?"),
            "rr" | "roundrobin" | "weighted_round_robin" | "wrr" => Some("did you mean `round_robin`?"),
            "hash" | "consistent_hash" | "consistent" | "ring" => Some("did you mean `ring_hash`?"),
            "rendezvous_hash" | "hrw" => Some("did you mean `rendezvous`?"),
            _ => None,
        }
    }
}

settings! {
    /// One server.
    pub struct Server called "a server" short address {
        /// Where it is: an address or a name with a port; `:9001` is this machine. A name is resolved again and
        /// again, and one that does not resolve makes the server unavailable, nothing else.
        address: Target,
        /// Its name in logs and metrics, unique within the upstream. Without one it is the address.
        name: Option<Label>,
        /// Its share of the requests relative to the others; 0 takes no new requests.
        weight: Whole<0, 65_535> = Whole::of(1),
        /// Requests it takes at once, over all workers; `none`: no limit.
        max_connections: OrNone<Whole<1, 10_000_000>>,
        /// Whether it serves only while no other server is available.
        backup: bool = false,
        /// Its level: 0 serves first, and the next level takes over what a level can no longer carry because servers
        /// are not available. Without it, 0. Not for a backup.
        priority: Option<Whole<0, 127>>,
        /// Where it is, such as a data centre's zone.
        zone: Option<Label>,
        /// Whether it serves at first. An operator can change it at run time, which holds until this setting changes or
        /// Isobar is started anew.
        state: ServiceState = ServiceState::Enabled,
    }
}

settings! {
    /// How long servers may take.
    pub struct ServerTimeouts called "the timeouts of an upstream" {
        /// For a connection to be made (the next server is tried, then 504).
        connect: Span = Span::seconds(3),
        /// For the server to take some bytes of the request (504).
        send: Span = Span::seconds(30),
        /// For the first or the next bytes of the answer (504, or the connection is closed once the answer began).
        read: Span = Span::seconds(60),
        /// For any byte in either direction of a TCP connection, of an upgraded one such as a WebSocket, or of a stream (it is closed).
        idle: Span = Span::seconds(600),
        /// For any byte from the client to the server, in a TCP or upgraded connection; `none`: only `idle` holds.
        client_idle: OrNone<Span>,
        /// For any byte from the server to the client, in a TCP or upgraded connection; `none`: only `idle` holds.
        server_idle: OrNone<Span>,
        /// For any byte of a TCP or upgraded connection of which one side has ended, in place of `idle`; `none`: `idle` holds.
        half_closed: OrNone<Span>,
    }
}

settings! {
    /// How connections to servers are kept for the next request.
    pub struct KeepAlive called "the keep-alive of an upstream" {
        /// Idle connections a worker keeps per server, and all together no more than a quarter of the descriptors; 0: none are kept.
        max_idle: Whole<0, 65_535> = Whole::of(1024),
        /// How long a connection may be idle. Keep it below what servers allow, or they close it first.
        idle_timeout: Span = Span::seconds(30),
    }
}
