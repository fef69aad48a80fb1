//! What does a listener of TCP ask of the data plane?

use std::collections::HashMap;
use std::sync::Arc;

use isobar_balance::Balance;
use isobar_plan::{HttpVersion, TcpLimits, TlsRule, UpstreamId};
use isobar_route::{HostPattern, PathPattern};

use super::limit::bytes::Place;
use super::{Bridge, effective_retry, names, retry, route, upstream};
use crate::document::{
    ClientTimeouts, Document, HashPart, HeaderChanges, Http2, KeepAlive, Label, Listener, ListenerLimits, Match,
    OrNone, Protocol, Retry, Route, RouteRetry, RouteTimeouts, ServerTimeouts, Upstream,
};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Setting;

/// The plan of one listener; what only makes sense for HTTP is an error.
pub(super) fn listener<'d>(written: &'d Listener, index: usize, bridge: &mut Bridge<'d>) -> isobar_plan::TcpListener {
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
    super::udp::refuse_elsewhere(udp, at, &mut bridge.problems);
    let of_http = [
        ("tls", tls.is_some()),
        ("http2", *http2 != Http2::placeholder()),
        ("redirect_to_https", redirect_to_https.is_some()),
        ("trusted_proxies", !trusted_proxies.is_empty()),
        ("forwarded", *forwarded),
    ];
    refuse(&of_http, at, &mut bridge.problems);
    super::passthrough::refuse_elsewhere(passthrough, at, &mut bridge.problems);
    bridge.share_limits(request_limits, Place::Tcp, at.key("request_limits"));
    check_timeouts(timeouts, at.key("timeouts"), &mut bridge.problems);
    let handshake_timeout = timeouts.handshake.duration();
    let proxy = proxy_protocol.as_ref();
    let proxy =
        proxy.map(|written| super::listener::proxy_sources(written, at.key("proxy_protocol"), &mut bridge.problems));
    let routes: Arc<[_]> = match upstream {
        Some(upstream) if routes.is_empty() => {
            let written = super::everything_to(upstream.clone());
            let name = names::rule_name(&written.r#match);
            [route(&written, &name, at, bridge)].into()
        }
        _ => self::routes(routes, at.key("routes"), bridge).into(),
    };
    let reads_hello = routes.iter().any(|route| bridge.reads_hello(route));
    let is_idle = proxy.is_none() && !reads_hello && timeouts.handshake != ClientTimeouts::placeholder().handshake;
    if is_idle {
        let message = "`handshake` has no effect: there is no PROXY header and no route by `sni` or `alpn`";
        let timeouts = at.key("timeouts");
        bridge
            .problems
            .push(Problem::warning(timeouts.key("handshake"), message).on_key());
    }
    isobar_plan::TcpListener {
        proxy,
        handshake_timeout,
        reads_hello,
        routes,
        name: names::listener_name(written, index).as_str().into(),
        address: address.0,
        tcp_keepalive: super::keepalive::keepalive(tcp_keepalive, at.key("tcp_keepalive"), &mut bridge.problems),
        limits: self::limits(limits, at.key("limits"), &mut bridge.problems),
    }
}

impl Bridge<'_> {
    /// Whether what a client asks for in its TLS handshake matters to a route.
    fn reads_hello(&self, route: &isobar_plan::TcpRoute) -> bool {
        let of = self.upstreams.0.get(route.upstream.0);
        let is_sni = |part: &HashPart| part.part() == isobar_plan::HashPart::Sni;
        let by_key = of.is_some_and(|(_, upstream)| upstream.hash.0.iter().any(is_sni));
        let by_limit = route.limits.iter().any(|name| self.goes_by_tls_name(name));
        by_limit || by_key || route.rule.server_name != HostPattern::Any || route.rule.alpn.is_some()
    }
}

/// Reports what is written of HTTP.
fn refuse(keys: &[(&str, bool)], at: Path<'_>, problems: &mut Problems) {
    for (key, _) in keys.iter().filter(|(_, is_written)| *is_written) {
        let message = format!("`{key}` is for HTTP: the bytes of a TCP connection are passed on as they are");
        let problem = Problem::error(at.key(key), message).on_key();
        problems.push(problem.help("remove it, or write `protocol: http`"));
    }
}

/// Reports what is written in a route and is of HTTP.
fn refuse_of_route(keys: &[(&str, bool)], at: Path<'_>, problems: &mut Problems) {
    for (key, _) in keys.iter().filter(|(_, is_written)| *is_written) {
        let message = format!("`{key}` is for HTTP: the bytes of a TCP connection are passed on as they are");
        let problem = Problem::error(at.key(key), message).on_key();
        problems.push(problem.help("remove it; only `routes` of a listener with `protocol: http` have it"));
    }
}

fn check_timeouts(written: &ClientTimeouts, at: Path<'_>, problems: &mut Problems) {
    let ClientTimeouts {
        idle,
        handshake: _,
        head,
        body,
        write,
        max_age,
    } = written;
    let usual = ClientTimeouts::placeholder();
    if *idle != usual.idle {
        let message = "how long a TCP connection may be idle is for its upstream to say";
        let problem = Problem::error(at.key("idle"), message).on_key();
        problems.push(problem.help("write `timeouts: { idle: … }` in the upstream, or in a route"));
    }
    let of_http = [
        ("head", *head != usual.head),
        ("body", *body != usual.body),
        ("write", *write != usual.write),
        ("max_age", max_age.0.is_some()),
    ];
    refuse(&of_http, at, problems);
}

fn limits(written: &ListenerLimits, at: Path<'_>, problems: &mut Problems) -> TcpLimits {
    let ListenerLimits {
        max_connections,
        max_connections_per_source,
        new_connections_per_source,
        max_head_bytes,
        max_headers,
        max_body_bytes,
        backlog,
    } = written;
    let usual = ListenerLimits::placeholder();
    let of_http = [
        ("max_head_bytes", *max_head_bytes != usual.max_head_bytes),
        ("max_headers", *max_headers != usual.max_headers),
        ("max_body_bytes", max_body_bytes.0.is_some()),
    ];
    refuse(&of_http, at, problems);
    TcpLimits {
        max_connections: max_connections.value(),
        sources: super::listener::sources(max_connections_per_source.value(), new_connections_per_source.0),
        backlog: backlog.value(),
    }
}

fn routes(written: &[Route], at: Path<'_>, bridge: &mut Bridge<'_>) -> Vec<isobar_plan::TcpRoute> {
    named_routes((written, &names::route_names(written)), at, bridge)
}

/// The plans of routes with these names.
pub(super) fn named_routes(
    (written, names): (&[Route], &[Label]),
    at: Path<'_>,
    bridge: &mut Bridge<'_>,
) -> Vec<isobar_plan::TcpRoute> {
    route::check_names(written, at, &mut bridge.problems);
    check_reach(written, at, &mut bridge.problems);
    let named = written.iter().zip(names).enumerate();
    named
        .map(|(index, (written, name))| route(written, name, at.index(index), bridge))
        .collect()
}

fn route(written: &Route, name: &Label, at: Path<'_>, bridge: &mut Bridge<'_>) -> isobar_plan::TcpRoute {
    let Route {
        name: _,
        r#match,
        upstream,
        timeouts,
        retry: own_retry,
        hedge,
        grpc_web,
        priority,
        limits,
        request_headers,
        response_headers,
    } = written;
    let changes = |changes: &HeaderChanges| *changes != HeaderChanges::placeholder();
    let of_http = [
        ("hedge", hedge.is_some()),
        ("grpc_web", *grpc_web),
        ("request_headers", changes(request_headers)),
        ("response_headers", changes(response_headers)),
    ];
    refuse_of_route(&of_http, at, &mut bridge.problems);
    bridge.check_place(limits, Place::Tcp, at.key("limits"));
    let mut limits = bridge.limits_of(limits, at.key("limits"));
    // Where only some connections are passed on, the listener's limits on requests are for the others.
    limits.retain(|name| bridge.counts_bytes(name));
    check_route_timeouts(timeouts, at.key("timeouts"), &mut bridge.problems);
    check_route_retry(own_retry, at.key("retry"), &mut bridge.problems);
    let found = bridge.upstream(upstream, at.key("upstream"));
    let inherited = found.map_or_else(upstream::default_timeouts, |(_, upstream)| upstream.timeouts.clone());
    let retry = found.map_or_else(Retry::placeholder, |(_, upstream)| {
        effective_retry(own_retry, &upstream.retry)
    });
    isobar_plan::TcpRoute {
        name: name.as_str().into(),
        rule: rule(r#match, at.key("match"), &mut bridge.problems),
        upstream: found.map_or(UpstreamId(0), |(id, _)| id),
        timeouts: upstream::timeouts(&super::effective_timeouts(timeouts, &inherited)),
        retry: retry::retry(&retry),
        priority: priority.unwrap_or(bridge.priority),
        limits,
    }
}

fn rule(written: &Match, at: Path<'_>, problems: &mut Problems) -> TlsRule {
    let Match { host, path, sni, alpn } = written;
    if *host != HostPattern::Any {
        let problem = Problem::error(at.key("host"), "`host` is for HTTP").on_key();
        problems.push(problem.help("write `sni` for the name that clients ask for in their TLS handshake"));
    }
    refuse_of_route(&[("path", *path != PathPattern::Any)], at, problems);
    TlsRule {
        server_name: sni.clone(),
        alpn: alpn.as_ref().map(|alpn| alpn.as_str().as_bytes().into()),
    }
}

/// Reports routes that no connection can reach because an earlier one has the same rule.
fn check_reach(routes: &[Route], at: Path<'_>, problems: &mut Problems) {
    let mut first = HashMap::with_capacity(routes.len());
    for (index, route) in routes.iter().enumerate() {
        let Match { sni, alpn, .. } = &route.r#match;
        let Some(&earlier) = first.get(&(sni, alpn)) else {
            first.insert((sni, alpn), index);
            continue;
        };
        let (at, earlier) = (at.index(index), at.index(earlier));
        let problem = Problem::warning(
            at,
            "no connection can reach this route: one before it has the same rule",
        );
        problems.push(problem.related(earlier, Spot::Value, "this one takes them all"));
    }
}

fn check_route_timeouts(written: &RouteTimeouts, at: Path<'_>, problems: &mut Problems) {
    let RouteTimeouts {
        connect: _,
        send,
        read,
        idle: _,
        client_idle: _,
        server_idle: _,
        half_closed: _,
    } = written;
    refuse_of_route(&[("send", send.is_some()), ("read", read.is_some())], at, problems);
}

fn check_route_retry(written: &RouteRetry, at: Path<'_>, problems: &mut Problems) {
    let RouteRetry {
        attempts: _,
        on: _,
        non_idempotent,
        try_timeout,
        deadline,
        backoff: _,
        buffer,
    } = written;
    let of_http = [
        ("non_idempotent", non_idempotent.is_some()),
        ("try_timeout", try_timeout.is_some()),
        ("deadline", deadline.is_some()),
        ("buffer", buffer.is_some()),
    ];
    refuse_of_route(&of_http, at, problems);
}

/// Reports what upstreams have that their TCP connections cannot be treated by.
pub(super) fn check_upstreams(document: &Document, problems: &mut Problems) {
    let root = Path::ROOT.key("listeners");
    // By name, with the first listener that leads connections there, and the key that says so.
    let mut tcp: HashMap<&Label, (usize, &str)> = HashMap::new();
    let mut http: HashMap<&Label, ()> = HashMap::new();
    for (index, listener) in document.listeners.iter().enumerate() {
        for route in &listener.passthrough {
            tcp.entry(&route.upstream).or_insert((index, "passthrough"));
        }
        let routes = listener.routes.iter().map(|route| &route.upstream);
        for upstream in routes.chain(&listener.upstream) {
            match listener.protocol {
                Protocol::Tcp => drop(tcp.entry(upstream).or_insert((index, "protocol"))),
                Protocol::Http => drop(http.insert(upstream, ())),
                Protocol::Udp => {}
                // It leads to no upstream, which was reported.
                Protocol::ForwardProxy => {}
            }
        }
    }
    let upstreams = Path::ROOT.key("upstreams");
    for (name, upstream) in document.upstreams.iter() {
        let at = upstreams.key(name.as_str());
        if http.contains_key(name) {
            check_of_http(upstream, at, problems);
        }
        let Some((index, key)) = tcp.get(name) else { continue };
        let listener = root.index(*index);
        check_upstream(upstream, at, listener.key(key), problems);
        if !http.contains_key(name) {
            warn_of_http(upstream, at, problems);
        }
    }
}

/// Reports what requests of HTTP cannot be treated by.
fn check_of_http(written: &Upstream, at: Path<'_>, problems: &mut Problems) {
    if written.hash.0.iter().any(|part| !part.is_of_http()) {
        let message = "requests have no `sni` and no `destination_port`, and a listener of HTTP leads here";
        let problem = Problem::error(at.key("hash"), message).on_key();
        problems.push(problem.help("write `host`, or give TCP an upstream of its own"));
    }
    if written.proxy_protocol.0.is_some() {
        let message = "connections of HTTP carry requests of many clients, and a listener of HTTP leads here";
        let problem = Problem::error(at.key("proxy_protocol"), message).on_key();
        problems.push(problem.help("servers of HTTP are told in `X-Forwarded-For`; give TCP an upstream of its own"));
    }
}

fn check_upstream(written: &Upstream, at: Path<'_>, listener: Path<'_>, problems: &mut Problems) {
    let by_reports = matches!(
        written.balance,
        Balance::Prequal(_) | Balance::OrcaWeightedRoundRobin(_)
    );
    let by_requests = |part: &HashPart| !part.is_of_tcp();
    let keys = [
        ("balance", by_reports),
        ("hash", written.hash.0.iter().any(by_requests)),
        ("tls", written.tls.is_some()),
        ("http_version", written.http_version != HttpVersion::Http1),
        ("adaptive_concurrency", written.adaptive_concurrency.0.is_some()),
        ("fair_share", written.fair_share.0.is_some()),
        ("sticky", written.sticky.0.is_some()),
        ("hedge", written.hedge.0.is_some()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, is_written)| *is_written) {
        let message = match key {
            "balance" => "servers of TCP report nothing that this algorithm could go by".to_owned(),
            "hash" => "connections of TCP are told apart by `client_ip`, `sni` and `destination_port` alone".to_owned(),
            _ => format!("`{key}` is for requests of HTTP, and a TCP listener leads here"),
        };
        let problem = Problem::error(at.key(key), message).on_key();
        problems.push(problem.related(listener, Spot::Value, "the listener"));
    }
}

fn warn_of_http(written: &Upstream, at: Path<'_>, problems: &mut Problems) {
    let Retry {
        attempts: _,
        on: _,
        non_idempotent,
        try_timeout,
        deadline,
        budget: _,
        backoff: _,
        buffer,
    } = &written.retry;
    let ServerTimeouts {
        connect: _,
        send,
        read,
        idle: _,
        client_idle: _,
        server_idle: _,
        half_closed: _,
    } = &written.timeouts;
    let (retry, timeouts) = (Retry::placeholder(), ServerTimeouts::placeholder());
    let (at_retry, at_timeouts) = (at.key("retry"), at.key("timeouts"));
    let keys = [
        (at.key("keep_alive"), written.keep_alive != KeepAlive::placeholder()),
        (at_retry.key("non_idempotent"), *non_idempotent),
        (at_retry.key("try_timeout"), *try_timeout != OrNone(None)),
        (at_retry.key("deadline"), *deadline != OrNone(None)),
        (at_retry.key("buffer"), *buffer != retry.buffer),
        (at_timeouts.key("send"), *send != timeouts.send),
        (at_timeouts.key("read"), *read != timeouts.read),
    ];
    for (at, _) in keys.into_iter().filter(|(_, is_written)| *is_written) {
        let problem = Problem::warning(at, "this has no effect: only TCP listeners lead here").on_key();
        problems.push(problem);
    }
}
