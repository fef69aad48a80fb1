//! What holds, with everything that was left out?

use crate::bridge::{self, names};
use crate::document::{Document, HealthCheck, HealthKind, Listener, Route, RouteTimeouts, Upstream};
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
    for (index, listener) in filled.listeners.iter_mut().enumerate() {
        fill_listener(listener, index, document);
    }
    for (_, upstream) in &mut filled.upstreams.0 {
        fill_upstream(upstream);
    }
    filled
}

fn fill_listener(listener: &mut Listener, index: usize, document: &Document) {
    listener.name = Some(names::listener_name(listener, index));
    if let (true, Some(upstream)) = (listener.routes.is_empty(), &listener.upstream) {
        listener.routes = vec![bridge::everything_to(upstream.clone())];
        listener.upstream = None;
    }
    let names = names::route_names(&listener.routes);
    for (route, name) in listener.routes.iter_mut().zip(names) {
        route.name = Some(name);
        fill_route(route, document);
    }
}

fn fill_route(route: &mut Route, document: &Document) {
    if let Some((_, upstream)) = document.upstreams.iter().find(|(name, _)| *name == route.upstream) {
        let timeouts = bridge::effective_timeouts(&route.timeouts, &upstream.timeouts);
        route.timeouts = RouteTimeouts {
            connect: Some(timeouts.connect),
            send: Some(timeouts.send),
            read: Some(timeouts.read),
            idle: Some(timeouts.idle),
        };
    }
}

fn fill_upstream(upstream: &mut Upstream) {
    for server in &mut upstream.servers {
        server.name = Some(names::server_name(server));
    }
    if let Some(check) = &mut upstream.health.0 {
        fill_health(check);
    }
}

fn fill_health(check: &mut HealthCheck) {
    let kind = bridge::health_kind(check);
    check.r#type = Some(kind);
    if kind == HealthKind::Http {
        check.path.get_or_insert_default();
        check.expect.get_or_insert_with(bridge::default_expect);
    }
}
