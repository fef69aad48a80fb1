//! Is a client noticed that leaves while its request waits for the right to open a connection?
//!
//! A whole worker serves a real socket. The test holds the only permit itself, for as long as it likes, which no server
//! could be made to do.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_l7::{Accepted, OpenConnections, Published, Site, SiteParts, SiteRoute, Worker, WorkerParts, World, serve};
use isobar_net::listen::{ListenOptions, Listener, listen};
use isobar_net::runtime::{Io, WorkerRuntime, run, ways};
use isobar_observe::{Cause, RouteStats};
use isobar_plan::{
    Action, Allowance, Balance, ClientTimeouts, Forwarding, GrpcCodes, Hedge, HedgeAfter, KeepAlive, ListenerLimits,
    Priority, Queue, QueueOrder, Retry, RetryOn, Route, Server, ServerAddress, StatusRanges, Timeouts, UpstreamId,
    UpstreamLimits,
};
use isobar_route::{HostPattern, PathPattern, Rule};
use isobar_upstream::{Permit, Sharded, Upstream};

fn world(server: SocketAddr, hedge: Option<Hedge>, counted: &Arc<Sharded<RouteStats>>) -> World {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts {
        connect: 60 * second,
        send: 9 * second,
        read: 9 * second,
        idle: isobar_plan::IdleTimeouts::both(9 * second),
    };
    let upstream = isobar_plan::Upstream {
        name: "api".into(),
        balance: Balance::RoundRobin,
        hash: Vec::new(),
        placement: Default::default(),
        servers: vec![Server {
            name: "one".into(),
            address: ServerAddress::Socket(server),
            weight: 1,
            max_connections: None,
            backup: false,
            priority: 0,
            zone: None,
            state: isobar_plan::ServiceState::Enabled,
        }],
        reports: None,
        health: Vec::new(),
        outliers: None,
        timeouts,
        tcp_keepalive: None,
        proxy_protocol: None,
        http_version: isobar_plan::HttpVersion::Http1,
        keep_alive: KeepAlive {
            max_idle: 8,
            idle_timeout: 9 * second,
        },
        limits: UpstreamLimits {
            max_requests: None,
            max_connections: Some(1),
        },
        adaptive_concurrency: None,
        fair_share: None,
        queue: Queue {
            max: 8,
            timeout: second,
            order: QueueOrder::FirstCome,
        },
        sticky: None,
        retry_budget: Some(Allowance::DEFAULT),
        tls: None,
    };
    let route = Route {
        name: "users".into(),
        rule: Rule {
            host: HostPattern::parse("*").unwrap(),
            path: PathPattern::parse("/*").unwrap(),
        },
        action: Action::Forward(UpstreamId(0)),
        timeouts,
        retry: Retry {
            attempts: 2,
            on: RetryOn {
                connect_failure: true,
                closed: true,
                timeout: false,
                statuses: StatusRanges(vec![(503, 503)]),
                grpc: GrpcCodes::default(),
            },
            non_idempotent: false,
            try_timeout: None,
            deadline: None,
            backoff: None,
            buffer: 64 * 1024,
        },
        hedge,
        priority: Priority::Normal,
        limits: Vec::new(),
        grpc_web: false,
        request_headers: vec![],
        response_headers: vec![],
    };
    let listener = isobar_plan::Listener {
        name: "web".into(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        proxy: None,
        tls: None,
        http2: None,
        redirect_to_tls: None,
        passthrough: [].into(),
        tcp_keepalive: None,
        limits: ListenerLimits {
            max_connections: 10,
            sources: isobar_plan::SourceLimits::default(),
            max_head_bytes: 16 * 1024,
            max_headers: 64,
            max_body_bytes: None,
            backlog: 16,
        },
        timeouts: ClientTimeouts {
            handshake: Duration::from_secs(10),
            idle: 9 * second,
            head: 9 * second,
            body: 9 * second,
            write: 9 * second,
            max_age: None,
        },
        forwarding: Forwarding {
            trusted_proxies: vec![],
            forwarded: true,
        },
        routes: Arc::new([route]),
    };
    let upstream = Arc::new(Upstream::new(upstream, 1));
    let site = Site::new(SiteParts {
        listener,
        stats: Arc::new(Sharded::new(1)),
        open: Arc::new(OpenConnections::new(1)),
        tls: None,
        routes: vec![SiteRoute {
            stats: Arc::clone(counted),
            upstream: Arc::clone(&upstream),
            tls: None,
            limits: Box::default(),
            fair: None,
        }],
    });
    World {
        generation: 1,
        sites: vec![Arc::new(site)],
        upstreams: vec![upstream],
        server_tls: vec![None],
        limits: Vec::new(),
        stores: Vec::new(),
        log: None,
    }
}

/// Waits for a state, on another thread than the worker's.
fn eventually(what: &str, state: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !state() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn check(io: Io, hedge: Option<Hedge>) {
    let origin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let counted = Arc::new(Sharded::new(1));
    let world = world(origin.local_addr().unwrap(), hedge, &counted);
    let published = Arc::new(Published::new(world));
    let site = Arc::clone(&published.world().sites[0]);
    let upstream = Arc::clone(&published.world().upstreams[0]);
    let held = Permit::take(&upstream, Some(1)).unwrap();
    let socket = listen(site.listener.address, ListenOptions::default()).unwrap();
    let address = socket.local_addr().unwrap();
    let client = {
        let upstream = Arc::clone(&upstream);
        std::thread::spawn(move || {
            let mut connection = TcpStream::connect(address).unwrap();
            connection.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let connections = upstream.connections();
            eventually("it waits for a permit", || connections.to_close(Some(1)) == 1);
            drop(connection);
            eventually("its place in the line is given up", || {
                connections.to_close(Some(1)) == 0
            });
        })
    };
    run(WorkerRuntime { core: None, io }, || async move {
        let worker = Rc::new(Worker::new(WorkerParts {
            id: 0,
            workers: 1,
            seed: 1,
            published,
        }));
        let wheel = worker.wheel().clone();
        tokio::task::spawn_local(async move { wheel.drive().await });
        let listener = Listener::from_std(socket).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert!(site.open.opens(0, 1));
        serve(worker, Accepted { stream, peer, site }).await;
    })
    .unwrap();
    client.join().unwrap();
    assert_eq!(counted.of(0).exchanges.value(Cause::ClientClosed), 1);
    assert_eq!(upstream.status().requests.used, 0);
    drop(held);
}

#[test]
fn a_client_that_leaves_gives_its_place_in_the_line_up() {
    let hedge = Hedge {
        after: HedgeAfter::Fixed(Duration::from_secs(60)),
        max: 1,
    };
    for &io in ways() {
        check(io, None);
        check(io, Some(hedge));
    }
}
