//! What does a route ask of the data plane?

use std::collections::HashMap;

use isobar_plan::{Action, UpstreamId};
use isobar_route::Rule;

use super::{Upstreams, header, names, upstream};
use crate::document::{Label, Match, Route, RouteTimeouts, ServerTimeouts};
use crate::problem::{Path, Problem, Problems, Spot};

/// Where a route and the name of its upstream stand; the latter may be the listener's own key.
pub(super) struct Place<'p> {
    pub(super) route: Path<'p>,
    pub(super) upstream: Path<'p>,
}

/// The name a route goes by; none where something else is wrong already.
pub(super) struct Name<'n>(pub(super) Option<&'n Label>);

pub(super) fn routes(
    written: &[Route],
    at: Path<'_>,
    upstreams: &mut Upstreams<'_>,
    problems: &mut Problems,
) -> Vec<isobar_plan::Route> {
    check_names(written, at, problems);
    check_reach(written, at, problems);
    let names = names::route_names(written);
    let numbered = written.iter().zip(&names).enumerate();
    numbered
        .map(|(index, (written, name))| {
            let at = at.index(index);
            let place = Place {
                route: at,
                upstream: at.key("upstream"),
            };
            route(written, Name(name.as_ref()), place, upstreams, problems)
        })
        .collect()
}

pub(super) fn route(
    written: &Route,
    name: Name<'_>,
    place: Place<'_>,
    upstreams: &mut Upstreams<'_>,
    problems: &mut Problems,
) -> isobar_plan::Route {
    let Route {
        name: _,
        r#match,
        upstream,
        timeouts,
        request_headers,
        response_headers,
    } = written;
    let found = upstreams.find(upstream, place.upstream, problems);
    let inherited = found.map_or_else(upstream::default_timeouts, |(_, upstream)| upstream.timeouts.clone());
    isobar_plan::Route {
        name: name.0.map_or("", Label::as_str).into(),
        rule: rule(r#match),
        action: Action::Forward(found.map_or(UpstreamId(0), |(id, _)| id)),
        timeouts: upstream::timeouts(&effective_timeouts(timeouts, &inherited)),
        request_headers: header::changes(
            request_headers,
            place.route.key("request_headers"),
            header::Side::Request,
            problems,
        ),
        response_headers: header::changes(
            response_headers,
            place.route.key("response_headers"),
            header::Side::Response,
            problems,
        ),
    }
}

/// The upstream's timeouts with the route's own in their place.
pub(crate) fn effective_timeouts(own: &RouteTimeouts, inherited: &ServerTimeouts) -> ServerTimeouts {
    let RouteTimeouts {
        connect,
        send,
        read,
        idle,
    } = own;
    ServerTimeouts {
        connect: connect.unwrap_or(inherited.connect),
        send: send.unwrap_or(inherited.send),
        read: read.unwrap_or(inherited.read),
        idle: idle.unwrap_or(inherited.idle),
    }
}

fn rule(written: &Match) -> Rule {
    let Match { host, path } = written;
    Rule {
        host: host.clone(),
        path: path.clone(),
    }
}

fn check_names(routes: &[Route], at: Path<'_>, problems: &mut Problems) {
    let mut first: HashMap<&Label, usize> = HashMap::with_capacity(routes.len());
    for (index, name) in routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| Some((index, route.name.as_ref()?)))
    {
        if let Some(&earlier) = first.get(name) {
            let (at, earlier) = (at.index(index), at.index(earlier));
            let problem = Problem::error(
                at.key("name"),
                format!("another route of the listener is called `{name}` already"),
            );
            problems.push(problem.related(earlier.key("name"), Spot::Value, "first called so here"));
        } else {
            first.insert(name, index);
        }
    }
}

/// Reports routes that no request can reach because an earlier one has the same rule.
fn check_reach(routes: &[Route], at: Path<'_>, problems: &mut Problems) {
    let mut first: HashMap<Rule, usize> = HashMap::with_capacity(routes.len());
    for (index, route) in routes.iter().enumerate() {
        let rule = rule(&route.r#match);
        if let Some(&earlier) = first.get(&rule) {
            let (at, earlier) = (at.index(index), at.index(earlier));
            let problem = Problem::warning(at, "no request can reach this route: one before it has the same rule");
            problems.push(problem.related(earlier, Spot::Value, "this one takes them all"));
        } else {
            first.insert(rule, index);
        }
    }
}
