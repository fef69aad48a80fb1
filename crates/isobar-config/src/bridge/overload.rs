//! What does an upstream ask for when there is too much to do?

use isobar_plan::GradientRules;

use crate::document::{AdaptiveConcurrency, Queue, Server, Upstream, UpstreamLimits};
use crate::problem::{Path, Problem, Problems};

pub(super) fn limits(written: &UpstreamLimits) -> isobar_plan::UpstreamLimits {
    let UpstreamLimits {
        max_requests,
        max_connections,
    } = written;
    isobar_plan::UpstreamLimits {
        max_requests: max_requests.0.map(|limit| limit.value()),
        max_connections: max_connections.0.map(|limit| limit.value()),
    }
}

pub(super) fn adaptive(
    written: &AdaptiveConcurrency,
    servers: &[Server],
    at: Path<'_>,
    problems: &mut Problems,
) -> GradientRules {
    let AdaptiveConcurrency { min, max, tolerance } = written;
    if min.value() > max.value() {
        let what = format!(
            "the limit cannot be at least {} and at most {}",
            min.value(),
            max.value()
        );
        problems.push(Problem::error(at.key("min"), what));
    }
    let configured = servers
        .iter()
        .map(|server| server.max_connections.0.map(|limit| limit.value()));
    if let Some(Some(most)) = configured.max_by_key(|limit| limit.unwrap_or(u32::MAX))
        && most <= min.value()
    {
        let what = format!("it has no effect: no server takes more than {most} requests at once");
        let problem = Problem::warning(at, what).on_key();
        problems.push(problem.help("take away the servers' `max_connections`, or make them larger"));
    }
    GradientRules {
        min: min.value(),
        max: max.value(),
        tolerance_percent: tolerance.value(),
    }
}

/// Says of a route's priority that nobody ever waits, so that it matters to nobody.
pub(super) fn check_priority(upstream: &Upstream, at: Path<'_>, problems: &mut Problems) {
    let UpstreamLimits {
        max_requests,
        max_connections,
    } = &upstream.limits;
    let is_limited = max_requests.0.is_some()
        || max_connections.0.is_some()
        || upstream.adaptive_concurrency.0.is_some()
        || upstream.servers.iter().any(|server| server.max_connections.0.is_some());
    if !is_limited {
        let message = "`priority` has no effect: nothing limits what the upstream is given";
        let help = "give the upstream `limits`, or `adaptive_concurrency`, or its servers `max_connections`";
        problems.push(Problem::warning(at.key("priority"), message).on_key().help(help));
    }
}

pub(super) fn queue(written: &Queue) -> isobar_plan::Queue {
    let Queue { max, timeout, order } = written;
    isobar_plan::Queue {
        max: max.value(),
        timeout: timeout.duration(),
        order: *order,
    }
}
