//! What is one try at one server?

use std::future::poll_fn;

use isobar_observe::Cause;
use isobar_upstream::Place;

use crate::connection::Client;
use crate::exchange::{Exchange, Next};
use crate::flow::{Flow, Wait, poll_flushed};
use crate::forward::Ways;
use crate::pool::Pool;
use crate::server::{ConnectError, ServerConnection};
use crate::tunnel;

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
    ways: Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    place: &Place<Pool>,
    origin: Origin,
) -> Result<ServerConnection, Failed> {
    let local_server = place.server();
    exchange.report.tries(ways.local.upstream(), local_server);
    exchange.head_sent = false;
    let stats = local_server.server.stats(ways.worker.id);
    stats.requests.increment();
    let pooled = if origin == Origin::Pooled {
        local_server.own.take()
    } else {
        None
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
    match result {
        Ok(()) => Ok(server),
        Err(cause) => Err(Failed {
            cause,
            unsent,
            reused: server.reused,
        }),
    }
}

async fn connect(ways: Ways<'_>, exchange: &mut Exchange, place: &Place<Pool>) -> Result<ServerConnection, Cause> {
    let address = place.server().server.next_address().ok_or(Cause::ConnectFailed)?;
    let began = ways.worker.wheel.now();
    // Boxed: rare enough to allocate for, and else every connection would be larger by it.
    let server = Box::pin(ServerConnection::open(
        ways.worker,
        address,
        ways.rules.timeouts.connect,
    ))
    .await;
    exchange.report.connect = Some(ways.worker.wheel.now().saturating_duration_since(began));
    server.map_err(|error| match error {
        ConnectError::TimedOut => Cause::ConnectTimeout,
        ConnectError::Refused(error) if is_ours(&error) => Cause::OutOfResources,
        ConnectError::Refused(_) => Cause::ConnectFailed,
    })
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
    ways: Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    place: Place<Pool>,
    mut server: ServerConnection,
) -> Result<Next, Cause> {
    if exchange.response.upgrade {
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
    if result.is_ok() && exchange.server_keeps() {
        let local_server = place.server();
        server.reused = true;
        server.timer.clear();
        local_server
            .own
            .keep(server, &ways.local.view().settings().keep_alive, now);
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
    } else if exchange.upload.is_done() && exchange.consumed == exchange.inbound.len() {
        Next::Close
    } else {
        Next::Linger
    })
}
