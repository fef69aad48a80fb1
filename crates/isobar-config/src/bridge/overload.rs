//! What does an upstream ask for when there is too much to do?

use isobar_plan::GradientRules;

use crate::document::{AdaptiveConcurrency, Queue, UpstreamLimits};
use crate::problem::{Path, Problem, Problems};

pub(super) fn limits(written: &UpstreamLimits) -> isobar_plan::UpstreamLimits {
    let UpstreamLimits {
        max_requests,
        max_connections,
    } = written;
    isobar_plan::UpstreamLimits {
        max_requests: max_requests.value(),
        max_connections: max_connections.value(),
    }
}

/// What is asked for servers with these limits.
pub(crate) fn adaptive(
    written: &AdaptiveConcurrency,
    configured: impl Iterator<Item = Option<u32>>,
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
        problems.push(Problem::error(at.key("min"), what).needs(at.key("max")));
    }
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

pub(super) fn queue(written: &Queue) -> isobar_plan::Queue {
    let Queue { max, timeout, order } = written;
    isobar_plan::Queue {
        max: max.value(),
        timeout: timeout.duration(),
        order: *order,
    }
}
