//! What do the tests of this crate serve?

use std::net::SocketAddr;
use std::time::Duration;

use isobar_plan::{ClientTimeouts, Forwarding, Listener, ListenerLimits};

/// A loopback address with a port of the kernel's choice.
pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A listener without routes: it answers everything with 404.
pub(crate) fn listener(name: &str, address: SocketAddr) -> Listener {
    let patience = Duration::from_secs(10);
    Listener {
        name: name.into(),
        address,
        proxy: None,
        tls: None,
        http2: None,
        redirect_to_tls: None,
        passthrough: [].into(),
        tcp_keepalive: None,
        limits: ListenerLimits {
            max_connections: 100,
            sources: isobar_plan::SourceLimits::default(),
            max_head_bytes: 1024,
            max_headers: 16,
            max_body_bytes: None,
            backlog: 16,
        },
        timeouts: ClientTimeouts {
            idle: patience,
            handshake: patience,
            head: patience,
            body: patience,
            write: patience,
            max_age: None,
        },
        forwarding: Forwarding::default(),
        routes: [].into(),
    }
}
