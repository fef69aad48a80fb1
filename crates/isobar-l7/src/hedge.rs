//! How is a request given to a second server while the first still works on it?
//!
//! The first answer wins, and the other try is cancelled. Everything here is behind one allocation, which only requests of
//! routes that hedge make.
//!
//! Each further try has an exchange of its own, a twin, with a copy of the request. The try that goes on alone, because
//! its answer came or because the others failed, is moved into the exchange of the request.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use isobar_observe::{Cause, Fault};
use isobar_plan::{Hedge, HedgeAfter};
use isobar_upstream::Place;
use isobar_wire::{HeadLimits, Parsed};
use tokio::time::Sleep;

use crate::again::{self, Declines, Failed, Why};
use crate::attempt::{self, Connected, Origin};
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::flow::{Flow, poll_watch};
use crate::forward::{Tried, Ways, ask};
use crate::pool::Pool;
use crate::server::ServerConnection;
use crate::sharing;

/// How long the request waits for its server before another is asked too; none: it is not hedged.
pub(crate) fn delay(ways: &Ways<'_>, exchange: &Exchange) -> Option<Duration> {
    let Hedge { after, .. } = ways.rules.hedge.as_ref()?;
    // Other servers know nothing of a session.
    let has_session = ways.local.view().sessions().is_some();
    let may = again::is_repeatable(ways, exchange)
        && again::is_kept(ways, exchange)
        && !exchange.request.upgrade
        && !has_session;
    match after {
        _ if !may => None,
        HedgeAfter::Fixed(delay) => Some(*delay),
        // While too little is known, requests are watched and not hedged.
        HedgeAfter::Quantile(thousandths) => Some(
            ways.local
                .upstream()
                .first_bytes()
                .within(*thousandths)
                .unwrap_or(Duration::MAX),
        ),
    }
}

/// One server that works on the request.
struct Lane<'a> {
    place: Place<Pool>,
    way: Way<'a>,
}

/// How far a lane has come.
enum Way<'a> {
    Connecting(Pin<Box<dyn Future<Output = Connected> + 'a>>),
    Connected(Box<ServerConnection>),
    /// The connection was given away.
    Over,
}

/// A further lane, with its exchange.
struct Twin<'a> {
    lane: Lane<'a>,
    exchange: Box<Exchange>,
}

/// A request that is under way at one server or more.
struct Race<'a> {
    ways: &'a Ways<'a>,
    first: Lane<'a>,
    twins: Vec<Twin<'a>>,
    /// How many twins may yet be made.
    left: u32,
    delay: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    began: Instant,
    /// Whether the server that was asked first has failed or was overtaken.
    overtaken: bool,
}

/// Tries a server, and others as well when its answer takes longer than the delay.
pub(crate) async fn race(
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    place: Place<Pool>,
    delay: Duration,
) -> Tried {
    // Watched from the start: the lanes share the client's timer, which is then left to the uploads. Where the reactor has
    // no room, the client's end is found out later.
    let _ = client.stream.watch();
    let began = ways.worker.wheel.now();
    let way = Way::begin(ways, exchange, &place, Origin::Pooled);
    let mut race = Race {
        ways,
        first: Lane { place, way },
        twins: Vec::new(),
        left: ways.rules.hedge.map_or(0, |hedge| hedge.max),
        delay,
        timer: None,
        began,
        overtaken: false,
    };
    race.wind(began);
    let result = poll_fn(|cx| race.poll(cx, client, exchange)).await;
    race.end(exchange, result)
}

impl<'a> Way<'a> {
    /// Takes a connection, or begins to make one.
    fn begin(ways: &'a Ways<'a>, exchange: &mut Exchange, place: &Place<Pool>, origin: Origin) -> Self {
        attempt::begin(ways, exchange, place);
        if let Some(server) = attempt::kept(ways, exchange, place, origin) {
            exchange.report.sends(ways.worker);
            return Self::Connected(server);
        }
        let server = Rc::clone(place.server());
        let deadline = attempt::connect_deadline(ways, exchange);
        Self::Connecting(Box::pin(async move {
            // Others may wait for it.
            let _connecting = sharing::is_likely(ways, &server).then(|| server.own.sharing().connects());
            attempt::connect(ways, &server.server, None, deadline).await
        }))
    }
}

impl<'a> Lane<'a> {
    /// Moves the try on; ready when the answer has begun or the try has failed.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        ways: &'a Ways<'a>,
        client: &mut Client,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), Failed>> {
        loop {
            let result = match &mut self.way {
                Way::Connecting(connecting) => {
                    let Poll::Ready(connected) = connecting.as_mut().poll(cx) else {
                        // Nobody else would notice that the client left.
                        return poll_watch(cx, client, exchange).map(|cause| Err(Failed::unsent(cause)));
                    };
                    self.connected(ways, exchange, connected)
                }
                Way::Connected(server) => {
                    let mut flow = Flow {
                        ways,
                        client,
                        server,
                        exchange,
                    };
                    let result = ready!(flow.poll_answer(cx));
                    let Some(failed) = attempt::failure(ways, exchange, server, result) else {
                        return Poll::Ready(Ok(()));
                    };
                    self.failed(ways, exchange, failed)
                }
                Way::Over => return Poll::Pending,
            };
            if let Err(failed) = result {
                return Poll::Ready(Err(failed));
            }
        }
    }

    fn connected(&mut self, ways: &Ways<'_>, exchange: &mut Exchange, connected: Connected) -> Result<(), Failed> {
        self.way = Way::Over;
        let server = attempt::connected(ways, exchange, &self.place, connected)?;
        exchange.report.sends(ways.worker);
        self.way = Way::Connected(server);
        Ok(())
    }

    /// After a failure; it goes on, on a new connection, where a kept one turned out to be closed.
    fn failed(&mut self, ways: &'a Ways<'a>, exchange: &mut Exchange, failed: Failed) -> Result<(), Failed> {
        if let Way::Connected(server) = std::mem::replace(&mut self.way, Way::Over) {
            attempt::settle(ways, exchange, &self.place, server, &failed);
        }
        if !failed.is_idle_close() || !again::may_repeat(ways, exchange, &failed) {
            return Err(failed);
        }
        self.way = Way::begin(ways, exchange, &self.place, Origin::Fresh);
        Ok(())
    }
}

impl<'a> Race<'a> {
    /// Ready when one try has the answer, or none is left.
    fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client, exchange: &mut Exchange) -> Poll<Result<(), Failed>> {
        loop {
            match self.poll_lanes(cx, client, exchange) {
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending => {}
            }
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
            // A twin that was begun is to be polled; so is the timer that was wound up.
            self.hedge(exchange);
        }
    }

    fn poll_lanes(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), Failed>> {
        // Whoever has begun to write to the client goes on alone.
        let speaks = self.twins.iter().position(|twin| !twin.exchange.to_client.is_empty());
        while speaks.is_none() {
            exchange.again.declines = if self.twins.is_empty() {
                Declines::ByTheRules
            } else {
                Declines::EveryFailure
            };
            match self.first.poll(cx, self.ways, client, exchange) {
                Poll::Pending => break,
                Poll::Ready(Err(failed)) if self.goes_on_without(&failed) => {
                    self.lost(exchange, &failed);
                    let twin = self.twins.swap_remove(0);
                    self.promote(exchange, twin);
                }
                Poll::Ready(result) => return Poll::Ready(result),
            }
        }
        if !exchange.to_client.is_empty() {
            return Poll::Pending;
        }
        let mut index = 0;
        while let Some(twin) = self.twins.get_mut(index) {
            let may_speak = speaks.is_none_or(|speaks| speaks == index);
            let polled = match may_speak {
                true => twin.lane.poll(cx, self.ways, client, &mut twin.exchange),
                false => Poll::Pending,
            };
            match polled {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(())) => {
                    let twin = self.twins.swap_remove(index);
                    self.overtakes(exchange, twin);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(failed)) => {
                    let mut twin = self.twins.swap_remove(index);
                    if !is_of_the_server(&failed) {
                        self.promote(exchange, twin);
                        return Poll::Ready(Err(failed));
                    }
                    tell(self.ways, exchange, &mut twin, &failed);
                    if !twin.exchange.to_client.is_empty() {
                        std::mem::swap(&mut exchange.to_client, &mut twin.exchange.to_client);
                    }
                    self.ways.worker.recycle(twin.exchange);
                }
            }
        }
        Poll::Pending
    }

    /// Whether another try goes on when this one has failed.
    fn goes_on_without(&self, failed: &Failed) -> bool {
        !self.twins.is_empty() && is_of_the_server(failed)
    }

    /// The try in the exchange of the request failed, and others go on.
    fn lost(&mut self, exchange: &mut Exchange, failed: &Failed) {
        again::tell(self.ways, exchange, &self.first.place, failed);
        let server = Arc::clone(&self.first.place.server().server);
        exchange.tried.push(server);
        self.overtaken = true;
    }

    /// Makes a twin's try that of the request; *returns* what the request's was.
    fn promote(&mut self, exchange: &mut Exchange, twin: Twin<'a>) -> Lane<'a> {
        let Twin {
            lane,
            exchange: mut other,
        } = twin;
        std::mem::swap(exchange, &mut *other);
        std::mem::swap(&mut exchange.again, &mut other.again);
        std::mem::swap(&mut exchange.tried, &mut other.tried);
        std::mem::swap(&mut exchange.limited, &mut other.limited);
        exchange.report.counts_tries_of(&other.report);
        exchange.client_ahead |= other.client_ahead;
        if exchange.to_client.is_empty() {
            // What the client has been sent a part of, it is sent the rest of.
            std::mem::swap(&mut exchange.to_client, &mut other.to_client);
        }
        self.ways.worker.recycle(other);
        std::mem::replace(&mut self.first, lane)
    }

    /// A later server answered first.
    fn overtakes(&mut self, exchange: &mut Exchange, twin: Twin<'a>) {
        self.ways
            .local
            .upstream()
            .stats(self.ways.worker.id)
            .hedges_won
            .increment();
        let asked = exchange.report.asked();
        let loser = self.promote(exchange, twin);
        abandon(self.ways, &loser.place, asked);
        exchange.again.note(&loser.place.server().server, "hedge_lost");
        self.see();
        self.overtaken = true;
    }

    /// Gives the request to another server too, where there is one with room and the budget allows it.
    fn hedge(&mut self, exchange: &mut Exchange) {
        let ways = self.ways;
        if !again::is_kept(ways, exchange) || exchange.report.answer_begun {
            return;
        }
        if !exchange.head_sent || !exchange.is_upload_sent() {
            let connects = matches!(self.first.way, Way::Connecting(_));
            if !connects || !exchange.has_whole_request() {
                // The rest of the request comes first.
                return self.wind(ways.worker.wheel.now());
            }
        }
        let Some(place) = self.claim(exchange) else { return };
        if !again::is_paid(ways, exchange) {
            return;
        }
        let Some(mut other) = twin(ways, exchange) else { return };
        let way = Way::begin(ways, &mut other, &place, Origin::Pooled);
        exchange.report.counts_tries_of(&other.report);
        ways.local.upstream().stats(ways.worker.id).hedges.increment();
        self.twins.push(Twin {
            lane: Lane { place, way },
            exchange: other,
        });
        self.left -= 1;
        self.wind(ways.worker.wheel.now());
    }

    /// A place at a server that does not work on the request. One that others wait for is not taken.
    fn claim(&self, exchange: &mut Exchange) -> Option<Place<Pool>> {
        let ways = self.ways;
        if ways.local.upstream().has_queue(ways.priority()) {
            return None;
        }
        let before = exchange.tried.len();
        let twins = self.twins.iter().map(|twin| &twin.lane);
        for lane in twins.chain([&self.first]) {
            exchange.tried.push(Arc::clone(&lane.place.server().server));
        }
        let view = ways.local.view();
        let ask = ask(ways, exchange, ways.worker.wheel.now());
        let place = view.place(&ask, &mut ways.worker.chance.borrow_mut());
        exchange.tried.truncate(before);
        place.ok()
    }

    /// Winds up the timer, while there may be another twin.
    fn wind(&mut self, now: Instant) {
        let due = now.checked_add(self.delay).filter(|_| self.left > 0);
        self.timer = due.map(|due| Box::pin(tokio::time::sleep_until(due.into())));
    }

    /// Takes in how long the server that was asked first took, or how long it was waited for: that is past the delay, and
    /// so counts among the slow ones whatever it would have been.
    fn see(&self) {
        if self.overtaken {
            return;
        }
        if let Some(HedgeAfter::Quantile(thousandths)) = self.ways.rules.hedge.map(|hedge| hedge.after) {
            let took = self.ways.worker.wheel.now().saturating_duration_since(self.began);
            self.ways.local.upstream().first_bytes().see(took, thousandths);
        }
    }

    /// Cancels what has not answered: its connections close, and its places are given back.
    fn end(mut self, exchange: &mut Exchange, result: Result<(), Failed>) -> Tried {
        exchange.again.declines = Declines::ByTheRules;
        if result.is_ok() {
            self.see();
        }
        for twin in std::mem::take(&mut self.twins) {
            exchange.again.note(&twin.lane.place.server().server, "hedge_lost");
            if result.is_ok() {
                abandon(self.ways, &twin.lane.place, twin.exchange.report.asked());
            }
            self.ways.worker.recycle(twin.exchange);
        }
        let Lane { place, way } = self.first;
        match (result, way) {
            (Ok(()), Way::Connected(server)) => Ok((place, server)),
            (Err(failed), _) => Err((place, failed)),
            // An answer that has begun came by a connection.
            (Ok(()), Way::Connecting(_) | Way::Over) => Err((
                place,
                Failed {
                    why: Why::Cause(Cause::Internal),
                    unsent: false,
                    reused: false,
                },
            )),
        }
    }
}

/// A try is cancelled because another one was faster: that its server took so long is known, not how much longer.
fn abandon(ways: &Ways<'_>, place: &Place<Pool>, asked: Option<Instant>) {
    if let Some(asked) = asked {
        let now = ways.worker.wheel.now();
        place.abandoned(now, now.saturating_duration_since(asked));
    }
}

/// Whether it was the server that failed, so that another may do better.
fn is_of_the_server(failed: &Failed) -> bool {
    match failed.why {
        Why::Status(_) | Why::Call(_) => true,
        Why::Cause(cause) => cause.fault() == Fault::Server && cause != Cause::DeadlineExceeded,
    }
}

/// Tells of a twin that failed while others go on.
fn tell(ways: &Ways<'_>, exchange: &mut Exchange, twin: &mut Twin<'_>, failed: &Failed) {
    // What is written down of the tries is written in one place.
    std::mem::swap(&mut exchange.again.log, &mut twin.exchange.again.log);
    again::tell(ways, &mut twin.exchange, &twin.lane.place, failed);
    exchange.report.learns_of(&twin.exchange.report);
    std::mem::swap(&mut exchange.again.log, &mut twin.exchange.again.log);
    exchange.tried.push(Arc::clone(&twin.lane.place.server().server));
}

/// A copy of the request for another try at the same time.
fn twin(ways: &Ways<'_>, exchange: &Exchange) -> Option<Box<Exchange>> {
    let mut twin = ways.worker.exchange();
    twin.inbound.extend_from_slice(&exchange.inbound);
    twin.target.extend_from_slice(&exchange.target);
    let limits = HeadLimits {
        max_bytes: usize::from(u16::MAX),
        max_fields: ways.site.site.listener.limits.max_headers.into(),
    };
    let parsed = twin.request.parse(&twin.inbound, limits);
    if !matches!(parsed, Ok(Parsed::Complete)) {
        // What was understood once is understood again.
        return None;
    }
    twin.consumed = twin.request.len;
    twin.head_read = true;
    twin.replayable = true;
    twin.again = exchange.again.twin();
    twin.report = exchange.report.twin();
    Some(twin)
}
