//! What do the tests of this crate pass bytes on to?

use std::net::SocketAddr;
use std::time::Duration;

use isobar_plan::{
    Balance, IdleTimeouts, KeepAlive, ProxyVersion, Queue, QueueOrder, Server, ServerAddress, Timeouts, Upstream,
    UpstreamLimits,
};

/// One server, with every limit there is.
pub(crate) fn sample(server: SocketAddr) -> Upstream {
    let second = Duration::from_secs(1);
    Upstream {
        name: "servers".into(),
        balance: Balance::LeastConnections,
        hash: Vec::new(),
        placement: Default::default(),
        servers: vec![Server {
            name: "one".into(),
            address: ServerAddress::Socket(server),
            weight: 1,
            max_connections: Some(1000),
            backup: false,
            priority: 0,
            zone: None,
            state: isobar_plan::ServiceState::Enabled,
        }],
        reports: None,
        health: Vec::new(),
        outliers: None,
        timeouts: Timeouts {
            connect: second,
            send: second,
            read: second,
            idle: IdleTimeouts::both(second),
        },
        tcp_keepalive: None,
        proxy_protocol: Some(ProxyVersion::V2),
        http_version: isobar_plan::HttpVersion::Http1,
        keep_alive: KeepAlive {
            max_idle: 8,
            idle_timeout: second,
        },
        limits: UpstreamLimits {
            max_requests: Some(1000),
            max_connections: Some(1000),
        },
        adaptive_concurrency: None,
        fair_share: None,
        queue: Queue {
            max: 8,
            timeout: second,
            order: QueueOrder::FirstCome,
        },
        sticky: None,
        retry_budget: None,
        tls: None,
    }
}
