//! Which connections of a listener with TLS are passed on without being decrypted?

use isobar_plan::TcpRoute;
use isobar_route::HostPattern;

use super::{Bridge, names, tcp};
use crate::document::{Listener, Match, Route};
use crate::problem::{Path, Problem, Problems, Spot};

/// The plans of what is passed on.
pub(super) fn passthrough(listener: &Listener, at: Path<'_>, bridge: &mut Bridge<'_>) -> Vec<TcpRoute> {
    let written = &listener.passthrough;
    if written.is_empty() {
        return Vec::new();
    }
    let at_list = at.key("passthrough");
    if listener.tls.is_none() {
        let problem = Problem::error(
            at_list,
            "nothing is decrypted here, so there is nothing to be left as it is",
        );
        let help = "give the listener `tls`, or write `protocol: tcp`, whose `routes` go by `sni`";
        bridge.problems.push(problem.on_key().help(help));
    }
    for (index, route) in written.iter().enumerate() {
        let at = at_list.index(index);
        let Match { sni, alpn, .. } = &route.r#match;
        if *sni == HostPattern::Any && alpn.is_none() {
            let problem = Problem::error(at, "this takes every connection, and leaves none to be decrypted");
            let help = "give it `match: { sni: NAME }`, or write `protocol: tcp` and remove `tls`";
            bridge.problems.push(problem.help(help));
        }
    }
    check_names(listener, at, &mut bridge.problems);
    check_reach(listener, at, &mut bridge.problems);
    tcp::named_routes((written, &names::passthrough_names(listener)), at_list, bridge)
}

/// Reports what is passed on where that is not to be said in this way.
pub(super) fn refuse_elsewhere(written: &[Route], at: Path<'_>, problems: &mut Problems) {
    if !written.is_empty() {
        let problem = Problem::error(
            at.key("passthrough"),
            "`passthrough` is for listeners of HTTP with `tls`",
        );
        let help = "for TCP, write `routes`, which go by `sni` and `alpn` without decrypting anything";
        problems.push(problem.on_key().help(help));
    }
}

/// Reports names that routes of requests have already.
fn check_names(listener: &Listener, at: Path<'_>, problems: &mut Problems) {
    let decrypted = names::route_names(&listener.routes);
    let (at_list, at_routes) = (at.key("passthrough"), at.key("routes"));
    for (index, route) in listener.passthrough.iter().enumerate() {
        let Some(name) = &route.name else { continue };
        if let Some(other) = decrypted.iter().position(|other| other == name) {
            let at = at_list.index(index);
            let message = format!("another route of the listener is called `{name}` already");
            let problem = Problem::error(at.key("name"), message);
            problems.push(problem.related(at_routes.index(other), Spot::Value, "this one"));
        }
    }
}

/// Reports routes of requests whose clients ask for what is passed on.
fn check_reach(listener: &Listener, at: Path<'_>, problems: &mut Problems) {
    let (at_list, at_routes) = (at.key("passthrough"), at.key("routes"));
    for (index, route) in listener.routes.iter().enumerate() {
        let host = &route.r#match.host;
        let takes = |passed: &Route| passed.r#match.alpn.is_none() && covers(&passed.r#match.sni, host);
        let Some(passed) = listener.passthrough.iter().position(takes) else {
            continue;
        };
        let at = at_routes.index(index);
        let at = at.key("match");
        let message =
            format!("requests for `{host}` do not come here: connections of clients that ask for it are passed on");
        let problem = Problem::warning(at.key("host"), message);
        problems.push(problem.related(at_list.index(passed), Spot::Value, "by this"));
    }
}

/// Whether whoever asks for a name of the one pattern asks for one of the other.
fn covers(all: &HostPattern, some: &HostPattern) -> bool {
    match (all, some) {
        (all, HostPattern::Exact(name)) => *all != HostPattern::Any && all.matches(name.as_bytes()),
        (HostPattern::Wildcard(all), HostPattern::Wildcard(some)) => {
            some == all || HostPattern::Wildcard(all.clone()).matches(some.as_bytes())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_each_other() {
        let check = |all: &str, some: &str, expected| {
            let [all, some] = [all, some].map(|text| HostPattern::parse(text).unwrap());
            assert_eq!(covers(&all, &some), expected, "{all} {some}");
        };
        check("a.test", "a.test", true);
        check("a.test", "b.test", false);
        check("*.test", "a.test", true);
        check("*.a.test", "a.test", false);
        check("*.test", "*.test", true);
        check("*.test", "*.a.test", true);
        check("*.a.test", "*.test", false);
        check("a.test", "*.test", false);
        check("*.test", "*", false);
    }
}
