//! What do the metrics of the present state read?
//!
//! One entry per metric of [`STATE_METRICS`](isobar_observe::catalogue::STATE_METRICS); a test holds the two together.

use std::time::SystemTime;

use isobar_observe::catalogue::{self, Metric};
use isobar_plan::{
    CertificateStatus, EngineState, HealthState, Priority, RateLimitState, RateLimitStatus, Reason, ReportsStatus,
    ServerStatus, ServiceState, Status, UpstreamStatus,
};

use crate::process::Process;
use crate::{ConfigurationReport, stores};

/// Everything that is read.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) configuration: ConfigurationReport,
    pub(crate) process: Process,
}

/// One value with the values of its metric's labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    pub(crate) labels: Vec<&'a str>,
    pub(crate) value: Number,
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(u64),
    Real(f64),
}

impl<'a> Sample<'a> {
    fn new(labels: impl Into<Vec<&'a str>>, value: impl Into<u64>) -> Self {
        Self {
            labels: labels.into(),
            value: Number::Whole(value.into()),
        }
    }
}

/// Reads the values of one metric; none: there is nothing to tell.
pub(crate) type Reader = fn(&State) -> Vec<Sample<'_>>;

/// How each metric is read.
pub(crate) static READERS: [(Metric, Reader); catalogue::STATE_METRICS.len()] = [
    (catalogue::LISTENER_CONNECTIONS, listener_connections),
    (catalogue::LISTENER_CERTIFICATE_EXPIRY, |state| {
        certificates(state, |certificate| {
            certificate.valid_until.map(|until| until.as_secs())
        })
    }),
    (catalogue::LISTENER_CERTIFICATE_VALID, |state| {
        certificates(state, |certificate| Some(u64::from(certificate.problem.is_none())))
    }),
    (catalogue::UPSTREAM_TLS_USABLE, |state| {
        by_upstream(state, |upstream| {
            Some(u32::from(upstream.tls.as_ref()?.problem.is_none()))
        })
    }),
    (catalogue::UPSTREAM_CERTIFICATE_EXPIRY, |state| {
        let upstreams = state.status.upstreams.iter();
        let certificates = upstreams.filter_map(|up| Some((up, up.tls.as_ref()?.certificate.as_ref()?)));
        certificates
            .filter_map(|(up, certificate)| {
                let until = certificate.valid_until?.as_secs();
                Some(Sample::new([&*up.name, &*certificate.file], until))
            })
            .collect()
    }),
    (catalogue::UPSTREAM_QUEUED, |state| {
        state
            .status
            .upstreams
            .iter()
            .map(|up| Sample::new([&*up.name], up.queued))
            .collect()
    }),
    (catalogue::UPSTREAM_PANICKING_LEVELS, |state| {
        let levels = |up: &UpstreamStatus| up.panicking.len() as u64;
        let upstreams = state.status.upstreams.iter();
        upstreams.map(|up| Sample::new([&*up.name], levels(up))).collect()
    }),
    (catalogue::UPSTREAM_SESSIONS, |state| {
        let upstreams = state.status.upstreams.iter();
        upstreams
            .filter_map(|up| Some(Sample::new([&*up.name], up.sessions?)))
            .collect()
    }),
    (catalogue::UPSTREAM_REPORTS_INFORMED, |state| {
        by_reports(state, |reports| reports.informed.into())
    }),
    (catalogue::UPSTREAM_FALLBACK_PICKS, |state| {
        by_reports(state, |reports| reports.fallback_picks)
    }),
    (catalogue::UPSTREAM_CANDIDATES, |state| {
        by_reports(state, |reports| reports.candidates.into())
    }),
    (catalogue::UPSTREAM_QUEUED_BY_PRIORITY, queued_by_priority),
    (catalogue::UPSTREAM_QUEUE_MAX, |state| {
        by_upstream(state, |upstream| Some(upstream.queue_max))
    }),
    (catalogue::UPSTREAM_FAIR_KEYS, |state| {
        by_upstream(state, |upstream| upstream.fair.map(|fair| fair.keys))
    }),
    (catalogue::UPSTREAM_FAIR_MOST_WAITING, |state| {
        by_upstream(state, |upstream| upstream.fair.map(|fair| fair.most_waiting))
    }),
    (catalogue::UPSTREAM_FAIR_MOST_IN_FLIGHT, |state| {
        by_upstream(state, |upstream| upstream.fair.map(|fair| fair.most_in_flight))
    }),
    (catalogue::UPSTREAM_IN_FLIGHT, |state| {
        by_upstream(state, |upstream| Some(upstream.requests.used))
    }),
    (catalogue::UPSTREAM_MAX_REQUESTS, |state| {
        by_upstream(state, |upstream| upstream.requests.max)
    }),
    (catalogue::UPSTREAM_CONNECTIONS, |state| {
        by_upstream(state, |upstream| Some(upstream.connections.used))
    }),
    (catalogue::UPSTREAM_MAX_CONNECTIONS, |state| {
        by_upstream(state, |upstream| upstream.connections.max)
    }),
    (catalogue::SERVER_LIMIT, |state| by_server(state, |server| server.limit)),
    (catalogue::SERVER_ADAPTIVE_LIMIT, |state| {
        by_server(state, |server| server.adaptive_limit)
    }),
    (catalogue::SERVER_IN_FLIGHT, |state| {
        by_server(state, |server| Some(server.in_flight))
    }),
    (catalogue::SERVER_HEALTHY, |state| {
        by_server(state, |server| Some(u32::from(server.is_well())))
    }),
    (catalogue::SERVER_WARMTH, |state| {
        let mut samples = by_server(state, |server| Some(server.warmth_percent));
        for sample in &mut samples {
            if let Number::Whole(percent) = sample.value {
                sample.value = Number::Real(percent as f64 / 100.0);
            }
        }
        samples
    }),
    (catalogue::SERVER_HEALTH_STATE, health_states),
    (catalogue::SERVER_STATE, service_states),
    (catalogue::SERVER_EJECTED, |state| {
        by_server(state, |server| Some(u32::from(server.ejection.is_some())))
    }),
    (catalogue::SERVER_EJECTIONS, ejections),
    (catalogue::SERVER_CHECK_STATE, check_states),
    (catalogue::LIMIT_STATE, limit_states),
    (catalogue::LIMIT_KEYS, |state| by_limit(state, |limit| limit.keys)),
    (catalogue::LIMIT_KEYS_MAX, |state| {
        by_limit(state, |limit| limit.max_keys.into())
    }),
    (catalogue::LIMIT_TABLE_BYTES, |state| {
        by_limit(state, |limit| limit.bytes)
    }),
    (catalogue::LIMIT_ESTIMATED, |state| {
        by_limit(state, |limit| limit.estimated)
    }),
    (catalogue::LIMIT_EVICTED, |state| by_limit(state, |limit| limit.evicted)),
    (catalogue::STORE_UP, stores::up),
    (catalogue::STORE_INSTANCES, stores::instances),
    (catalogue::STORE_ROUND_TRIPS, stores::round_trips),
    (catalogue::STORE_EXCHANGES, stores::exchanges),
    (catalogue::STORE_ERRORS, stores::errors),
    (catalogue::STORE_ROUND_TRIP, stores::round_trip),
    (catalogue::STORE_AGE, stores::age),
    (catalogue::STORE_KEYS, stores::keys),
    (catalogue::STORE_LEASED, stores::leased),
    (catalogue::WORKERS, |state| one(state.status.workers as u64)),
    (catalogue::DRAINING, |state| {
        one(state.status.state == EngineState::Draining)
    }),
    (catalogue::CONFIG_GENERATION, |state| one(state.status.generation)),
    (catalogue::CONFIG_LAST_RELOAD_SUCCESSFUL, |state| {
        one(state.configuration.last_error.is_none())
    }),
    (catalogue::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP, loaded_at),
    (catalogue::ACCESS_LOG_WRITTEN, |state| {
        maybe(state.status.access_log.as_ref().map(|log| log.written))
    }),
    (catalogue::ACCESS_LOG_DROPPED, |state| {
        maybe(state.status.access_log.as_ref().map(|log| log.dropped))
    }),
    (catalogue::BUILD, |_| {
        vec![Sample::new([env!("CARGO_PKG_VERSION")], 1u64)]
    }),
    (catalogue::PROCESS_START_TIME, |state| {
        real(state.process.start_time_seconds)
    }),
    (catalogue::PROCESS_RESIDENT_MEMORY, |state| {
        maybe(state.process.resident_memory_bytes)
    }),
    (catalogue::PROCESS_CPU, |state| real(state.process.cpu_seconds)),
    (catalogue::PROCESS_OPEN_FDS, |state| maybe(state.process.open_fds)),
    (catalogue::PROCESS_MAX_FDS, |state| maybe(state.process.max_fds)),
];

fn one<'a>(value: impl Into<u64>) -> Vec<Sample<'a>> {
    vec![Sample::new([], value)]
}

fn maybe<'a>(value: Option<u64>) -> Vec<Sample<'a>> {
    value.map_or_else(Vec::new, one)
}

fn real<'a>(value: Option<f64>) -> Vec<Sample<'a>> {
    value
        .map(|value| Sample {
            labels: Vec::new(),
            value: Number::Real(value),
        })
        .into_iter()
        .collect()
}

fn certificates(state: &State, value: impl Fn(&CertificateStatus) -> Option<u64>) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for listener in &state.status.listeners {
        for certificate in &listener.certificates {
            let value = value(certificate);
            samples.extend(value.map(|value| Sample::new([&*listener.name, &*certificate.file], value)));
        }
    }
    samples
}

fn listener_connections(state: &State) -> Vec<Sample<'_>> {
    let open = |connections: &[u32]| connections.iter().copied().map(u64::from).sum::<u64>();
    state
        .status
        .listeners
        .iter()
        .map(|listener| Sample::new([&*listener.name], open(&listener.connections)))
        .collect()
}

/// One value for each upstream that goes by reports.
fn by_reports(state: &State, read: fn(&ReportsStatus) -> u64) -> Vec<Sample<'_>> {
    let upstreams = state.status.upstreams.iter();
    upstreams
        .filter_map(|upstream| Some(Sample::new([&*upstream.name], read(upstream.reports.as_ref()?))))
        .collect()
}

fn by_upstream(state: &State, read: fn(&UpstreamStatus) -> Option<u32>) -> Vec<Sample<'_>> {
    let upstreams = state.status.upstreams.iter();
    upstreams
        .filter_map(|upstream| Some(Sample::new([&*upstream.name], read(upstream)?)))
        .collect()
}

fn queued_by_priority(state: &State) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for upstream in &state.status.upstreams {
        let queued = Priority::ALL.into_iter().zip(upstream.queued_by);
        samples.extend(queued.map(|(priority, queued)| Sample::new([&*upstream.name, priority.name()], queued)));
    }
    samples
}

fn by_server(state: &State, read: fn(&ServerStatus) -> Option<u32>) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for upstream in &state.status.upstreams {
        samples.extend(
            upstream
                .servers
                .iter()
                .filter_map(|s| Some(Sample::new([&*upstream.name, &*s.name], read(s)?))),
        );
    }
    samples
}

const STATES: [(HealthState, &str); 3] = [
    (HealthState::Unknown, "unknown"),
    (HealthState::Healthy, "healthy"),
    (HealthState::Unhealthy, "unhealthy"),
];

fn by_limit(state: &State, value: impl Fn(&RateLimitStatus) -> u64) -> Vec<Sample<'_>> {
    let limits = state.status.limits.iter();
    limits.map(|limit| Sample::new([&*limit.name], value(limit))).collect()
}

fn limit_states(state: &State) -> Vec<Sample<'_>> {
    let of_limit =
        |limit: &'_ RateLimitStatus| RateLimitState::ALL.map(|known| (known.name(), u64::from(limit.state == known)));
    let limits = state.status.limits.iter();
    limits
        .flat_map(|limit| of_limit(limit).map(|(known, is)| Sample::new([&*limit.name, known], is)))
        .collect()
}

fn health_states(state: &State) -> Vec<Sample<'_>> {
    split_by_server(state, |server| {
        STATES
            .map(|(health, text)| (text, u64::from(server.health == health)))
            .to_vec()
    })
}

fn service_states(state: &State) -> Vec<Sample<'_>> {
    split_by_server(state, |server| {
        ServiceState::ALL
            .map(|state| (state.word(), u64::from(server.state == state)))
            .to_vec()
    })
}

fn ejections(state: &State) -> Vec<Sample<'_>> {
    split_by_server(state, |server| {
        Reason::WORDS.into_iter().zip(server.ejections).collect()
    })
}

/// Values of each server that are told apart by a word.
fn split_by_server(state: &State, read: fn(&ServerStatus) -> Vec<(&'static str, u64)>) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for upstream in &state.status.upstreams {
        for server in &upstream.servers {
            let sample = |(word, value)| Sample::new([&*upstream.name, &*server.name, word], value);
            samples.extend(read(server).into_iter().map(sample));
        }
    }
    samples
}

fn check_states(state: &State) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for upstream in &state.status.upstreams {
        for server in &upstream.servers {
            for check in &server.checks {
                samples.extend(STATES.map(|(health, text)| {
                    let labels = [&*upstream.name, &*server.name, &*check.name, text];
                    Sample::new(labels, check.health == health)
                }));
            }
        }
    }
    samples
}

fn loaded_at(state: &State) -> Vec<Sample<'_>> {
    let since_1970 = state
        .configuration
        .loaded_at
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok();
    real(since_1970.map(|time| time.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use isobar_observe::catalogue::STATE_METRICS;

    use super::READERS;

    #[test]
    fn every_metric_is_read() {
        assert!(READERS.iter().map(|(metric, _)| metric).eq(STATE_METRICS));
    }
}
