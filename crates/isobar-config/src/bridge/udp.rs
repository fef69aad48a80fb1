//! What does a listener of UDP ask of the data plane?

use std::collections::HashMap;

use isobar_balance::Balance;
use isobar_plan::{FlowRules, HttpVersion, ProxyVersion, QuicRules, UdpRoute, UpstreamId};

use super::{Bridge, names, route};
use crate::document::{
    ClientTimeouts, Document, HeaderChanges, Http2, KeepAlive, Label, Listener, ListenerLimits, Match, OrNone,
    Protocol, Queue, QuicIds, Retry, Route, RouteRetry, RouteTimeouts, ServerTimeouts, TcpKeepalive, UdpFlows,
    Upstream,
};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Setting;

/// The plan of one listener; what only makes sense for connections or for HTTP is an error.
pub(super) fn listener(written: &Listener, index: usize, bridge: &mut Bridge<'_>) -> isobar_plan::UdpListener {
    let root = Path::ROOT.key("listeners");
    let at = root.index(index);
    let Listener {
        name: _,
        address,
        protocol: _,
        forward_proxy: _,
        proxy_protocol,
        tcp_keepalive,
        tls,
        passthrough,
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
    let of_http = [
        ("tls", tls.is_some()),
        ("http2", *http2 != Http2::placeholder()),
        ("redirect_to_https", redirect_to_https.is_some()),
        ("trusted_proxies", !trusted_proxies.is_empty()),
        ("forwarded", *forwarded),
        ("request_limits", !request_limits.is_empty()),
    ];
    refuse(&of_http, at, &mut bridge.problems);
    super::passthrough::refuse_elsewhere(passthrough, at, &mut bridge.problems);
    refuse_of_connections((limits, timeouts, tcp_keepalive), at, &mut bridge.problems);
    let proxy = proxy_protocol.as_ref();
    let proxy =
        proxy.map(|written| super::listener::proxy_sources(written, at.key("proxy_protocol"), &mut bridge.problems));
    let everything = upstream.as_ref().filter(|_| routes.is_empty());
    let everything = everything.map(|upstream| super::everything_to(upstream.clone()));
    let route = match (&everything, routes.as_slice()) {
        (Some(everything), _) => route(everything, at, bridge),
        (None, routes) => self::routes(routes, at.key("routes"), bridge),
    };
    isobar_plan::UdpListener {
        name: names::listener_name(written, index).as_str().into(),
        address: address.0,
        proxy,
        flows: flows(udp, at.key("udp"), &mut bridge.problems),
        route,
    }
}

/// Reports what is written of UDP in a listener of something else.
pub(super) fn refuse_elsewhere(written: &UdpFlows, at: Path<'_>, problems: &mut Problems) {
    if *written != UdpFlows::placeholder() {
        let problem = Problem::error(at.key("udp"), "`udp` is for listeners of UDP").on_key();
        problems.push(problem.help("remove it, or write `protocol: udp`"));
    }
}

/// Reports what is written of connections.
fn refuse_of_connections(
    (limits, timeouts, keepalive): (&ListenerLimits, &ClientTimeouts, &OrNone<TcpKeepalive>),
    at: Path<'_>,
    problems: &mut Problems,
) {
    let keys = [
        (
            "limits",
            *limits != ListenerLimits::placeholder(),
            "write `udp: { max_flows: … }`",
        ),
        (
            "timeouts",
            *timeouts != ClientTimeouts::placeholder(),
            "write `udp: { idle_timeout: … }`",
        ),
        ("tcp_keepalive", keepalive.0.is_some(), "remove it"),
    ];
    for (key, _, help) in keys.into_iter().filter(|(_, is_written, _)| *is_written) {
        let message = format!("`{key}` of a listener is for connections, and UDP has none");
        problems.push(Problem::error(at.key(key), message).on_key().help(help));
    }
}

/// Reports what is written of HTTP.
fn refuse(keys: &[(&str, bool)], at: Path<'_>, problems: &mut Problems) {
    for (key, _) in keys.iter().filter(|(_, is_written)| *is_written) {
        let message = format!("`{key}` is for HTTP: datagrams are passed on as they are");
        let problem = Problem::error(at.key(key), message).on_key();
        problems.push(problem.help("remove it, or write `protocol: http`"));
    }
}

fn flows(written: &UdpFlows, at: Path<'_>, problems: &mut Problems) -> FlowRules {
    let UdpFlows {
        flow,
        idle_timeout,
        max_flows,
        requests,
        responses,
        reuse_sockets,
        quic,
    } = written;
    let ends_early = requests.0.is_some() || responses.0.is_some();
    if quic.is_some() && ends_early {
        let key = if requests.0.is_some() { "requests" } else { "responses" };
        let message = format!("connections of QUIC would be torn apart by `{key}`");
        let problem = Problem::error(at.key(key), message).on_key();
        problems.push(problem.related(at.key("quic"), Spot::Key, "QUIC"));
    }
    if *reuse_sockets && responses.0.is_none_or(|each| each.value() == 0) {
        let message = "`reuse_sockets` needs `responses`: a socket is free for others when all of them have come";
        let problem = Problem::error(at.key("reuse_sockets"), message).on_key();
        problems.push(problem.help("write how many there are: `responses: 1` for DNS"));
    }
    FlowRules {
        keyed_by: *flow,
        idle_timeout: idle_timeout.duration(),
        max_flows: max_flows.value(),
        requests: requests.0.map(|requests| requests.value()),
        responses: responses.0.map(|responses| responses.value()),
        reuse_sockets: *reuse_sockets,
        quic: quic.as_ref().map(|QuicIds { id_bytes }| QuicRules {
            // The type of the document keeps it within the plan's.
            id_bytes: u8::try_from(id_bytes.value()).unwrap_or(u8::MAX),
        }),
    }
}

fn routes(written: &[Route], at: Path<'_>, bridge: &mut Bridge<'_>) -> UdpRoute {
    route::check_names(written, at, &mut bridge.problems);
    let first = written.first().map(|first| route(first, at.index(0), bridge));
    for (index, further) in written.iter().enumerate().skip(1) {
        // It counts as used, so that nothing else is said of its upstream.
        let _ = bridge.upstream(&further.upstream, at.index(index).key("upstream"));
        let problem = Problem::error(
            at.index(index),
            "a listener of UDP has one route, which takes every datagram",
        );
        bridge
            .problems
            .push(problem.related(at.index(0), Spot::Value, "the route"));
    }
    first.unwrap_or_else(|| UdpRoute {
        name: "".into(),
        upstream: UpstreamId(0),
        priority: bridge.priority,
    })
}

fn route(written: &Route, at: Path<'_>, bridge: &mut Bridge<'_>) -> UdpRoute {
    let Route {
        name,
        r#match,
        upstream,
        timeouts,
        retry,
        hedge,
        grpc_web,
        priority,
        limits,
        request_headers,
        response_headers,
    } = written;
    let changes = |changes: &HeaderChanges| *changes != HeaderChanges::placeholder();
    let of_http = [
        ("match", *r#match != Match::placeholder()),
        ("timeouts", *timeouts != RouteTimeouts::placeholder()),
        ("retry", *retry != RouteRetry::placeholder()),
        ("hedge", hedge.is_some()),
        ("grpc_web", *grpc_web),
        ("limits", !limits.is_empty()),
        ("request_headers", changes(request_headers)),
        ("response_headers", changes(response_headers)),
    ];
    for (key, _) in of_http.into_iter().filter(|(_, is_written)| *is_written) {
        let message = format!("`{key}` means nothing to datagrams, which are passed on as they are");
        let problem = Problem::error(at.key(key), message).on_key();
        bridge.problems.push(problem.help("remove it"));
    }
    let found = bridge.upstream(upstream, at.key("upstream"));
    let name = name.clone().unwrap_or_else(|| names::rule_name(r#match));
    UdpRoute {
        name: name.as_str().into(),
        upstream: found.map_or(UpstreamId(0), |(id, _)| id),
        priority: priority.unwrap_or(bridge.priority),
    }
}

/// Reports what upstreams have that flows cannot be treated by.
pub(super) fn check_upstreams(document: &Document, problems: &mut Problems) {
    let root = Path::ROOT.key("listeners");
    // By name, with the first listener of UDP that leads there.
    let mut udp: HashMap<&Label, usize> = HashMap::new();
    let mut others: HashMap<&Label, ()> = HashMap::new();
    for (index, listener) in document.listeners.iter().enumerate() {
        let passed_on = listener.passthrough.iter().map(|route| (&route.upstream, ()));
        others.extend(passed_on);
        let routes = listener.routes.iter().map(|route| &route.upstream);
        for upstream in routes.chain(&listener.upstream) {
            match listener.protocol {
                Protocol::Udp => drop(udp.entry(upstream).or_insert(index)),
                Protocol::Tcp | Protocol::Http | Protocol::ForwardProxy => drop(others.insert(upstream, ())),
            }
        }
    }
    let upstreams = Path::ROOT.key("upstreams");
    for (name, upstream) in document.upstreams.iter() {
        let at = upstreams.key(name.as_str());
        let Some(index) = udp.get(name) else { continue };
        check_upstream(upstream, at, root.index(*index), problems);
        if !others.contains_key(name) {
            warn_of_connections(upstream, at, problems);
        }
    }
}

fn check_upstream(written: &Upstream, at: Path<'_>, listener: Path<'_>, problems: &mut Problems) {
    let by_reports = matches!(
        written.balance,
        Balance::Prequal(_) | Balance::OrcaWeightedRoundRobin(_)
    );
    let hash = written.hash.0.iter().any(|part| !part.is_of_udp());
    let keys = [
        ("balance", by_reports),
        ("hash", hash),
        ("tls", written.tls.is_some()),
        ("http_version", written.http_version != HttpVersion::Http1),
        ("proxy_protocol", written.proxy_protocol.0 == Some(ProxyVersion::V1)),
        ("adaptive_concurrency", written.adaptive_concurrency.0.is_some()),
        ("fair_share", written.fair_share.0.is_some()),
        ("sticky", written.sticky.0.is_some()),
        ("hedge", written.hedge.0.is_some()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, is_written)| *is_written) {
        let message = match key {
            "balance" => "servers of UDP report nothing that this algorithm could go by".to_owned(),
            "hash" => "flows of UDP are told apart by `client_ip` and `destination_port` alone".to_owned(),
            "proxy_protocol" => "version 1 of the PROXY protocol is for TCP; write `v2`".to_owned(),
            _ => format!("`{key}` is for requests of HTTP, and a UDP listener leads here"),
        };
        let problem = Problem::error(at.key(key), message).on_key();
        problems.push(problem.related(listener.key("protocol"), Spot::Value, "the listener"));
    }
}

fn warn_of_connections(written: &Upstream, at: Path<'_>, problems: &mut Problems) {
    // Where everything is written out, the conditions are as well.
    let retry = Retry {
        on: None,
        ..written.retry.clone()
    };
    let keys = [
        ("keep_alive", written.keep_alive != KeepAlive::placeholder()),
        ("retry", retry != Retry::placeholder()),
        ("timeouts", written.timeouts != ServerTimeouts::placeholder()),
        ("queue", written.queue != Queue::placeholder()),
        ("tcp_keepalive", written.tcp_keepalive.0.is_some()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, is_written)| *is_written) {
        let problem = Problem::warning(at.key(key), "this has no effect: only UDP listeners lead here").on_key();
        problems.push(problem);
    }
}
