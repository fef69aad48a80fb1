//! How does a connection live from its accept to its close?

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use isobar_net::stream::Stream;
use isobar_net::wheel::Timer;
use isobar_observe::Cause;

use crate::opening::{self, Opened};
use crate::record::{self, Report};
use crate::relay::{Broken, Relayed};
use crate::sources::Entered;
use crate::throttle::Throttled;
use crate::worker::LocalSite;
use crate::{OpenConnections, Site, Worker};

/// A connection that was accepted, and counted in its listener's [`OpenConnections`].
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: Stream,
    /// Whose it is.
    pub peer: SocketAddr,
    /// The listener it came in at.
    pub site: Arc<Site>,
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    /// The deadline of whatever is waited for.
    pub(crate) timer: Timer,
    pub(crate) peer: SocketAddr,
    pub(crate) site: Rc<LocalSite>,
    pub(crate) number: u64,
    pub(crate) seat: usize,
    pub(crate) report: Report,
    /// Its part of what its source may have; none: there is no limit.
    pub(crate) entered: Option<Box<Entered>>,
    /// The world whose rules it has seen.
    generation: u64,
    /// When it ends because its listener or its server is gone; none: both are there.
    leaves_at: Option<Instant>,
}

/// A connection in its worker; uncounts itself whichever way it ends.
struct Session {
    worker: Rc<Worker>,
    client: Client,
    open: Arc<OpenConnections>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.worker.roster.leave(self.client.seat);
        self.open.closed(self.worker.id);
    }
}

/// Serves one connection until it ends.
///
/// *Cost*: one allocation, of the future; what is in it, and the two sockets, is what an idle connection costs.
pub fn serve(worker: Rc<Worker>, accepted: Accepted) -> impl Future<Output = ()> {
    let mut session = Session::new(worker, accepted);
    async move { session.run().await }
}

impl Session {
    fn new(worker: Rc<Worker>, accepted: Accepted) -> Self {
        let world = worker.world();
        let client = Client {
            stream: accepted.stream,
            timer: worker.shared.wheel.timer(),
            peer: accepted.peer,
            site: world.site_or_orphan(&accepted.site),
            number: worker.connection_number(),
            seat: worker.roster.enter(),
            report: Report::begin(worker.shared.wheel.now()),
            entered: None,
            // It looks for its listener once at least.
            generation: 0,
            leaves_at: None,
        };
        let open = Arc::clone(&accepted.site.open);
        Self { worker, client, open }
    }

    async fn run(&mut self) {
        let Self { worker, client, .. } = self;
        // Boxed: what it takes to open a connection is given back before the connection waits for hours.
        let cause = match Box::pin(opening::open(worker, client)).await {
            Ok(mut opened) => {
                let cause = opened.carry(worker, client).await;
                record::carried(worker, client, &opened, cause);
                cause
            }
            Err(cause) => cause,
        };
        record::finish(worker, client, cause);
    }
}

impl Opened {
    /// Passes bytes both ways until that is over.
    async fn carry(&mut self, worker: &Worker, client: &mut Client) -> Cause {
        let idle = self.idle;
        client.timer.set(worker.shared.wheel.now() + idle);
        poll_fn(|cx| self.poll_carry(cx, worker, client, idle)).await
    }

    fn poll_carry(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        client: &mut Client,
        idle: Duration,
    ) -> Poll<Cause> {
        let Self {
            relay,
            server,
            throttle,
            ..
        } = self;
        let tools = worker.shared.tools();
        let relayed = match throttle.as_deref_mut() {
            None => relay.poll(cx, tools, &mut client.stream, server),
            Some(throttle) => {
                let side = &mut client.stream;
                let relayed = relay.poll(cx, tools, &mut Throttled { side, throttle }, server);
                match relayed {
                    // It is a limit that keeps them waiting, and no peer.
                    Relayed::Still if throttle.is_holding() => Relayed::Moved,
                    relayed => relayed,
                }
            }
        };
        match relayed {
            Relayed::Over => {
                return Poll::Ready(match relay.broken() {
                    Some(Broken::Client) => Cause::ClientClosed,
                    Some(Broken::Server) => Cause::ServerAborted,
                    None => Cause::Complete,
                });
            }
            Relayed::Moved => {
                let now = worker.shared.wheel.now();
                if relay.bytes_down() > 0 {
                    client.report.first_byte.get_or_insert(now);
                }
                let idle_at = now + idle;
                client.timer.set(client.leaves_at.map_or(idle_at, |at| at.min(idle_at)));
            }
            Relayed::Still => {}
        }
        if worker.is_cutting() {
            return Poll::Ready(Cause::Shutdown);
        }
        worker.roster.note(client.seat, cx.waker());
        client.look_up(worker, self);
        client.timer.poll_expired(cx).map(|()| client.expired(worker))
    }
}

impl Client {
    /// Finds out whether its listener and its server are still there. Where one is not, its time to finish begins.
    fn look_up(&mut self, worker: &Worker, opened: &Opened) {
        if self.leaves_at.is_some() {
            return;
        }
        let mut is_gone = opened.place.server().own.is_retired();
        if self.generation != worker.generation() {
            let world = worker.world();
            self.generation = world.world.generation;
            is_gone |= world.site(&self.site.site.listener.name).is_none();
        }
        if is_gone {
            let now = worker.shared.wheel.now();
            let leaves_at = now + worker.world().world.drain_timeout;
            self.leaves_at = Some(leaves_at);
            self.timer.set(leaves_at.min(now + opened.idle));
        }
    }

    fn expired(&self, worker: &Worker) -> Cause {
        match self.leaves_at {
            Some(at) if at <= worker.shared.wheel.now() => Cause::Drained,
            _ => Cause::IdleTimeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the future of an idle connection is there once for each of very many.
    #[test]
    fn an_idle_connection_is_small() {
        fn of<F: Future>(_: impl Fn(Rc<Worker>, Accepted) -> F) -> usize {
            size_of::<F>() + size_of::<Opened>()
        }
        let bytes = of(serve);
        assert!(bytes <= 768, "{bytes}");
    }
}
