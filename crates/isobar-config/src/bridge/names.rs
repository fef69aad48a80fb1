//! What is a listener, route or server called that was given no name?

use std::collections::HashMap;

use isobar_route::{HostPattern, PathPattern};

use super::health::kind;
use crate::document::{HealthCheck, HealthChecks, Label, Listener, Match, Route, Server, UpstreamTls};

/// Bytes of a name made from a rule; leaves room for a number after it.
const MAX_RULE_BYTES: usize = 200;

/// The name of a listener: its own, or one made from its position.
pub(crate) fn listener_name(listener: &Listener, index: usize) -> Label {
    listener
        .name
        .clone()
        .unwrap_or_else(|| Label::made(format!("listener-{}", index + 1)))
}

/// The names of routes: their own, or made from their rules, with a number where that name is taken.
pub(crate) fn route_names(routes: &[Route]) -> Vec<Label> {
    names_beside(routes, HashMap::with_capacity(routes.len()))
}

/// The names of what a listener passes on, likewise; those of its routes of requests are taken.
pub(crate) fn passthrough_names(listener: &Listener) -> Vec<Label> {
    let decrypted = route_names(&listener.routes);
    let taken = decrypted.iter().map(|name| (name.as_str().to_owned(), 1)).collect();
    names_beside(&listener.passthrough, taken)
}

fn names_beside(routes: &[Route], mut taken: HashMap<String, usize>) -> Vec<Label> {
    for name in routes.iter().filter_map(|route| route.name.as_ref()) {
        taken.insert(name.as_str().to_owned(), 1);
    }
    let mut name = |route: &Route| Label::made(unique(made(&route.r#match), &mut taken));
    routes
        .iter()
        .map(|route| route.name.clone().unwrap_or_else(|| name(route)))
        .collect()
}

/// The name of a server: its own, or its address.
pub(crate) fn server_name(server: &Server) -> Label {
    server
        .name
        .clone()
        .unwrap_or_else(|| Label::made(server.address.to_string()))
}

/// The names of health checks: their own, or the kind of probe, with a number where that name is taken. `tls` is what secures
/// requests to the servers.
pub(crate) fn check_names(checks: &HealthChecks, tls: Option<&UpstreamTls>) -> Vec<Label> {
    let mut taken: HashMap<String, usize> = HashMap::new();
    for name in checks.iter().filter_map(|check| check.name.as_ref()) {
        taken.insert(name.as_str().to_owned(), 1);
    }
    let mut name = |check: &HealthCheck| Label::made(unique(kind(check, tls).word().to_owned(), &mut taken));
    checks
        .iter()
        .map(|check| check.name.clone().unwrap_or_else(|| name(check)))
        .collect()
}

/// The name that is made from a rule.
pub(crate) fn rule_name(rule: &Match) -> Label {
    Label::made(made(rule))
}

fn made(rule: &Match) -> String {
    let Match { host, path, sni, alpn } = rule;
    let host = if *host == HostPattern::Any { sni } else { host };
    let mut text = match (host, path) {
        (HostPattern::Any, PathPattern::Any) => "default".to_owned(),
        (HostPattern::Any, path) => path.to_string(),
        (host, PathPattern::Any) => host.to_string(),
        (host, path) => format!("{host}{path}"),
    };
    if let Some(alpn) = alpn {
        text = format!("{text} {}", alpn.as_str()).replace(' ', "+");
    }
    text.truncate(text.floor_char_boundary(MAX_RULE_BYTES));
    text
}

fn unique(name: String, taken: &mut HashMap<String, usize>) -> String {
    let Some(count) = taken.get_mut(&name) else {
        taken.insert(name.clone(), 1);
        return name;
    };
    let mut number = *count;
    loop {
        number += 1;
        let numbered = format!("{name}-{number}");
        if !taken.contains_key(&numbered) {
            taken.insert(numbered.clone(), 1);
            taken.insert(name, number);
            return numbered;
        }
    }
}
