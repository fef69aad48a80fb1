//! How close to their limits are an upstream and its servers, in words?

use isobar_plan::{LimitStatus, Priority, ServerStatus, UpstreamStatus};

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
