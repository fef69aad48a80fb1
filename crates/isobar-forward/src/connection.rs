//! How does a client's connection live from its accept to its close?

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use isobar_l4::throttle::{self, Subject, Throttle, Throttled, UsedUp};
use isobar_l4::{OpenConnections, sources};
use isobar_net::stream::{Peeked, Stream};
use isobar_net::wheel::Timer;
use isobar_observe::Cause;
use isobar_plan::Speaks;

use crate::outgoing::Outgoing;
use crate::record::{self, Report};
use crate::tunnel::Tunnel;
use crate::users::{self, Claim, Login, Seat};
use crate::{Site, Worker, exchange, http, socks};

/// The version that clients of SOCKS 5 begin with; no method of HTTP does.
const SOCKS5: u8 = 5;

/// How long, and how much, a connection that is to be closed may go on sending: closing with bytes unread makes the kernel send a
/// reset, which can destroy the answer before the client has read it (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// How long a new connection may wait with its first request once no more are taken.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

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
    pub(crate) site: Arc<Site>,
    pub(crate) number: u64,
    pub(crate) seat: usize,
    pub(crate) report: Report,
    /// Its part of what its user may have.
    place: Option<Seat>,
    /// The index of its worker.
    worker: usize,
    /// The rates that its bytes share; none: they are nobody else's business.
    pub(crate) throttle: Option<Box<Throttle>>,
    /// Whether the listener is gone, so that this request is the last.
    orphaned: bool,
    /// Whether it has sent more than it was asked for, so that its end cannot be seen.
    is_ahead: bool,
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
/// *Cost*: one allocation, of the future; what is in it, and the two sockets, is what an idle tunnel costs.
pub fn serve(worker: Rc<Worker>, accepted: Accepted) -> impl Future<Output = ()> {
    let mut session = Session::new(worker, accepted);
    async move { session.run().await }
}

impl Session {
    fn new(worker: Rc<Worker>, accepted: Accepted) -> Self {
        let newest = worker.world().site(&accepted.site.listener.name).map(Arc::clone);
        let open = Arc::clone(&accepted.site.open);
        let client = Client {
            stream: accepted.stream,
            timer: worker.shared.wheel.timer(),
            peer: accepted.peer,
            orphaned: newest.is_none(),
            // A listener that is gone still serves those who came before.
            site: newest.unwrap_or(accepted.site),
            number: worker.connection_number(),
            seat: worker.roster.enter(),
            report: Report::begin(worker.shared.wheel.now()),
            place: None,
            worker: worker.id,
            throttle: None,
            is_ahead: false,
        };
        Self { worker, client, open }
    }

    async fn run(&mut self) {
        let Self { worker, client, open } = self;
        let limits = &client.site.listener.limits.sources;
        let entered = sources::enter(open, limits, client.peer.ip(), worker.shared.wheel.now());
        let _entered = match entered {
            Ok(entered) => entered,
            Err(cause) => return record::finish(worker, client, cause),
        };
        // Boxed: what it takes to open a tunnel is given back before the tunnel waits for hours.
        if let Some(mut tunnel) = Box::pin(begin(worker, client)).await {
            let cause = tunnel.carry(worker, client).await;
            record::finish(worker, client, cause);
        }
    }
}

/// Serves requests until there is a tunnel; none: the connection is over.
async fn begin(worker: &Worker, client: &mut Client) -> Option<Box<Tunnel>> {
    let idle = client.site.listener.timeouts.idle;
    let came = client.bytes(worker, idle).await?;
    let is_socks = came.first() == Some(&SOCKS5);
    match (client.site.listener.speaks, is_socks) {
        (Speaks::Socks5, false) => {
            let cause = client
                .report
                .explain("the client does not speak SOCKS 5", Cause::SocksMalformed);
            record::finish(worker, client, cause);
            None
        }
        (Speaks::Both | Speaks::Socks5, true) => socks::run(worker, client, came).await,
        (Speaks::Both | Speaks::Http, _) => http::run(worker, client, came).await,
    }
}

impl Client {
    /// Waits for bytes between two requests, holding no buffer. None: the connection is over.
    pub(crate) async fn bytes(&mut self, worker: &Worker, patience: Duration) -> Option<Vec<u8>> {
        self.timer.set(worker.shared.wheel.now() + patience);
        let is_first = self.report.protocol.is_empty();
        let mut is_hurried = false;
        poll_fn(|cx| {
            if let Poll::Ready(read) = self.poll_read(cx, worker) {
                return Poll::Ready(read.filter(|bytes| !bytes.is_empty()));
            }
            worker.roster.note(self.seat, cx.waker());
            self.refresh(worker);
            if worker.is_cutting() {
                return Poll::Ready(None);
            }
            if !self.may_stay(worker) {
                if !is_first {
                    return Poll::Ready(None);
                }
                // It was accepted, so its first request is answered if it comes soon.
                if !std::mem::replace(&mut is_hurried, true) {
                    self.timer.set(worker.shared.wheel.now() + FIRST_REQUEST);
                }
            }
            self.timer.poll_expired(cx).map(|()| None)
        })
        .await
    }

    /// Reads what is there; empty: the end, none: it broke.
    fn poll_read(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<Option<Vec<u8>>> {
        worker.shared.scratch.with_input(|input| {
            self.stream.poll_read(cx, input).map(|read| match read {
                Ok(count) => Some(input.get(..count).unwrap_or_default().to_vec()),
                Err(_) => None,
            })
        })
    }

    /// Waits for more bytes behind those there are, until the timer expires.
    pub(crate) async fn more(&mut self, worker: &Worker, into: &mut Vec<u8>, late: Cause) -> Result<(), Cause> {
        poll_fn(|cx| {
            if let Poll::Ready(read) = self.poll_read(cx, worker) {
                return Poll::Ready(match read {
                    Some(bytes) if !bytes.is_empty() => {
                        into.extend_from_slice(&bytes);
                        Ok(())
                    }
                    _ => Err(Cause::ClientClosed),
                });
            }
            self.poll_end(cx, worker, late).map(Err)
        })
        .await
    }

    /// Sends these bytes.
    pub(crate) async fn send(&mut self, worker: &Worker, bytes: &[u8]) -> Result<(), Cause> {
        let mut outgoing = Outgoing::default();
        outgoing.end().extend_from_slice(bytes);
        self.timer
            .set(worker.shared.wheel.now() + self.site.listener.timeouts.write);
        poll_fn(|cx| match outgoing.poll_flush(cx, &mut self.stream) {
            Poll::Ready(sent) => Poll::Ready(sent.map_err(|_| Cause::ClientClosed)),
            Poll::Pending => self.poll_end(cx, worker, Cause::ClientWriteTimeout).map(Err),
        })
        .await
    }

    /// Waits for `work` until the timer expires, as long as the client is there.
    pub(crate) async fn during<T>(
        &mut self,
        worker: &Worker,
        late: Cause,
        work: impl Future<Output = T>,
    ) -> Result<T, Cause> {
        if self.stream.watch().is_err() {
            return Err(Cause::OutOfResources);
        }
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Cause::ClientClosed));
            }
            self.poll_end(cx, worker, late).map(Err)
        })
        .await
    }

    /// Ready, with the cause, when what is waited for has taken too long, or nothing is waited for any more.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>, worker: &Worker, late: Cause) -> Poll<Cause> {
        if worker.is_cutting() {
            return Poll::Ready(Cause::Shutdown);
        }
        worker.roster.note(self.seat, cx.waker());
        self.timer.poll_expired(cx).map(|()| late)
    }

    /// Ready when the client has left. One that sent more first may have closed its sending side only.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_ahead && self.stream.poll_event(cx).is_ready() {
            match self.stream.peek(cx) {
                Peeked::Nothing => {}
                Peeked::Data => self.is_ahead = true,
                Peeked::End | Peeked::Broken => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// From here on what it sends is read again.
    pub(crate) fn catches_up(&mut self) {
        self.is_ahead = false;
    }

    /// Takes the newest rules of the listener.
    pub(crate) fn refresh(&mut self, worker: &Worker) {
        match worker.world().site(&self.site.listener.name) {
            Some(site) => self.site = Arc::clone(site),
            None => self.orphaned = true,
        }
    }

    /// Whether the connection may carry another request, as far as this side is concerned.
    pub(crate) fn may_stay(&self, worker: &Worker) -> bool {
        !worker.is_draining() && !self.orphaned
    }

    /// Finds out who the client is, where somebody has to be somebody.
    pub(crate) async fn login(&mut self, worker: &Worker, claim: Option<Claim>) -> Result<(), Cause> {
        let Some(users) = &self.site.listener.users else {
            return Ok(());
        };
        let list = Arc::clone(&users.list);
        let Some(claim) = claim else {
            return Err(self
                .report
                .explain("the client did not say who it is", Cause::ProxyAuthentication));
        };
        let background = Arc::clone(&worker.background);
        let checked = Arc::clone(&self.site.standing.users).login(list, claim, background);
        self.timer
            .set(worker.shared.wheel.now() + self.site.listener.timeouts.handshake);
        match self.during(worker, Cause::OutOfResources, checked).await? {
            Login::Is(name) => {
                self.report.user = Some(name);
                Ok(())
            }
            Login::Wrong => Err(self
                .report
                .explain("the user name or the password is wrong", Cause::ProxyAuthentication)),
            Login::Busy => Err(self
                .report
                .explain("too many passwords are being compared", Cause::OutOfResources)),
        }
    }

    /// Takes what one request takes of what its user may have.
    pub(crate) fn count(&mut self, worker: &Worker) -> Result<(), Cause> {
        let limits = self.site.listener.per_user;
        let users = &self.site.standing.users;
        let name = match &self.report.user {
            Some(user) => user.to_string(),
            None => users::name_of(self.peer.ip()),
        };
        if limits.max_connections.is_some() && self.place.as_ref().is_none_or(|place| *place.name != *name) {
            self.place = None;
            self.place = users.sit(&name, limits.max_connections);
            if self.place.is_none() {
                return Err(self.report.explain("too many connections", Cause::ForwardUserLimit));
            }
        }
        match limits.requests {
            Some(rate) if !users.may_ask(&name, rate, worker.shared.wheel.now()) => {
                return Err(self.report.explain("too many requests", Cause::ForwardUserLimit));
            }
            _ => {}
        }
        self.throttle()
    }

    /// Reads behind what there is, as fast as it may; ready, and false: that was the end.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>, worker: &Worker, into: &mut Vec<u8>) -> Poll<bool> {
        let side = &mut self.stream;
        match self.throttle.as_deref_mut() {
            None => exchange::read(cx, worker, side, into),
            Some(throttle) => exchange::read(cx, worker, &mut Throttled { side, throttle }, into),
        }
    }

    /// Sends what is on its way, as fast as that may go; ready when all of it is taken.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, out: &mut Outgoing) -> Poll<io::Result<()>> {
        let stream = &mut self.stream;
        match self.throttle.as_deref_mut() {
            None => out.poll_flush(cx, stream),
            Some(throttle) => out.poll_flush_by(cx, |cx, bytes| {
                throttle.poll_write(cx, bytes, |cx, part| stream.poll_write(cx, part))
            }),
        }
    }

    /// Whether bytes wait for the sake of a limit, so that nobody is late.
    pub(crate) fn is_held(&mut self) -> bool {
        let Some(throttle) = &self.throttle else { return false };
        self.report.throttled = throttle.waited();
        throttle.is_holding()
    }

    /// Finds the rates that its bytes share from here on.
    fn throttle(&mut self) -> Result<(), Cause> {
        if self.site.metering.is_empty() {
            return Ok(());
        }
        let subject = Subject {
            source: self.peer.ip(),
            tls_name: None,
            user: self.report.user.as_deref(),
            listener: &self.site.listener.name,
            route: "",
        };
        let throttle = throttle::of(&self.site.metering, &subject, self.worker);
        self.throttle = throttle.map_err(|UsedUp { cause, limit, .. }| {
            self.report.limit = Some(limit);
            cause
        })?;
        Ok(())
    }

    /// Says goodbye and waits until the client has heard it, within bounds.
    pub(crate) async fn linger(&mut self, worker: &Worker) {
        if self.stream.shutdown_write().is_err() {
            return;
        }
        self.timer.set(worker.shared.wheel.now() + LINGER);
        let mut left = LINGER_BYTES;
        poll_fn(|cx| {
            loop {
                let read = worker
                    .shared
                    .scratch
                    .with_input(|input| self.stream.poll_read(cx, input));
                match read {
                    Poll::Ready(Ok(count)) if count > 0 && count < left => left -= count,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending if worker.is_cutting() => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll_expired(cx),
                }
            }
        })
        .await;
    }
}
