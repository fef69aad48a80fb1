//! Is it well?
//!
//! Three questions of different depth, so that whoever asks acts on the right one:
//!
//! - *live*: does the process answer? A supervisor restarts it if not. Always yes, once it can be asked.
//! - *healthy*: does the instance itself do its work? Not while it drains or listens nowhere. Servers do not count.
//! - *ready*: should it be sent traffic? Healthy, and at least one upstream has a server that can be given requests
//!   (or there are no upstreams). One that panics gives its servers requests, well or not. One upstream without servers does not take the instance out of rotation: the other
//!   upstreams' requests would fail with it.

use std::time::{Duration, Instant, SystemTime};

use isobar_plan::{
    CertificateStatus, CheckReport, CheckStatus, EngineState, HealthState, ListenerStatus, ReportsStatus, ServerStatus,
    ServiceState, Status, UpstreamStatus, UpstreamTlsStatus,
};

use crate::{ConfigurationReport, View, limits, stores};

/// Why the instance does not do its work; none: it does.
pub(crate) fn unhealthy(status: &Status) -> Option<&'static str> {
    if status.state == EngineState::Draining {
        Some("draining: no new connections are taken")
    } else if status.listeners.is_empty() {
        Some("no listener is open")
    } else {
        None
    }
}

/// Why the instance should not be sent traffic; none: it should.
pub(crate) fn unready(status: &Status) -> Option<&'static str> {
    let any_server = status
        .upstreams
        .iter()
        .flat_map(|upstream| &upstream.servers)
        .any(ServerStatus::takes_requests);
    let any_panic = status.upstreams.iter().any(panics);
    unhealthy(status)
        .or((!status.upstreams.is_empty() && !any_server && !any_panic)
            .then_some("no upstream has an available server"))
}

/// Whether an upstream uses servers whether they are well or not.
fn panics(upstream: &UpstreamStatus) -> bool {
    !upstream.panicking.is_empty()
}

/// Every dependency, by name.
#[derive(Debug)]
pub(crate) struct Report {
    /// The instance as a whole: the worst there is, but not failed as long as it is ready.
    pub(crate) status: CheckStatus,
    /// The instance itself first, then its dependencies in the order of the plan.
    pub(crate) checks: Vec<CheckReport>,
}

/// Checks everything.
pub(crate) fn report(view: &dyn View) -> Report {
    let (status, status_took) = timed(|| view.status());
    let (configuration, configuration_took) = timed(|| view.configuration());
    let mut checks = vec![
        instance(&status, status_took),
        configured(&configuration, configuration_took),
    ];
    for listener in &status.listeners {
        let open: u64 = listener.connections.iter().copied().map(u64::from).sum();
        checks.push(CheckReport {
            name: format!("listener {}", listener.name),
            status: CheckStatus::Pass,
            detail: format!("listening on {}, {open} connections", listener.address),
            took: status_took,
        });
        let certificates = listener.certificates.iter();
        checks.extend(
            certificates.map(|certificate| certificate_check(listener, certificate, SystemTime::now(), status_took)),
        );
    }
    for upstream in &status.upstreams {
        checks.push(upstream_check(upstream, status_took));
        let tls = upstream.tls.iter();
        checks.extend(tls.map(|tls| upstream_tls_check(&upstream.name, tls, SystemTime::now(), status_took)));
        checks.extend(
            upstream
                .servers
                .iter()
                .map(|server| server_check(upstream, server, status_took)),
        );
    }
    checks.extend(status.stores.iter().map(stores::check));
    checks.extend(status.access_log.as_ref().map(|log| {
        CheckReport {
            name: "access_log".to_owned(),
            status: if log.error.is_some() {
                CheckStatus::Warn
            } else {
                CheckStatus::Pass
            },
            detail: log
                .error
                .clone()
                .unwrap_or_else(|| format!("{} lines written, {} dropped", log.written, log.dropped)),
            took: status_took,
        }
    }));
    let overall = if unready(&status).is_some() {
        CheckStatus::Fail
    } else if checks.iter().any(|check| check.status != CheckStatus::Pass) {
        CheckStatus::Warn
    } else {
        CheckStatus::Pass
    };
    Report {
        status: overall,
        checks,
    }
}

fn timed<T>(look_up: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (look_up(), start.elapsed())
}

fn instance(status: &Status, took: Duration) -> CheckReport {
    let problem = unready(status);
    CheckReport {
        name: "instance".to_owned(),
        status: if problem.is_some() {
            CheckStatus::Fail
        } else {
            CheckStatus::Pass
        },
        detail: problem.map_or_else(|| format!("running with {} workers", status.workers), str::to_owned),
        took,
    }
}

fn configured(configuration: &ConfigurationReport, took: Duration) -> CheckReport {
    let ConfigurationReport { source, last_error, .. } = configuration;
    CheckReport {
        name: "configuration".to_owned(),
        status: if last_error.is_some() {
            CheckStatus::Warn
        } else {
            CheckStatus::Pass
        },
        detail: match last_error {
            Some(error) => format!("a newer {source} was refused, the older one stays in service: {error}"),
            None => format!("{source} is in service"),
        },
        took,
    }
}

/// How long before its end a certificate is worth a warning: those of public authorities are renewed a month before.
const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);

fn certificate_check(
    listener: &ListenerStatus,
    certificate: &CertificateStatus,
    now: SystemTime,
    took: Duration,
) -> CheckReport {
    let (mut status, mut detail) = validity(certificate.valid_until, now);
    if status != CheckStatus::Fail {
        detail = format!("{detail}, for {}", certificate.names.join(", "));
    }
    if let Some(problem) = &certificate.problem {
        if status == CheckStatus::Pass {
            status = CheckStatus::Warn;
        }
        detail = if detail.is_empty() {
            problem.clone()
        } else {
            format!("{problem}; the one in use: {detail}")
        };
    }
    CheckReport {
        name: format!("certificate {} of listener {}", certificate.file, listener.name),
        status,
        detail,
        took,
    }
}

/// How a certificate is by its time: none could be read where there is no end to it.
fn validity(until: Option<Duration>, now: SystemTime) -> (CheckStatus, String) {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match until.map(|until| until.checked_sub(now)) {
        None => (CheckStatus::Fail, String::new()),
        Some(None) => (CheckStatus::Fail, "it has expired".to_owned()),
        Some(Some(left)) => {
            let soon = left < EXPIRES_SOON;
            let status = if soon { CheckStatus::Warn } else { CheckStatus::Pass };
            let days = left.as_secs() / (24 * 3600);
            (status, format!("valid for {days} days more"))
        }
    }
}

/// Servers judge the certificate they are shown themselves: one that has expired fails nothing here.
fn upstream_tls_check(upstream: &str, tls: &UpstreamTlsStatus, now: SystemTime, took: Duration) -> CheckReport {
    let shown = tls.certificate.as_ref().filter(|_| tls.in_use);
    let shown = shown.map(|certificate| (certificate, validity(certificate.valid_until, now)));
    let (mut status, mut detail) = match shown {
        None => (CheckStatus::Pass, "connections to servers are secured".to_owned()),
        Some((certificate, (CheckStatus::Pass, words))) => {
            (CheckStatus::Pass, format!("certificate {}: {words}", certificate.file))
        }
        Some((certificate, (_, words))) => (CheckStatus::Warn, format!("certificate {}: {words}", certificate.file)),
    };
    if let Some(problem) = &tls.problem {
        (status, detail) = if tls.in_use {
            (
                CheckStatus::Warn,
                format!("{problem}; what was read before is in use: {detail}"),
            )
        } else {
            (CheckStatus::Fail, format!("{problem}; requests are answered with 502"))
        };
    }
    CheckReport {
        name: format!("TLS of upstream {upstream}"),
        status,
        detail,
        took,
    }
}

/// Servers that report too little are a reason to look, and none to send requests elsewhere.
fn upstream_check(upstream: &UpstreamStatus, took: Duration) -> CheckReport {
    let all = upstream.servers.len();
    let available = upstream.servers.iter().filter(|server| server.takes_requests()).count();
    CheckReport {
        name: format!("upstream {}", upstream.name),
        status: match available {
            0 if !panics(upstream) => CheckStatus::Fail,
            _ if upstream
                .servers
                .iter()
                .all(|server| server_status(server) == CheckStatus::Pass) =>
            {
                CheckStatus::Pass
            }
            _ => CheckStatus::Warn,
        },
        detail: format!(
            "{available} of {all} servers available, {}{}{}",
            limits::upstream(upstream),
            if panics(upstream) {
                ", in panic: servers are used whether they are well or not"
            } else {
                ""
            },
            reports(upstream)
        ),
        took,
    }
}

/// What an upstream goes by that should go by reports.
fn reports(upstream: &UpstreamStatus) -> String {
    match &upstream.reports {
        None => String::new(),
        Some(ReportsStatus { informed: true, .. }) => ", servers report their load".to_owned(),
        Some(ReportsStatus { fallback_picks, .. }) => {
            format!(", no fresh reports of load from servers ({fallback_picks} choices made without)")
        }
    }
}

fn server_check(upstream: &UpstreamStatus, server: &ServerStatus, took: Duration) -> CheckReport {
    let state = match server.health {
        HealthState::Unknown => "not probed",
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
    };
    let mut detail = state.to_owned();
    if server.addresses.is_empty() {
        detail.push_str(", no address");
    }
    if server.weight == 0 {
        detail.push_str(", takes no new requests (weight 0)");
    }
    if let Some(limit) = limits::server(server) {
        detail.push_str(", ");
        detail.push_str(&limit);
    }
    if server.warmth_percent < 100 {
        detail.push_str(&format!(
            ", has {} % of its weight while it starts slowly",
            server.warmth_percent
        ));
    }
    if !server.reason.is_empty() {
        detail.push_str(": ");
        detail.push_str(&server.reason);
    }
    if let Some(service) = service(server) {
        detail = format!("{service}; {detail}");
    }
    CheckReport {
        name: format!("server {}/{}", upstream.name, server.name),
        status: server_status(server),
        detail,
        took: server.last_probe.unwrap_or(took),
    }
}

/// What an operator has taken out is out on purpose, and no fault.
fn server_status(server: &ServerStatus) -> CheckStatus {
    if server.state != ServiceState::Enabled {
        CheckStatus::Pass
    } else if !server.is_well() {
        CheckStatus::Fail
    } else if server.ejection.is_some() {
        CheckStatus::Warn
    } else {
        CheckStatus::Pass
    }
}

/// Whether it is out of service by an operator's word or for how it answered, in words.
fn service(server: &ServerStatus) -> Option<String> {
    if server.state != ServiceState::Enabled {
        let who = server
            .state_by
            .map_or_else(|| "by configuration".to_owned(), |by| format!("by {by}"));
        let what = match server.state {
            ServiceState::Drain => "draining",
            ServiceState::Enabled | ServiceState::Disabled => server.state.word(),
        };
        return Some(format!("{what} {who}, {} in flight", server.in_flight));
    }
    let ejection = server.ejection.as_ref()?;
    let left = ejection.left.as_secs_f64();
    Some(format!("ejected for {left:.1} s more: {}", ejection.reason))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use isobar_observe::Snapshot;
    use isobar_plan::{
        CertificateStatus, CheckStatus, EjectionStatus, EngineState, HealthState, LimitStatus, ListenerStatus,
        LogStatus, Reason, ServerStatus, ServiceState, Status, Tier, UpstreamStatus, UpstreamTlsStatus,
    };

    use super::{report, unhealthy, unready, upstream_tls_check};
    use crate::{ConfigurationReport, View};

    const PROBE: Duration = Duration::from_millis(7);

    fn server(health: HealthState) -> ServerStatus {
        ServerStatus {
            name: "a:1".into(),
            weight: 1,
            backup: false,
            priority: 0,
            warmth_percent: 100,
            health,
            reason: String::new(),
            last_probe: Some(PROBE),
            checks: Vec::new(),
            in_flight: 0,
            limit: None,
            adaptive_limit: None,
            addresses: vec!["127.0.0.1:1".parse().expect("an address")],
            state: ServiceState::Enabled,
            state_by: None,
            ejection: None,
            ejections: [0; 6],
        }
    }

    fn upstream(servers: Vec<ServerStatus>) -> UpstreamStatus {
        UpstreamStatus {
            name: "api".into(),
            queued: 3,
            panicking: Vec::new(),
            sessions: None,
            reports: None,
            queued_by: [1, 2, 0],
            queue_max: 1024,
            fair: None,
            requests: LimitStatus { used: 5, max: Some(5) },
            connections: LimitStatus { used: 7, max: None },
            servers,
            tls: None,
        }
    }

    fn running(upstreams: Vec<UpstreamStatus>) -> Status {
        Status {
            state: EngineState::Running,
            workers: 2,
            uptime: Duration::from_secs(1),
            generation: 1,
            listeners: vec![ListenerStatus {
                name: "web".into(),
                address: "127.0.0.1:80".parse().expect("an address"),
                connections: vec![1, 2],
                certificates: Vec::new(),
            }],
            upstreams,
            limits: Vec::new(),
            stores: Vec::new(),
            access_log: None,
        }
    }

    struct Fixed(Status, Option<String>);

    impl View for Fixed {
        fn status(&self) -> Status {
            self.0.clone()
        }

        fn metrics(&self) -> Snapshot {
            Snapshot::default()
        }

        fn configuration(&self) -> ConfigurationReport {
            ConfigurationReport {
                source: "isobar.yaml".to_owned(),
                loaded_at: SystemTime::UNIX_EPOCH,
                last_error: self.1.clone(),
            }
        }
    }

    #[test]
    fn verdicts() {
        use HealthState::{Healthy, Unhealthy, Unknown};
        let check = |case: &str, status: &Status, healthy: bool, ready: bool| {
            assert_eq!(
                (unhealthy(status).is_none(), unready(status).is_none()),
                (healthy, ready),
                "{case}"
            );
        };
        check("no upstreams", &running(vec![]), true, true);
        check(
            "a healthy server",
            &running(vec![upstream(vec![server(Healthy)])]),
            true,
            true,
        );
        check(
            "a server not probed yet",
            &running(vec![upstream(vec![server(Unknown)])]),
            true,
            true,
        );
        check(
            "no healthy server",
            &running(vec![upstream(vec![server(Unhealthy)])]),
            true,
            false,
        );
        check(
            "an upstream without servers",
            &running(vec![upstream(vec![])]),
            true,
            false,
        );
        let one_of_two = vec![upstream(vec![server(Unhealthy)]), upstream(vec![server(Healthy)])];
        check("one upstream of two", &running(one_of_two), true, true);
        let panics = UpstreamStatus {
            panicking: vec![Tier::PRIMARY],
            ..upstream(vec![server(Unhealthy)])
        };
        check("no healthy server, but in panic", &running(vec![panics]), true, true);
        let unresolved = ServerStatus {
            addresses: vec![],
            ..server(Healthy)
        };
        check(
            "a name that does not resolve",
            &running(vec![upstream(vec![unresolved])]),
            true,
            false,
        );
        let without_weight = ServerStatus {
            weight: 0,
            ..server(Healthy)
        };
        check(
            "weight 0 alone",
            &running(vec![upstream(vec![without_weight])]),
            true,
            false,
        );
        let well = running(vec![upstream(vec![server(Healthy)])]);
        check(
            "draining",
            &Status {
                state: EngineState::Draining,
                ..well.clone()
            },
            false,
            false,
        );
        check(
            "no listener",
            &Status {
                listeners: vec![],
                ..well
            },
            false,
            false,
        );
    }

    #[test]
    fn reports() {
        use CheckStatus::{Fail, Pass, Warn};
        use HealthState::{Healthy, Unhealthy};
        let check = |case: &str, view: Fixed, overall: CheckStatus, expected: &[(&str, CheckStatus)]| {
            let report = report(&view);
            let checks: Vec<_> = report
                .checks
                .iter()
                .map(|check| (check.name.as_str(), check.status))
                .collect();
            assert_eq!((report.status, checks.as_slice()), (overall, expected), "{case}");
        };
        let [instance, configuration, web] = [("instance", Pass), ("configuration", Pass), ("listener web", Pass)];
        let well = running(vec![upstream(vec![server(Healthy)])]);
        let up = [("upstream api", Pass), ("server api/a:1", Pass)];
        check(
            "well",
            Fixed(well.clone(), None),
            Pass,
            &[instance, configuration, web, up[0], up[1]],
        );
        check(
            "a refused configuration",
            Fixed(well.clone(), Some("line 3".to_owned())),
            Warn,
            &[instance, ("configuration", Warn), web, up[0], up[1]],
        );
        check(
            "one server of two",
            Fixed(running(vec![upstream(vec![server(Healthy), server(Unhealthy)])]), None),
            Warn,
            &[
                instance,
                configuration,
                web,
                ("upstream api", Warn),
                up[1],
                ("server api/a:1", Fail),
            ],
        );
        check(
            "no server",
            Fixed(running(vec![upstream(vec![server(Unhealthy)])]), None),
            Fail,
            &[
                ("instance", Fail),
                configuration,
                web,
                ("upstream api", Fail),
                ("server api/a:1", Fail),
            ],
        );
        let panics = UpstreamStatus {
            panicking: vec![Tier::PRIMARY],
            ..upstream(vec![server(Unhealthy)])
        };
        check(
            "no server, but in panic",
            Fixed(running(vec![panics]), None),
            Warn,
            &[
                instance,
                configuration,
                web,
                ("upstream api", Warn),
                ("server api/a:1", Fail),
            ],
        );
        let log = LogStatus {
            written: 1,
            dropped: 2,
            error: Some("disk full".to_owned()),
        };
        check(
            "a log that cannot be written",
            Fixed(
                Status {
                    access_log: Some(log),
                    ..well
                },
                None,
            ),
            Warn,
            &[instance, configuration, web, up[0], up[1], ("access_log", Warn)],
        );
    }

    #[test]
    fn what_secures_connections_to_servers_is_checked() {
        let day = Duration::from_hours(24);
        let now = SystemTime::UNIX_EPOCH + 1000 * day;
        let check = |problem: Option<&str>, in_use, until: Option<Duration>, status, detail: &str| {
            let certificate = until.map(|until| CertificateStatus {
                file: "a.pem".into(),
                names: Vec::new(),
                valid_until: Some(until),
                problem: None,
            });
            let tls = UpstreamTlsStatus {
                problem: problem.map(str::to_owned),
                in_use,
                certificate,
            };
            let report = upstream_tls_check("api", &tls, now, PROBE);
            assert_eq!(report.name, "TLS of upstream api");
            assert_eq!((report.status, &*report.detail), (status, detail));
        };
        check(
            None,
            true,
            None,
            CheckStatus::Pass,
            "connections to servers are secured",
        );
        let words = "certificate a.pem: valid for 100 days more";
        check(None, true, Some(1100 * day), CheckStatus::Pass, words);
        let words = "certificate a.pem: valid for 2 days more";
        check(None, true, Some(1002 * day), CheckStatus::Warn, words);
        let words = "certificate a.pem: it has expired";
        check(None, true, Some(999 * day), CheckStatus::Warn, words);
        let words = "no such file; what was read before is in use: certificate a.pem: valid for 100 days more";
        check(Some("no such file"), true, Some(1100 * day), CheckStatus::Warn, words);
        let words = "no such file; requests are answered with 502";
        check(Some("no such file"), false, None, CheckStatus::Fail, words);
    }

    #[test]
    fn a_server_shows_its_probe() {
        let failed = ServerStatus {
            reason: "connection refused".to_owned(),
            ..server(HealthState::Unhealthy)
        };
        let report = report(&Fixed(running(vec![upstream(vec![failed])]), None));
        let check = report
            .checks
            .iter()
            .find(|check| check.name == "server api/a:1")
            .expect("a server's check");
        assert_eq!(
            (check.detail.as_str(), check.took),
            ("unhealthy: connection refused", PROBE)
        );
    }

    #[test]
    fn a_server_shows_why_it_is_out_of_service() {
        let check = |server: ServerStatus, status: CheckStatus, detail: &str| {
            let well = self::server(HealthState::Healthy);
            let report = report(&Fixed(running(vec![upstream(vec![server, well])]), None));
            let check = &report.checks[4];
            assert_eq!((check.status, check.detail.as_str()), (status, detail));
            // A server that an operator took out is no problem, one that is ejected is one.
            assert_eq!(report.status, status, "{:?}", report.checks);
        };
        let well = || server(HealthState::Healthy);
        check(
            ServerStatus {
                ejection: Some(EjectionStatus {
                    reason: Reason::ConsecutiveErrors(5),
                    left: Duration::from_millis(12_340),
                }),
                ..well()
            },
            CheckStatus::Warn,
            "ejected for 12.3 s more: it failed 5 requests in a row; healthy",
        );
        check(
            ServerStatus {
                state: ServiceState::Drain,
                in_flight: 3,
                ..well()
            },
            CheckStatus::Pass,
            "draining by configuration, 3 in flight; healthy",
        );
        check(
            ServerStatus {
                state: ServiceState::Disabled,
                state_by: "127.0.0.1:5".parse().ok(),
                reason: "connection refused".to_owned(),
                ..server(HealthState::Unhealthy)
            },
            CheckStatus::Pass,
            "disabled by 127.0.0.1:5, 0 in flight; unhealthy: connection refused",
        );
        let disabled = ServerStatus {
            state: ServiceState::Disabled,
            ..well()
        };
        let nobody = running(vec![upstream(vec![disabled])]);
        assert!(unready(&nobody).is_some() && unhealthy(&nobody).is_none());
    }
}
