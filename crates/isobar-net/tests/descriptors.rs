//! Are descriptors given back, whatever is dropped when, and is a lack of them survived?
//!
//! The one test of this program, because it counts and limits the descriptors of the whole process.

use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use isobar_net::limits::open_descriptors;
use isobar_net::listen::{ListenOptions, Listener, listen};
use isobar_net::runtime::{WorkerRuntime, run, ways};
use isobar_net::splice::Pipes;
use isobar_net::stream::Stream;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn listener() -> Listener {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Listener::from_std(listen(address, ListenOptions::default()).unwrap()).unwrap()
}

/// Polls a future once and drops it.
fn abandon<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

async fn everything_begun_and_dropped() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    assert!(abandon(listener.accept()).is_pending());
    // Connecting takes a turn of the reactor, so this one is cut off half-way.
    assert!(abandon(Stream::connect(address)).is_pending());
    let (mut abandoned, _) = listener.accept().await.unwrap();
    assert_eq!(
        poll_fn(|cx| abandoned.poll_read(cx, &mut [0; 8])).await.unwrap(),
        0,
        "its peer is gone"
    );

    let (near, mut peer) = (
        Stream::connect(address).await.unwrap(),
        TcpStream::connect(address).unwrap(),
    );
    let (mut far, _) = listener.accept().await.unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    assert!(abandon(poll_fn(|cx| far.poll_read(cx, &mut [0; 8]))).is_pending());
    let pipes = Pipes::new(4);
    let mut pipe = pipes.acquire().unwrap();
    assert!(abandon(poll_fn(|cx| pipe.poll_splice(cx, &mut accepted, &mut far, 100))).is_pending());
    peer.write_all(b"left in the pipe's past").unwrap();
    let done = poll_fn(|cx| pipe.poll_splice(cx, &mut accepted, &mut far, 4))
        .await
        .unwrap();
    assert_eq!(done.read, 4);
    drop(near.into_std().unwrap());
}

/// Lowers the limit until so many descriptors, or few more, can be had; returns the limit there was.
fn leave_descriptors(count: u64) -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let open = open_descriptors().unwrap() as u64;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(open + count),
            maximum: before.maximum,
        },
    )
    .unwrap();
    before
}

async fn accept_under_exhaustion() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let before = leave_descriptors(3);
    let peers: Vec<_> = std::iter::from_fn(|| TcpStream::connect(address).ok()).collect();
    assert!(!peers.is_empty());
    for _ in 0..2 {
        let error = listener.accept().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()), "{error}");
    }
    assert_eq!(
        Pipes::new(1).acquire().unwrap_err().raw_os_error(),
        Some(Errno::MFILE.raw_os_error())
    );
    assert_eq!(
        Stream::connect(address).await.unwrap_err().raw_os_error(),
        Some(Errno::MFILE.raw_os_error())
    );
    setrlimit(Resource::Nofile, before).unwrap();
    for peer in &peers {
        assert_eq!(
            listener.accept().await.unwrap().1,
            peer.local_addr().unwrap(),
            "none was lost"
        );
    }
    assert!(abandon(listener.accept()).is_pending());
}

#[test]
fn descriptors_come_back() {
    let round = || {
        for &io in ways() {
            let runtime = WorkerRuntime { core: None, io };
            run(runtime, everything_begun_and_dropped).unwrap();
            run(runtime, accept_under_exhaustion).unwrap();
        }
    };
    // What a process opens once and keeps is open after this.
    round();
    let before = open_descriptors().unwrap();
    (0..20).for_each(|_| round());
    // The test runner's own thread opens some for a moment when it likes; what leaks stays.
    let patience = Instant::now() + Duration::from_secs(5);
    while open_descriptors().unwrap() != before && Instant::now() < patience {
        std::thread::yield_now();
    }
    assert_eq!(open_descriptors().unwrap(), before);
}
