//! An instance that says what a test wants, behind a real listener.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use isobar_admin::{ConfigurationReport, Operations, View, serve};
use isobar_observe::{
    Cause, LimitOutcome, LimitSnapshot, LimitStats, ListenerSnapshot, ListenerStats, PrioritySnapshot, PriorityStats,
    RouteSnapshot, RouteStats, ServerSnapshot, ServerStats, Snapshot, UpstreamSnapshot, UpstreamStats, WorkerSnapshot,
    WorkerStats,
};
use isobar_plan::{
    CertificateStatus, CheckHealth, EngineState, FairStatus, HealthState, LimitStatus, ListenerStatus, LogStatus, Name,
    OrderDone, OrderRefusal, RateLimitState, RateLimitStatus, ReportsStatus, ServerOrder, ServerStatus, ServiceState,
    Status, StoreStatus, UpstreamStatus, UpstreamTlsStatus,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A name that needs escaping wherever it is shown.
pub(crate) const ODD_NAME: &str = "a\\b\"c";

/// An instance that is made up.
pub(crate) struct Fake {
    pub(crate) status: Mutex<Status>,
    pub(crate) last_error: Mutex<Option<String>>,
}

impl View for Fake {
    fn status(&self) -> Status {
        self.status.lock().expect("no test panics in here").clone()
    }

    fn metrics(&self) -> Snapshot {
        counted()
    }

    fn configuration(&self) -> ConfigurationReport {
        ConfigurationReport {
            source: "isobar.yaml".to_owned(),
            loaded_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500),
            last_error: self.last_error.lock().expect("no test panics in here").clone(),
        }
    }
}

impl Operations for Fake {
    fn order(&self, order: &ServerOrder) -> Result<OrderDone, OrderRefusal> {
        let mut status = self.status.lock().expect("no test panics in here");
        if status.state == EngineState::Draining {
            return Err(OrderRefusal::Draining);
        }
        let mut upstreams = status.upstreams.iter_mut();
        let upstream = upstreams.find(|upstream| upstream.name == order.upstream);
        let upstream = upstream.ok_or(OrderRefusal::NoUpstream)?;
        let server = upstream.servers.iter_mut().find(|server| server.name == order.server);
        let server = server.ok_or(OrderRefusal::NoServer)?;
        server.state_by = Some(order.by);
        Ok(OrderDone {
            from: std::mem::replace(&mut server.state, order.state),
            in_flight: server.in_flight,
            on_down: None,
        })
    }

    fn rearm(&self, limit: &str) -> Option<RateLimitState> {
        let mut status = self.status.lock().expect("no test panics in here");
        let limit = status.limits.iter_mut().find(|known| *known.name == *limit)?;
        Some(std::mem::replace(&mut limit.state, RateLimitState::Enforced))
    }
}

/// A made-up instance and the admin listener before it.
pub(crate) struct Admin {
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    _runtime: Runtime,
}

impl Admin {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let fake = Arc::new(Fake {
            status: Mutex::new(well()),
            last_error: Mutex::new(None),
        });
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(serve(listener, fake.clone(), std::future::pending()));
        Self {
            fake,
            address,
            _runtime: runtime,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Changes what the instance says of itself.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.fake.status.lock().expect("no test panics in here"));
    }
}

fn server(name: &str, health: HealthState) -> ServerStatus {
    ServerStatus {
        name: name.into(),
        weight: 1,
        backup: false,
        priority: 0,
        warmth_percent: 100,
        health,
        reason: "connection refused".to_owned(),
        last_probe: Some(Duration::from_micros(1_234)),
        checks: vec![CheckHealth {
            name: "http".into(),
            health,
        }],
        in_flight: 2,
        limit: Some(9),
        adaptive_limit: Some(9),
        addresses: vec!["127.0.0.1:9001".parse().expect("an address")],
        state: ServiceState::Enabled,
        state_by: None,
        ejection: None,
        ejections: [0, 1, 2, 3, 4, 5],
    }
}

/// One listener, one upstream with a server that is healthy and one that is not, one upstream with an odd name.
fn well() -> Status {
    Status {
        state: EngineState::Running,
        workers: 2,
        uptime: Duration::from_secs(60),
        generation: 3,
        listeners: vec![ListenerStatus {
            name: "web".into(),
            address: "127.0.0.1:8080".parse().expect("an address"),
            connections: vec![3, 4],
            certificates: vec![CertificateStatus {
                file: "/etc/isobar/site.pem".into(),
                names: vec!["example.com".into()],
                valid_until: Some(Duration::from_secs(4_000_000_000)),
                problem: None,
            }],
        }],
        upstreams: vec![
            UpstreamStatus {
                name: "api".into(),
                queued: 5,
                panicking: Vec::new(),
                sessions: Some(7),
                reports: Some(ReportsStatus {
                    informed: true,
                    fallback_picks: 9,
                    candidates: 4,
                }),
                queued_by: [1, 4, 0],
                queue_max: 1024,
                fair: Some(FairStatus {
                    keys: 3,
                    most_waiting: 4,
                    most_in_flight: 2,
                }),
                requests: LimitStatus { used: 4, max: Some(4) },
                connections: LimitStatus { used: 6, max: Some(8) },
                servers: vec![
                    server("127.0.0.1:9001", HealthState::Healthy),
                    server("127.0.0.1:9002", HealthState::Unhealthy),
                ],
                tls: Some(UpstreamTlsStatus {
                    problem: Some("/etc/isobar/ca.pem: no such file or directory".to_owned()),
                    in_use: true,
                    certificate: Some(CertificateStatus {
                        file: "/etc/isobar/own.pem".into(),
                        names: vec!["isobar.internal".into()],
                        valid_until: Some(Duration::from_secs(4_000_000_000)),
                        problem: None,
                    }),
                }),
            },
            UpstreamStatus {
                name: ODD_NAME.into(),
                queued: 0,
                panicking: Vec::new(),
                sessions: None,
                reports: None,
                queued_by: [0; 3],
                queue_max: 1024,
                fair: None,
                requests: LimitStatus { used: 4, max: Some(4) },
                connections: LimitStatus { used: 6, max: Some(8) },
                servers: vec![server("127.0.0.1:9003", HealthState::Unknown)],
                tls: None,
            },
        ],
        limits: vec![RateLimitStatus {
            name: "per-client".into(),
            state: RateLimitState::Disarmed,
            keys: 12,
            max_keys: 100_000,
            bytes: 6_100_000,
            estimated: 3,
            evicted: 2,
        }],
        stores: vec![StoreStatus {
            name: "main".into(),
            lost: None,
            instances: 2,
            round_trips: 20,
            exchanges: 35,
            errors: 1,
            took: Some(Duration::from_micros(500)),
            age: Some(Duration::from_millis(250)),
            keys: 5,
            leased: 40,
        }],
        access_log: Some(LogStatus {
            written: 100,
            dropped: 7,
            error: None,
        }),
    }
}

fn counted() -> Snapshot {
    let mut listener = ListenerSnapshot::new(["web".into()]);
    let listener_stats = ListenerStats::default();
    listener_stats.connections_accepted.add(8);
    listener_stats.requests_refused.count(Cause::ClientMalformed);
    listener.add(&listener_stats);

    let mut route = RouteSnapshot::new(["web".into(), "everything".into()]);
    route.add(&worker_route(Cause::Complete, 200, 3));
    route.add(&worker_route(Cause::ReadTimeout, 504, 60_001));

    let mut upstream = UpstreamSnapshot::new(["api".into()]);
    let upstream_stats = UpstreamStats::default();
    upstream_stats.queue_entered.increment();
    upstream_stats.queue_wait.observe(Duration::from_millis(40));
    upstream.add(&upstream_stats);

    let mut priority = PrioritySnapshot::new(["api".into(), "low".into()]);
    let priority_stats = PriorityStats::default();
    priority_stats.refused.count(Cause::Displaced);
    priority.add(&priority_stats);

    let mut limit = LimitSnapshot::new(["per-client".into()]);
    let limit_stats = LimitStats::default();
    limit_stats.decisions.count(LimitOutcome::Refused);
    limit.add(&limit_stats);

    let mut worker = WorkerSnapshot::new(["0".into()]);
    worker.add(&WorkerStats::default());
    Snapshot {
        listeners: vec![listener],
        routes: vec![route],
        upstreams: vec![upstream],
        priorities: vec![priority],
        limits: vec![limit],
        servers: vec![server_counts("api".into()), server_counts(ODD_NAME.into())],
        workers: vec![worker],
    }
}

fn worker_route(cause: Cause, status: u16, millis: u64) -> RouteStats {
    let stats = RouteStats::default();
    stats.exchanges.count(cause);
    stats.responses.count(status);
    stats.request_body_bytes.add(10);
    stats.response_body_bytes.add(1_000);
    stats.duration.observe(Duration::from_millis(millis));
    stats
}

fn server_counts(upstream: Name) -> ServerSnapshot {
    let stats = ServerStats::default();
    stats.requests.add(2);
    stats.responses.count(200);
    stats.failures.count(Cause::ReadTimeout);
    stats.first_byte.observe(Duration::from_micros(500));
    stats.duration.observe(Duration::from_millis(2));
    let mut server = ServerSnapshot::new([upstream, "127.0.0.1:9001".into()]);
    server.add(&stats);
    server
}
