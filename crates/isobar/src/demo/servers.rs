//! Three servers of different speed that can be slowed down, broken and stopped.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::{AbortHandle, JoinSet};

/// The field in which a server says which one it is.
pub(super) const NAME_FIELD: &str = "x-server";
/// How many times slower a server is when asked to be slow.
pub(super) const SLOWER: u32 = 10;

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
    moods: [Arc<Mood>; 3],
}

/// How a server feels, whether it runs or not.
struct Mood {
    /// How long it takes for an answer on average when it is well.
    pause: Duration,
    slow: AtomicBool,
    /// Whether it answers requests at once with a 503. Its health is fine then, as that of many a broken server.
    failing: AtomicBool,
}

impl Mood {
    /// How long the next answer takes, and its status.
    fn next(&self) -> (Duration, StatusCode) {
        if self.failing.load(Ordering::Relaxed) {
            return (Duration::ZERO, StatusCode::SERVICE_UNAVAILABLE);
        }
        let times = if self.slow.load(Ordering::Relaxed) { SLOWER } else { 1 };
        (jittered(self.pause) * times, StatusCode::OK)
    }
}

/// One server that runs; stopping it closes its listener and cuts its connections, as a crash would.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Servers {
    /// Starts all three, which take so long for an answer; port 0 asks for a free one. Needs a tokio runtime.
    pub(super) fn start(addresses: [SocketAddr; 3], pauses: [Duration; 3]) -> io::Result<Self> {
        let mood = |pause| {
            Arc::new(Mood {
                pause,
                slow: AtomicBool::new(false),
                failing: AtomicBool::new(false),
            })
        };
        let mut servers = Self {
            addresses,
            running: [const { None }; 3],
            moods: pauses.map(mood),
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
        let task = tokio::spawn(serve(listener, server, Arc::clone(&self.moods[server])));
        self.running[server] = Some(Running(task.abort_handle()));
        Ok(true)
    }

    /// Makes a server slow, or as fast as before; *returns* whether it is slow now.
    pub(super) fn toggle_slow(&self, server: usize) -> bool {
        !self.moods[server].slow.fetch_xor(true, Ordering::Relaxed)
    }

    /// Makes a server fail at once, or work again; *returns* whether it fails now.
    pub(super) fn toggle_failing(&self, server: usize) -> bool {
        !self.moods[server].failing.fetch_xor(true, Ordering::Relaxed)
    }
}

async fn serve(listener: tokio::net::TcpListener, server: usize, mood: Arc<Mood>) {
    // Ends with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let mood = Arc::clone(&mood);
                let answer = service_fn(move |request| answer(request, server, Arc::clone(&mood)));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    server: usize,
    mood: Arc<Mood>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let busy = Busy::with_one_more(server);
    let name = SERVERS[server].name;
    let (pause, status) = match request.uri().path() {
        "/health" => (Duration::ZERO, StatusCode::OK),
        _ => mood.next(),
    };
    tokio::time::sleep(pause).await;
    let body = format!("{name} says {}\n", if status.is_success() { "hello" } else { "no" });
    let response = Response::builder()
        .status(status)
        .header(NAME_FIELD, name)
        .header("x-requests-in-flight", busy.in_flight())
        .body(Full::new(Bytes::from(body)));
    // The field is a constant, so the response is always valid.
    Ok(response.unwrap_or_default())
}

/// Requests that the servers have in flight, which they report: `prequal` goes by it.
static IN_FLIGHT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// A request in flight at a server, until it is dropped: its client may leave in the middle.
struct Busy(usize);

impl Busy {
    fn with_one_more(server: usize) -> Self {
        IN_FLIGHT[server].fetch_add(1, Ordering::Relaxed);
        Self(server)
    }

    /// Requests in flight, this one among them.
    fn in_flight(&self) -> u64 {
        IN_FLIGHT[self.0].load(Ordering::Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        IN_FLIGHT[self.0].fetch_sub(1, Ordering::Relaxed);
    }
}

/// A duration from two thirds to four thirds of the given one.
fn jittered(average: Duration) -> Duration {
    average.mul_f64(2.0 / 3.0 + super::visitors::chance() * 2.0 / 3.0)
}
