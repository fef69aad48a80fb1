//! Names against a real name server on loopback: addresses arrive, follow their TTL, and outlive failures.

#[path = "resolver/name_server.rs"]
mod name_server;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isobar_control::{DnsClient, Resolver, Target};
use isobar_plan::{
    Balance, KeepAlive, Plan, PlanDiff, Queue, QueueOrder, Server, ServerAddress, Timeouts, Upstream, UpstreamLimits,
};
use name_server::{NameServer, Zone};
use tokio::sync::Notify;

type Told = (String, u16, Result<Vec<SocketAddr>, String>);

/// Remembers what it is told.
#[derive(Default)]
struct Listener {
    told: Mutex<Vec<Told>>,
    news: Notify,
}

impl Target for Listener {
    fn apply(&self, _: Plan) -> Result<PlanDiff, String> {
        Ok(PlanDiff::default())
    }

    fn resolved(&self, name: &str, port: u16, outcome: Result<Vec<SocketAddr>, String>) {
        self.told.lock().unwrap().push((name.to_owned(), port, outcome));
        self.news.notify_one();
    }

    fn reopen_logs(&self) {}

    fn drain(&self, _: Duration) -> u32 {
        0
    }
}

impl Listener {
    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, done: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        let wait = async {
            while !done(&self.told()) {
                self.news.notified().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(in_time.is_ok(), "{what}; told: {:?}", self.told());
        self.told()
    }
}

fn plan(servers: &[(&str, u16)]) -> Plan {
    let second = Duration::from_secs(1);
    let servers = servers.iter().map(|&(name, port)| Server {
        name: format!("{name}:{port}").into(),
        address: ServerAddress::Name(name.into(), port),
        weight: 1,
        max_connections: None,
        backup: false,
        priority: 0,
        zone: None,
        state: isobar_plan::ServiceState::Enabled,
    });
    let upstream = Upstream {
        name: "web".into(),
        balance: Balance::RoundRobin,
        hash: Vec::new(),
        placement: Default::default(),
        servers: servers.collect(),
        reports: None,
        health: Vec::new(),
        outliers: None,
        timeouts: Timeouts {
            connect: second,
            send: second,
            read: second,
            idle: isobar_plan::IdleTimeouts::both(second),
        },
        tcp_keepalive: None,
        proxy_protocol: None,
        http_version: isobar_plan::HttpVersion::Http1,
        keep_alive: KeepAlive {
            max_idle: 0,
            idle_timeout: second,
        },
        limits: UpstreamLimits::default(),
        adaptive_concurrency: None,
        fair_share: None,
        queue: Queue {
            max: 0,
            timeout: second,
            order: QueueOrder::FirstCome,
        },
        sticky: None,
        retry_budget: None,
        tls: None,
    };
    Plan {
        listeners: vec![],
        tcp: vec![],
        udp: vec![],
        forward: vec![],
        upstreams: vec![upstream],
        limits: Vec::new(),
        stores: Vec::new(),
        access_log: None,
        admin: None,
        drain_timeout: second,
    }
}

fn at(addresses: &[&str]) -> Result<Vec<SocketAddr>, String> {
    Ok(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

fn start(server: &NameServer) -> Resolver {
    Resolver::start(DnsClient::servers(vec![server.address()]))
}

#[tokio::test]
async fn both_families_arrive_sorted_for_every_port() {
    let server = NameServer::start();
    server.answer("api.test.", Zone::addresses(&["10.0.0.2", "fd00::1", "10.0.0.1"], 60));
    let (resolver, target) = (start(&server), Arc::new(Listener::default()));
    let plan = plan(&[("api.test.", 80), ("api.test.", 81)]);

    let known = resolver.prepare(&plan).await;
    let known: Vec<_> = known.iter().map(|known| (known.port, known.outcome.clone())).collect();
    let addresses = |port| ["10.0.0.1", "10.0.0.2", "[fd00::1]"].map(|ip| format!("{ip}:{port}"));
    let expected = [80, 81].map(|port| (port, at(&addresses(port).each_ref().map(String::as_str))));
    assert_eq!(known, expected);
    assert!(target.told().is_empty(), "whoever prepares tells as it likes");
    resolver.settle(&plan, Arc::clone(&target) as Arc<dyn Target>).await;
    let told = target.until("both ports are told", |told| told.len() == 2).await;
    assert_eq!(
        told[0],
        (
            "api.test.".into(),
            80,
            at(&["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"])
        )
    );
    assert_eq!(
        told[1],
        (
            "api.test.".into(),
            81,
            at(&["10.0.0.1:81", "10.0.0.2:81", "[fd00::1]:81"])
        )
    );
}

#[tokio::test]
async fn the_ttl_decides_when_to_ask_again_and_only_changes_are_told() {
    let server = NameServer::start();
    server.answer("api.test.", Zone::addresses(&["10.0.0.1"], 1));
    let (resolver, target) = (start(&server), Arc::new(Listener::default()));
    let plan = plan(&[("api.test.", 80)]);
    resolver.prepare(&plan).await;
    resolver.settle(&plan, Arc::clone(&target) as Arc<dyn Target>).await;
    target.until("the first answer", |told| told.len() == 1).await;

    server.until_asked("api.test.", 6).await;
    assert_eq!(target.told().len(), 1, "the same answer again is no news");
    server.answer("api.test.", Zone::addresses(&["10.0.0.7"], 60));
    let told = target.until("the new address", |told| told.len() == 2).await;
    assert_eq!(told[1].2, at(&["10.0.0.7:80"]));
    let asked = server.asked("api.test.");
    server.answer("other.test.", Zone::addresses(&["10.0.0.8"], 60));
    resolver.prepare(&plan_of_other()).await;
    assert_eq!(
        server.asked("api.test."),
        asked,
        "an answer of a minute is not asked for again"
    );
}

fn plan_of_other() -> Plan {
    plan(&[("other.test.", 80)])
}

#[tokio::test]
async fn old_addresses_outlive_failures() {
    let server = NameServer::start();
    server.answer("api.test.", Zone::addresses(&["10.0.0.1"], 1));
    let (resolver, target) = (start(&server), Arc::new(Listener::default()));
    let plan = plan(&[("api.test.", 80)]);
    resolver.prepare(&plan).await;
    resolver.settle(&plan, Arc::clone(&target) as Arc<dyn Target>).await;
    for failure in [Zone::NoSuchName, Zone::ServerFailure, Zone::addresses(&[], 1)] {
        server.answer("api.test.", failure);
        let asked = server.asked("api.test.");
        server.until_asked("api.test.", asked + 2).await;
    }
    assert_eq!(
        target.told().len(),
        1,
        "a failure is not told while there are old addresses"
    );
    server.answer("api.test.", Zone::addresses(&["10.0.0.2"], 1));
    let told = target.until("the way back", |told| told.len() == 2).await;
    assert_eq!(told[1].2, at(&["10.0.0.2:80"]));
}

#[tokio::test]
async fn a_name_that_never_resolved_is_an_error_until_it_does() {
    let server = NameServer::start();
    server.answer("api.test.", Zone::NoSuchName);
    let (resolver, target) = (start(&server), Arc::new(Listener::default()));
    let plan = plan(&[("api.test.", 80)]);
    resolver.prepare(&plan).await;
    resolver.settle(&plan, Arc::clone(&target) as Arc<dyn Target>).await;
    let told = target.until("the failure", |told| told.len() == 1).await;
    assert_eq!(told[0].2, Err("no such name".to_owned()));
    server.answer("api.test.", Zone::addresses(&["10.0.0.1"], 60));
    let told = target.until("the success", |told| told.len() == 2).await;
    assert_eq!(told[1].2, at(&["10.0.0.1:80"]));
}

#[tokio::test]
async fn a_silent_name_server_does_not_hold_up_the_start() {
    let server = NameServer::start();
    server.answer("api.test.", Zone::Silent);
    let resolver = start(&server);
    let before = Instant::now();
    let known = resolver.prepare(&plan(&[("api.test.", 80)])).await;
    assert_eq!(known, []);
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
}

#[tokio::test]
async fn names_that_leave_the_plan_are_asked_for_no_more() {
    let server = NameServer::start();
    server.answer("api.test.", Zone::addresses(&["10.0.0.1"], 1));
    server.answer("other.test.", Zone::addresses(&["10.0.0.8"], 1));
    let (resolver, target) = (start(&server), Arc::new(Listener::default()));
    let before = plan(&[("api.test.", 80)]);
    resolver.prepare(&before).await;
    resolver.settle(&before, Arc::clone(&target) as Arc<dyn Target>).await;
    let after = plan_of_other();
    resolver.prepare(&after).await;
    resolver.settle(&after, Arc::clone(&target) as Arc<dyn Target>).await;
    target
        .until("the other name", |told| {
            told.last().is_some_and(|(name, ..)| name == "other.test.")
        })
        .await;
    let asked = server.asked("api.test.");
    server.until_asked("other.test.", 6).await;
    assert!(
        server.asked("api.test.") <= asked + 2,
        "only a question that was under way may still arrive"
    );
}

#[tokio::test]
async fn the_alias_with_the_shortest_life_counts() {
    let server = NameServer::start();
    server.answer(
        "api.test.",
        Zone::Alias {
            to: "real.test.",
            ttl_s: 1,
            address: "10.0.0.3",
        },
    );
    let (resolver, target) = (start(&server), Arc::new(Listener::default()));
    let plan = plan(&[("api.test.", 80)]);
    resolver.prepare(&plan).await;
    resolver.settle(&plan, Arc::clone(&target) as Arc<dyn Target>).await;
    target
        .until("the address behind the alias", |told| {
            told.iter().any(|t| t.2 == at(&["10.0.0.3:80"]))
        })
        .await;
    server.until_asked("api.test.", 6).await;
}

#[tokio::test]
async fn localhost_is_known_without_a_name_server() {
    let (resolver, target) = (Resolver::start(DnsClient::system()), Arc::new(Listener::default()));
    let plan = plan(&[("localhost", 80)]);
    resolver.prepare(&plan).await;
    resolver.settle(&plan, Arc::clone(&target) as Arc<dyn Target>).await;
    let told = target.until("localhost", |told| !told.is_empty()).await;
    assert!(
        told[0]
            .2
            .as_ref()
            .unwrap()
            .iter()
            .all(|address| address.ip().is_loopback())
    );
}
