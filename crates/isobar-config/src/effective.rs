//! What holds, with everything that was left out?

use std::collections::HashMap;

use crate::bridge::{self, names};
use crate::document::{
    Document, HealthCheck, HealthKind, HealthMethod, Label, LimitAlgorithm, Listener, Protocol, Retry, Route,
    RouteRetry, RouteTimeouts, ServerTimeouts, Upstream, UpstreamTls, Whole,
};
use crate::setting::{Detail, Setting};
use crate::yaml;

/// The document with every default written out, names and inherited timeouts included; loads to the same plan.
#[must_use]
pub fn effective(document: &Document) -> String {
    yaml::write(&filled_in(document).encode(Detail::Full))
}

/// The document as a person would write it: what is not the default. Loads to the same document.
#[must_use]
pub fn to_yaml(document: &Document) -> String {
    yaml::write(&document.encode(Detail::Brief))
}

/// Puts into words what follows from other settings.
fn filled_in(document: &Document) -> Document {
    let mut filled = document.clone();
    let upstreams = document.upstreams.iter().map(|(name, upstream)| (name, upstream));
    let upstreams: HashMap<&Label, &Upstream> = upstreams.collect();
    for (index, listener) in filled.listeners.iter_mut().enumerate() {
        fill_listener(listener, index, &upstreams);
    }
    for (_, limit) in &mut filled.limits.0 {
        let has_burst = matches!(
            limit.algorithm,
            LimitAlgorithm::Gcra | LimitAlgorithm::TokenBucket | LimitAlgorithm::Bandwidth
        );
        if let (true, Some(rate)) = (has_burst, limit.rate) {
            limit.burst.get_or_insert(rate.burst());
        }
        if limit.algorithm == LimitAlgorithm::Bandwidth {
            let (direction, exhausted) = bridge::limit::of_bytes(limit);
            limit.direction = Some(direction);
            limit.exhausted = Some(exhausted);
        }
    }
    for (_, upstream) in &mut filled.upstreams.0 {
        fill_upstream(upstream);
    }
    filled
}

fn fill_listener(listener: &mut Listener, index: usize, upstreams: &HashMap<&Label, &Upstream>) {
    listener.name = Some(names::listener_name(listener, index));
    if let (true, Some(upstream)) = (listener.routes.is_empty(), &listener.upstream) {
        listener.routes = vec![bridge::everything_to(upstream.clone())];
        listener.upstream = None;
    }
    if let Some(proxy) = &mut listener.forward_proxy {
        let names = bridge::forward_rule_names(&proxy.rules);
        for (rule, name) in proxy.rules.iter_mut().zip(names) {
            rule.name = Some(name);
        }
    }
    let names = names::passthrough_names(listener);
    for (route, name) in listener.passthrough.iter_mut().zip(names) {
        route.name = Some(name);
        route.priority.get_or_insert(listener.priority);
        if let Some(upstream) = upstreams.get(&route.upstream) {
            fill_of_tcp(route, upstream);
        }
    }
    let names = names::route_names(&listener.routes);
    for (route, name) in listener.routes.iter_mut().zip(names) {
        route.name = Some(name);
        route.priority.get_or_insert(listener.priority);
        if let Some(upstream) = upstreams.get(&route.upstream) {
            let (timeouts, retry) = (
                fill_timeouts(&route.timeouts, &upstream.timeouts),
                fill_retry(&route.retry, &upstream.retry),
            );
            match listener.protocol {
                Protocol::Http => {
                    (route.timeouts, route.retry) = (timeouts, retry);
                    route.hedge.get_or_insert_with(|| upstream.hedge.clone());
                }
                Protocol::Tcp => fill_of_tcp(route, upstream),
                Protocol::Udp => {}
                Protocol::ForwardProxy => {}
            }
        }
    }
}

/// What holds for connections that are passed on.
fn fill_of_tcp(route: &mut Route, upstream: &Upstream) {
    let (timeouts, retry) = (
        fill_timeouts(&route.timeouts, &upstream.timeouts),
        fill_retry(&route.retry, &upstream.retry),
    );
    let (send, read) = (route.timeouts.send, route.timeouts.read);
    route.timeouts = RouteTimeouts { send, read, ..timeouts };
    (route.retry.attempts, route.retry.on) = (retry.attempts, retry.on);
    route.retry.backoff = retry.backoff;
}

fn fill_timeouts(own: &RouteTimeouts, inherited: &ServerTimeouts) -> RouteTimeouts {
    let ServerTimeouts {
        connect,
        send,
        read,
        idle,
        client_idle,
        server_idle,
        half_closed,
    } = bridge::effective_timeouts(own, inherited);
    RouteTimeouts {
        connect: Some(connect),
        send: Some(send),
        read: Some(read),
        idle: Some(idle),
        client_idle: Some(client_idle),
        server_idle: Some(server_idle),
        half_closed: Some(half_closed),
    }
}

fn fill_retry(own: &RouteRetry, inherited: &Retry) -> RouteRetry {
    let Retry {
        attempts,
        on,
        non_idempotent,
        try_timeout,
        deadline,
        budget: _,
        backoff,
        buffer,
    } = bridge::effective_retry(own, inherited);
    RouteRetry {
        attempts: Some(attempts),
        on,
        non_idempotent: Some(non_idempotent),
        try_timeout: Some(try_timeout),
        deadline: Some(deadline),
        backoff: Some(backoff),
        buffer: Some(buffer),
    }
}

fn fill_upstream(upstream: &mut Upstream) {
    for server in &mut upstream.servers {
        server.name = Some(names::server_name(server));
        if !server.backup {
            server.priority.get_or_insert(Whole::of(0));
        }
    }
    upstream.choices = upstream.choices.or_else(|| bridge::default_choices(upstream.balance));
    upstream.hash = bridge::key_parts(upstream.balance, &upstream.hash);
    upstream.retry.on = Some(bridge::effective_conditions(&upstream.retry));
    bridge::fill_in_reports(upstream);
    if let Some(checks) = &mut upstream.health.0 {
        let names = names::check_names(checks, upstream.tls.as_ref());
        for (check, name) in checks.as_mut_slice().iter_mut().zip(names) {
            check.name = Some(name);
            fill_health(check, upstream.tls.as_ref());
        }
    }
    if let Some(sticky) = &mut upstream.sticky.0 {
        bridge::fill_sticky(sticky);
    }
}

fn fill_health(check: &mut HealthCheck, tls: Option<&UpstreamTls>) {
    let kind = bridge::health_kind(check, tls);
    check.r#type = Some(kind);
    if matches!(kind, HealthKind::Http | HealthKind::Https) {
        check.method.get_or_insert(HealthMethod::Get);
        check.path.get_or_insert_default();
        check.expect.get_or_insert_with(|| bridge::default_expect().into());
    }
}
