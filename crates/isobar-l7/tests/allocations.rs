//! Does a request allocate nothing once connections, pools and buffers are warm?
//!
//! A whole worker serves real sockets on the thread that counts; the client and the server are other threads. The
//! one test of this program, because the allocator is the program's.
#![allow(unsafe_code, reason = "an allocator that counts is one that is implemented")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use isobar_balance::{Orca, Prequal};
use isobar_l7::{
    Accepted, Limits, OpenConnections, Published, Site, SiteParts, SiteRoute, Worker, WorkerParts, World, serve,
};
use isobar_net::listen::{ListenOptions, Listener, listen};
use isobar_net::runtime::{Io, WorkerRuntime, run, ways};
use isobar_plan::{
    Action, Allowance, Balance, Cidr, ClientTimeouts, Forwarding, GradientRules, GrpcCodes, GuardRules, HashPart,
    KeepAlive, Learned, LearnedFrom, Limit, LimitAnswer, LimitCounting, LimitEnforcement, LimitHeaders, LimitKey,
    LimitKind, LimitNote, LimitOverride, LimitPace, ListenerLimits, MissingKey, Otherwise, Priority, Queue, QueueOrder,
    Rate, Reports, Retry, RetryOn, Route, Server, ServerAddress, StatusRanges, Sticky, StickyBy, StickyCookie,
    Timeouts, UpstreamId, UpstreamLimits,
};
use isobar_route::{HostPattern, PathPattern, Rule};
use isobar_upstream::{Sharded, Upstream};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator, with the arguments it was given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the promises that this method asks for, and they are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer is from `alloc` above, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: usize = 200;
const COUNTED: usize = 1000;
const REQUEST: &[u8] = b"GET /v1/users?id=7 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: test\r\nAccept: */*\r\n\
      Cookie: a=1; SERVERID=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; b=2\r\n\r\n";

/// Answers every request on every connection with 1 KiB, and says how busy it is.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = [
        b"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Length: 1024\r\nX-Load: 3;latency_ms=5\r\n\
          Endpoint-Load-Metrics: TEXT cpu_utilization=0.5,rps_fractional=10\r\n\r\n"
            .as_slice(),
        &[b'x'; 1024],
    ]
    .concat();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, answer) = (connection.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut chunk = [0; 4096];
                while let Ok(count @ 1..) = connection.read(&mut chunk) {
                    head.extend_from_slice(&chunk[..count]);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        connection.write_all(&answer).unwrap();
                    }
                }
            });
        }
    });
    address
}

/// Sends so many requests one after the other, and says when the counting may begin and end.
fn client(address: SocketAddr, mark: impl Fn()) {
    let mut connection = TcpStream::connect(address).unwrap();
    let mut answer = vec![0; 64 * 1024];
    for number in 0..WARM_UP + COUNTED {
        if number == WARM_UP {
            mark();
        }
        connection.write_all(REQUEST).unwrap();
        let mut filled = 0;
        while !answer[..filled].ends_with(&[b'x'; 1024]) {
            filled += connection.read(&mut answer[filled..]).unwrap();
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

fn world(server: SocketAddr, balance: Balance, sticky: Option<Sticky>) -> World {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts {
        connect: second,
        send: 9 * second,
        read: 9 * second,
        idle: isobar_plan::IdleTimeouts::both(9 * second),
    };
    let upstream = isobar_plan::Upstream {
        name: "api".into(),
        balance,
        fair_share: None,
        hash: Vec::new(),
        placement: Default::default(),
        servers: ["one", "two", "three"]
            .map(|name| Server {
                name: name.into(),
                address: ServerAddress::Socket(server),
                weight: 1,
                max_connections: Some(100),
                backup: false,
                priority: 0,
                zone: None,
                state: isobar_plan::ServiceState::Enabled,
            })
            .into(),
        reports: balance.goes_by_reports().then(reports),
        health: Vec::new(),
        outliers: Some(isobar_plan::Outliers {
            rules: isobar_plan::OutlierSettings::DEFAULT,
            min_servers: 1,
        }),
        timeouts,
        tcp_keepalive: None,
        proxy_protocol: None,
        http_version: isobar_plan::HttpVersion::Http1,
        keep_alive: KeepAlive {
            max_idle: 8,
            idle_timeout: 9 * second,
        },
        limits: UpstreamLimits {
            max_requests: Some(100),
            max_connections: Some(100),
        },
        adaptive_concurrency: Some(GradientRules {
            min: 1,
            max: 1000,
            tolerance_percent: 50,
        }),
        queue: Queue {
            max: 8,
            timeout: second,
            order: QueueOrder::Deadline,
        },
        sticky,
        retry_budget: Some(Allowance::DEFAULT),
        tls: None,
    };
    let route = Route {
        name: "users".into(),
        rule: Rule {
            host: HostPattern::parse("api.example.com").unwrap(),
            path: PathPattern::parse("/v1/*").unwrap(),
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
            try_timeout: Some(9 * second),
            deadline: Some(9 * second),
            backoff: None,
            buffer: 64 * 1024,
        },
        hedge: None,
        priority: Priority::Normal,
        limits: vec!["rate".into(), "slots".into()],
        grpc_web: false,
        request_headers: vec![isobar_plan::HeaderOp::Set("x-env".into(), "test".into())],
        response_headers: vec![isobar_plan::HeaderOp::Remove("server".into())],
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
            idle: 9 * second,
            handshake: Duration::from_secs(10),
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
    let limits = Limits::default().next((&limits(), &[]), 1);
    let site = Site::new(SiteParts {
        listener,
        stats: Arc::new(Sharded::new(1)),
        open: Arc::new(OpenConnections::new(1)),
        tls: None,
        routes: vec![SiteRoute {
            stats: Arc::new(Sharded::new(1)),
            upstream: Arc::clone(&upstream),
            tls: None,
            limits: limits.clone().into(),
            fair: None,
        }],
    });
    World {
        generation: 1,
        sites: vec![Arc::new(site)],
        upstreams: vec![upstream],
        server_tls: vec![None],
        limits,
        stores: Vec::new(),
        log: None,
    }
}

/// One limit on a rate of which clients are told, with a rate of its own for one of them, and one on requests in flight.
fn limits() -> [Limit; 2] {
    let rate = |units| LimitPace::Rate {
        rate: Rate::per_second(units),
        burst: units,
    };
    let limit = |name: &str, key: Vec<LimitKey>, kind, pace| Limit {
        name: name.into(),
        counting: LimitCounting {
            key,
            missing: MissingKey::OwnBucket,
            prefix_v4: 32,
            prefix_v6: 64,
            kind,
            pace,
            cost: 1,
            costs: None,
            max_keys: 1_000,
            shared: None,
        },
        overrides: Vec::new(),
        overrides_file: None,
        overrides_read: Arc::new([]),
        exempt: vec![Cidr::new(Ipv4Addr::new(10, 0, 0, 0).into(), 8).unwrap()],
        deny: Vec::new(),
        answer: LimitAnswer {
            status: 429,
            body: None,
            content_type: "text/plain".into(),
            jitter: Duration::ZERO,
            headers: LimitHeaders::Always,
        },
        enforcement: LimitEnforcement {
            guard: Some(GuardRules::DEFAULT),
            ..LimitEnforcement::FULL
        },
        note: LimitNote::default(),
    };
    let client = vec![
        LimitKey::Part(HashPart::ClientIp),
        LimitKey::Part(HashPart::Header("user-agent".into())),
        LimitKey::Part(HashPart::Path),
        LimitKey::Method,
        LimitKey::Route,
    ];
    let gcra = LimitKind::Gcra { delay: Duration::ZERO };
    let mut by_rate = limit("rate", client, gcra, rate(1_000_000));
    let key = ["127.0.0.1", "x", "/v1/users", "GET", "web/users"].map(Box::from);
    by_rate.overrides.push(LimitOverride {
        key: key.into(),
        pace: rate(500_000),
    });
    let slots = vec![LimitKey::Part(HashPart::ClientIp)];
    let slots = limit("slots", slots, LimitKind::Concurrency, LimitPace::AtOnce(10));
    [by_rate, slots]
}

fn reports() -> Arc<Reports> {
    Arc::new(Reports {
        in_flight_header: Some("x-load".into()),
        strip: true,
        probe: None,
    })
}

#[test]
fn a_request_allocates_nothing() {
    ways().iter().for_each(|&io| count(io, Balance::LeastConnections, None));
    for balance in [
        Balance::Prequal(Prequal::DEFAULT),
        Balance::OrcaWeightedRoundRobin(Orca::DEFAULT),
    ] {
        ways().iter().for_each(|&io| count(io, balance, None));
    }
    // A session that is known by the header, and one that is given a cookie with every answer.
    let learned = StickyBy::Learned(Learned {
        from: LearnedFrom::Header("user-agent".into()),
        ttl: Duration::from_secs(60),
        max_entries: 100,
    });
    let cookie = StickyBy::Cookie(StickyCookie {
        name: "SERVERID".into(),
        attributes: "; Path=/".into(),
        secret_files: Vec::new(),
        secrets: Vec::new(),
    });
    for by in [learned, cookie] {
        let on_down = Otherwise::Balance;
        ways().iter().for_each(|&io| {
            let by = by.clone();
            count(io, Balance::LeastConnections, Some(Sticky { by, on_down }));
        });
    }
}

fn count(io: Io, balance: Balance, sticky: Option<Sticky>) {
    let published = Arc::new(Published::new(world(origin(), balance, sticky)));
    let site = Arc::clone(&published.world().sites[0]);
    let socket = listen(site.listener.address, ListenOptions::default()).unwrap();
    let address = socket.local_addr().unwrap();
    let counted = run(WorkerRuntime { core: None, io }, || async move {
        let worker = Rc::new(Worker::new(WorkerParts {
            id: 0,
            workers: 1,
            seed: 1,
            published,
        }));
        let wheel = worker.wheel().clone();
        tokio::task::spawn_local(async move { wheel.drive().await });
        let listener = Listener::from_std(socket).unwrap();
        let (sender, mut marks) = tokio::sync::mpsc::channel(1);
        std::thread::spawn(move || client(address, || sender.blocking_send(()).unwrap()));
        let (stream, peer) = listener.accept().await.unwrap();
        assert!(site.open.opens(0, 1));
        let serving = tokio::task::spawn_local(serve(worker, Accepted { stream, peer, site }));
        marks.recv().await.unwrap();
        let before = ALLOCATIONS.get();
        serving.await.unwrap();
        ALLOCATIONS.get() - before
    })
    .unwrap();
    // The way out (the connection closes, its task ends) may cost a few, which is nothing per request.
    assert!(
        counted < 10,
        "{COUNTED} requests allocated {counted} times with {io:?} and {balance}"
    );
}
