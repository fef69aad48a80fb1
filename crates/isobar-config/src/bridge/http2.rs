//! What does HTTP/2 ask of the data plane?

use isobar_balance::Balance;
use isobar_plan::HttpVersion;

use super::health;
use super::reports::effective_prequal;
use crate::document::{HealthCheck, HealthChecks, HealthKind, Http2, Http2Budgets, Upstream};
use crate::problem::{Path, Problem, Problems, Spot};

/// What is spoken with the servers of an upstream.
pub(super) fn version(written: &Upstream, at: Path<'_>, problems: &mut Problems) -> HttpVersion {
    if written.http_version == HttpVersion::Auto && written.tls.is_none() {
        let message = "servers choose the version in their TLS handshake, and there is none";
        let problem = Problem::error(at.key("http_version"), message);
        problems.push(problem.help("write `http1` or `http2`, or `tls: {}` beside it"));
    }
    if written.http_version == HttpVersion::Http2 {
        check_asked(written, at, problems);
    }
    written.http_version
}

/// Warns of what asks servers of HTTP/2 in HTTP/1.1, which they need not understand: they would all seem to be down.
fn check_asked(written: &Upstream, at: Path<'_>, problems: &mut Problems) {
    let in_http1 = |check: &HealthCheck| {
        let kind = health::kind(check, written.tls.as_ref());
        matches!(kind, HealthKind::Http | HealthKind::Https) && check.port.is_none()
    };
    let health = at.key("health");
    let asks = match &written.health.0 {
        None => None,
        Some(HealthChecks::One(check)) => in_http1(check).then_some(health),
        Some(HealthChecks::List(list)) => list.iter().position(in_http1).map(|index| health.index(index)),
    };
    if let Some(place) = asks {
        let message = "health is asked after in HTTP/1.1, which servers of HTTP/2 need not understand";
        let problem = Problem::warning(place, message).related(at.key("http_version"), Spot::Value, "HTTP/2");
        problems.push(problem.help(
            "`type: grpc` asks in HTTP/2, `type: tcp` needs no version, and a `port` of its own may speak HTTP/1.1",
        ));
    }
    let prequal = effective_prequal(written.prequal.as_ref());
    if matches!(written.balance, Balance::Prequal(_)) && prequal.probe.0.is_some() {
        let message = "servers are asked for their load in HTTP/1.1, which servers of HTTP/2 need not understand";
        let problem = Problem::warning(at.key("balance"), message);
        problems.push(problem.help("write `prequal: { probe: none }` to go by what their answers say"));
    }
}

/// How it is spoken with clients; none: it is not.
pub(super) fn http2(written: &Http2) -> Option<isobar_plan::Http2> {
    let Http2 {
        enabled,
        max_concurrent_streams,
        stream_window,
        connection_window,
        send_buffer,
        max_memory,
        budgets,
    } = written;
    // The types of the document keep sizes within those of the plan.
    let size = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    enabled.then(|| isobar_plan::Http2 {
        max_concurrent_streams: max_concurrent_streams.value(),
        stream_window: size(stream_window.bytes()),
        connection_window: size(connection_window.bytes()),
        send_buffer: size(send_buffer.bytes()),
        max_memory: size(max_memory.bytes()),
        budgets: self::budgets(budgets),
    })
}

fn budgets(written: &Http2Budgets) -> isobar_plan::Http2Budgets {
    let Http2Budgets {
        window,
        resets,
        resets_sent,
        pings,
        settings,
        empty_data,
        priorities,
        window_updates,
        continuations,
    } = written;
    isobar_plan::Http2Budgets {
        window: window.duration(),
        resets: resets.value(),
        resets_sent: resets_sent.value(),
        pings: pings.value(),
        settings: settings.value(),
        empty_data: empty_data.value(),
        priorities: priorities.value(),
        window_updates: window_updates.value(),
        continuations: continuations.value(),
    }
}
