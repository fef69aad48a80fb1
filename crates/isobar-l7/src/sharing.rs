//! Which connections to a server carry several requests at once, and who waits for one that is being made?
//!
//! One for each worker and server, so that none is locked.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use isobar_observe::Cause;
use isobar_plan::{HttpVersion, KeepAlive};
use isobar_upstream::LocalServer;
use tokio::sync::Notify;

use crate::ServerTls;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::flow::poll_watch;
use crate::forward::Ways;
use crate::http2::{Opened, Shared};
use crate::pool::Pool;
use crate::server::ServerConnection;

/// How many requests a connection is taken to carry before the server has said so.
const USUAL_ROOM: usize = 100;

/// The connections of one worker to one server that carry several requests at once.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    /// Idle or not.
    connections: RefCell<Vec<Rc<Shared>>>,
    /// How many more are being made.
    connecting: Cell<usize>,
    /// How many requests wait for one of those.
    waiting: Cell<usize>,
    /// How many requests the last one made has room for; none: there was none.
    room: Cell<Option<usize>>,
    /// Whether the server, asked which version it speaks, chose one that does not share.
    declined: Cell<bool>,
    made: Notify,
}

/// Whether a connection is looked at before a request is given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caution {
    /// It is taken as it is: the request can be sent again.
    None,
    /// One that was idle must not have been closed.
    Looks,
}

/// A connection that is being made to be shared.
#[derive(Debug)]
pub(crate) struct Connecting<'a>(&'a Sharing);

/// A request that waits for one.
struct Waiting<'a>(&'a Sharing);

impl Sharing {
    /// A stream of a connection that is secured as `tls` has it, where one has room.
    ///
    /// *Cost*: a system call with [`Caution::Looks`], where the connection was idle.
    pub(crate) fn stream(&self, tls: Option<&ServerTls>, caution: Caution) -> Option<Opened> {
        let connections = self.connections.borrow();
        let mut usable = connections.iter().filter(|shared| {
            shared.is_secured_by(tls) && (caution == Caution::None || !shared.is_idle() || shared.is_silent())
        });
        usable.find_map(Shared::open)
    }

    /// Keeps a connection, for all who come.
    pub(crate) fn keep(&self, connection: Rc<Shared>) {
        self.declined.set(false);
        self.room.set(Some(connection.room()));
        self.connections.borrow_mut().push(connection);
    }

    /// The server chose a version that does not share.
    pub(crate) fn decline(&self) {
        self.declined.set(true);
    }

    /// Takes note of a connection that is being made, for as long as what is returned is kept.
    pub(crate) fn connects(&self) -> Connecting<'_> {
        self.connecting.set(self.connecting.get() + 1);
        Connecting(self)
    }

    /// Takes note of one more request that waits for those being made; none: they will have no room for it.
    fn waits(&self) -> Option<Waiting<'_>> {
        // Each will carry the request that makes it.
        let room = self.room.get().unwrap_or(USUAL_ROOM).saturating_sub(1);
        let has_room = self.waiting.get() < self.connecting.get().saturating_mul(room);
        has_room.then(|| {
            self.waiting.set(self.waiting.get() + 1);
            Waiting(self)
        })
    }

    /// Lets go of what was idle too long, of more that is idle than may be, of what takes no more requests and of what leads to an
    /// address that is no longer the server's.
    pub(crate) fn sweep(&self, limits: &KeepAlive, now: Instant, is_current: impl Fn(SocketAddr) -> bool) {
        let mut idle = 0;
        let over = |shared: &mut Rc<Shared>| {
            let since = shared.idle_since(now);
            idle += usize::from(since.is_some());
            let is_too_old = since.is_some_and(|since| now.saturating_duration_since(since) >= limits.idle_timeout);
            let is_one_too_many = since.is_some() && idle > limits.max_idle as usize;
            !shared.is_open() || is_too_old || is_one_too_many || !is_current(shared.address())
        };
        // What is dropped tells others that there is room, who must find these free.
        let over: Vec<_> = self.connections.borrow_mut().extract_if(.., over).collect();
        drop(over);
    }

    /// Closes connections that carry nothing, as many as are wanted; how many that were.
    pub(crate) fn close_idle(&self, wanted: usize) -> usize {
        let mut left = wanted;
        let closes = |shared: &mut Rc<Shared>| {
            let closes = left > 0 && shared.is_idle();
            left -= usize::from(closes);
            closes
        };
        let closed: Vec<_> = self.connections.borrow_mut().extract_if(.., closes).collect();
        closed.len()
    }

    /// Lets go of all.
    pub(crate) fn clear(&self) {
        drop(self.connections.take());
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(self.0.connecting.get() - 1);
        self.0.made.notify_waiters();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// Whether a connection that is made will be shared, as far as is known.
pub(crate) fn is_likely(ways: &Ways<'_>, server: &LocalServer<Pool>) -> bool {
    match ways.local.view().settings().http_version {
        HttpVersion::Http1 => false,
        HttpVersion::Http2 => true,
        HttpVersion::Auto => !server.own.sharing().declined.get(),
    }
}

/// Waits for a connection that is being made, where it will have room; none: one has to be made, or those that are made turn out not to be
/// shared.
pub(crate) async fn wait(
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    server: &LocalServer<Pool>,
    deadline: Instant,
) -> Result<Option<Box<ServerConnection>>, Cause> {
    let sharing = server.own.sharing();
    let timer = ways.worker.wheel.timer();
    timer.set(deadline);
    while is_likely(ways, server)
        && let Some(waiting) = sharing.waits()
    {
        if client.stream.watch().is_err() {
            return Err(Cause::OutOfResources);
        }
        {
            let mut made = pin!(sharing.made.notified());
            poll_fn(|cx| {
                if made.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                if timer.poll_expired(cx).is_ready() {
                    return Poll::Ready(Err(Cause::ConnectTimeout));
                }
                poll_watch(cx, client, exchange).map(Err)
            })
            .await?;
        }
        drop(waiting);
        if let Some(server) = server.own.stream(ways.worker, ways.tls, Caution::None) {
            return Ok(Some(server));
        }
    }
    Ok(None)
}
