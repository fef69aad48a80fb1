//! Do connections come in, from where they say, and only where they may?

use std::io::ErrorKind;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use isobar_net::listen::{ListenOptions, Listener, listen};

use crate::{any_port, in_worker, listener};

#[test]
fn accepts_with_the_address_of_the_peer() {
    in_worker(|| async {
        let listener = listener();
        let peers: Vec<_> = (0..50)
            .map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap())
            .collect();
        for peer in peers {
            let (stream, address) = listener.accept().await.unwrap();
            assert_eq!(address, peer.local_addr().unwrap());
            assert_eq!(stream.peer_addr().unwrap(), address);
            assert_eq!(stream.local_addr().unwrap(), listener.local_addr().unwrap());
            assert!(!stream.is_watched());
        }
    });
}

#[test]
fn accepted_sockets_do_not_delay_small_writes() {
    in_worker(|| async {
        let listener = listener();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().await.unwrap().0.into_std().unwrap();
        assert!(socket.nodelay().unwrap());
    });
}

#[test]
fn workers_share_an_address_and_others_do_not() {
    let first = listen(any_port(), ListenOptions::default()).unwrap();
    let address = first.local_addr().unwrap();
    let second = listen(
        address,
        ListenOptions {
            backlog: 1,
            ..ListenOptions::default()
        },
    )
    .unwrap();
    assert_eq!(second.local_addr().unwrap(), address);

    let alone = TcpListener::bind(any_port()).unwrap();
    let refused = listen(alone.local_addr().unwrap(), ListenOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
}

#[test]
fn listens_on_ipv6() {
    in_worker(|| async {
        let socket = match listen((Ipv6Addr::LOCALHOST, 0).into(), ListenOptions::default()) {
            // A machine without IPv6 says so, and nothing worse.
            Err(error) => {
                return assert!(
                    matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported),
                    "{error}"
                );
            }
            Ok(socket) => socket,
        };
        let listener = Listener::from_std(socket).unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(listener.accept().await.unwrap().1, peer.local_addr().unwrap());
    });
}

/// The reactor tells once of one who comes while others wait, and not again when those have been accepted.
#[test]
fn who_comes_while_others_wait_is_accepted_as_well() {
    in_worker(|| async {
        let listener = listener();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _early = [connect(), connect(), connect()];
        listener.accept().await.unwrap();
        let _late = connect();
        // The reactor looks now.
        tokio::task::yield_now().await;
        for _ in 0..3 {
            let accepted = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await;
            accepted.expect("one more waits").unwrap();
        }
        let nobody = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
        assert!(nobody.is_err());
    });
}
