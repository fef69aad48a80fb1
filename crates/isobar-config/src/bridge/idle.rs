//! Which settings have no effect because of what others say?
//!
//! Only what was written otherwise than it is by default is spoken of: defaults that do nothing are nobody's mistake.

use std::collections::HashMap;

use isobar_plan::{HttpVersion, Priority, QueueOrder};

use super::{effective_conditions, effective_retry};
use crate::document::{
    Backoff, Conditions, Document, Hedge, Kept, Label, Listener, OrNone, Retry, RetryBudget, Route, RouteRetry,
    Upstream,
};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Setting;

/// What the routes to an upstream make of it.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// Some request may be tried again.
    retries: bool,
    /// Some request may be hedged.
    hedges: bool,
}

/// What is written about retries, by an upstream or by a route.
struct Written<'d> {
    on: Option<&'d OrNone<Conditions>>,
    non_idempotent: bool,
    backoff: Option<&'d Backoff>,
    buffer: Kept,
}

pub(super) fn check(document: &Document, problems: &mut Problems) {
    let mut known: HashMap<&Label, (&Upstream, Use)> = HashMap::with_capacity(document.upstreams.0.len());
    for (name, upstream) in document.upstreams.iter() {
        known.entry(name).or_insert((upstream, Use::default()));
    }
    for listener in &document.listeners {
        for (upstream, route) in ways(listener) {
            if let Some((of, uses)) = known.get_mut(upstream) {
                note(uses, of, route);
            }
        }
    }
    let root = Path::ROOT.key("listeners");
    for (index, listener) in document.listeners.iter().enumerate() {
        self::listener(listener, &known, root.index(index), problems);
    }
    let root = Path::ROOT.key("upstreams");
    for (name, (upstream, uses)) in &known {
        let at = root.key(name.as_str());
        queue(upstream, at, problems);
        fair_share(upstream, at, problems);
        retries(upstream, *uses, at.key("retry"), problems);
    }
}

/// Where a listener leads: upstreams, each with its route, or none where `upstream` stands for it.
fn ways(listener: &Listener) -> impl Iterator<Item = (&Label, Option<&Route>)> {
    let only = listener.upstream.as_ref().filter(|_| listener.routes.is_empty());
    let routes = listener.passthrough.iter().chain(&listener.routes);
    let routes = routes.map(|route| (&route.upstream, Some(route)));
    only.map(|upstream| (upstream, None)).into_iter().chain(routes)
}

fn note(uses: &mut Use, upstream: &Upstream, route: Option<&Route>) {
    let attempts = route
        .and_then(|route| route.retry.attempts)
        .unwrap_or(upstream.retry.attempts);
    uses.retries |= attempts.value() > 0;
    uses.hedges |= hedge(upstream, route).0.is_some();
}

fn hedge<'d>(upstream: &'d Upstream, route: Option<&'d Route>) -> &'d OrNone<Hedge> {
    route.and_then(|route| route.hedge.as_ref()).unwrap_or(&upstream.hedge)
}

/// Whether there is anything that requests would have to wait for.
fn is_limited(upstream: &Upstream) -> bool {
    let limits = &upstream.limits;
    let whole = limits.max_requests.0.is_some() || limits.max_connections.0.is_some();
    let servers = upstream.servers.iter().any(|server| server.max_connections.0.is_some());
    whole || servers || upstream.adaptive_concurrency.0.is_some()
}

const GIVE_LIMITS: &str = "give an upstream `limits` or its servers `max_connections`, or remove the key";

fn queue(upstream: &Upstream, at: Path<'_>, problems: &mut Problems) {
    if upstream.queue.order != QueueOrder::FirstCome && !is_limited(upstream) {
        let queue = at.key("queue");
        let message = "`order` has no effect: no request waits for servers without a limit";
        let problem = Problem::warning(queue.key("order"), message).on_key();
        problems.push(
            problem
                .related(at, Spot::Key, "nothing here limits them")
                .help(GIVE_LIMITS),
        );
    }
}

fn fair_share(upstream: &Upstream, at: Path<'_>, problems: &mut Problems) {
    if upstream.fair_share.0.is_none() {
        return;
    }
    let (why, what, help) = if !is_limited(upstream) {
        ("no request waits for servers without a limit", at, GIVE_LIMITS)
    } else if upstream.queue.max.value() == 0 {
        (
            "no request may wait",
            at.key("queue"),
            "let some wait: `queue: { max: 1024 }`",
        )
    } else {
        return;
    };
    let message = format!("`fair_share` has no effect: {why}");
    let problem = Problem::warning(at.key("fair_share"), message).on_key();
    let related = problem.related(what, Spot::Key, "nothing is divided here");
    problems.push(related.help(help));
}

fn listener(listener: &Listener, known: &HashMap<&Label, (&Upstream, Use)>, at: Path<'_>, problems: &mut Problems) {
    let root = Path::ROOT.key("upstreams");
    let mut inherits = ways(listener).filter(|(_, route)| route.is_none_or(|route| route.priority.is_none()));
    let unlimited = |upstream: &Label| known.get(upstream).is_none_or(|(upstream, _)| !is_limited(upstream));
    if listener.priority != Priority::Normal && inherits.all(|(upstream, _)| unlimited(upstream)) {
        let problem = Problem::warning(
            at.key("priority"),
            "`priority` has no effect: no request waits for another",
        );
        let problem = problem
            .on_key()
            .related(root, Spot::Key, "nothing limits the servers of those it leads to");
        problems.push(problem.help(GIVE_LIMITS));
    }
    let routes = at.key("routes");
    for (index, route) in listener.routes.iter().enumerate() {
        let at = routes.index(index);
        let Some((upstream, _)) = known.get(&route.upstream) else {
            continue;
        };
        let own = route
            .priority
            .filter(|own| (*own, listener.priority) != (Priority::Normal, Priority::Normal));
        if own.is_some() && !is_limited(upstream) {
            let name = route.upstream.as_str();
            let problem = Problem::warning(
                at.key("priority"),
                "`priority` has no effect: no request waits for another",
            );
            let problem = problem
                .on_key()
                .related(root.key(name), Spot::Key, "nothing here limits its servers");
            problems.push(problem.help(GIVE_LIMITS));
        }
        grpc_web(route, upstream, at, problems);
        route_retries(route, upstream, at.key("retry"), problems);
    }
}

fn grpc_web(route: &Route, upstream: &Upstream, at: Path<'_>, problems: &mut Problems) {
    if route.grpc_web && upstream.http_version != HttpVersion::Http2 {
        let root = Path::ROOT.key("upstreams");
        let message = "`grpc_web` has no effect: gRPC is spoken to servers over HTTP/2";
        let problem = Problem::warning(at.key("grpc_web"), message).on_key();
        let servers = root.key(route.upstream.as_str());
        let problem = problem.related(servers, Spot::Key, "these need not speak it");
        problems.push(problem.help("give the upstream `http_version: http2`, or remove the key"));
    }
}

fn route_retries(route: &Route, upstream: &Upstream, at: Path<'_>, problems: &mut Problems) {
    let effective = effective_retry(&route.retry, &upstream.retry);
    if effective.attempts.value() > 0 {
        return;
    }
    let usual = Retry::placeholder();
    let RouteRetry {
        attempts,
        on,
        non_idempotent,
        try_timeout: _,
        deadline: _,
        backoff,
        buffer,
    } = &route.retry;
    let written = Written {
        on: unusual(on.as_ref(), &effective),
        non_idempotent: non_idempotent.unwrap_or(false),
        backoff: backoff.as_ref().and_then(|backoff| backoff.0.as_ref()),
        buffer: buffer.unwrap_or(usual.buffer),
    };
    let hedges = hedge(upstream, Some(route)).0.is_some();
    let root = Path::ROOT.key("upstreams");
    let inherited = root.key(route.upstream.as_str());
    let inherited = inherited.key("retry");
    let zero = if attempts.is_some() { at } else { inherited };
    without_attempts(
        &written,
        Use { retries: false, hedges },
        (at, zero.key("attempts")),
        problems,
    );
}

fn retries(upstream: &Upstream, uses: Use, at: Path<'_>, problems: &mut Problems) {
    let Retry {
        attempts,
        on,
        non_idempotent,
        try_timeout: _,
        deadline: _,
        budget,
        backoff,
        buffer,
    } = &upstream.retry;
    if attempts.value() == 0 && !uses.retries {
        let written = Written {
            on: unusual(on.as_ref(), &upstream.retry),
            non_idempotent: *non_idempotent,
            backoff: backoff.0.as_ref(),
            buffer: *buffer,
        };
        without_attempts(&written, uses, (at, at.key("attempts")), problems);
        if *budget != Retry::placeholder().budget && !uses.hedges {
            problems.push(no_effect("budget", (at, at.key("attempts"))));
        }
    }
    if let Some(RetryBudget { percent, min }) = &budget.0
        && percent.value() == 0
        && min.value() == 0
        && (uses.retries || uses.hedges)
    {
        let problem = Problem::warning(
            at.key("budget"),
            "nothing is ever sent again: the budget allows no request",
        )
        .on_key();
        problems.push(problem.help("write `attempts: 0` if that is meant, or give it a `percent` or a `min`"));
    }
}

/// Conditions that are written, and are neither the usual ones nor none.
fn unusual<'d>(on: Option<&'d OrNone<Conditions>>, retry: &Retry) -> Option<&'d OrNone<Conditions>> {
    let usual = effective_conditions(&Retry {
        on: None,
        ..retry.clone()
    });
    on.filter(|on| on.0.is_some() && **on != usual)
}

/// What says how requests are tried again where none is. One that is hedged is kept and repeated as well.
fn without_attempts(written: &Written<'_>, uses: Use, at: (Path<'_>, Path<'_>), problems: &mut Problems) {
    let Written {
        on,
        non_idempotent,
        backoff,
        buffer,
    } = written;
    let keys = [
        ("on", on.is_some()),
        ("non_idempotent", *non_idempotent && !uses.hedges),
        ("backoff", backoff.is_some()),
        ("buffer", *buffer != Retry::placeholder().buffer && !uses.hedges),
    ];
    for (key, _) in keys.into_iter().filter(|(_, is_idle)| *is_idle) {
        problems.push(no_effect(key, at));
    }
}

fn no_effect(key: &str, (at, attempts): (Path<'_>, Path<'_>)) -> Problem {
    let message = format!("`{key}` has no effect: with `attempts: 0` nothing is tried again");
    let problem = Problem::warning(at.key(key), message).on_key().needs(attempts);
    problem.help("write `attempts: 1` or more, or remove the key")
}
