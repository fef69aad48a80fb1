//! Are servers whose names are known already given requests from the moment their plan is in service?

use std::net::SocketAddr;
use std::time::Duration;

use isobar_engine::{Engine, EngineOptions, Io};
use isobar_plan::{AccessLog, Timeouts, Upstream};
use isobar_plan::{
    Balance, KeepAlive, LogDestination, LogFormat, Plan, Queue, QueueOrder, Server, ServerAddress, UpstreamLimits,
};

fn upstream(name: &str, servers: &[&str]) -> Upstream {
    let second = Duration::from_secs(1);
    let server = |server: &&str| Server {
        name: (*server).into(),
        address: ServerAddress::Name((*server).into(), 80),
        weight: 1,
        max_connections: None,
        backup: false,
        priority: 0,
        zone: None,
        state: isobar_plan::ServiceState::Enabled,
    };
    Upstream {
        name: name.into(),
        balance: Balance::RoundRobin,
        hash: Vec::new(),
        placement: Default::default(),
        servers: servers.iter().map(server).collect(),
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
    }
}

fn plan(upstreams: Vec<Upstream>) -> Plan {
    Plan {
        tcp: Vec::new(),
        udp: Vec::new(),
        forward: Vec::new(),
        listeners: Vec::new(),
        upstreams,
        limits: Vec::new(),
        stores: Vec::new(),
        access_log: None,
        admin: None,
        drain_timeout: Duration::from_secs(1),
    }
}

fn engine() -> Engine {
    let options = EngineOptions {
        workers: 1,
        io: Io::Epoll,
    };
    Engine::start(plan(vec![upstream("api", &[])]), options, Box::new(|_| {})).unwrap()
}

fn at(last: u8) -> Vec<SocketAddr> {
    vec![SocketAddr::from(([10, 0, 0, last], 80))]
}

/// The addresses of every server, by upstream.
fn addresses(engine: &Engine) -> Vec<Vec<Vec<SocketAddr>>> {
    let status = engine.status();
    let servers = |upstream: &isobar_plan::UpstreamStatus| {
        upstream.servers.iter().map(|server| server.addresses.clone()).collect()
    };
    status.upstreams.iter().map(servers).collect()
}

#[test]
fn what_is_told_before_a_plan_holds_in_its_first_moment() {
    let engine = engine();
    engine.resolved("a", 80, Ok(at(1)));
    engine.resolved("a", 81, Ok(at(9)));
    engine.resolved("b", 80, Err("no such name".to_owned()));
    engine
        .apply(plan(vec![upstream("api", &["a", "b"]), upstream("new", &["a"])]))
        .unwrap();
    assert_eq!(addresses(&engine), [vec![at(1), vec![]], vec![at(1)]]);
    assert_eq!(engine.status().upstreams[0].servers[1].reason, "no such name");

    // A server that comes later is where the others of its name are by then.
    engine.resolved("a", 80, Ok(at(2)));
    engine
        .apply(plan(vec![upstream("api", &["a"]), upstream("newer", &["a"])]))
        .unwrap();
    assert_eq!(addresses(&engine), [vec![at(2)], vec![at(2)]]);
}

#[test]
fn names_of_a_plan_that_is_gone_or_was_refused_are_forgotten() {
    let engine = engine();
    let named = || plan(vec![upstream("api", &["a"])]);
    engine.resolved("a", 80, Ok(at(1)));
    let nowhere = AccessLog {
        destination: LogDestination::File("/nonexistent/access.log".into()),
        format: LogFormat::Json,
        queue: 1,
    };
    let refused = Plan {
        limits: Vec::new(),
        stores: Vec::new(),
        access_log: Some(nowhere),
        ..named()
    };
    assert!(engine.apply(refused).is_err());
    engine.apply(named()).unwrap();
    assert_eq!(addresses(&engine), [vec![Vec::new()]], "it was refused");

    engine.resolved("a", 80, Ok(at(1)));
    assert_eq!(addresses(&engine), [vec![at(1)]]);
    engine.apply(plan(vec![])).unwrap();
    engine.apply(named()).unwrap();
    assert_eq!(addresses(&engine), [vec![Vec::new()]], "it was gone");
}
