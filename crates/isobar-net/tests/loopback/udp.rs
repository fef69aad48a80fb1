//! Do datagrams arrive whole, and do answers come from where they were asked for?

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use isobar_net::udp::{BATCH, Departure, Inbox, Peer, Peers, ReadyPeers, Socket, bind};

use super::{any_port, in_worker};

fn client(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = UdpSocket::bind(any).unwrap();
    client.connect(to).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

/// Sends back what comes, so many datagrams.
async fn echo(socket: &Socket, inbox: &mut Inbox, count: usize) {
    let mut done = 0;
    while done < count {
        poll_fn(|cx| socket.poll_receive(cx, inbox)).await.unwrap();
        let answers = (0..inbox.len()).map(|index| {
            let arrival = socket.arrival(inbox, index).unwrap();
            Departure {
                to: arrival.from,
                from: arrival.to,
                payload: arrival.payload,
            }
        });
        assert_eq!(socket.send(answers), inbox.len());
        done += inbox.len();
    }
}

/// Clients are connected, so that they hear nobody but whom they asked.
#[test]
fn answers_come_from_the_address_that_was_asked() {
    in_worker(|| async {
        let mut inbox = Inbox::default();
        for (address, asked) in [
            ("0.0.0.0:0", "127.0.0.2"),
            ("127.0.0.3:0", "127.0.0.3"),
            ("[::]:0", "::1"),
            ("[::]:0", "127.0.0.4"),
        ] {
            let socket = Socket::from_std(bind(address.parse().unwrap()).unwrap()).unwrap();
            let asked = SocketAddr::new(asked.parse().unwrap(), socket.local_addr().port());
            let client = client(asked);
            client.send(b"hello").unwrap();
            echo(&socket, &mut inbox, 1).await;
            let to = socket.arrival(&inbox, 0).unwrap().to;
            assert_eq!((to.ip().to_canonical(), to.port()), (asked.ip(), asked.port()));
            let mut answer = [0; 9];
            assert_eq!(client.recv(&mut answer).unwrap(), 5, "{address}");
            assert_eq!(&answer[..5], b"hello");
            assert!(socket.arrival(&inbox, 1).is_none());
        }
    });
}

#[test]
fn datagrams_of_all_lengths_keep_their_order() {
    in_worker(|| async {
        let socket = Socket::from_std(bind(any_port()).unwrap()).unwrap();
        let client = client(socket.local_addr());
        let sent: Vec<Vec<u8>> = (0..BATCH + 7).map(|n| vec![u8::try_from(n).unwrap(); n * 37]).collect();
        for datagram in &sent {
            client.send(datagram).unwrap();
        }
        let mut inbox = Inbox::default();
        echo(&socket, &mut inbox, sent.len()).await;
        let mut answer = vec![0; 65_536];
        for datagram in &sent {
            let count = client.recv(&mut answer).unwrap();
            assert_eq!(&answer[..count], datagram.as_slice());
        }
        let largest = vec![7; 65_507];
        client.send(&largest).unwrap();
        echo(&socket, &mut inbox, 1).await;
        assert_eq!(client.recv(&mut answer).unwrap(), largest.len());
    });
}

/// Several peers are heard in one batch, and one that is not there says so.
#[test]
fn peers_are_told_apart() {
    in_worker(|| async {
        let servers: Vec<_> = (0..3).map(|_| UdpSocket::bind(any_port()).unwrap()).collect();
        let closed = UdpSocket::bind(any_port()).unwrap().local_addr().unwrap();
        let addresses = servers.iter().map(|server| server.local_addr().unwrap());
        let peers: Vec<_> = addresses.chain([closed]).map(|to| Peer::connect(to).unwrap()).collect();
        let watch = Peers::new().unwrap();
        for (number, peer) in peers.iter().enumerate() {
            watch.add(peer, number).unwrap();
            let (sent, failure) = peer.send(b"head ", [&b"a"[..], b"", b"ccc"].into_iter());
            assert!(number == 3 || (sent == 3 && failure.is_none()));
        }
        let mut chunk = [0; 64];
        for server in &servers {
            for expected in ["head a", "head ", "head ccc"] {
                let (count, from) = server.recv_from(&mut chunk).unwrap();
                assert_eq!(&chunk[..count], expected.as_bytes());
                server.send_to(&chunk[..count], from).unwrap();
            }
        }
        let (mut inbox, mut found, mut heard) = (Inbox::default(), ReadyPeers::default(), [0; 3]);
        let mut refused = None;
        while heard != [3; 3] || refused.is_none() {
            poll_fn(|cx| watch.poll(cx, &mut found)).await.unwrap();
            watch.is_not_empty();
            for number in found.iter() {
                match heard.get_mut(number) {
                    Some(heard) => *heard += peers[number].receive(&mut inbox).unwrap(),
                    None => refused = peers[number].receive(&mut inbox).err(),
                }
            }
        }
        assert_eq!(inbox.len(), 9);
        assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
        assert_eq!(inbox.payload(2), b"head ccc");
        assert_eq!(inbox.payload(9), b"");
    });
}

/// Whether something is there can be asked, and nothing is taken away by that.
#[test]
fn asking_takes_nothing_away() {
    in_worker(|| async {
        let server = UdpSocket::bind(any_port()).unwrap();
        let peer = Peer::connect(server.local_addr().unwrap()).unwrap();
        assert!(peer.is_quiet().unwrap());
        let (sent, failure) = peer.send(b"", [&b"a"[..]].into_iter());
        assert!(sent == 1 && failure.is_none());
        let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
        let mut inbox = Inbox::default();
        // On loopback what was sent is there.
        for answer in [&b""[..], b"b"] {
            server.send_to(answer, from).unwrap();
            assert!(!peer.is_quiet().unwrap() && !peer.is_quiet().unwrap());
            assert_eq!(peer.receive_one(&mut inbox).unwrap(), 1);
            assert!(peer.is_quiet().unwrap());
        }
        drop(server);
        peer.send(b"", [&b"a"[..]].into_iter());
        assert_eq!(peer.is_quiet().unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(peer.is_quiet().unwrap(), "it is told once");
    });
}

/// One after the other, the empty one as well, until nothing waits.
#[test]
fn one_can_be_received_by_itself() {
    in_worker(|| async {
        let server = UdpSocket::bind(any_port()).unwrap();
        let peer = Peer::connect(server.local_addr().unwrap()).unwrap();
        let (sent, failure) = peer.send(b"", [&b"question"[..]].into_iter());
        assert!(sent == 1 && failure.is_none());
        let mut chunk = [0; 16];
        let (count, from) = server.recv_from(&mut chunk).unwrap();
        assert_eq!(&chunk[..count], b"question");
        for answer in [&b"one"[..], b"", b"three"] {
            server.send_to(answer, from).unwrap();
        }
        let mut inbox = Inbox::default();
        for count in [1, 1, 1, 0] {
            assert_eq!(peer.receive_one(&mut inbox).unwrap(), count);
        }
        let heard: Vec<_> = (0..inbox.len()).map(|index| inbox.payload(index)).collect();
        assert_eq!(heard, [&b"one"[..], b"", b"three"]);
        drop(server);
        peer.send(b"", [&b"question"[..]].into_iter());
        let error = peer.receive_one(&mut inbox).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let (sent, failure) = peer.send(b"", [].into_iter());
        assert!(sent == 0 && failure.is_none());
    });
}
