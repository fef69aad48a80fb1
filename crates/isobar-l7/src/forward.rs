//! Which servers is a request given to, until one answers?
//!
//! It knows when a request may be sent once more; how it is sent is [`crate::attempt`]'s business.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use isobar_balance::Outcome;
use isobar_observe::{Cause, Fault, RetrySafe};
use isobar_plan::Route;
use isobar_upstream::{Ask, Local, Place, Refusal, Ticket, Upstream, View, moment};

use crate::Worker;
use crate::attempt::{Failed, Origin, attempt, deliver};
use crate::connection::Client;
use crate::exchange::{Exchange, Next};
use crate::flow::poll_watch;
use crate::pool::Pool;
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
}

/// Sends the request to a server, to others when it fails, and passes the answer on.
pub(crate) async fn forward(ways: &Ways<'_>, client: &mut Client, exchange: &mut Exchange) -> Result<Next, Cause> {
    let mut failure = None;
    loop {
        let claimed = match claim(ways, exchange) {
            Err(Refusal::Full) => Box::pin(wait(ways, client, exchange)).await,
            Err(Refusal::NoneAvailable) => Err(Cause::NoServer),
            Ok(place) => Ok(place),
        };
        let place = match claimed {
            Ok(place) => place,
            // All others were tried: what the last one did is the better answer.
            Err(Cause::NoServer) => return Err(failure.unwrap_or_else(|| no_server(ways))),
            Err(cause) => return Err(cause),
        };
        sticky::claimed(ways, exchange, &place);
        if let Some(failed) = exchange.tried.last() {
            failed.stats(ways.worker.id).retries.increment();
        }
        let mut tried = attempt(ways, client, exchange, &place, Origin::Pooled).await;
        // The server closed an idle connection just as it was used again: that is no failure of the server's.
        if let Err(failed) = &tried
            && failed.reused
            && failed.cause == Cause::ServerClosed
            && may_repeat(exchange, failed)
        {
            tried = Box::pin(attempt(ways, client, exchange, &place, Origin::Fresh)).await;
        }
        let failed = match tried {
            Ok(server) => return deliver(ways, client, exchange, place, server).await,
            Err(failed) => failed,
        };
        let server = &place.server().server;
        server.stats(ways.worker.id).failures.count(failed.cause);
        let idle_close = failed.reused && failed.cause == Cause::ServerClosed;
        if failed.cause.fault() == Fault::Server && !idle_close {
            let now = ways.worker.wheel.now();
            let latency = now.saturating_duration_since(exchange.report.sent().unwrap_or(now));
            place.finished(now, latency, Outcome::Failure { retry_after: None });
        }
        let attempts_left = exchange.tried.len() < ways.local.view().settings().retry.attempts as usize;
        if !attempts_left || !is_tried_elsewhere(failed.cause) || !may_repeat(exchange, &failed) {
            return Err(failed.cause);
        }
        exchange.tried.push(Arc::clone(server));
        failure = Some(failed.cause);
    }
}

/// Counts a request for which there was no server from the start.
fn no_server(ways: &Ways<'_>) -> Cause {
    ways.local.upstream().stats(ways.worker.id).no_server.increment();
    Cause::NoServer
}

/// Whether another server may do better. A time-out is not repeated: the client has waited long enough.
fn is_tried_elsewhere(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::ConnectFailed | Cause::ConnectTimeout | Cause::ServerClosed
    )
}

fn may_repeat(exchange: &Exchange, failed: &Failed) -> bool {
    let safe = match failed.cause.retry_safe() {
        RetrySafe::Always => true,
        RetrySafe::Idempotent => failed.unsent || exchange.request.method.is_idempotent(),
        RetrySafe::Never => false,
    };
    safe && exchange.replayable && !exchange.report.answer_begun
}

/// Claims a place at a server, unless others wait for one: they come first.
fn claim(ways: &Ways<'_>, exchange: &Exchange) -> Result<Place<Pool>, Refusal> {
    let upstream = ways.local.upstream();
    let others_wait = match exchange.session.owner() {
        None => upstream.has_queue(),
        Some(owner) => upstream.has_queue_for(owner),
    };
    if others_wait {
        return Err(Refusal::Full);
    }
    let now = exchange.report.claims(ways.worker);
    let view = ways.local.view();
    let ask = ask(ways, &view, exchange, now);
    view.place(&ask, &mut ways.worker.chance.borrow_mut())
}

fn ask<'a>(ways: &Ways<'_>, view: &View<Pool>, exchange: &'a Exchange, now: Instant) -> Ask<'a> {
    Ask {
        avoid: &exchange.tried,
        key: ways.key,
        home: exchange.session.home(view),
        now: moment(now),
    }
}

/// Waits in the queue for a place at a server.
async fn wait(ways: &Ways<'_>, client: &mut Client, exchange: &mut Exchange) -> Result<Place<Pool>, Cause> {
    let Ways { worker, local, .. } = *ways;
    let stats = local.upstream().stats(worker.id);
    let began = worker.wheel.now();
    let (limits, joined) = {
        let view = local.view();
        let limits = view.settings().queue;
        let ask = ask(ways, &view, exchange, began);
        (limits, Ticket::join_for(Arc::clone(local.upstream()), limits.max, &ask))
    };
    let Ok(mut ticket) = joined else {
        stats.queue_rejected.increment();
        return Err(Cause::QueueFull);
    };
    stats.queue_entered.increment();
    client.timer.set(began + limits.timeout);
    let result = poll_fn(|cx| poll_claim(cx, ways, client, exchange, &mut ticket)).await;
    let waited = worker.wheel.now().saturating_duration_since(began);
    stats.queue_wait.observe(waited);
    exchange.report.queued += waited;
    match result {
        Ok(_) => ticket.served(),
        Err(Cause::QueueTimeout) => stats.queue_timeouts.increment(),
        Err(_) => {}
    }
    result
}

fn poll_claim(
    cx: &mut Context<'_>,
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    ticket: &mut Ticket<Arc<Upstream>>,
) -> Poll<Result<Place<Pool>, Cause>> {
    while ticket.poll_turn(cx).is_ready() {
        let view = ways.local.view();
        let ask = ask(ways, &view, exchange, ways.worker.wheel.now());
        match view.place(&ask, &mut ways.worker.chance.borrow_mut()) {
            Ok(place) => return Poll::Ready(Ok(place)),
            Err(Refusal::Full) => ticket.missed(),
            Err(Refusal::NoneAvailable) => return Poll::Ready(Err(Cause::NoServer)),
        }
    }
    if client.timer.poll_expired(cx).is_ready() {
        return Poll::Ready(Err(Cause::QueueTimeout));
    }
    // A request that waits is in no hurry to save a system call.
    if client.stream.watch().is_err() {
        return Poll::Ready(Err(Cause::OutOfResources));
    }
    poll_watch(cx, client, exchange).map(Err)
}
