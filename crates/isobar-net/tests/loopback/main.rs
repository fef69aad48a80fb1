//! Do streams, listeners and pipes work over real sockets?
//!
//! Everything runs over loopback, on ports the kernel chooses. The peers are plain blocking sockets on threads of their own,
//! so that nothing is tested against itself.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod accept;
mod keepalive;
mod ring;
mod secured;
mod splice;
mod stream;
mod udp;

use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use isobar_net::listen::{ListenOptions, Listener, listen};
use isobar_net::runtime::{WorkerRuntime, run, ways};
use isobar_net::stream::Stream;

/// An address with a port for the kernel to choose.
fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Runs a test in a worker's runtime, once for each way to move bytes; one that hangs fails.
fn in_worker<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for &io in ways() {
        let bounded = || async {
            tokio::time::timeout(Duration::from_secs(60), test())
                .await
                .unwrap_or_else(|_| panic!("the test hangs with {io:?}"));
        };
        run(WorkerRuntime { core: None, io }, bounded).unwrap();
    }
}

fn listener() -> Listener {
    Listener::from_std(listen(any_port(), ListenOptions::default()).unwrap()).unwrap()
}

/// An accepted stream and its blocking peer.
async fn accepted() -> (Stream, TcpStream) {
    let listener = listener();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_nodelay(true).unwrap();
    (listener.accept().await.unwrap().0, peer)
}

async fn read(stream: &mut Stream, buf: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_read(cx, buf)).await
}

async fn write_all(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

async fn read_to_end(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 10_000]);
    loop {
        match read(stream, &mut buf).await? {
            0 => return Ok(all),
            bytes => all.extend_from_slice(&buf[..bytes]),
        }
    }
}

/// Lets the reactor run until something has become true.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Bytes that differ from place to place, so that none can be lost, doubled or moved without notice.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}
