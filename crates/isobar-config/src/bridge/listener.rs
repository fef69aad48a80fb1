//! What does a listener ask of the data plane?

use std::collections::HashMap;
use std::sync::Arc;

use isobar_plan::{Forwarding, ProxySources, SourceLimits};

use super::limit::bytes::Place;
use super::{Bridge, forward, names, route};
use crate::document::{ClientTimeouts, Label, Listener, ListenerLimits, Protocol, ProxyProtocol, Route, TlsRedirect};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Setting;
use crate::units::{Rate, Span};

/// The listeners, by what is spoken there.
#[derive(Default)]
pub(super) struct Listeners {
    pub(super) http: Vec<isobar_plan::Listener>,
    pub(super) tcp: Vec<isobar_plan::TcpListener>,
    pub(super) udp: Vec<isobar_plan::UdpListener>,
    pub(super) forward: Vec<isobar_plan::ForwardProxy>,
}

/// All of them.
pub(super) fn listeners<'d>(written: &'d [Listener], bridge: &mut Bridge<'d>) -> Listeners {
    let root = Path::ROOT.key("listeners");
    if written.is_empty() {
        let help = "listeners: [{ address: 127.0.0.1:8080, upstream: web }]";
        bridge
            .problems
            .push(Problem::error(root, "there is no listener").on_key().help(help));
    }
    check_names(written, &mut bridge.problems);
    let mut listeners = Listeners::default();
    for (index, written) in written.iter().enumerate() {
        let at = root.index(index);
        if written.protocol != Protocol::ForwardProxy {
            check_destination(written, at, &mut bridge.problems);
            forward::refuse_elsewhere(written, at, &mut bridge.problems);
        }
        match written.protocol {
            Protocol::Http => listeners.http.push(listener(written, index, bridge)),
            Protocol::Tcp => listeners.tcp.push(super::tcp::listener(written, index, bridge)),
            Protocol::Udp => listeners.udp.push(super::udp::listener(written, index, bridge)),
            Protocol::ForwardProxy => listeners.forward.push(forward::listener(written, index, bridge)),
        }
    }
    listeners
}

fn check_names(listeners: &[Listener], problems: &mut Problems) {
    let root = Path::ROOT.key("listeners");
    let mut first: HashMap<Label, usize> = HashMap::with_capacity(listeners.len());
    for (index, listener) in listeners.iter().enumerate() {
        let name = names::listener_name(listener, index);
        let Some(&earlier) = first.get(&name) else {
            first.insert(name, index);
            continue;
        };
        let (at, earlier) = (root.index(index), root.index(earlier));
        let problem = Problem::error(at.key("name"), format!("another listener is called `{name}` already"));
        problems.push(problem.related(earlier.key("name"), Spot::Value, "first called so here"));
    }
}

fn listener<'d>(written: &'d Listener, index: usize, bridge: &mut Bridge<'d>) -> isobar_plan::Listener {
    let Listener {
        name: _,
        address,
        protocol: _,
        forward_proxy: _,
        proxy_protocol,
        tcp_keepalive,
        tls,
        passthrough: _,
        http2,
        redirect_to_https,
        udp,
        limits,
        timeouts,
        trusted_proxies,
        forwarded,
        priority,
        request_limits,
        routes,
        upstream,
    } = written;
    bridge.priority = *priority;
    let root = Path::ROOT.key("listeners");
    let at = root.index(index);
    super::udp::refuse_elsewhere(udp, at, &mut bridge.problems);
    bridge.share_limits(request_limits, Place::Http, at.key("request_limits"));
    let passthrough = super::passthrough::passthrough(written, at, bridge);
    isobar_plan::Listener {
        passthrough: passthrough.into(),
        name: names::listener_name(written, index).as_str().into(),
        address: address.0,
        proxy: proxy_protocol
            .as_ref()
            .map(|written| proxy_sources(written, at.key("proxy_protocol"), &mut bridge.problems)),
        tls: tls
            .as_ref()
            .map(|written| super::tls::tls(written, at.key("tls"), &mut bridge.problems)),
        tcp_keepalive: super::keepalive::keepalive(tcp_keepalive, at.key("tcp_keepalive"), &mut bridge.problems),
        http2: super::http2::http2(http2),
        redirect_to_tls: redirect_to_https.as_ref().map(|TlsRedirect { port }| {
            // The type of the document keeps it within the plan's.
            u16::try_from(port.value()).unwrap_or(u16::MAX)
        }),
        limits: self::limits(limits),
        timeouts: self::timeouts(timeouts),
        forwarding: Forwarding {
            trusted_proxies: trusted_proxies.iter().filter_map(|network| network.cidr()).collect(),
            forwarded: *forwarded,
        },
        routes: match upstream {
            Some(upstream) if routes.is_empty() => Arc::from([everything(upstream, at, bridge)]),
            _ => route::routes(routes, at.key("routes"), bridge).into(),
        },
    }
}

fn everything(upstream: &Label, at: Path<'_>, bridge: &mut Bridge<'_>) -> isobar_plan::Route {
    let written = everything_to(upstream.clone());
    let name = names::rule_name(&written.r#match);
    // The listener's key `upstream` stands for that of the route, which has no other.
    route::route(&written, &name, at, bridge)
}

/// The route that `upstream` on a listener is short for.
pub(crate) fn everything_to(upstream: Label) -> Route {
    let Route {
        name,
        r#match,
        upstream: _,
        timeouts,
        retry,
        hedge,
        priority,
        limits,
        grpc_web,
        request_headers,
        response_headers,
    } = Route::placeholder();
    Route {
        name,
        r#match,
        upstream,
        timeouts,
        retry,
        hedge,
        priority,
        limits,
        grpc_web,
        request_headers,
        response_headers,
    }
}

/// From whom headers of the PROXY protocol are taken.
pub(super) fn proxy_sources(written: &ProxyProtocol, at: Path<'_>, problems: &mut Problems) -> ProxySources {
    let ProxyProtocol { from, others } = written;
    if from.is_empty() {
        let problem = Problem::error(at.key("from"), "there is no proxy to take headers from").on_key();
        problems.push(problem.help("from: [10.0.0.0/8]"));
    }
    ProxySources {
        from: from.iter().filter_map(|network| network.cidr()).collect(),
        others: *others,
    }
}

fn check_destination(listener: &Listener, at: Path<'_>, problems: &mut Problems) {
    let (routes, upstream) = (&listener.routes, listener.upstream.as_ref());
    if listener.redirect_to_https.is_some() {
        check_redirect(listener, at, problems);
        return;
    }
    match (routes.is_empty(), upstream) {
        (true, None) => {
            let problem = Problem::error(at.key("routes"), "the listener leads nowhere");
            problems.push(problem.help("give it `upstream: NAME`, or `routes` that lead to upstreams"));
        }
        (false, Some(upstream)) => {
            let problem = Problem::error(
                at.key("upstream"),
                "a listener has either `upstream` or `routes`, not both",
            );
            let help = format!("write `- upstream: {upstream}` as the last route");
            problems.push(
                problem
                    .on_key()
                    .help(help)
                    .related(at.key("routes"), Spot::Key, "the routes"),
            );
        }
        _ => {}
    }
}

fn check_redirect(listener: &Listener, at: Path<'_>, problems: &mut Problems) {
    let at_redirect = at.key("redirect_to_https");
    if listener.tls.is_some() {
        let problem = Problem::error(
            at_redirect,
            "the listener speaks TLS already, and sends its clients to TLS",
        );
        problems.push(problem.on_key().related(at.key("tls"), Spot::Key, "TLS"));
    }
    let leads = [
        ("routes", !listener.routes.is_empty()),
        ("upstream", listener.upstream.is_some()),
    ];
    for (key, _) in leads.into_iter().filter(|(_, written)| *written) {
        let message = format!("`{key}` is never used: every client is sent to TLS");
        let problem = Problem::error(at.key(key), message).on_key();
        problems.push(problem.related(at_redirect, Spot::Key, "the redirect"));
    }
}

/// What a listener takes at most.
pub(super) fn limits(limits: &ListenerLimits) -> isobar_plan::ListenerLimits {
    let ListenerLimits {
        max_connections,
        max_connections_per_source,
        new_connections_per_source,
        max_head_bytes,
        max_headers,
        max_body_bytes,
        backlog,
    } = limits;
    isobar_plan::ListenerLimits {
        max_connections: max_connections.value(),
        sources: sources(max_connections_per_source.value(), new_connections_per_source.0),
        // The types of the document keep both within the plan's.
        max_head_bytes: u32::try_from(max_head_bytes.bytes()).unwrap_or(u32::MAX),
        max_headers: u16::try_from(max_headers.value()).unwrap_or(u16::MAX),
        max_body_bytes: max_body_bytes.0.map(|size| size.bytes()),
        backlog: backlog.value(),
    }
}

/// What one source may have.
pub(super) fn sources(max_connections: Option<u32>, rate: Option<Rate>) -> SourceLimits {
    SourceLimits {
        max_connections,
        rate: rate.map(|rate| isobar_plan::Rate::new(rate.units(), rate.period())),
    }
}

/// How long clients may take.
pub(super) fn timeouts(timeouts: &ClientTimeouts) -> isobar_plan::ClientTimeouts {
    let ClientTimeouts {
        idle,
        handshake,
        head,
        body,
        write,
        max_age,
    } = timeouts;
    isobar_plan::ClientTimeouts {
        idle: idle.duration(),
        handshake: handshake.duration(),
        head: head.duration(),
        body: body.duration(),
        write: write.duration(),
        max_age: max_age.0.map(Span::duration),
    }
}
