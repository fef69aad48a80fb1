//! How are connections to the admin listener taken, and kept from crowding out one another?
//!
//! Every wait for a client is bounded. When the connections are used up, the oldest makes room for the newest: a client
//! that holds connections open cannot keep a health check out.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::servers::Peer;
use crate::{Operations, endpoints};

/// What connections may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at once.
    connections: usize,
    /// Bytes of a request head.
    head_bytes: usize,
    /// For a request head to be complete, also while a kept connection waits for its next.
    head_timeout: Duration,
    /// How long a connection is kept.
    age: Duration,
    /// For the exchange in hand after that, or after the end was asked for.
    grace: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    head_bytes: 16 * 1024,
    head_timeout: Duration::from_secs(10),
    age: Duration::from_secs(60),
    grace: Duration::from_secs(10),
};

/// How long accepting pauses after it failed, most often for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers operators' questions until `shutdown` resolves, then finishes the exchanges in hand.
///
/// The instance decides when that is: health checks want their answers while it drains.
pub async fn serve(listener: TcpListener, view: Arc<dyn Operations>, shutdown: impl Future<Output = ()>) {
    serve_within(LIMITS, listener, endpoints::router(view), shutdown).await;
}

async fn serve_within(limits: Limits, listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let (stop, stopping) = watch::channel(());
    let mut connections = Connections {
        limit: limits.connections,
        oldest_first: VecDeque::new(),
    };
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let service = TowerToHyperService::new(router.clone().layer(Extension(Peer(peer))));
                connections.start(converse(limits, stream, service, stopping.clone()));
            }
            Err(error) => pause(&error).await,
        }
    }
    drop((listener, stop));
    connections.finish().await;
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "failed to accept a connection on the admin listener");
    sleep(ACCEPT_PAUSE).await;
}

/// Serves one connection until it ends, grows too old, or `stopping` has lost its sender.
async fn converse(
    limits: Limits,
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    mut stopping: watch::Receiver<()>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // Errors are the client's: it left, was too slow, or spoke something other than HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = timeout(limits.age, stopping.changed()) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.grace, connection).await;
}

/// The connections that are open.
struct Connections {
    limit: usize,
    oldest_first: VecDeque<JoinHandle<()>>,
}

impl Connections {
    fn start(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.oldest_first.retain(|open| !open.is_finished());
        if self.oldest_first.len() >= self.limit
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        self.oldest_first.push_back(tokio::spawn(connection));
    }

    /// Waits for all of them; each knows how long it may take.
    async fn finish(self) {
        for connection in self.oldest_first {
            let _ = connection.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{Notify, oneshot};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::{LIMITS, Limits, serve_within};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: admin\r\n\r\n";
    const PATIENCE: Duration = Duration::from_secs(10);
    const SOON: Duration = Duration::from_millis(50);

    struct Served {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        ended: JoinHandle<()>,
    }

    async fn served(limits: Limits, router: Router) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        Served {
            address,
            stop,
            ended: tokio::spawn(serve_within(limits, listener, router, shutdown)),
        }
    }

    fn hello() -> Router {
        Router::new().route("/", get(async || "hello"))
    }

    /// Reads until the answer holds `mark`, or to the end; what was read.
    async fn read_until(stream: &mut TcpStream, mark: &str) -> String {
        let mut bytes = Vec::new();
        let reading = async {
            while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                if String::from_utf8_lossy(&bytes).contains(mark) {
                    break;
                }
            }
        };
        timeout(PATIENCE, reading).await.expect("an answer or the end in time");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn asked(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(REQUEST).await.expect("a request is sent");
        assert!(read_until(&mut stream, "hello").await.starts_with("HTTP/1.1 200"));
        stream
    }

    /// That the other end closes; the stream holds nothing unread.
    async fn assert_closes(stream: &mut TcpStream) {
        let read = timeout(PATIENCE, stream.read(&mut [0; 256]))
            .await
            .expect("a close in time");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    #[tokio::test]
    async fn a_silent_client_is_cut() {
        let served = served(
            Limits {
                head_timeout: SOON,
                ..LIMITS
            },
            hello(),
        )
        .await;
        let mut silent = TcpStream::connect(served.address).await.expect("a connection");
        read_until(&mut silent, "nothing that is sent").await;
        assert_closes(&mut silent).await;
        let mut slow = TcpStream::connect(served.address).await.expect("a connection");
        slow.write_all(b"GET / HTTP/1.1\r\nhost:")
            .await
            .expect("half a head is sent");
        read_until(&mut slow, "nothing that is sent").await;
        assert_closes(&mut slow).await;
        let mut kept = asked(served.address).await;
        assert_closes(&mut kept).await;
    }

    #[tokio::test]
    async fn the_oldest_connection_makes_room() {
        let served = served(
            Limits {
                connections: 2,
                ..LIMITS
            },
            hello(),
        )
        .await;
        let mut first = asked(served.address).await;
        let mut second = asked(served.address).await;
        let _third = asked(served.address).await;
        assert_closes(&mut first).await;
        second.write_all(REQUEST).await.expect("a request is sent");
        assert!(read_until(&mut second, "hello").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn connections_do_not_grow_old() {
        let served = served(Limits { age: SOON, ..LIMITS }, hello()).await;
        let mut kept = asked(served.address).await;
        assert_closes(&mut kept).await;
    }

    #[tokio::test]
    async fn a_client_that_takes_no_more_cannot_delay_the_end() {
        let endless = Router::new().route("/", get(async || vec![b'x'; 64 * 1024 * 1024]));
        let served = served(Limits { grace: SOON, ..LIMITS }, endless).await;
        let mut stream = TcpStream::connect(served.address).await.expect("a connection");
        stream.write_all(REQUEST).await.expect("a request is sent");
        read_until(&mut stream, "xxx").await;
        served.stop.send(()).expect("it is serving");
        timeout(PATIENCE, served.ended)
            .await
            .expect("an end in time")
            .expect("no panic");
    }

    #[tokio::test]
    async fn a_long_head_is_refused() {
        let served = served(LIMITS, hello()).await;
        let mut stream = TcpStream::connect(served.address).await.expect("a connection");
        let head = format!(
            "GET / HTTP/1.1\r\nhost: admin\r\nx: {}\r\n\r\n",
            "x".repeat(LIMITS.head_bytes)
        );
        stream.write_all(head.as_bytes()).await.expect("a request is sent");
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn the_end_waits_for_the_exchange_in_hand_and_no_other() {
        let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (entered, wait) = (reached.clone(), go_on.clone());
        let slow = async move || {
            entered.notify_one();
            wait.notified().await;
            "slow hello"
        };
        let served = served(LIMITS, hello().route("/slow", get(slow))).await;
        let mut idle = asked(served.address).await;
        let mut busy = TcpStream::connect(served.address).await.expect("a connection");
        busy.write_all(b"GET /slow HTTP/1.1\r\nhost: admin\r\n\r\n")
            .await
            .expect("a request is sent");
        timeout(PATIENCE, reached.notified())
            .await
            .expect("the request arrives");

        served.stop.send(()).expect("it is serving");
        assert_closes(&mut idle).await;
        assert!(TcpStream::connect(served.address).await.is_err(), "it still listens");
        go_on.notify_one();
        assert!(read_until(&mut busy, "slow hello").await.starts_with("HTTP/1.1 200"));
        timeout(PATIENCE, served.ended)
            .await
            .expect("an end in time")
            .expect("no panic");
    }
}
