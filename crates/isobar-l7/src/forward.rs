//! Which servers is a request given to, until one answers?
//!
//! When it is sent once more is [`crate::again`]'s business, how it is sent [`crate::attempt`]'s.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use isobar_observe::Cause;
use isobar_plan::{Reports, Route};
use isobar_upstream::{Ask, Local, Place, Refusal, Ticket, Upstream, View, moment};

use crate::Worker;
use crate::again::{self, Failed, Why, may_repeat};
use crate::attempt::{Origin, attempt, deliver};
use crate::connection::Client;
use crate::exchange::{Exchange, Next};
use crate::flow::poll_watch;
use crate::hedge;
use crate::overload;
use crate::pool::Pool;
use crate::server::ServerConnection;
use crate::sticky;
use crate::worker::LocalSite;

/// Where a request goes, and by which rules.
pub(crate) struct Ways<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) site: &'a LocalSite,
    pub(crate) rules: &'a Route,
    pub(crate) local: &'a Local<Pool>,
    /// The request's key, where the upstream goes by keys.
    pub(crate) key: Option<u64>,
    /// What is read of answers, where the upstream goes by reports.
    pub(crate) reports: Option<Arc<Reports>>,
    /// When it must be answered, where the upstream's queue goes by that.
    pub(crate) deadline: Option<Instant>,
}

/// The server that answers, or the one that failed.
pub(crate) type Tried = Result<(Place<Pool>, Box<ServerConnection>), (Place<Pool>, Failed)>;

/// Sends the request to a server, to others when it fails, and passes the answer on.
pub(crate) async fn forward(ways: &Ways<'_>, client: &mut Client, exchange: &mut Exchange) -> Result<Next, Cause> {
    ways.local.upstream().stats(ways.worker.id).requests.increment();
    again::begin(ways, exchange);
    let mut failure = None;
    loop {
        let claimed = match claim(ways, exchange) {
            Err(Refusal::Full) => Box::pin(wait(ways, client, exchange)).await,
            Err(Refusal::NoneAvailable) => Err(Cause::NoServer),
            Ok(place) => Ok(place),
        };
        let place = match claimed {
            Ok(place) => place,
            Err(Cause::NoServer) => match failure {
                // All others were tried: what the last one did is the better answer.
                Some(Why::Cause(cause)) => return Err(cause),
                // Its answer is gone, and so are the other servers: it is asked again.
                Some(Why::Status(_)) if !exchange.tried.is_empty() => {
                    exchange.tried.clear();
                    continue;
                }
                Some(Why::Status(_)) | None => return Err(no_server(ways)),
            },
            Err(cause) => {
                overload::refused(ways, cause);
                return Err(cause);
            }
        };
        if ways.reports.is_some() {
            place.wants_reports(ways.worker.wheel.now(), &mut ways.worker.chance.borrow_mut());
        }
        sticky::claimed(ways, exchange, &place);
        let tried = match hedge::delay(ways, exchange) {
            None => attempt_twice(ways, client, exchange, place).await,
            Some(delay) => Box::pin(hedge::race(ways, client, exchange, place, delay)).await,
        };
        let (place, failed) = match tried {
            Ok((place, server)) => return deliver(ways, client, exchange, place, server).await,
            Err(failed) => failed,
        };
        overload::failed(ways, exchange, &place, &failed);
        again::tell(ways, exchange, &place, &failed);
        drop(place);
        if !again::is_tried_again(ways, exchange, &failed) {
            return Err(match failed.why {
                Why::Cause(cause) => cause,
                // An answer is only given up for another try.
                Why::Status(_) => Cause::Internal,
            });
        }
        failure = Some(failed.why);
        again::pause(ways, client, exchange).await?;
    }
}

/// Tries one server, on a new connection where a kept one turns out to be closed.
async fn attempt_twice(ways: &Ways<'_>, client: &mut Client, exchange: &mut Exchange, place: Place<Pool>) -> Tried {
    let mut tried = attempt(ways, client, exchange, &place, Origin::Pooled).await;
    if let Err(failed) = &tried
        && failed.is_idle_close()
        && may_repeat(ways, exchange, failed)
    {
        tried = Box::pin(attempt(ways, client, exchange, &place, Origin::Fresh)).await;
    }
    match tried {
        Ok(server) => Ok((place, server)),
        Err(failed) => Err((place, failed)),
    }
}

/// Counts a request for which there was no server from the start.
fn no_server(ways: &Ways<'_>) -> Cause {
    ways.local.upstream().stats(ways.worker.id).no_server.increment();
    Cause::NoServer
}

/// Claims a place at a server, unless others wait for one: they come first.
fn claim(ways: &Ways<'_>, exchange: &Exchange) -> Result<Place<Pool>, Refusal> {
    let upstream = ways.local.upstream();
    let others_wait = match exchange.session.owner() {
        None => upstream.has_queue(ways.priority()),
        Some(owner) => upstream.has_queue_for(owner, ways.priority()),
    };
    if others_wait {
        return Err(Refusal::Full);
    }
    let now = exchange.report.claims(ways.worker);
    let view = ways.local.view();
    let ask = ask(ways, &view, exchange, now);
    view.place(&ask, &mut ways.worker.chance.borrow_mut())
}

pub(crate) fn ask<'a>(ways: &Ways<'_>, view: &View<Pool>, exchange: &'a Exchange, now: Instant) -> Ask<'a> {
    Ask {
        avoid: &exchange.tried,
        key: ways.key,
        home: exchange.session.home(view),
        now: moment(now),
        priority: ways.priority(),
        deadline: ways.deadline.map(moment),
    }
}

/// Waits in the queue for a place at a server.
async fn wait(ways: &Ways<'_>, client: &mut Client, exchange: &mut Exchange) -> Result<Place<Pool>, Cause> {
    let Ways { worker, local, .. } = *ways;
    let stats = local.upstream().stats(worker.id);
    let began = worker.wheel.now();
    if overload::is_too_late(ways, began) {
        return Err(Cause::TooLate);
    }
    let joined = {
        let view = local.view();
        let ask = ask(ways, &view, exchange, began);
        Ticket::join(Arc::clone(local.upstream()), &view.settings().queue, &ask)
    };
    let Ok(mut ticket) = joined else {
        stats.queue_rejected.increment();
        return Err(overload::why_full(ways));
    };
    stats.queue_entered.increment();
    client.timer.set(overload::patience(ways, exchange, began));
    let result = poll_fn(|cx| poll_claim(cx, ways, client, exchange, &mut ticket)).await;
    let waited = worker.wheel.now().saturating_duration_since(began);
    stats.queue_wait.observe(waited);
    exchange.report.queued += waited;
    if matches!(result, Err(Cause::QueueTimeout)) {
        stats.queue_timeouts.increment();
    }
    overload::leave(ticket, &result);
    result
}

fn poll_claim(
    cx: &mut Context<'_>,
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    ticket: &mut Ticket<Arc<Upstream>>,
) -> Poll<Result<Place<Pool>, Cause>> {
    while let Poll::Ready(turn) = ticket.poll_turn(cx) {
        if turn.is_err() {
            return Poll::Ready(Err(Cause::Displaced));
        }
        let now = ways.worker.wheel.now();
        if overload::is_too_late(ways, now) {
            return Poll::Ready(Err(Cause::TooLate));
        }
        let view = ways.local.view();
        let ask = ask(ways, &view, exchange, now);
        match view.place(&ask, &mut ways.worker.chance.borrow_mut()) {
            Ok(place) => return Poll::Ready(Ok(place)),
            Err(Refusal::Full) => ticket.missed(),
            Err(Refusal::NoneAvailable) => return Poll::Ready(Err(Cause::NoServer)),
        }
    }
    if client.timer.poll_expired(cx).is_ready() {
        return Poll::Ready(Err(overload::expired(ways, exchange)));
    }
    // A request that waits is in no hurry to save a system call.
    if client.stream.watch().is_err() {
        return Poll::Ready(Err(Cause::OutOfResources));
    }
    poll_watch(cx, client, exchange).map(Err)
}
