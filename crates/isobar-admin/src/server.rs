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

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::{View, endpoints};

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
pub async fn serve(listener: TcpListener, view: Arc<dyn View>, shutdown: impl Future<Output = ()>) {
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
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
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
