//! What does a worker count?
//!
//! One shard per worker and object (listener, route, upstream, server). Shards outlive reloads for as long as their
//! object does. Every field is declared once, below: its doc comment is the metric's help text, its type the
//! metric's kind, and the name beside it the metric's name.

use crate::catalogue::{Cell, Measured, metric_of};
use crate::{
    ByCause, ByClass, ByDropReason, ByGrpcStatus, ByLimitOutcome, ByReason, ByTlsReason, Counter, Failures, Histogram,
    Level, Overloads, Refusals,
};

/// Declares a shard, the sum of shards, and their metrics.
macro_rules! shards {
    ($(
        $(#[doc = $about:literal])*
        $stats:ident => $totals:ident, $metrics:ident, $labels:tt {
            $(#[doc = $help:literal] $field:ident: $cell:ty = $name:literal,)*
        }
    )*) => {$(
        $(#[doc = $about])*
        ///
        /// *Shape*: written by one worker, on cache lines of its own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $stats {
            $(#[doc = $help] pub $field: $cell,)*
        }

        #[doc = concat!("The sum of one or more [`", stringify!($stats), "`].")]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $totals {
            $(#[doc = $help] pub $field: <$cell as Cell>::Total,)*
        }

        impl $totals {
            /// Adds what one worker counted.
            pub fn add(&mut self, shard: &$stats) {
                $(Cell::add_to(&shard.$field, &mut self.$field);)*
            }
        }

        #[doc = concat!("The metrics read from [`", stringify!($totals), "`].")]
        pub static $metrics: &[Measured<$totals>] = &[$(
            Measured {
                metric: metric_of::<$cell>($name, $help, &$labels),
                read: |totals| <$cell as Cell>::reading(&totals.$field),
            },
        )*];
    )*};
}

shards! {
    /// What one worker counts of one listener.
    ListenerStats => ListenerTotals, LISTENER_METRICS, ["listener"] {
        /// Connections taken from clients, or flows of UDP that they began.
        connections_accepted: Counter = "isobar_listener_connections_accepted_total",
        /// Connections given to another worker because it had fewer.
        connections_handed_off: Counter = "isobar_listener_connections_handed_off_total",
        /// TLS handshakes that were completed.
        tls_handshakes: Counter = "isobar_listener_tls_handshakes_total",
        /// Of those, the ones that went on where an earlier connection of the client was.
        tls_resumptions: Counter = "isobar_listener_tls_resumptions_total",
        /// TLS handshakes that failed because the two sides did not agree, or a client's certificate was missing or not accepted.
        tls_failures: Counter = "isobar_listener_tls_failures_total",
        /// TLS handshakes that were not complete in time, or whose client left.
        tls_abandoned: Counter = "isobar_listener_tls_abandoned_total",
        /// Connections that should have begun with TLS and did not.
        tls_not_spoken: Counter = "isobar_listener_tls_not_spoken_total",
        /// Names of destinations that a forward proxy needed the addresses of.
        names_needed: Counter = "isobar_listener_names_needed_total",
        /// Of those, the ones that were not remembered, so that the name service was asked.
        names_asked: Counter = "isobar_listener_names_asked_total",
        /// Requests, or TCP connections, that ended before a route took them, by cause.
        requests_refused: Refusals = "isobar_listener_requests_refused_total",
        /// Datagrams of UDP taken from clients.
        datagrams_received: Counter = "isobar_listener_datagrams_received_total",
        /// Datagrams of UDP given to clients.
        datagrams_sent: Counter = "isobar_listener_datagrams_sent_total",
        /// Datagrams of UDP that went nowhere, by why.
        datagrams_dropped: ByDropReason = "isobar_listener_datagrams_dropped_total",
    }

    /// What one worker counts of one route.
    RouteStats => RouteTotals, ROUTE_METRICS, ["listener", "route"] {
        /// Answers begun, by the class of their status, whoever gave them.
        responses: ByClass = "isobar_route_responses_total",
        /// Exchanges, TCP connections or flows of UDP that ended, by cause.
        exchanges: ByCause = "isobar_route_exchanges_total",
        /// Calls of gRPC that ended, by the status their client was told; absent until there is one.
        grpc_calls: ByGrpcStatus = "isobar_route_grpc_calls_total",
        /// Bytes of request bodies, or of TCP connections and datagrams, taken from clients.
        request_body_bytes: Counter = "isobar_route_request_body_bytes_total",
        /// Bytes of answer bodies, or of TCP connections and datagrams, given to clients.
        response_body_bytes: Counter = "isobar_route_response_body_bytes_total",
        /// Connections upgraded to another protocol.
        upgrades: Counter = "isobar_route_upgrades_total",
        /// Connections upgraded to another protocol that are open.
        upgraded_connections: Level = "isobar_route_upgraded_connections",
        /// Time from the first byte of a request to the last byte of its answer; upgraded connections are left out.
        duration: Histogram = "isobar_route_duration_seconds",
    }

    /// What one worker counts of one upstream.
    UpstreamStats => UpstreamTotals, UPSTREAM_METRICS, ["upstream"] {
        /// Requests, TCP connections and flows of UDP, each once however many servers it was sent to.
        requests: Counter = "isobar_upstream_requests_total",
        /// Times that a request was sent again, by why.
        retries: ByReason = "isobar_upstream_retries_total",
        /// Requests not sent again, or not hedged, because the budget for retries was used up.
        retries_refused: Counter = "isobar_upstream_retries_refused_total",
        /// Times that a request was given to another server because the answer took long.
        hedges: Counter = "isobar_upstream_hedges_total",
        /// Hedged requests that the later server answered first.
        hedges_won: Counter = "isobar_upstream_hedges_won_total",
        /// Requests that had to wait for a server.
        queue_entered: Counter = "isobar_upstream_queue_entered_total",
        /// Requests refused because too many were waiting.
        queue_rejected: Counter = "isobar_upstream_queue_rejected_total",
        /// Requests refused because they waited too long.
        queue_timeouts: Counter = "isobar_upstream_queue_timeouts_total",
        /// Requests refused because no server was available.
        no_server: Counter = "isobar_upstream_no_server_total",
        /// Time that requests which had to wait spent waiting, whether or not a server became free.
        queue_wait: Histogram = "isobar_upstream_queue_wait_seconds",
        /// Requests given to the server of their session.
        sticky_hits: Counter = "isobar_upstream_sticky_hits_total",
        /// Requests of a sticky upstream whose session was not known; the algorithm chose their server.
        sticky_misses: Counter = "isobar_upstream_sticky_misses_total",
        /// Requests given to another server than that of their session, because that one was down, gone, or failed them.
        sticky_reassigned: Counter = "isobar_upstream_sticky_reassigned_total",
        /// Requests with a stickiness cookie that was not made here, and no better one.
        sticky_forged: Counter = "isobar_upstream_sticky_forged_total",
        /// Sessions that are forgotten early, or not remembered, because the table has no room for them.
        sticky_evictions: Counter = "isobar_upstream_sticky_evictions_total",
    }

    /// What one worker counts of one limit.
    LimitStats => LimitTotals, LIMIT_METRICS, ["limit"] {
        /// Requests that a limit was to be asked about, by what came of them.
        decisions: ByLimitOutcome = "isobar_limit_decisions_total",
        /// Bytes from clients that a limit on bytes counted.
        upload_bytes: Counter = "isobar_limit_upload_bytes_total",
        /// Bytes to clients that a limit on bytes counted.
        download_bytes: Counter = "isobar_limit_download_bytes_total",
        /// Of these, the ones that would have had to wait, were the limit not in shadow.
        excess_bytes: Counter = "isobar_limit_excess_bytes_total",
        /// Waits of bytes for the sake of a limit, until it was their turn.
        throttled: Histogram = "isobar_limit_throttled_seconds",
    }

    /// What one worker counts of the requests of one priority to one upstream.
    PriorityStats => PriorityTotals, PRIORITY_METRICS, ["upstream", "priority"] {
        /// Requests refused because there was too much to do, by cause.
        refused: Overloads = "isobar_upstream_refused_total",
    }

    /// What one worker counts of one server.
    ServerStats => ServerTotals, SERVER_METRICS, ["upstream", "server"] {
        /// Requests, TCP connections and flows of UDP given to the server, retries of other servers' requests included.
        requests: Counter = "isobar_server_requests_total",
        /// Answers the server began, by the class of their status.
        responses: ByClass = "isobar_server_responses_total",
        /// Calls of gRPC that the server ended, by the status it gave; absent until there is one.
        grpc_calls: ByGrpcStatus = "isobar_server_grpc_calls_total",
        /// Requests the server failed, by cause.
        failures: Failures = "isobar_server_failures_total",
        /// Requests this server failed that were tried again.
        retries: Counter = "isobar_server_retries_total",
        /// Connections made to the server, and sockets opened for flows of UDP.
        connections_opened: Counter = "isobar_server_connections_opened_total",
        /// TLS handshakes with the server that were completed.
        tls_handshakes: Counter = "isobar_server_tls_handshakes_total",
        /// Of those, the ones that went on where an earlier connection was.
        tls_resumptions: Counter = "isobar_server_tls_resumptions_total",
        /// TLS handshakes with the server that failed, by why.
        tls_failures: ByTlsReason = "isobar_server_tls_failures_total",
        /// Requests and flows of UDP sent on a connection, or from a socket, that had carried others before.
        connections_reused: Counter = "isobar_server_connections_reused_total",
        /// Bytes of request bodies, or of TCP connections and datagrams, given to the server.
        request_body_bytes: Counter = "isobar_server_request_body_bytes_total",
        /// Bytes of answer bodies, or of TCP connections and datagrams, taken from the server.
        response_body_bytes: Counter = "isobar_server_response_body_bytes_total",
        /// Datagrams of UDP given to the server.
        datagrams_sent: Counter = "isobar_server_datagrams_sent_total",
        /// Datagrams of UDP taken from the server.
        datagrams_received: Counter = "isobar_server_datagrams_received_total",
        /// Reports of its load that were read, in its answers and when it was asked.
        reports: Counter = "isobar_server_reports_total",
        /// Reports of its load that could not be understood, and were left aside.
        reports_malformed: Counter = "isobar_server_reports_malformed_total",
        /// Times that it was asked for its load.
        load_probes: Counter = "isobar_server_load_probes_total",
        /// Times that it was asked for its load and did not tell it in time.
        load_probes_failed: Counter = "isobar_server_load_probes_failed_total",
        /// Time from the start of sending a request to the first byte of the answer.
        first_byte: Histogram = "isobar_server_first_byte_seconds",
        /// Time from the start of sending a request to the last byte of the answer; upgraded connections are left out.
        duration: Histogram = "isobar_server_duration_seconds",
        /// Time from the making of a TCP connection to the server, or from the beginning of a flow of UDP to it, to the end.
        connection_duration: Histogram = "isobar_server_connection_duration_seconds",
    }

    /// What one worker counts of itself.
    WorkerStats => WorkerTotals, WORKER_METRICS, ["worker"] {
        /// Connections that could not be accepted, for whatever reason.
        accept_errors: Counter = "isobar_worker_accept_errors_total",
        /// Times that accepting paused because no descriptor was left.
        descriptors_exhausted: Counter = "isobar_worker_descriptors_exhausted_total",
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::{RouteStats, RouteTotals};
    use crate::Cause;

    #[test]
    fn every_field_of_a_shard_is_added() {
        let (left, right, mut totals) = (RouteStats::default(), RouteStats::default(), RouteTotals::default());
        for shard in [&left, &right] {
            shard.responses.count(200);
            shard.exchanges.count(Cause::Complete);
            shard.request_body_bytes.add(3);
            shard.response_body_bytes.add(4);
            shard.upgrades.increment();
            shard.upgraded_connections.raise();
            shard.duration.observe(Duration::from_millis(5));
            totals.add(shard);
        }
        assert_eq!(totals.responses.iter().map(|(_, count)| count).sum::<u64>(), 2);
        assert_eq!(totals.exchanges.iter().map(|(_, count)| count).sum::<u64>(), 2);
        assert_eq!(
            (totals.request_body_bytes, totals.response_body_bytes, totals.upgrades),
            (6, 8, 2)
        );
        assert_eq!(totals.upgraded_connections, 2);
        assert_eq!(
            (totals.duration.count(), totals.duration.sum),
            (2, Duration::from_millis(10))
        );
    }

    /// Two workers' shards never share a cache line, nor the pair of lines that a prefetcher takes together.
    #[test]
    fn shards_keep_apart() {
        assert_eq!(align_of::<RouteStats>(), 128);
    }
}
