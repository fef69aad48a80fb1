//! When is it found out that the other end of a connection is gone?

use isobar_plan::TcpKeepalive as Plan;

use crate::document::{OrNone, TcpKeepalive};
use crate::problem::{Path, Problem, Problems};
use crate::units::Span;

/// What the kernel is asked for; reports what it would not take.
pub(super) fn keepalive(written: &OrNone<TcpKeepalive>, at: Path<'_>, problems: &mut Problems) -> Option<Plan> {
    let TcpKeepalive {
        idle,
        interval,
        probes,
        user_timeout,
    } = written.0.as_ref()?;
    for (key, span) in [("idle", idle), ("interval", interval)] {
        let duration = span.duration();
        if duration.subsec_millis() > 0 || duration.as_secs() > Plan::MAX_SECONDS {
            let message = format!("the kernel counts whole seconds here, from 1 to {}", Plan::MAX_SECONDS);
            problems.push(Problem::error(at.key(key), message));
        }
    }
    if user_timeout
        .0
        .is_some_and(|timeout| timeout.duration() > Plan::MAX_USER_TIMEOUT)
    {
        problems.push(Problem::error(
            at.key("user_timeout"),
            "the kernel takes no more than 24 days here",
        ));
    }
    Some(Plan {
        idle: idle.duration(),
        interval: interval.duration(),
        probes: probes.value(),
        user_timeout: user_timeout.0.map(Span::duration),
    })
}
