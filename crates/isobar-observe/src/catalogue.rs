//! What is every metric called, and what does it mean?
//!
//! Metrics read from shards are declared where they are counted (`stats.rs`); those that describe the present state
//! are declared here and read by whoever knows that state. The names follow the conventions of Prometheus: base
//! units, the unit at the end, `_total` for what only grows.
//!
//! The number of time series is bounded by the configuration and by this code. Label values are names from the
//! configuration, the five classes of statuses, the statuses of gRPC, or the causes of [`Cause`](crate::Cause); nothing
//! that a client or a server sends can add one.

use alloc::string::String;
use core::fmt::Write as _;

use crate::Histogram;

pub use crate::cell::{Cell, Reading};
pub use crate::stats::{
    LIMIT_METRICS, LISTENER_METRICS, PRIORITY_METRICS, ROUTE_METRICS, SERVER_METRICS, UPSTREAM_METRICS, WORKER_METRICS,
};

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its full name, as it is written in queries, without the `_bucket`, `_sum` and `_count` of a histogram.
    pub name: &'static str,
    /// What it counts, as one sentence.
    pub help: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The names of the labels of its object, in order.
    pub labels: &'static [&'static str],
    /// The label that splits it further.
    pub split: Option<&'static str>,
}

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
    /// Always 1; its labels are what it says.
    Info,
}

/// What a metric is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// The word for it, as metric names have it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

impl Metric {
    /// The name without what OpenMetrics adds to it by kind (`_total`, `_info`).
    #[must_use]
    pub fn family(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }

    /// What it is measured in; none: a plain number.
    #[must_use]
    pub fn unit(&self) -> Option<Unit> {
        [Unit::Seconds, Unit::Bytes]
            .into_iter()
            .find(|unit| self.family().ends_with(unit.text()))
    }
}

/// A metric with the way to read it from the counts of an object.
#[derive(Debug, Clone, Copy)]
pub struct Measured<T: 'static> {
    /// The metric.
    pub metric: Metric,
    /// Reads it.
    pub read: fn(&T) -> Reading<'_>,
}

/// The metric of a shard's field. Doc comments begin with a space, which the help text does not.
pub(crate) const fn metric_of<C: Cell>(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Metric {
    Metric {
        name,
        help: help.trim_ascii(),
        kind: C::KIND,
        labels,
        split: C::SPLIT,
    }
}

macro_rules! state_metrics {
    ($(#[doc = $help:literal] $metric:ident: $kind:ident $name:literal $labels:tt $($split:literal)?;)*) => {
        $(
            #[doc = $help]
            pub const $metric: Metric = Metric {
                name: $name,
                help: $help.trim_ascii(),
                kind: Kind::$kind,
                labels: &$labels,
                split: {
                    const SPLIT: &[&str] = &[$($split)?];
                    SPLIT.first().copied()
                },
            };
        )*

        /// The metrics that describe the present state.
        pub const STATE_METRICS: &[Metric] = &[$($metric,)*];
    };
}

state_metrics! {
    /// Client connections, or flows of UDP, that are open.
    LISTENER_CONNECTIONS: Gauge "isobar_listener_connections" ["listener"];
    /// When a certificate in use ends to be valid, in seconds since 1970.
    LISTENER_CERTIFICATE_EXPIRY: Gauge "isobar_listener_certificate_expiry_timestamp_seconds" ["listener", "certificate"];
    /// Whether what is in the files of a certificate can be used (1) or not (0).
    LISTENER_CERTIFICATE_VALID: Gauge "isobar_listener_certificate_usable" ["listener", "certificate"];
    /// Whether what is in the files that secure connections to the upstream's servers can be used (1) or not (0).
    UPSTREAM_TLS_USABLE: Gauge "isobar_upstream_tls_usable" ["upstream"];
    /// When the certificate that is shown to servers ends to be valid, in seconds since 1970.
    UPSTREAM_CERTIFICATE_EXPIRY: Gauge "isobar_upstream_certificate_expiry_timestamp_seconds" ["upstream", "certificate"];
    /// Requests that wait for a server.
    UPSTREAM_QUEUED: Gauge "isobar_upstream_queued" ["upstream"];
    /// Levels of the upstream that are in panic: too little of them is available, and all their servers are used.
    UPSTREAM_PANICKING_LEVELS: Gauge "isobar_upstream_panicking_levels" ["upstream"];
    /// Sessions that are remembered with their server.
    UPSTREAM_SESSIONS: Gauge "isobar_upstream_sticky_sessions" ["upstream"];
    /// Whether enough servers report their load for the upstream to go by it (1) or not (0).
    UPSTREAM_REPORTS_INFORMED: Gauge "isobar_upstream_reports_informed" ["upstream"];
    /// Choices of a server that should have gone by reports and were made by what is known without them.
    UPSTREAM_FALLBACK_PICKS: Counter "isobar_upstream_fallback_picks_total" ["upstream"];
    /// Servers that the algorithm remembers as candidates for the next requests.
    UPSTREAM_CANDIDATES: Gauge "isobar_upstream_candidates" ["upstream"];
    /// Requests that wait for a server, by how much they matter.
    UPSTREAM_QUEUED_BY_PRIORITY: Gauge "isobar_upstream_queued_by_priority" ["upstream"] "priority";
    /// Requests that may wait for a server.
    UPSTREAM_QUEUE_MAX: Gauge "isobar_upstream_queue_max" ["upstream"];
    /// Keys between which the upstream is divided now: those with requests that wait, or that waited and are in flight.
    UPSTREAM_FAIR_KEYS: Gauge "isobar_fair_keys" ["upstream"];
    /// Requests that wait, of the key with most of them.
    UPSTREAM_FAIR_MOST_WAITING: Gauge "isobar_fair_most_waiting" ["upstream"];
    /// Requests in flight that had waited, of the key with most of them.
    UPSTREAM_FAIR_MOST_IN_FLIGHT: Gauge "isobar_fair_most_in_flight" ["upstream"];
    /// Requests in flight at the servers of the upstream.
    UPSTREAM_IN_FLIGHT: Gauge "isobar_upstream_in_flight" ["upstream"];
    /// Requests that may be in flight at the servers of the upstream; absent where there is no limit.
    UPSTREAM_MAX_REQUESTS: Gauge "isobar_upstream_max_requests" ["upstream"];
    /// Open connections to the servers of the upstream, idle ones included.
    UPSTREAM_CONNECTIONS: Gauge "isobar_upstream_connections" ["upstream"];
    /// Connections to the servers of the upstream that may be open; absent where there is no limit.
    UPSTREAM_MAX_CONNECTIONS: Gauge "isobar_upstream_max_connections" ["upstream"];
    /// Requests the server is given at once now; absent where there is no limit.
    SERVER_LIMIT: Gauge "isobar_server_limit" ["upstream", "server"];
    /// Requests the server can work on at once, as found from its latency; absent where that is not looked for.
    SERVER_ADAPTIVE_LIMIT: Gauge "isobar_server_adaptive_limit" ["upstream", "server"];
    /// Requests the server is answering.
    SERVER_IN_FLIGHT: Gauge "isobar_server_in_flight" ["upstream", "server"];
    /// Whether the server is given requests as far as its health goes (1) or not (0).
    SERVER_HEALTHY: Gauge "isobar_server_healthy" ["upstream", "server"];
    /// The part of its weight that the server has now, above 0 and up to 1; it grows while the server starts slowly.
    SERVER_WARMTH: Gauge "isobar_server_warmth_ratio" ["upstream", "server"];
    /// What is known of the server's health: 1 for the state it is in, 0 for the others.
    SERVER_HEALTH_STATE: Gauge "isobar_server_health_state" ["upstream", "server"] "state";
    /// What an operator wants of the server: 1 for the state it is in (enabled, drain, disabled), 0 for the others.
    SERVER_STATE: Gauge "isobar_server_state" ["upstream", "server"] "state";
    /// Whether the server is out for how it answered (1) or not (0).
    SERVER_EJECTED: Gauge "isobar_server_ejected" ["upstream", "server"];
    /// Times that the server was taken out for how it answered, by the rule it broke.
    SERVER_EJECTIONS: Counter "isobar_server_ejections_total" ["upstream", "server"] "reason";
    /// What a health check says of the server: 1 for the state it is in, 0 for the others.
    SERVER_CHECK_STATE: Gauge "isobar_server_check_state" ["upstream", "server", "check"] "state";
    /// How a limit stands: 1 for the state it is in (`enforced`, `shadow`, `disarmed` or `expired`), 0 for the others.
    LIMIT_STATE: Gauge "isobar_limit_state" ["limit"] "state";
    /// Keys that a limit has something in its books of.
    LIMIT_KEYS: Gauge "isobar_limit_keys" ["limit"];
    /// Keys that a limit's table has room for.
    LIMIT_KEYS_MAX: Gauge "isobar_limit_keys_max" ["limit"];
    /// Memory that a limit's table takes, whether or not it is full.
    LIMIT_TABLE_BYTES: Gauge "isobar_limit_table_bytes" ["limit"];
    /// Decisions by an estimate because a limit's table was full.
    LIMIT_ESTIMATED: Counter "isobar_limit_estimated_total" ["limit"];
    /// Keys asked for once that made room for others in a limit's full table.
    LIMIT_EVICTED: Counter "isobar_limit_evicted_total" ["limit"];
    /// Whether what limits are shared through answers (1) or is lost (0).
    STORE_UP: Gauge "isobar_limit_store_up" ["store"];
    /// Instances that share limits through the store, by its last answer.
    STORE_INSTANCES: Gauge "isobar_limit_store_instances" ["store"];
    /// Batches that the store answered.
    STORE_ROUND_TRIPS: Counter "isobar_limit_store_round_trips_total" ["store"];
    /// What the store was told and asked in batches, one for each key.
    STORE_EXCHANGES: Counter "isobar_limit_store_exchanges_total" ["store"];
    /// Batches and connections that failed.
    STORE_ERRORS: Counter "isobar_limit_store_errors_total" ["store"];
    /// How long the store took to answer the last batch.
    STORE_ROUND_TRIP: Gauge "isobar_limit_store_round_trip_seconds" ["store"];
    /// How long ago the store answered last.
    STORE_AGE: Gauge "isobar_limit_store_age_seconds" ["store"];
    /// Keys of shared limits that this instance knows.
    STORE_KEYS: Gauge "isobar_limit_store_keys" ["store"];
    /// Units that this instance has leased and not given out.
    STORE_LEASED: Gauge "isobar_limit_store_leased" ["store"];
    /// Worker threads.
    WORKERS: Gauge "isobar_workers" [];
    /// Whether the instance is finishing what it has and takes no more (1) or not (0).
    DRAINING: Gauge "isobar_draining" [];
    /// Configurations taken into service since the start, the first included.
    CONFIG_GENERATION: Gauge "isobar_config_generation" [];
    /// Whether the newest configuration was taken into service (1) or refused (0).
    CONFIG_LAST_RELOAD_SUCCESSFUL: Gauge "isobar_config_last_reload_successful" [];
    /// When the configuration in service was loaded, in Unix time.
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP: Gauge "isobar_config_last_reload_success_timestamp_seconds" [];
    /// Lines written to the access log.
    ACCESS_LOG_WRITTEN: Counter "isobar_access_log_written_total" [];
    /// Lines dropped because the access log could not be written fast enough, or at all.
    ACCESS_LOG_DROPPED: Counter "isobar_access_log_dropped_total" [];
    /// The version of the program.
    BUILD: Info "isobar_build_info" [] "version";
    /// When the process started, in Unix time.
    PROCESS_START_TIME: Gauge "process_start_time_seconds" [];
    /// Memory of the process that is in RAM.
    PROCESS_RESIDENT_MEMORY: Gauge "process_resident_memory_bytes" [];
    /// Time that the process ran on a processor, in user mode and in the kernel.
    PROCESS_CPU: Counter "process_cpu_seconds_total" [];
    /// File descriptors that are open.
    PROCESS_OPEN_FDS: Gauge "process_open_fds" [];
    /// File descriptors that may be open.
    PROCESS_MAX_FDS: Gauge "process_max_fds" [];
}

/// Every metric there is, in the order of the reference page.
pub fn metrics() -> impl Iterator<Item = Metric> {
    fn of<T>(measured: &'static [Measured<T>]) -> impl Iterator<Item = Metric> {
        measured.iter().map(|measured| measured.metric)
    }
    of(LISTENER_METRICS)
        .chain(of(ROUTE_METRICS))
        .chain(of(UPSTREAM_METRICS))
        .chain(of(PRIORITY_METRICS))
        .chain(of(LIMIT_METRICS))
        .chain(of(SERVER_METRICS))
        .chain(of(WORKER_METRICS))
        .chain(STATE_METRICS.iter().copied())
}

/// The metrics as a page of the reference, in Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
        `GET /metrics` on the admin listener answers in the Prometheus text format, or in OpenMetrics where asked for.\n\
        The number of time series is bounded by the configuration: label values are names written there, classes of\n\
        statuses (`1xx` to `5xx`), statuses of gRPC or the causes of [errors](errors.md); no client or server can add one.\n\
        Counters start at 0 with the process and survive reloads for as long as their object is configured.\n\n\
        Buckets of histograms, in seconds: ",
    );
    for (i, bound) in Histogram::BOUNDS_SECONDS.iter().enumerate() {
        let _ = write!(page, "{}{bound}", if i == 0 { "" } else { ", " });
    }
    page.push_str(".\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in metrics() {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(page, "| `{}` | {kind} | ", metric.name);
        for (i, label) in metric.labels.iter().chain(&metric.split).enumerate() {
            let _ = write!(page, "{}`{label}`", if i == 0 { "" } else { ", " });
        }
        let _ = writeln!(page, " | {} |", metric.help);
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Kind, Metric, Unit, metrics, reference_markdown};

    /// The rules of <https://prometheus.io/docs/practices/naming/> and of the OpenMetrics 1.0 ABNF that can be checked.
    #[test]
    fn names_follow_the_conventions() {
        for Metric {
            name,
            help,
            kind,
            labels,
            split,
        } in metrics()
        {
            let ours = name.starts_with("isobar_") || name.starts_with("process_");
            assert!(
                ours && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), kind == Kind::Info, "{name}");
            assert!(help.ends_with('.') && !help.starts_with(' '), "{name}: {help}");
            assert!(
                !help.contains(['\\', '\n', '"']),
                "the help of {name} would need escaping"
            );
            assert!(
                !labels
                    .iter()
                    .chain(&split)
                    .any(|label| label.starts_with("__") || *label == "le"),
                "{name}"
            );
        }
    }

    #[test]
    fn families_are_unique() {
        let mut families = BTreeSet::new();
        for metric in metrics() {
            assert!(families.insert(metric.family()), "{} twice", metric.family());
        }
    }

    #[test]
    fn units_are_read_from_the_names() {
        let check = |name: &str, expected: Option<Unit>| {
            let metric = metrics().find(|metric| metric.name == name).unwrap();
            assert_eq!(metric.unit(), expected, "{name}");
        };
        check("isobar_route_duration_seconds", Some(Unit::Seconds));
        check("isobar_route_request_body_bytes_total", Some(Unit::Bytes));
        check("process_cpu_seconds_total", Some(Unit::Seconds));
        check("isobar_server_in_flight", None);
        check("isobar_build_info", None);
    }

    #[test]
    fn the_page_names_every_metric_once() {
        let page = reference_markdown();
        for metric in metrics() {
            assert_eq!(
                page.matches(&std::format!("| `{}` |", metric.name)).count(),
                1,
                "{}",
                metric.name
            );
        }
    }
}
