//! Do the bytes of a TCP connection allocate nothing, once both connections stand?
//!
//! A whole worker serves a real connection on the thread that counts; the client and the server are other threads. The one
//! test of this program, because the allocator is the program's.
#![allow(unsafe_code, reason = "an allocator that counts is one that is implemented")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_l4::{Accepted, OpenConnections, Published, Shared, Site, SiteRoute, Worker, WorkerParts, World, serve};
use isobar_net::listen::{ListenOptions, Listener, listen};
use isobar_net::runtime::{Io, WorkerRuntime, run, ways};
use isobar_net::scratch::Scratch;
use isobar_net::splice::Pipes;
use isobar_net::wheel::Wheel;
use isobar_plan::{
    Balance, GrpcCodes, IdleTimeouts, KeepAlive, Priority, Queue, QueueOrder, Retry, RetryOn, Server, ServerAddress,
    StatusRanges, TcpLimits, TcpRoute, Timeouts, TlsRule, UpstreamId, UpstreamLimits,
};
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

const WARM_UP: usize = 100;
const COUNTED: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends back what one client sends.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..count]).unwrap();
        }
    });
    address
}

/// Sends a message again and again, each when the last one came back, and says when the counting begins and ends.
fn client(address: SocketAddr, bytes: usize, mark: impl Fn()) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (message, mut answer) = (vec![b'x'; bytes], vec![0; bytes]);
    for round in 0..WARM_UP + COUNTED {
        if round == WARM_UP {
            mark();
        }
        stream.write_all(&message).unwrap();
        stream.read_exact(&mut answer).unwrap();
    }
    mark();
}

fn upstream(server: SocketAddr) -> isobar_plan::Upstream {
    isobar_plan::Upstream {
        name: "echo".into(),
        balance: Balance::LeastConnections,
        hash: Vec::new(),
        placement: Default::default(),
        servers: vec![Server {
            name: "one".into(),
            address: ServerAddress::Socket(server),
            weight: 1,
            max_connections: Some(100),
            backup: false,
            priority: 0,
            zone: None,
            state: isobar_plan::ServiceState::Enabled,
        }],
        reports: None,
        health: Vec::new(),
        outliers: None,
        timeouts: timeouts(),
        tcp_keepalive: None,
        proxy_protocol: None,
        http_version: isobar_plan::HttpVersion::Http1,
        keep_alive: KeepAlive {
            max_idle: 8,
            idle_timeout: PATIENCE,
        },
        limits: UpstreamLimits {
            max_requests: Some(100),
            max_connections: Some(100),
        },
        adaptive_concurrency: None,
        queue: Queue {
            max: 8,
            timeout: PATIENCE,
            order: QueueOrder::FirstCome,
        },
        sticky: None,
        retry_budget: None,
        tls: None,
    }
}

fn retry() -> Retry {
    Retry {
        attempts: 0,
        on: RetryOn {
            connect_failure: false,
            closed: false,
            timeout: false,
            statuses: StatusRanges(Vec::new()),
            grpc: GrpcCodes::default(),
        },
        non_idempotent: false,
        try_timeout: None,
        deadline: None,
        backoff: None,
        buffer: 0,
    }
}

fn timeouts() -> Timeouts {
    Timeouts {
        connect: PATIENCE,
        send: PATIENCE,
        read: PATIENCE,
        idle: IdleTimeouts {
            client: Some(PATIENCE),
            server: Some(PATIENCE),
            half_closed: Some(PATIENCE),
            ..IdleTimeouts::both(PATIENCE)
        },
    }
}

fn world(server: SocketAddr) -> World {
    let listener = isobar_plan::TcpListener {
        name: "echo".into(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        limits: TcpLimits {
            max_connections: 100,
            sources: Default::default(),
            backlog: 16,
        },
        proxy: None,
        tcp_keepalive: None,
        handshake_timeout: PATIENCE,
        reads_hello: false,
        routes: [TcpRoute {
            name: "default".into(),
            rule: TlsRule {
                server_name: isobar_route::HostPattern::Any,
                alpn: None,
            },
            upstream: UpstreamId(0),
            timeouts: timeouts(),
            retry: retry(),
            priority: Priority::Normal,
        }]
        .into(),
    };
    World {
        generation: 1,
        sites: vec![Arc::new(Site {
            listener,
            stats: Arc::new(Sharded::new(1)),
            open: Arc::new(OpenConnections::new(1)),
            routes: vec![SiteRoute {
                stats: Arc::new(Sharded::new(1)),
                upstream: Arc::new(Upstream::new(upstream(server), 1)),
            }],
        })],
        divided: Vec::new(),
        udp: Vec::new(),
        drain_timeout: PATIENCE,
        log: None,
    }
}

#[test]
fn bytes_that_are_passed_on_allocate_nothing() {
    for &io in ways() {
        for bytes in [100, 1024, 16 * 1024] {
            let counted = count(io, bytes);
            // Wake-ups of the timers may cost one now and then.
            assert!(
                counted < 10,
                "{COUNTED} messages of {bytes} bytes allocated {counted} times with {io:?}"
            );
        }
    }
}

fn count(io: Io, bytes: usize) -> u64 {
    let published = Arc::new(Published::new(world(echo())));
    let site = Arc::clone(&published.world().sites[0]);
    run(WorkerRuntime { core: None, io }, || async move {
        let socket = listen(site.listener.address, ListenOptions::default()).unwrap();
        let listener = Listener::from_std(socket).unwrap();
        let address = listener.local_addr().unwrap();
        let wheel = Wheel::new(Instant::now());
        let worker = Rc::new(Worker::new(WorkerParts {
            id: 0,
            seed: 1,
            published,
            shared: Shared {
                wheel: wheel.clone(),
                scratch: Rc::new(Scratch::default()),
                pipes: Pipes::new(1),
            },
        }));
        tokio::task::spawn_local(async move { wheel.drive().await });
        let (sender, mut marks) = tokio::sync::mpsc::channel(2);
        let thread = std::thread::spawn(move || client(address, bytes, || sender.blocking_send(()).unwrap()));
        let (stream, peer) = listener.accept().await.unwrap();
        assert!(site.open.opens(0, 100));
        tokio::task::spawn_local(serve(worker, Accepted { stream, peer, site }));
        marks.recv().await.unwrap();
        let before = ALLOCATIONS.get();
        marks.recv().await.unwrap();
        let counted = ALLOCATIONS.get() - before;
        thread.join().unwrap();
        counted
    })
    .unwrap()
}
