//! What is one try at one server?

use std::future::poll_fn;
use std::time::Instant;

use isobar_observe::{Cause, Fault};
use isobar_plan::ServerAddress;
use isobar_upstream::Place;

use crate::connection::Client;
use crate::exchange::{Exchange, Next};
use crate::flow::{Flow, Wait, poll_flushed};
use crate::forward::Ways;
use crate::pool::Pool;
use crate::server::{ConnectError, ServerConnection};
use crate::tunnel;

/// Addresses of one server that a request tries at most.
const MAX_ADDRESSES: usize = 4;

/// What one try at one server came to.
pub(crate) struct Failed {
    pub(crate) cause: Cause,
    /// Whether the server can have seen nothing of the request.
    pub(crate) unsent: bool,
    /// Whether it was tried on a connection that carried others before.
    pub(crate) reused: bool,
}

/// Where a connection to a server may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the pool, or new.
    Pooled,
    /// New.
    Fresh,
}

/// Sends the request to one server and reads until the head of its answer is on its way to the client.
pub(crate) async fn attempt(
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    place: &Place<Pool>,
    origin: Origin,
) -> Result<Box<ServerConnection>, Failed> {
    let local_server = place.server();
    exchange.report.tries(ways.local.upstream(), local_server);
    exchange.head_sent = false;
    let stats = local_server.server.stats(ways.worker.id);
    stats.requests.increment();
    let pooled = match origin {
        Origin::Pooled if exchange.request.method.is_idempotent() => local_server.own.take(),
        // It could not be sent again, so a system call more makes sure that the server has not just closed.
        Origin::Pooled => std::iter::from_fn(|| local_server.own.take()).find(|pooled| pooled.stream.is_silent()),
        Origin::Fresh => None,
    };
    let mut server = match pooled {
        Some(server) => {
            stats.connections_reused.increment();
            server
        }
        None => {
            let server = connect(ways, exchange, place).await;
            let server = server.map_err(|cause| Failed {
                cause,
                unsent: true,
                reused: false,
            })?;
            stats.connections_opened.increment();
            server
        }
    };
    exchange.report.sends(ways.worker);
    let mut flow = Flow {
        ways,
        client,
        server: &mut server,
        exchange,
    };
    let result = poll_fn(|cx| flow.poll_answer(cx)).await;
    let unsent = flow.exchange.report.nothing_sent;
    let Err(cause) = result else { return Ok(server) };
    let reused = server.reused;
    if unsent && cause.fault() == Fault::Client {
        // The server has seen nothing of a request that turned out to be none.
        give_back(ways, place, server, ways.worker.wheel.now());
    }
    Err(Failed { cause, unsent, reused })
}

/// Connects to one of the server's addresses, all within the one deadline: the next is tried where one refuses.
async fn connect(
    ways: &Ways<'_>,
    exchange: &mut Exchange,
    place: &Place<Pool>,
) -> Result<Box<ServerConnection>, Cause> {
    let server = &place.server().server;
    let began = ways.worker.wheel.now();
    let deadline = began + ways.rules.timeouts.connect;
    let mut result = Err(Cause::ConnectFailed);
    for _ in 0..server.addresses().len().min(MAX_ADDRESSES) {
        let Some(address) = server.next_address() else { break };
        // Boxed: rare enough to allocate for, and else every connection would be larger by it.
        let opened = Box::pin(ServerConnection::open(ways.worker, address, deadline)).await;
        result = opened.map_err(|error| match error {
            ConnectError::TimedOut => Cause::ConnectTimeout,
            ConnectError::Refused(error) if is_ours(&error) => Cause::OutOfResources,
            ConnectError::Refused(_) => Cause::ConnectFailed,
        });
        if !matches!(result, Err(Cause::ConnectFailed)) {
            break;
        }
    }
    exchange.report.connect = Some(ways.worker.wheel.now().saturating_duration_since(began));
    result
}

/// Whether a connection failed for lack of descriptors, local ports or memory.
fn is_ours(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    // EMFILE, ENFILE and ENOBUFS have no kind of their own.
    matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::OutOfMemory)
        || matches!(error.raw_os_error(), Some(23 | 24 | 105))
}

/// Passes the rest of the answer on, and gives the server back as soon as it has done its part.
pub(crate) async fn deliver(
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    place: Place<Pool>,
    mut server: Box<ServerConnection>,
) -> Result<Next, Cause> {
    if exchange.response.upgrade {
        if let Some((latency, outcome)) = exchange.report.verdict(Ok(())) {
            place.finished(ways.worker.wheel.now(), latency, outcome);
        }
        let cause = Box::pin(tunnel::run(ways, client, exchange, &mut server)).await;
        exchange.report.end(cause);
        return Ok(Next::Close);
    }
    let mut flow = Flow {
        ways,
        client,
        server: &mut server,
        exchange,
    };
    let result = poll_fn(|cx| flow.poll_body(cx)).await;
    let now = exchange.report.server_done(ways.worker);
    if let Some((latency, outcome)) = exchange.report.verdict(result) {
        place.finished(now, latency, outcome);
    }
    if result.is_ok() && exchange.server_keeps() {
        give_back(ways, &place, server, now);
    } else {
        drop(server);
    }
    drop(place);
    result?;
    if !exchange.to_client.is_empty() {
        exchange.download_wait = Wait::Server;
        poll_fn(|cx| poll_flushed(cx, ways, client, exchange)).await?;
        exchange.report.took_longer();
    }
    exchange.report.end(Cause::Complete);
    Ok(if exchange.machine().client_keeps() {
        Next::KeepAlive
    } else if exchange.upload.is_done() && !exchange.request.keep_alive {
        // The client said that this is its last request.
        Next::Close
    } else {
        Next::Linger
    })
}

/// Keeps a connection for the next request, unless its address is no longer the server's.
fn give_back(ways: &Ways<'_>, place: &Place<Pool>, mut connection: Box<ServerConnection>, now: Instant) {
    let local_server = place.server();
    let moved = matches!(local_server.server.address(), ServerAddress::Name(..))
        && !local_server.server.addresses().contains(&connection.address);
    if !moved {
        connection.reused = true;
        connection.timer.clear();
        if connection.stream.watch().is_err() {
            return;
        }
        let limits = ways.local.view().settings().keep_alive;
        local_server.own.keep(connection, &limits, now);
    }
}
