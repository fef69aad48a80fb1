//! How does a client connection live from its accept to its close?

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use isobar_l4::{Left, sources};
use isobar_net::stream::Stream;
use isobar_net::wheel::Timer;

use crate::address::AddressText;
use crate::carrier::Carrier;
use crate::exchange::{self, Exchange, Next};
use crate::http2::{self, Accepted as StreamOfClient};
use crate::proxied;
use crate::record;
use crate::secure::{self, SecuredClient};
use crate::worker::LocalSite;
use crate::{OpenConnections, Site, Worker};

/// How long, and how much, a connection that is to be closed may go on sending: closing with bytes unread makes the
/// kernel send a reset, which can destroy the answer before the client has read it (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

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

/// A client connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Carrier,
    /// The deadline of whatever the request direction waits for.
    pub(crate) timer: Timer,
    pub(crate) peer: SocketAddr,
    /// The peer's address as servers are told, written once for all requests.
    pub(crate) peer_text: AddressText,
    pub(crate) site: Rc<LocalSite>,
    /// What is known of it if it is secured.
    pub(crate) secured: Option<Rc<SecuredClient>>,
    pub(crate) number: u64,
    /// When the last exchange ended.
    pub(crate) idle_since: Instant,
    /// Whether the listener is gone, so that this exchange is the last.
    pub(crate) orphaned: bool,
    /// When it is old enough to end after what it is doing.
    leaves_at: Option<Instant>,
    /// Whether it has carried an exchange.
    served: bool,
    /// Whether it was told to come soon with its first request.
    hurried: bool,
    seat: usize,
}

/// How long a new connection may wait with its first request once no more are taken.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// A client connection in its worker, or one stream of it; uncounts itself whichever way it ends.
pub(crate) struct Session {
    worker: Rc<Worker>,
    client: Client,
    /// Where a connection is counted; none for a stream.
    open: Option<Arc<OpenConnections>>,
    /// What happened to it already.
    begun: Option<Box<Begun>>,
}

/// What happened to a connection that others looked at first.
struct Begun {
    /// What they read.
    first: Vec<u8>,
    entered: Option<Box<sources::Entered>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.worker.roster.leave(self.client.seat);
        if let Some(open) = &self.open {
            open.closed(self.worker.id);
        }
    }
}

/// Serves one client connection until it ends.
///
/// *Cost*: one allocation, of the future; what is in it is what an idle connection costs.
pub fn serve(worker: Rc<Worker>, accepted: Accepted) -> impl Future<Output = ()> {
    let mut session = Session::new(worker, accepted);
    async move { session.run().await }
}

/// Serves one client connection as [`serve`] does, of which others have read the beginning; see [`isobar_l4::divide`].
pub fn serve_left(worker: Rc<Worker>, site: Arc<Site>, left: Left) -> impl Future<Output = ()> {
    let Left {
        stream,
        peer,
        first,
        entered,
        began,
    } = left;
    let mut session = Session::new(worker, Accepted { stream, peer, site });
    session.client.idle_since = began;
    session.begun = Some(Box::new(Begun { first, entered }));
    async move { session.run().await }
}

impl Session {
    fn new(worker: Rc<Worker>, accepted: Accepted) -> Self {
        let world = worker.world();
        // A listener that is gone still answers those who came before.
        let newest = world.site(&accepted.site.listener.name);
        let orphaned = newest.is_none();
        let site = newest.map_or_else(|| Rc::new(LocalSite::orphan(&accepted.site, &world)), Rc::clone);
        let number = worker.connection_number();
        let client = Client {
            stream: Carrier::Connection(accepted.stream),
            timer: worker.wheel.timer(),
            peer: accepted.peer,
            peer_text: AddressText::of(accepted.peer.ip()),
            site,
            secured: None,
            number,
            idle_since: worker.wheel.now(),
            orphaned,
            leaves_at: leaves_at(&worker, &accepted.site, number),
            served: false,
            hurried: false,
            seat: worker.roster.enter(),
        };
        let open = Some(Arc::clone(&accepted.site.open));
        Self {
            worker,
            client,
            open,
            begun: None,
        }
    }

    /// One request of a connection that carries several.
    pub(crate) fn of_stream(worker: &Rc<Worker>, connection: &Client, stream: StreamOfClient) -> Self {
        let client = Client {
            stream: Carrier::Accepted(Box::new(stream)),
            timer: worker.wheel.timer(),
            peer: connection.peer,
            peer_text: connection.peer_text,
            site: Rc::clone(&connection.site),
            secured: connection.secured.clone(),
            number: connection.number,
            idle_since: worker.wheel.now(),
            orphaned: connection.orphaned,
            leaves_at: None,
            served: false,
            hurried: false,
            seat: worker.roster.enter(),
        };
        Self {
            worker: Rc::clone(worker),
            client,
            open: None,
            begun: None,
        }
    }

    /// Serves the one request of a stream. What it has not been answered by then it never will be.
    pub(crate) async fn run_stream(mut self) {
        let Self { worker, client, .. } = &mut self;
        if let Some(mut exchange) = client.first_bytes(worker).await {
            exchange::run(worker, client, &mut exchange).await;
            worker.recycle(exchange);
        }
    }

    async fn run(&mut self) {
        let Self {
            worker, client, begun, ..
        } = self;
        let (first, _entered) = match begun.take().map(|begun| *begun) {
            Some(Begun { first, entered }) => (first, entered),
            None => {
                if client.site.site.listener.proxy.is_some() && !Box::pin(proxied::introduce(client, worker)).await {
                    return;
                }
                let Ok(entered) = client.enter(worker) else { return };
                (Vec::new(), entered)
            }
        };
        if client.site.site.tls.is_some() {
            if !Box::pin(secure::handshake(client, worker, first)).await {
                return;
            }
        } else if !first.is_empty() {
            // A reload took TLS away since it was looked at: there is nobody left to understand it.
            return;
        }
        if client.secured.as_ref().is_some_and(|secured| secured.http2) {
            return Box::pin(http2::serve(worker, client, Vec::new())).await;
        }
        while let Some(mut exchange) = client.first_bytes(worker).await {
            if !client.served && http2::begins_with_preface(&exchange.inbound) && client.speaks_http2() {
                let came = std::mem::take(&mut exchange.inbound);
                worker.recycle(exchange);
                return Box::pin(http2::serve(worker, client, came)).await;
            }
            let next = loop {
                match exchange::run(worker, client, &mut exchange).await {
                    // Bytes of the next request are here already.
                    Next::KeepAlive if exchange.begin_next() => {}
                    next => break next,
                }
            };
            client.served = true;
            worker.recycle(exchange);
            match next {
                Next::KeepAlive => {}
                Next::Linger => return Box::pin(client.linger(worker)).await,
                Next::Close => return client.stream.say_goodbye(),
            }
        }
        if client.stream.owes() {
            Box::pin(client.settle(worker)).await;
        }
        client.stream.say_goodbye();
    }
}

impl Client {
    /// Counts the connection for its source; an error: it has been written down, and is to be closed.
    fn enter(&self, worker: &Worker) -> Result<Option<Box<sources::Entered>>, ()> {
        let site = &self.site.site;
        let entered = sources::enter(
            &site.open,
            &site.listener.limits.sources,
            self.peer.ip(),
            self.idle_since,
        );
        entered.map_err(|cause| record::end(worker, self, cause, None))
    }

    /// Waits for the first bytes of a request, holding no buffer. None: the connection is over.
    async fn first_bytes(&mut self, worker: &Worker) -> Option<Box<Exchange>> {
        self.timer.set(self.idle_since + self.site.site.listener.timeouts.idle);
        poll_fn(|cx| self.poll_first_bytes(cx, worker)).await
    }

    fn poll_first_bytes(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<Option<Box<Exchange>>> {
        let read = worker.scratch.with_input(|input| {
            self.stream.poll_read(cx, input).map(|read| match read {
                Ok(count) if count > 0 => {
                    let mut exchange = worker.exchange();
                    exchange.begin(input.get(..count).unwrap_or_default());
                    Some(exchange)
                }
                // The end, or an error: between exchanges both are an ordinary goodbye.
                _ => None,
            })
        });
        if read.is_ready() {
            return read;
        }
        worker.roster.note(self.seat, cx.waker());
        self.refresh(worker);
        if worker.is_cutting() {
            return Poll::Ready(None);
        }
        if !self.may_stay(worker) {
            if self.served {
                return Poll::Ready(None);
            }
            // It was accepted, so its first request is answered if it comes soon.
            if !std::mem::replace(&mut self.hurried, true) {
                self.timer.set(worker.wheel.now() + FIRST_REQUEST);
            }
        }
        self.timer.poll_expired(cx).map(|()| None)
    }

    /// Its seat in the worker's roster.
    pub(crate) fn seat(&self) -> usize {
        self.seat
    }

    /// Takes the newest rules of the listener.
    pub(crate) fn refresh(&mut self, worker: &Worker) {
        let world = worker.world();
        if self.site.generation == world.world.generation {
            return;
        }
        match world.site(&self.site.site.listener.name) {
            Some(site) => {
                // Whoever was let in by other rules comes in anew.
                let asked = |site: &LocalSite| site.site.listener.tls.as_ref().map(|tls| tls.clients.clone());
                self.orphaned |= asked(site) != asked(&self.site);
                self.site = Rc::clone(site);
            }
            None => self.orphaned = true,
        }
    }

    /// Whether the connection may carry another request, as far as this side is concerned.
    pub(crate) fn may_stay(&self, worker: &Worker) -> bool {
        let is_old = self.leaves_at.is_some_and(|at| worker.wheel.now() >= at);
        !worker.is_draining() && !self.orphaned && !is_old
    }

    /// When it is old enough to end after what it is doing.
    pub(crate) fn leaves_at(&self) -> Option<Instant> {
        self.leaves_at
    }

    fn speaks_http2(&self) -> bool {
        // Behind TLS a client says what it speaks in the handshake.
        self.site.site.listener.http2.is_some() && !self.stream.is_secured()
    }

    /// Waits until the client has taken what it was answered last, which had no room when it was sent.
    async fn settle(&mut self, worker: &Worker) {
        self.timer
            .set(worker.wheel.now() + self.site.site.listener.timeouts.write);
        poll_fn(|cx| match self.stream.poll_settled(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending if worker.is_cutting() => Poll::Ready(()),
            Poll::Pending => {
                worker.roster.note(self.seat, cx.waker());
                self.timer.poll_expired(cx)
            }
        })
        .await;
    }

    /// Says goodbye and waits until the client has heard it, within bounds.
    pub(crate) async fn linger(&mut self, worker: &Worker) {
        if self.stream.shutdown_write().is_err() {
            return;
        }
        // What comes is read to be thrown away, whatever it says.
        self.stream.unsecure();
        self.timer.set(worker.wheel.now() + LINGER);
        let mut left = LINGER_BYTES;
        poll_fn(|cx| {
            loop {
                let read = worker.scratch.with_input(|input| self.stream.poll_read(cx, input));
                match read {
                    Poll::Ready(Ok(count)) if count > 0 && count < left => left -= count,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll_expired(cx),
                }
            }
        })
        .await;
    }
}

/// When a connection is old enough: up to a tenth before its greatest age, by its number, so that not all leave together.
fn leaves_at(worker: &Worker, site: &Site, number: u64) -> Option<Instant> {
    let max = site.listener.timeouts.max_age?;
    // The upper bits of the product spread evenly over neighbouring numbers.
    let tenth = u32::try_from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54).unwrap_or(0);
    worker.wheel.now().checked_add(max - max / 10 * tenth / 1024)
}
