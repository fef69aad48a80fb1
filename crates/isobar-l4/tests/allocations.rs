//! Does a datagram allocate nothing, on its way in and on its answer's way back, once its flow is there?
//!
//! A whole worker serves a real socket on the thread that counts; the clients and the server are other threads. The one
//! test of this program, because the allocator is the program's.
#![allow(unsafe_code, reason = "an allocator that counts is one that is implemented")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_l4::{OpenConnections, Published, Shared, SiteRoute, UdpSite, Worker, WorkerParts, World, udp};
use isobar_net::runtime::{Io, WorkerRuntime, run, ways};
use isobar_net::scratch::Scratch;
use isobar_net::splice::Pipes;
use isobar_net::wheel::Wheel;
use isobar_plan::{
    Balance, FlowKey, FlowRules, KeepAlive, Priority, ProxyVersion, Queue, QueueOrder, QuicRules, Server,
    ServerAddress, Timeouts, UdpListener, UdpRoute, UpstreamId, UpstreamLimits,
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

const CLIENTS: usize = 16;
const WARM_UP: usize = 50;
const COUNTED: usize = 200;

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// Sends back what it is sent, for as long as anything comes.
fn echo() -> SocketAddr {
    let socket = bound();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut datagram) {
            socket.send_to(&datagram[..count], from).unwrap();
        }
    });
    address
}

/// Several clients ask in turns, and say when the counting begins.
fn clients(address: SocketAddr, mark: impl Fn()) {
    let clients: Vec<_> = (0..CLIENTS).map(|_| bound()).collect();
    let mut answer = [0; 2048];
    for round in 0..WARM_UP + COUNTED {
        if round == WARM_UP {
            mark();
        }
        for client in &clients {
            client.send_to(&[b'x'; 100], address).unwrap();
        }
        for client in &clients {
            assert!(client.recv(&mut answer).unwrap() >= 100);
        }
    }
    mark();
}

fn world(server: SocketAddr) -> World {
    let second = Duration::from_secs(1);
    let upstream = isobar_plan::Upstream {
        name: "dns".into(),
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
        timeouts: Timeouts {
            connect: second,
            send: second,
            read: second,
            idle: second,
        },
        proxy_protocol: Some(ProxyVersion::V2),
        http_version: isobar_plan::HttpVersion::Http1,
        keep_alive: KeepAlive {
            max_idle: 8,
            idle_timeout: second,
        },
        limits: UpstreamLimits {
            max_requests: Some(100),
            max_connections: Some(100),
        },
        adaptive_concurrency: None,
        fair_share: None,
        queue: Queue {
            max: 8,
            timeout: second,
            order: QueueOrder::FirstCome,
        },
        sticky: None,
        retry_budget: None,
        tls: None,
    };
    let listener = UdpListener {
        name: "dns".into(),
        address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        proxy: None,
        flows: FlowRules {
            keyed_by: FlowKey::ClientAndDestination,
            idle_timeout: 60 * second,
            max_flows: 1000,
            requests: None,
            responses: None,
            quic: Some(QuicRules { id_bytes: 8 }),
        },
        route: UdpRoute {
            name: "default".into(),
            upstream: UpstreamId(0),
            priority: Priority::Normal,
        },
    };
    World {
        generation: 1,
        sites: Vec::new(),
        udp: vec![Arc::new(UdpSite {
            listener,
            stats: Arc::new(Sharded::new(1)),
            open: Arc::new(OpenConnections::new(1)),
            ids: Arc::default(),
            route: SiteRoute {
                stats: Arc::new(Sharded::new(1)),
                upstream: Arc::new(Upstream::new(upstream, 1)),
            },
        })],
        drain_timeout: second,
        log: None,
    }
}

#[test]
fn a_datagram_allocates_nothing() {
    ways().iter().for_each(|&io| count(io));
}

fn count(io: Io) {
    let published = Arc::new(Published::new(world(echo())));
    let site = Arc::clone(&published.world().udp[0]);
    let socket = isobar_net::udp::bind(site.listener.address).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port()));
    let counted = run(WorkerRuntime { core: None, io }, || async move {
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
        let orders = Rc::new(udp::Orders::new(site));
        tokio::task::spawn_local(udp::serve(worker, orders, socket).unwrap());
        let (sender, mut marks) = tokio::sync::mpsc::channel(2);
        let thread = std::thread::spawn(move || clients(address, || sender.blocking_send(()).unwrap()));
        marks.recv().await.unwrap();
        let before = ALLOCATIONS.get();
        marks.recv().await.unwrap();
        let counted = ALLOCATIONS.get() - before;
        thread.join().unwrap();
        counted
    })
    .unwrap();
    // Wake-ups of the timers may cost one now and then.
    assert!(
        counted < 10,
        "{} datagrams allocated {counted} times with {io:?}",
        CLIENTS * COUNTED
    );
}
