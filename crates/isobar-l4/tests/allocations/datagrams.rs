//! Does a datagram allocate nothing, on its way in and on its answer's way back, once its flow is there?

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use isobar_l4::{OpenConnections, Published, SiteRoute, UdpSite, World, udp};
use isobar_net::runtime::{Io, WorkerRuntime, run, ways};
use isobar_net::udp::Peers;
use isobar_plan::{FlowKey, FlowRules, Priority, QuicRules, UdpListener, UdpRoute, UpstreamId};
use isobar_upstream::{Sharded, Upstream};

use crate::{ALLOCATIONS, upstream, worker};

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
            reuse_sockets: false,
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
        divided: Vec::new(),
        udp: vec![Arc::new(UdpSite {
            listener,
            stats: Arc::new(Sharded::new(1)),
            open: Arc::new(OpenConnections::new(1)),
            ids: Arc::default(),
            route: SiteRoute {
                stats: Arc::new(Sharded::new(1)),
                metering: Box::default(),
                upstream: Arc::new(Upstream::new(upstream::sample(server), 1)),
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
        let worker = worker(published);
        let orders = Rc::new(udp::Orders::new(site));
        tokio::task::spawn_local(udp::serve(worker, orders, socket, Peers::new().unwrap()).unwrap());
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
