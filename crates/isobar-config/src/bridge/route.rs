//! What does a route ask of the data plane?

use std::collections::HashMap;

use isobar_plan::{Action, UpstreamId};
use isobar_route::{HostPattern, Rule};

use super::header::{self, Side};
use super::limit::bytes::Place;
use super::{Bridge, effective_retry, names, retry, upstream};
use crate::document::{Label, Match, OrNone, Retry, Route, RouteTimeouts, ServerTimeouts};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Setting;

pub(super) fn routes(written: &[Route], at: Path<'_>, bridge: &mut Bridge<'_>) -> Vec<isobar_plan::Route> {
    check_names(written, at, &mut bridge.problems);
    check_reach(written, at, &mut bridge.problems);
    let names = names::route_names(written);
    let named = written.iter().zip(&names).enumerate();
    named
        .map(|(index, (written, name))| route(written, name, at.index(index), bridge))
        .collect()
}

/// The plan of one route; `at` holds its keys.
pub(super) fn route(written: &Route, name: &Label, at: Path<'_>, bridge: &mut Bridge<'_>) -> isobar_plan::Route {
    let Route {
        name: _,
        r#match,
        upstream,
        timeouts,
        retry: own_retry,
        hedge,
        priority,
        limits,
        grpc_web,
        request_headers,
        response_headers,
    } = written;
    let found = bridge.upstream(upstream, at.key("upstream"));
    let inherited = found.map_or_else(upstream::default_timeouts, |(_, upstream)| upstream.timeouts.clone());
    let (retry, inherited_hedge) = found.map_or_else(
        || (Retry::placeholder(), OrNone(None)),
        |(_, upstream)| (effective_retry(own_retry, &upstream.retry), upstream.hedge.clone()),
    );
    retry::check_route(own_retry, &retry, at.key("retry"), &mut bridge.problems);
    if let (Some(hedge), Some((_, upstream))) = (hedge, found) {
        retry::check_hedge(hedge, &upstream.servers, at, &mut bridge.problems);
        retry::check_hedged_sessions(hedge, &upstream.sticky, at, &mut bridge.problems);
    }
    let rule = rule(r#match, at.key("match"), &mut bridge.problems);
    bridge.check_place(limits, Place::Http, at.key("limits"));
    let limits = bridge.limits_of(limits, at.key("limits"));
    let mut changes = |written, key, side| header::changes(written, at.key(key), side, &mut bridge.problems);
    isobar_plan::Route {
        name: name.as_str().into(),
        rule,
        action: Action::Forward(found.map_or(UpstreamId(0), |(id, _)| id)),
        timeouts: upstream::timeouts(&effective_timeouts(timeouts, &inherited)),
        retry: retry::retry(&retry),
        hedge: retry::hedge(hedge.as_ref().unwrap_or(&inherited_hedge)),
        priority: priority.unwrap_or(bridge.priority),
        limits,
        grpc_web: *grpc_web,
        request_headers: changes(request_headers, "request_headers", Side::Request),
        response_headers: changes(response_headers, "response_headers", Side::Response),
    }
}

/// The upstream's timeouts with the route's own in their place.
pub(crate) fn effective_timeouts(own: &RouteTimeouts, inherited: &ServerTimeouts) -> ServerTimeouts {
    let RouteTimeouts {
        connect,
        send,
        read,
        idle,
        client_idle,
        server_idle,
        half_closed,
    } = own;
    ServerTimeouts {
        connect: connect.unwrap_or(inherited.connect),
        send: send.unwrap_or(inherited.send),
        read: read.unwrap_or(inherited.read),
        idle: idle.unwrap_or(inherited.idle),
        client_idle: client_idle.unwrap_or(inherited.client_idle),
        server_idle: server_idle.unwrap_or(inherited.server_idle),
        half_closed: half_closed.unwrap_or(inherited.half_closed),
    }
}

fn rule(written: &Match, at: Path<'_>, problems: &mut Problems) -> Rule {
    let Match {
        host: _,
        path: _,
        sni,
        alpn,
    } = written;
    let of_tcp = [("sni", *sni != HostPattern::Any), ("alpn", alpn.is_some())];
    for (key, _) in of_tcp.into_iter().filter(|(_, is_written)| *is_written) {
        let message = format!("`{key}` is for TCP: requests of HTTP go by `host` and `path`");
        let problem = Problem::error(at.key(key), message).on_key();
        problems.push(problem.help("write `host`, or `protocol: tcp` in the listener"));
    }
    pattern(written)
}

fn pattern(written: &Match) -> Rule {
    let Match { host, path, .. } = written;
    Rule {
        host: host.clone(),
        path: path.clone(),
    }
}

pub(super) fn check_names(routes: &[Route], at: Path<'_>, problems: &mut Problems) {
    let mut first: HashMap<&Label, usize> = HashMap::with_capacity(routes.len());
    for (index, name) in routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| Some((index, route.name.as_ref()?)))
    {
        let Some(&earlier) = first.get(name) else {
            first.insert(name, index);
            continue;
        };
        let (at, earlier) = (at.index(index), at.index(earlier));
        let message = format!("another route of the listener is called `{name}` already");
        let problem = Problem::error(at.key("name"), message);
        problems.push(problem.related(earlier.key("name"), Spot::Value, "first called so here"));
    }
}

/// Reports routes that no request can reach because an earlier one has the same rule.
fn check_reach(routes: &[Route], at: Path<'_>, problems: &mut Problems) {
    let mut first: HashMap<Rule, usize> = HashMap::with_capacity(routes.len());
    for (index, route) in routes.iter().enumerate() {
        let rule = pattern(&route.r#match);
        let Some(&earlier) = first.get(&rule) else {
            first.insert(rule, index);
            continue;
        };
        let (at, earlier) = (at.index(index), at.index(earlier));
        let problem = Problem::warning(at, "no request can reach this route: one before it has the same rule");
        problems.push(problem.related(earlier, Spot::Value, "this one takes them all"));
    }
}
