//! How close to their limits are an upstream and its servers, in words, and which limit is to refuse again?

use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use isobar_plan::{LimitStatus, Priority, RateLimitState, ServerStatus, UpstreamStatus};
use serde_json::json;

use crate::endpoints::{Asked, fresh_json, problem};
use crate::site;

/// Has a limit refuse again that disarmed itself.
pub(crate) async fn rearm(Extract(view): Asked, headers: HeaderMap, Path(limit): Path<String>) -> Response {
    if let Err(reason) = site::check(&headers) {
        return problem(StatusCode::FORBIDDEN, reason);
    }
    match view.rearm(&limit) {
        Some(was) => {
            let state = match was {
                RateLimitState::Disarmed => RateLimitState::Enforced,
                other => other,
            };
            let body = json!({ "limit": limit, "state": state.name(), "was": was.name() });
            fresh_json(StatusCode::OK, body)
        }
        None => problem(StatusCode::NOT_FOUND, &format!("there is no limit `{limit}`")),
    }
}

/// What waits, and what there is of what there may be: `3 of 1024 requests waiting, 10 of 10 requests in flight`.
pub(crate) fn upstream(upstream: &UpstreamStatus) -> String {
    let mut text = format!("{} of {} requests waiting", upstream.queued, upstream.queue_max);
    if upstream.queued > upstream.queued_by[Priority::Normal.index()] {
        let by = Priority::ALL.into_iter().zip(upstream.queued_by);
        let by: Vec<String> = by
            .map(|(priority, count)| format!("{count} {}", priority.name()))
            .collect();
        text.push_str(&format!(" ({})", by.join(", ")));
    }
    if let Some(fair) = upstream.fair.filter(|fair| fair.keys > 0) {
        text.push_str(&format!(
            ", shared by {} (at most {} waiting and {} in flight of one)",
            keys(fair.keys),
            fair.most_waiting,
            fair.most_in_flight
        ));
    }
    for (what, limit) in [
        ("requests in flight", upstream.requests),
        ("connections", upstream.connections),
    ] {
        text.push_str(", ");
        text.push_str(&limited(limit, what));
    }
    text
}

fn keys(count: u32) -> String {
    match count {
        1 => "1 key".to_owned(),
        _ => format!("{count} keys"),
    }
}

/// What a server has of what it may have; none: it has no limit.
pub(crate) fn server(server: &ServerStatus) -> Option<String> {
    let limit = LimitStatus {
        used: server.in_flight,
        max: Some(server.limit?),
    };
    let text = limited(limit, "requests in flight");
    Some(match server.adaptive_limit {
        Some(found) if Some(found) == server.limit => format!("{text} (found from latency)"),
        _ => text,
    })
}

fn limited(limit: LimitStatus, what: &str) -> String {
    match limit.max {
        Some(max) => format!("{} of {max} {what}", limit.used),
        None => format!("{} {what}", limit.used),
    }
}
