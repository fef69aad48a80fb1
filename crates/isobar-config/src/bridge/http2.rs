//! What does HTTP/2 ask of the data plane?

use isobar_plan::HttpVersion;

use crate::document::{Http2, Http2Budgets, Upstream};
use crate::problem::{Path, Problem, Problems};

/// What is spoken with the servers of an upstream.
pub(super) fn version(written: &Upstream, at: Path<'_>, problems: &mut Problems) -> HttpVersion {
    if written.http_version == HttpVersion::Auto && written.tls.is_none() {
        let message = "servers choose the version in their TLS handshake, and there is none";
        let problem = Problem::error(at.key("http_version"), message);
        problems.push(problem.help("write `http1` or `http2`, or `tls: {}` beside it"));
    }
    written.http_version
}

/// How it is spoken with clients; none: it is not.
pub(super) fn http2(written: &Http2) -> Option<isobar_plan::Http2> {
    let Http2 {
        enabled,
        max_concurrent_streams,
        stream_window,
        connection_window,
        send_buffer,
        budgets,
    } = written;
    // The types of the document keep sizes within those of the plan.
    let size = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    enabled.then(|| isobar_plan::Http2 {
        max_concurrent_streams: max_concurrent_streams.value(),
        stream_window: size(stream_window.bytes()),
        connection_window: size(connection_window.bytes()),
        send_buffer: size(send_buffer.bytes()),
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
