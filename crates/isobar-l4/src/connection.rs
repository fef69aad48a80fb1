//! How does a connection live from its accept to its close?

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use isobar_net::stream::Stream;
use isobar_net::wheel::Timer;
use isobar_observe::Cause;

use crate::divided::{Left, Others, Unopened};
use crate::lull::Lull;
use crate::opening::{self, Opened};
use crate::record::{self, Report};
use crate::relay::{Broken, Moved, Relayed};
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
    pub(crate) others: Others,
    /// Its part of what its source may have; none: there is no limit.
    pub(crate) entered: Option<Box<Entered>>,
    /// The world whose rules it has seen.
    generation: u64,
}

/// A connection in its worker.
pub(crate) struct Session {
    // It goes first: who waits for a connection to be gone sees it gone once its socket is closed, or just before.
    counted: Counted,
    client: Client,
    /// The server that took it; none: it is not that far yet.
    opened: Option<Box<Opened>>,
}

/// Its place among the connections of its worker and of its listener; uncounts itself whichever way it ends.
struct Counted {
    worker: Rc<Worker>,
    seat: usize,
    /// None: it is somebody else's to uncount.
    open: Option<Arc<OpenConnections>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.worker.roster.leave(self.seat);
        if let Some(open) = &self.open {
            open.closed(self.worker.id);
        }
    }
}

/// Serves one connection until it ends.
///
/// *Cost*: one allocation, of the future; what is in it, and the two sockets, is what an idle connection costs.
pub fn serve(worker: Rc<Worker>, accepted: Accepted) -> impl Future<Output = ()> {
    let mut session = Session::new(worker, accepted, Others::Refused);
    async move {
        session.run().await;
    }
}

impl Session {
    pub(crate) fn new(worker: Rc<Worker>, accepted: Accepted, others: Others) -> Self {
        let world = worker.world();
        let client = Client {
            stream: accepted.stream,
            timer: worker.shared.wheel.timer(),
            peer: accepted.peer,
            site: world.site_or_orphan(&accepted.site),
            number: worker.connection_number(),
            seat: worker.roster.enter(),
            report: Report::begin(worker.shared.wheel.now()),
            others,
            entered: None,
            // It looks for its listener once at least.
            generation: 0,
        };
        let counted = Counted {
            worker,
            seat: client.seat,
            open: Some(Arc::clone(&accepted.site.open)),
        };
        Self {
            counted,
            client,
            opened: None,
        }
    }

    /// Lives until it is over; what was read, where it is somebody else's.
    pub(crate) async fn run(&mut self) -> Option<Vec<u8>> {
        // Boxed: what it takes to open a connection is given back before the connection waits for hours.
        let cause = match Box::pin(self.open()).await {
            Ok(()) => poll_fn(|cx| self.poll_carry(cx)).await,
            Err(Unopened::Over(cause)) => cause,
            Err(Unopened::Unknown) => return None,
            Err(Unopened::Left(first)) => return Some(first),
        };
        self.finish(cause);
        None
    }

    /// Finds a server that takes it.
    async fn open(&mut self) -> Result<(), Unopened> {
        let opened = opening::open(&self.counted.worker, &mut self.client).await?;
        self.client.timer.set(opened.due(&self.client).0);
        self.opened = Some(opened);
        Ok(())
    }

    /// Gives it away; from now on it is somebody else's to uncount.
    pub(crate) fn leave(mut self, first: Vec<u8>) -> Left {
        self.counted.open = None;
        let client = self.client;
        Left {
            stream: client.stream,
            peer: client.peer,
            first,
            entered: client.entered,
            began: client.report.began,
        }
    }

    /// A server has taken it: passes bytes both ways until that is over.
    fn poll_carry(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let (worker, client) = (&self.counted.worker, &mut self.client);
        let Some(opened) = &mut self.opened else {
            return Poll::Ready(Cause::Complete);
        };
        let Opened {
            relay,
            server,
            throttle,
            ..
        } = &mut **opened;
        let tools = worker.shared.tools();
        let had_ended = relay.has_ended_in_part();
        let relayed = match throttle.as_deref_mut() {
            None => relay.poll(cx, tools, &mut client.stream, server),
            Some(throttle) => {
                let side = &mut client.stream;
                let relayed = relay.poll(cx, tools, &mut Throttled { side, throttle }, server);
                match relayed {
                    // It is a limit that keeps them waiting, and no peer.
                    Relayed::Still if throttle.is_holding() => Relayed::Moved(Moved::BOTH),
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
            Relayed::Moved(moved) => {
                let now = worker.shared.wheel.now();
                if relay.bytes_down() > 0 {
                    client.report.first_byte.get_or_insert(now);
                }
                opened.lull.moved(moved, now);
                if opened.relay.has_ended_in_part() != had_ended {
                    client.timer.set(opened.ends_at(client));
                }
            }
            Relayed::Still => {}
        }
        if worker.is_cutting() {
            return Poll::Ready(Cause::Shutdown);
        }
        worker.roster.note(client.seat, cx.waker());
        opened.look_up(worker, client);
        let clocks = (&worker.shared.wheel, &client.timer);
        ready!(Lull::poll_over(cx, clocks, || opened.ends_at(client)));
        Poll::Ready(opened.expired(worker, client))
    }

    fn finish(&mut self, cause: Cause) {
        let (worker, client) = (&self.counted.worker, &mut self.client);
        if let Some(opened) = &self.opened {
            record::carried(worker, client, opened, cause);
        }
        record::finish(worker, client, cause);
    }
}

impl Opened {
    /// When it is over unless something moves, and why.
    fn due(&self, client: &Client) -> (Instant, Cause) {
        let rules = client.report.route.and_then(|route| client.site.site.rules(route));
        match rules {
            Some((route, _)) => self.lull.due(&self.relay, &route.timeouts.idle),
            // It has a route, or it would not have been opened.
            None => (client.report.began, Cause::Internal),
        }
    }

    /// The same, unless it has to leave before.
    fn ends_at(&self, client: &Client) -> Instant {
        let (due, _) = self.due(client);
        self.leaves_at.as_deref().map_or(due, |&at| at.min(due))
    }

    fn expired(&self, worker: &Worker, client: &mut Client) -> Cause {
        if self
            .leaves_at
            .as_deref()
            .is_some_and(|&at| at <= worker.shared.wheel.now())
        {
            return Cause::Drained;
        }
        let (_, cause) = self.due(client);
        if let Some(detail) = Lull::detail(&self.relay, cause) {
            client.report.explain(detail);
        }
        cause
    }

    /// Finds out whether its listener and its server are still there. Where one is not, its time to finish begins.
    fn look_up(&mut self, worker: &Worker, client: &mut Client) {
        if self.leaves_at.is_some() {
            return;
        }
        let mut is_gone = self.place.server().own.is_retired();
        if client.generation != worker.generation() {
            let world = worker.world();
            client.generation = world.world.generation;
            is_gone |= world.site(&client.site.site.listener.name).is_none();
        }
        if is_gone {
            let now = worker.shared.wheel.now();
            let leaves_at = now + worker.world().world.drain_timeout;
            self.leaves_at = Some(Box::new(leaves_at));
            client.timer.set(self.ends_at(client));
        }
    }
}
