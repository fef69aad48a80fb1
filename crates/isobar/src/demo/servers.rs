//! Three servers of different speed that can be slowed down and stopped.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::{AbortHandle, JoinSet};

/// The field in which a server says which one it is.
pub(super) const NAME_FIELD: &str = "x-server";
/// How many times slower a server is when asked to be slow.
const SLOWER: u64 = 10;

/// A built-in server.
pub(super) struct Server {
    /// Its name.
    pub(super) name: &'static str,
    /// How long it takes for an answer on average.
    pub(super) pause: Duration,
}

/// The servers, fastest first.
pub(super) const SERVERS: [Server; 3] = [
    Server {
        name: "fast",
        pause: Duration::from_millis(12),
    },
    Server {
        name: "medium",
        pause: Duration::from_millis(35),
    },
    Server {
        name: "slow",
        pause: Duration::from_millis(90),
    },
];

/// The three servers at work. They stop when dropped.
pub(super) struct Servers {
    addresses: [SocketAddr; 3],
    running: [Option<Running>; 3],
    slower: [Arc<AtomicU64>; 3],
}

/// One server that runs; stopping it closes its listener and cuts its connections, as a crash would.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Servers {
    /// Starts all three; port 0 asks for a free one. Needs a tokio runtime.
    pub(super) fn start(addresses: [SocketAddr; 3]) -> io::Result<Self> {
        let mut servers = Self {
            addresses,
            running: [const { None }; 3],
            slower: std::array::from_fn(|_| Arc::new(AtomicU64::new(1))),
        };
        for server in 0..SERVERS.len() {
            servers.toggle(server)?;
        }
        Ok(servers)
    }

    /// Where they are.
    pub(super) fn addresses(&self) -> [SocketAddr; 3] {
        self.addresses
    }

    /// Stops a server that runs, or starts it again where it was; *returns* whether it runs now.
    pub(super) fn toggle(&mut self, server: usize) -> io::Result<bool> {
        if self.running[server].take().is_some() {
            return Ok(false);
        }
        let listener = TcpListener::bind(self.addresses[server])?;
        listener.set_nonblocking(true)?;
        self.addresses[server] = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let task = tokio::spawn(serve(listener, server, Arc::clone(&self.slower[server])));
        self.running[server] = Some(Running(task.abort_handle()));
        Ok(true)
    }

    /// Makes the fastest server slow, or fast again; *returns* whether it is slow now.
    pub(super) fn toggle_slow(&self) -> bool {
        let slow = self.slower[0].load(Ordering::Relaxed) == 1;
        self.slower[0].store(if slow { SLOWER } else { 1 }, Ordering::Relaxed);
        slow
    }
}

async fn serve(listener: tokio::net::TcpListener, server: usize, slower: Arc<AtomicU64>) {
    // Ends with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let slower = Arc::clone(&slower);
                let answer = service_fn(move |request| answer(request, server, slower.load(Ordering::Relaxed)));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(request: Request<Incoming>, server: usize, slower: u64) -> Result<Response<Full<Bytes>>, Infallible> {
    let Server { name, pause } = &SERVERS[server];
    if request.uri().path() != "/health" {
        tokio::time::sleep(jittered(*pause) * u32::try_from(slower).unwrap_or(1)).await;
    }
    let body = format!("{name} says hello\n");
    let response = Response::builder()
        .header(NAME_FIELD, *name)
        .body(Full::new(Bytes::from(body)));
    // The field is a constant, so the response is always valid.
    Ok(response.unwrap_or_default())
}

/// A duration from two thirds to four thirds of the given one.
fn jittered(average: Duration) -> Duration {
    average.mul_f64(2.0 / 3.0 + super::visitors::chance() * 2.0 / 3.0)
}
