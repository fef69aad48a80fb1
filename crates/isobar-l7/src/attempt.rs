//! What is one try at one server?

use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use isobar_l4::keepalive;
use isobar_net::limits::is_shortage;
use isobar_observe::{Cause, Fault};
use isobar_plan::{HttpVersion, ServerAddress};
use isobar_upstream::{Place, Server};

use crate::again::{self, Failed, Why};
use crate::carrier::Carrier;
use crate::connection::Client;
use crate::download::Reply;
use crate::exchange::{Exchange, Next};
use crate::flow::{Flow, Wait, poll_flushed};
use crate::forward::Ways;
use crate::http2::{Opened, Shared, Undone};
use crate::overload::{self, Granted, Watched};
use crate::pool::Pool;
use crate::server::{ConnectError, ServerConnection};
use crate::server_tls::ServerTlsError;
use crate::sharing::{self, Caution};
use crate::tunnel;

/// Addresses of one server that a request tries at most.
const MAX_ADDRESSES: usize = 4;

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
    begin(ways, exchange, place);
    let mut server = match kept(ways, exchange, place, origin) {
        Some(server) => server,
        None => {
            // Boxed: rare enough to allocate for, and else every connection would be larger by it.
            Box::pin(open(ways, client, exchange, place)).await?
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
    match failure(ways, exchange, &server, result) {
        None => Ok(server),
        Some(failed) => {
            settle(ways, exchange, place, server, &failed);
            Err(failed)
        }
    }
}

/// Makes a connection, or waits for one that is made to be shared.
async fn open(
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    place: &Place<Pool>,
) -> Result<Box<ServerConnection>, Failed> {
    let local_server = place.server();
    let deadline = connect_deadline(ways, exchange);
    let shares = sharing::is_likely(ways, local_server);
    if shares {
        // One that is being made will do for all who find room on it.
        let waited = sharing::wait(ways, client, exchange, local_server, deadline).await;
        if let Some(server) = waited.map_err(|cause| unmade(ways, exchange, cause))? {
            return Ok(server);
        }
    }
    let _connecting = shares.then(|| local_server.own.sharing().connects());
    let watched = Some(Watched { client, exchange });
    let server = connect(ways, &local_server.server, watched, deadline).await;
    connected(ways, exchange, place, server)
}

/// Counts a try that begins.
pub(crate) fn begin(ways: &Ways<'_>, exchange: &mut Exchange, place: &Place<Pool>) {
    exchange.report.tries(ways.local, place.server());
    exchange.head_sent = false;
    exchange.try_began = ways.rules.retry.try_timeout.map(|_| ways.worker.wheel.now());
    place.server().server.stats(ways.worker.id).requests.increment();
}

/// A connection that was kept.
pub(crate) fn kept(
    ways: &Ways<'_>,
    exchange: &Exchange,
    place: &Place<Pool>,
    origin: Origin,
) -> Option<Box<ServerConnection>> {
    let local_server = place.server();
    let version = ways.local.view().settings().http_version;
    let caution = match exchange.request.method.is_idempotent() {
        true => Caution::None,
        false => Caution::Looks,
    };
    let kept = match origin {
        Origin::Pooled
            if version != HttpVersion::Http1
                && let Some(stream) = local_server.own.stream(ways.worker, ways.tls, caution) =>
        {
            Some(stream)
        }
        Origin::Pooled if version == HttpVersion::Http2 => None,
        Origin::Pooled if exchange.request.method.is_idempotent() => local_server.own.take(ways.tls),
        // It could not be sent again, so a system call more makes sure that the server has not just closed.
        Origin::Pooled => {
            std::iter::from_fn(|| local_server.own.take(ways.tls)).find(|pooled| pooled.stream.is_silent())
        }
        Origin::Fresh => None,
    };
    if kept.is_some() {
        local_server.server.stats(ways.worker.id).connections_reused.increment();
    }
    kept
}

/// What a try came to, as far as it failed.
pub(crate) fn failure(
    ways: &Ways<'_>,
    exchange: &mut Exchange,
    server: &ServerConnection,
    result: Result<Reply, Cause>,
) -> Option<Failed> {
    let why = match result {
        Ok(Reply::Begun) => return None,
        Ok(Reply::Declined) => again::declined(exchange),
        Err(Cause::ServerClosed) => Why::Cause(closed(ways, exchange, server)),
        Err(cause) => Why::Cause(cause),
    };
    let stream = server.stream.opened();
    let undone = stream.and_then(Opened::undone);
    Some(Failed {
        why: match undone {
            Some(Undone::Refused) => Why::Cause(Cause::ServerRefused),
            Some(Undone::Leaves) | None => why,
        },
        unsent: exchange.report.nothing_sent || undone.is_some(),
        reused: match stream {
            None => server.reused,
            // A server that leaves says so, and a connection that ends without a word was idle for too long: neither is a failure.
            Some(stream) => undone == Some(Undone::Leaves) || (server.reused && stream.is_unheard()),
        },
    })
}

/// Why a server closed its connection: because of what it was shown in the handshake, or for reasons of its own.
fn closed(ways: &Ways<'_>, exchange: &mut Exchange, server: &ServerConnection) -> Cause {
    let Some(refusal) = server.stream.refusal() else {
        return Cause::ServerClosed;
    };
    let error = ServerTlsError::refused(refusal);
    // Of a connection that requests share, one of them tells.
    let is_news = server.stream.opened().is_none_or(|stream| stream.shared().is_news());
    if let (Some(tls), Some(server), true) = (ways.tls, exchange.report.server(), is_news) {
        tls.note(ways.worker, server, Err(&error));
    }
    exchange.report.tls_error = Some(error.words);
    Cause::TlsFailed
}

/// Keeps the connection of a try that failed, where it is still of use.
pub(crate) fn settle(
    ways: &Ways<'_>,
    exchange: &mut Exchange,
    place: &Place<Pool>,
    server: Box<ServerConnection>,
    failed: &Failed,
) {
    let of_use = match failed.why {
        // The server has seen nothing of a request that turned out to be none.
        Why::Cause(cause) => failed.unsent && cause.fault() == Fault::Client,
        // Its answer came as a whole; what did not is not waited for.
        Why::Status(_) | Why::Call(_) => exchange.download.is_done() && exchange.server_keeps(),
    };
    if of_use {
        give_back(ways, place, server, ways.worker.wheel.now());
    }
}

/// By when a connection has to be made.
pub(crate) fn connect_deadline(ways: &Ways<'_>, exchange: &Exchange) -> Instant {
    let connect = ways.worker.wheel.now() + ways.rules.timeouts.connect;
    let one_try = exchange.try_began.zip(ways.rules.retry.try_timeout);
    let one_try = one_try.map(|(began, timeout)| began + timeout);
    exchange
        .again
        .deadline
        .into_iter()
        .chain(one_try)
        .fold(connect, Instant::min)
}

/// Takes note of a connection that was made, or why it was not.
pub(crate) fn connected(
    ways: &Ways<'_>,
    exchange: &mut Exchange,
    place: &Place<Pool>,
    (result, took): Connected,
) -> Result<Box<ServerConnection>, Failed> {
    exchange.report.connect = Some(took);
    if let Ok(server) = &result
        && let Some(stream) = server.stream.opened()
    {
        place.server().own.share(Rc::clone(stream.shared()));
    } else if result.is_ok() {
        place.server().own.sharing().decline();
    }
    if let (Ok(_), Some(server)) = (&result, exchange.report.server()) {
        server.stats(ways.worker.id).connections_opened.increment();
    }
    result.map_err(|Unconnected { cause, tls_error }| {
        if tls_error.is_some() {
            exchange.report.tls_error = tls_error;
        }
        unmade(ways, exchange, cause)
    })
}

/// A try for which there is no connection.
fn unmade(ways: &Ways<'_>, exchange: &Exchange, cause: Cause) -> Failed {
    Failed::unsent(match cause {
        Cause::ConnectTimeout => exchange.overdue(ways.worker.wheel.now()).unwrap_or(cause),
        cause => cause,
    })
}

/// Whether HTTP/2 is spoken on a connection that was made.
fn speaks_http2(ways: &Ways<'_>, server: &ServerConnection) -> bool {
    match ways.local.view().settings().http_version {
        HttpVersion::Http1 => false,
        HttpVersion::Http2 => true,
        HttpVersion::Auto => server.stream.agreed().and_then(|agreed| agreed.protocol) == Some(b"h2"),
    }
}

/// Makes a connection one that others can share; *returns* its first stream.
async fn shared(
    ways: &Ways<'_>,
    server: &Server,
    connection: ServerConnection,
    deadline: Instant,
) -> Result<Box<ServerConnection>, Unconnected> {
    let ServerConnection {
        stream,
        address,
        tls,
        permit,
        ..
    } = connection;
    let Carrier::Connection(stream) = stream else {
        return Err(Cause::Internal.into());
    };
    let shared = Shared::new(ways.worker, stream, address, (tls, permit));
    match tokio::time::timeout_at(deadline.into(), shared.settled()).await {
        Ok(true) => {}
        Ok(false) => return Err(unsettled(ways, server, &shared)),
        Err(_) => return Err(Cause::ConnectTimeout.into()),
    }
    let opened = shared.open().ok_or(Cause::ConnectFailed)?;
    Ok(Box::new(ServerConnection::of_stream(ways.worker, opened, false)))
}

/// Why a connection ended before its server had said what it takes.
fn unsettled(ways: &Ways<'_>, server: &Server, shared: &Shared) -> Unconnected {
    let (Some(refusal), Some(tls)) = (shared.refusal(), ways.tls) else {
        return Cause::ConnectFailed.into();
    };
    let error = ServerTlsError::refused(refusal);
    tls.note(ways.worker, server, Err(&error));
    Unconnected {
        cause: Cause::TlsFailed,
        tls_error: Some(error.words),
    }
}

/// What connecting came to, and how long it took.
pub(crate) type Connected = (Result<Box<ServerConnection>, Unconnected>, Duration);

/// Why there is no connection.
pub(crate) struct Unconnected {
    cause: Cause,
    /// Why it could not be secured, in words.
    tls_error: Option<String>,
}

impl From<Cause> for Unconnected {
    fn from(cause: Cause) -> Self {
        Self { cause, tls_error: None }
    }
}

/// Connects to one of the server's addresses, all within the one deadline: the next is tried where one refuses. A client
/// that leaves while there is no connection to be had ends it.
pub(crate) async fn connect(
    ways: &Ways<'_>,
    server: &Server,
    watched: Option<Watched<'_>>,
    deadline: Instant,
) -> Connected {
    let began = ways.worker.wheel.now();
    let (permit, too_slow) = match overload::permit(ways, watched, deadline).await {
        Ok(Granted::AtOnce(permit)) => (permit, Cause::ConnectTimeout),
        Ok(Granted::AfterAWait(permit)) => (permit, Cause::MaxConnections),
        Err(cause) => {
            return (
                Err(cause.into()),
                ways.worker.wheel.now().saturating_duration_since(began),
            );
        }
    };
    let mut result = Err(Cause::ConnectFailed.into());
    for _ in 0..server.addresses().len().min(MAX_ADDRESSES) {
        let Some(address) = server.next_address() else { break };
        let opened = ServerConnection::open(ways.worker, (server, address), ways.tls, deadline).await;
        result = opened.map_err(|error| unconnected(error, too_slow));
        let may_do_elsewhere = |failed: &Unconnected| matches!(failed.cause, Cause::ConnectFailed | Cause::TlsFailed);
        if !result.as_ref().is_err_and(may_do_elsewhere) {
            break;
        }
    }
    let result = match result {
        Ok(mut connection) => {
            connection.permit = Some(permit);
            if let Some(stream) = connection.stream.connection() {
                keepalive::ask(stream, ways.local.view().settings().tcp_keepalive.as_ref());
            }
            match speaks_http2(ways, &connection) {
                false => Ok(connection),
                true => Box::pin(shared(ways, server, *connection, deadline)).await,
            }
        }
        Err(failed) => Err(failed),
    };
    (result, ways.worker.wheel.now().saturating_duration_since(began))
}

fn unconnected(error: ConnectError, too_slow: Cause) -> Unconnected {
    match error {
        ConnectError::TimedOut => too_slow.into(),
        ConnectError::Refused(error) if is_shortage(&error) => Cause::OutOfResources.into(),
        ConnectError::Refused(_) => Cause::ConnectFailed.into(),
        ConnectError::HandshakeTimedOut => Unconnected {
            cause: too_slow,
            tls_error: Some(ServerTlsError::timed_out().words),
        },
        ConnectError::Unsecured(words) => Unconnected {
            cause: Cause::TlsFailed,
            tls_error: Some(words),
        },
    }
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

/// Keeps a connection for the next request, unless its address is no longer the server's, or its place is wanted.
fn give_back(ways: &Ways<'_>, place: &Place<Pool>, mut connection: Box<ServerConnection>, now: Instant) {
    if connection.stream.opened().is_some() {
        // Its stream has ended; the connection is others' as well, and kept already.
        return;
    }
    let local_server = place.server();
    let moved = matches!(local_server.server.address(), ServerAddress::Name(..))
        && !local_server.server.addresses().contains(&connection.address);
    let view = ways.local.view();
    let is_one_too_many = ways
        .local
        .upstream()
        .connections()
        .to_close(view.settings().limits.max_connections)
        > 0;
    if !moved && !is_one_too_many {
        connection.reused = true;
        connection.timer.clear();
        if connection.stream.watch().is_err() {
            return connection.close();
        }
        // Its next user would have to let go of this task, whose memory is far away by then.
        connection.stream.forget();
        let limits = (&view.settings().keep_alive, &ways.worker.allowance);
        local_server.own.keep(connection, limits, now);
    } else {
        connection.close();
    }
}
