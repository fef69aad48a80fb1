//! Which settings has an upstream of which nothing more is wanted than places?
//!
//! For the tests, and for the example that measures what a place costs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use isobar_plan::{
    Balance, KeepAlive, Queue, QueueOrder, Server, ServerAddress, ServiceState, Timeouts, Upstream, UpstreamLimits,
};

pub(crate) fn server(name: &str, max_connections: Option<u32>) -> Server {
    let address = ServerAddress::Socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
    Server {
        name: name.into(),
        address,
        weight: 1,
        max_connections,
        backup: false,
        priority: 0,
        zone: None,
        state: ServiceState::Enabled,
    }
}

pub(crate) fn settings(servers: Vec<Server>) -> Upstream {
    let second = Duration::from_secs(1);
    Upstream {
        name: "api".into(),
        balance: Balance::LeastConnections,
        hash: Vec::new(),
        placement: Default::default(),
        servers,
        reports: None,
        health: Vec::new(),
        outliers: None,
        timeouts: Timeouts {
            connect: second,
            send: second,
            read: second,
            idle: isobar_plan::IdleTimeouts::both(second),
        },
        tcp_keepalive: None,
        proxy_protocol: None,
        http_version: isobar_plan::HttpVersion::Http1,
        keep_alive: KeepAlive {
            max_idle: 1,
            idle_timeout: second,
        },
        limits: UpstreamLimits::default(),
        adaptive_concurrency: None,
        queue: Queue {
            max: 100,
            timeout: second,
            order: QueueOrder::FirstCome,
        },
        fair_share: None,
        sticky: None,
        retry_budget: None,
        tls: None,
    }
}
