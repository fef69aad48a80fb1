//! Does traffic leave the addresses that a name no longer stands for?

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use isobar_engine::{Engine, EngineOptions, Io};
use isobar_plan::{
    Action, Allowance, Balance, ClientTimeouts, Forwarding, GrpcCodes, HttpVersion, KeepAlive, Listener,
    ListenerLimits, Plan, Priority, Queue, QueueOrder, Retry, RetryOn, Route, Server, ServerAddress, ServiceState,
    StatusRanges, Timeouts, Upstream, UpstreamId, UpstreamLimits,
};
use isobar_route::{HostPattern, PathPattern, Rule};

const SECOND: Duration = Duration::from_secs(1);

const TIMEOUTS: Timeouts = Timeouts {
    connect: SECOND,
    send: SECOND,
    read: Duration::from_secs(5),
    idle: isobar_plan::IdleTimeouts::both(SECOND),
};

/// A frame of HTTP/2 (RFC 9113 section 4.1): its type, flags and stream.
fn read_frame(stream: &mut TcpStream) -> io::Result<(u8, u8, [u8; 4])> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [a, b, c, kind, flags, stream_id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload)?;
    Ok((kind, flags, stream_id))
}

/// Answers every request on a connection with 200 and nothing else.
fn serve(mut stream: TcpStream, asked: &AtomicUsize) -> io::Result<()> {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    stream.set_nodelay(true)?;
    stream.read_exact(&mut [0; 24])?;
    stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0])?;
    loop {
        match read_frame(&mut stream)? {
            (HEADERS, _, [a, b, c, d]) => {
                asked.fetch_add(1, Ordering::SeqCst);
                // `:status 200` is the eighth entry of the table (RFC 7541 appendix A).
                stream.write_all(&[0, 0, 1, HEADERS, 5, a, b, c, d, 0x88])?;
            }
            (SETTINGS, 0, _) => stream.write_all(&[0, 0, 0, SETTINGS, 1, 0, 0, 0, 0])?,
            _ => {}
        }
    }
}

/// A server of HTTP/2 at this address; how many requests it was asked.
fn server(address: SocketAddr) -> io::Result<(SocketAddr, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let counted = Arc::clone(&counted);
            // A connection ends when its peer has enough of it.
            thread::spawn(move || serve(stream, &counted).err());
        }
    });
    Ok((address, asked))
}

/// Servers at two addresses with one port.
fn pair() -> [(SocketAddr, Arc<AtomicUsize>); 2] {
    for _ in 0..20 {
        let first = server(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        if let Ok(second) = server(SocketAddr::from(([127, 0, 0, 2], first.0.port()))) {
            return [first, second];
        }
    }
    panic!("no port is free at both addresses");
}

fn upstream(port: u16) -> Upstream {
    Upstream {
        name: "api".into(),
        balance: Balance::RoundRobin,
        hash: Vec::new(),
        tcp_keepalive: None,
        proxy_protocol: None,
        placement: Default::default(),
        servers: vec![Server {
            name: "named".into(),
            address: ServerAddress::Name("named".into(), port),
            weight: 1,
            max_connections: None,
            backup: false,
            priority: 0,
            zone: None,
            state: ServiceState::Enabled,
        }],
        reports: None,
        health: Vec::new(),
        outliers: None,
        timeouts: TIMEOUTS,
        http_version: HttpVersion::Http2,
        keep_alive: KeepAlive {
            max_idle: 8,
            idle_timeout: 60 * SECOND,
        },
        limits: UpstreamLimits::default(),
        adaptive_concurrency: None,
        fair_share: None,
        queue: Queue {
            max: 0,
            timeout: SECOND,
            order: QueueOrder::FirstCome,
        },
        sticky: None,
        retry_budget: Some(Allowance::DEFAULT),
        tls: None,
    }
}

fn route() -> Route {
    Route {
        limits: Vec::new(),
        grpc_web: false,
        name: "all".into(),
        rule: Rule {
            host: HostPattern::parse("*").unwrap(),
            path: PathPattern::parse("/*").unwrap(),
        },
        action: Action::Forward(UpstreamId(0)),
        timeouts: TIMEOUTS,
        retry: Retry {
            attempts: 0,
            on: RetryOn {
                connect_failure: true,
                closed: true,
                timeout: false,
                statuses: StatusRanges(Vec::new()),
                grpc: GrpcCodes::default(),
            },
            non_idempotent: false,
            try_timeout: None,
            deadline: None,
            backoff: None,
            buffer: 0,
        },
        hedge: None,
        priority: Priority::Normal,
        request_headers: vec![],
        response_headers: vec![],
    }
}

fn listener() -> Listener {
    Listener {
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
            handshake: 60 * SECOND,
            idle: 60 * SECOND,
            head: 60 * SECOND,
            body: 60 * SECOND,
            write: 60 * SECOND,
            max_age: None,
        },
        forwarding: Forwarding {
            trusted_proxies: vec![],
            forwarded: true,
        },
        routes: Arc::new([route()]),
    }
}

/// One request on a connection that is kept; its answer has no body.
fn ask(client: &mut TcpStream) {
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
}

#[test]
fn a_shared_connection_takes_no_requests_to_an_address_that_is_gone() {
    let [(old, asked_old), (new, asked_new)] = pair();
    let plan = Plan {
        listeners: vec![listener()],
        tcp: Vec::new(),
        udp: Vec::new(),
        forward: Vec::new(),
        upstreams: vec![upstream(old.port())],
        limits: Vec::new(),
        stores: Vec::new(),
        access_log: None,
        admin: None,
        drain_timeout: SECOND,
    };
    let options = EngineOptions {
        workers: 1,
        io: Io::Epoll,
    };
    let engine = Engine::start(plan, options, Box::new(|_| {})).unwrap();
    engine.resolved("named", old.port(), Ok(vec![old]));
    let mut client = TcpStream::connect(engine.status().listeners[0].address).unwrap();
    client.set_read_timeout(Some(10 * SECOND)).unwrap();
    for _ in 0..10 {
        ask(&mut client);
    }
    assert_eq!(asked_old.load(Ordering::SeqCst), 10);
    engine.resolved("named", old.port(), Ok(vec![new]));
    // Without a break in the traffic, in which the connection would have been closed for want of use.
    let until = Instant::now() + 5 * SECOND;
    while asked_new.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < until, "the old address still gets all requests");
        ask(&mut client);
    }
    let before = asked_old.load(Ordering::SeqCst);
    for _ in 0..100 {
        ask(&mut client);
    }
    assert_eq!(asked_old.load(Ordering::SeqCst), before);
}
