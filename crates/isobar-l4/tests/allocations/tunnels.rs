//! What does a tunnel hold while nothing moves in it, and what does it allocate while something does?

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use isobar_l4::{Accepted, OpenConnections, Published, Site, SiteRoute, World};
use isobar_net::runtime::{Io, WorkerRuntime, run, ways};
use isobar_net::stream::Stream;
use isobar_plan::{
    GrpcCodes, IdleTimeouts, Priority, Retry, RetryOn, SourceLimits, StatusRanges, TcpLimits, TcpRoute, Timeouts,
    TlsRule, UpstreamId,
};
use isobar_route::HostPattern;
use isobar_upstream::{Sharded, Upstream};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::{ALLOCATIONS, LIVE_BYTES, upstream, worker};

/// Tables that all share have room for 256 when the first are there, so that they do not grow while the others come: some 160 bytes for
/// each that are not counted here.
const FIRST: usize = 140;
const TUNNELS: usize = 100;
const COUNTED: usize = 50;
const MESSAGE: [u8; 1024] = [b'x'; 1024];

/// Sends back what it is sent, on every connection.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut bytes = [0; 2048];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    stream.write_all(&bytes[..count]).unwrap();
                }
            });
        }
    });
    address
}

fn exchange(client: &mut TcpStream) {
    client.write_all(&MESSAGE).unwrap();
    client.read_exact(&mut [0; MESSAGE.len()]).unwrap();
}

/// Opens tunnels, uses all of them, and says after each of these steps that it is done.
fn clients(worker: &Sender<(TcpStream, SocketAddr)>, mark: impl Fn()) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let open = || {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let accepted = listener.accept().unwrap();
        accepted.0.set_nonblocking(true).unwrap();
        worker.blocking_send(accepted).unwrap();
        exchange(&mut client);
        client
    };
    // What is allocated once is there after the first of them.
    let mut tunnels: Vec<_> = (0..FIRST).map(|_| open()).collect();
    mark();
    tunnels.extend((0..TUNNELS).map(|_| open()));
    mark();
    for _ in 0..COUNTED {
        tunnels.iter_mut().for_each(exchange);
    }
    mark();
}

fn world(server: SocketAddr) -> World {
    let minute = Duration::from_secs(60);
    let mut upstream = upstream::sample(server);
    upstream.proxy_protocol = None;
    let route = TcpRoute {
        name: "default".into(),
        rule: TlsRule {
            server_name: HostPattern::Any,
            alpn: None,
        },
        upstream: UpstreamId(0),
        timeouts: Timeouts {
            idle: IdleTimeouts::both(minute),
            ..upstream.timeouts
        },
        retry: never(),
        priority: Priority::Normal,
        limits: Vec::new(),
    };
    let listener = isobar_plan::TcpListener {
        name: "tunnels".into(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        limits: TcpLimits {
            max_connections: 1000,
            sources: SourceLimits {
                max_connections: None,
                rate: None,
            },
            backlog: 100,
        },
        proxy: None,
        tcp_keepalive: None,
        handshake_timeout: minute,
        reads_hello: false,
        routes: [route].into(),
    };
    World {
        generation: 1,
        sites: vec![Arc::new(Site {
            listener,
            stats: Arc::new(Sharded::new(1)),
            open: Arc::new(OpenConnections::new(1)),
            routes: vec![SiteRoute {
                stats: Arc::new(Sharded::new(1)),
                metering: Box::default(),
                upstream: Arc::new(Upstream::new(upstream, 1)),
            }],
        })],
        divided: Vec::new(),
        udp: Vec::new(),
        drain_timeout: minute,
        log: None,
    }
}

fn never() -> Retry {
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

#[test]
fn a_tunnel_holds_little_and_allocates_nothing() {
    for &io in ways() {
        let Held { bytes, allocations } = measure(io);
        // Without a ring, tokio's reactor keeps 256 bytes for each socket.
        let most = match io {
            Io::Epoll => 1280,
            Io::IoUring => 768,
        };
        assert!(bytes <= most, "an idle tunnel holds {bytes} bytes with {io:?}");
        let exchanges = (FIRST + TUNNELS) * COUNTED;
        assert!(
            allocations < 50,
            "{exchanges} messages and answers allocated {allocations} times with {io:?}"
        );
    }
}

/// What a tunnel comes to.
struct Held {
    /// For each of them, while it is idle.
    bytes: i64,
    /// In all of them, while they pass bytes on.
    allocations: u64,
}

fn measure(io: Io) -> Held {
    let published = Arc::new(Published::new(world(echo())));
    let (sender, incoming) = channel(1);
    let (marker, mut marks) = channel(3);
    let thread = std::thread::spawn(move || clients(&sender, || marker.blocking_send(()).unwrap()));
    let held = run(WorkerRuntime { core: None, io }, || async move {
        tokio::task::spawn_local(serve_all(published, incoming));
        marks.recv().await.unwrap();
        let before = LIVE_BYTES.get();
        marks.recv().await.unwrap();
        let bytes = (LIVE_BYTES.get() - before) / TUNNELS as i64;
        let before = ALLOCATIONS.get();
        marks.recv().await.unwrap();
        let allocations = ALLOCATIONS.get() - before;
        Held { bytes, allocations }
    });
    thread.join().unwrap();
    held.unwrap()
}

async fn serve_all(published: Arc<Published>, mut incoming: Receiver<(TcpStream, SocketAddr)>) {
    let site = Arc::clone(&published.world().sites[0]);
    let worker = worker(published);
    while let Some((stream, peer)) = incoming.recv().await {
        assert!(site.open.opens(0, 1000));
        let accepted = Accepted {
            stream: Stream::from_accepted(stream),
            peer,
            site: Arc::clone(&site),
        };
        tokio::task::spawn_local(isobar_l4::serve(Rc::clone(&worker), accepted));
    }
}
