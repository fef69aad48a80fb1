//! Which servers is a request given to, until one answers?
//!
//! When it is sent once more is [`crate::again`]'s business, how it is sent [`crate::attempt`]'s.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use isobar_observe::Cause;
use isobar_plan::{Reports, Route};
use isobar_upstream::{Ask, Local, Place, Refusal, Ticket, Upstream, moment};

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
use crate::{FairKeys, ServerTls, Worker};

/// Looks for a place that a request in the queue makes before other tasks have their turn.
const MAX_LOOKS: u32 = 8;

/// Where a request goes, and by which rules.
pub(crate) struct Ways<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) site: &'a LocalSite,
    pub(crate) rules: &'a Route,
    pub(crate) local: &'a Rc<Local<Pool>>,
    /// What secures the connections to the upstream's servers; none: nothing does.
    pub(crate) tls: Option<&'a ServerTls>,
    /// The request's key, where the upstream goes by keys.
    pub(crate) key: Option<u64>,
    /// What is read of answers, where the upstream goes by reports.
    pub(crate) reports: Option<Arc<Reports>>,
    /// When it must be answered, where the upstream's queue goes by that.
    pub(crate) deadline: Option<Instant>,
    /// With whom requests share the upstream while they wait; none: with nobody.
    pub(crate) fair: Option<&'a FairKeys>,
}

/// The server that answers, or the one that failed.
pub(crate) type Tried = Result<(Place<Pool>, Box<ServerConnection>), (Place<Pool>, Failed)>;

/// Sends the request to a server, to others when it fails, and passes the answer on.
pub(crate) async fn forward(ways: &Ways<'_>, client: &mut Client, exchange: &mut Exchange) -> Result<Next, Cause> {
    ways.local.upstream().stats(ways.worker.id).requests.increment();
    can_secure(ways, exchange)?;
    again::begin(ways, exchange);
    let mut failure = None;
    // What lives across an await is part of every idle connection, so here as little does as may be: the pause for the next
    // try comes at the beginning, and the answer is passed on outside.
    let (place, server) = loop {
        again::pause(ways, client, exchange).await?;
        let place = match claim(ways, exchange) {
            Ok(place) => place,
            Err(refusal) => {
                let waited = match refusal {
                    Refusal::Full => Box::pin(wait(ways, client, exchange)).await,
                    Refusal::NoneAvailable => Err(Cause::NoServer),
                };
                match waited {
                    Ok(place) => place,
                    Err(cause) => {
                        without_place(ways, exchange, failure, cause)?;
                        continue;
                    }
                }
            }
        };
        if ways.reports.is_some() {
            place.wants_reports(ways.worker.wheel.now(), &mut ways.worker.chance.borrow_mut());
        }
        sticky::claimed(ways, exchange, &place);
        let tried = match hedge::delay(ways, exchange) {
            None => {
                let mut tried = attempt(ways, client, exchange, &place, Origin::Pooled).await;
                if tried
                    .as_ref()
                    .is_err_and(|failed| is_tried_afresh(ways, exchange, failed))
                {
                    tried = Box::pin(attempt(ways, client, exchange, &place, Origin::Fresh)).await;
                }
                match tried {
                    Ok(server) => Ok((place, server)),
                    Err(failed) => Err((place, failed)),
                }
            }
            Some(delay) => Box::pin(hedge::race(ways, client, exchange, place, delay)).await,
        };
        let (place, failed) = match tried {
            Ok(found) => break found,
            Err(failed) => failed,
        };
        overload::failed(ways, exchange, &place, &failed);
        again::tell(ways, exchange, &place, &failed);
        drop(place);
        if !again::is_tried_again(ways, exchange, &failed) {
            return Err(match failed.why {
                Why::Cause(cause) => {
                    if cause == Cause::MaxConnections {
                        overload::refused(ways, cause);
                    }
                    cause
                }
                // An answer is only given up for another try.
                Why::Status(_) | Why::Call(_) => Cause::Internal,
            });
        }
        failure = Some(failed.why);
    };
    deliver(ways, client, exchange, place, server).await
}

/// Whether there is anything to secure connections with, where they are to be secured.
fn can_secure(ways: &Ways<'_>, exchange: &mut Exchange) -> Result<(), Cause> {
    let Some(problem) = ways.tls.and_then(|tls| tls.client().err()) else {
        return Ok(());
    };
    exchange.report.tls_error = Some(problem.to_owned());
    Err(Cause::TlsUnusable)
}

/// There is no place for the request. Nothing: another look may find one.
fn without_place(ways: &Ways<'_>, exchange: &mut Exchange, failure: Option<Why>, cause: Cause) -> Result<(), Cause> {
    match (cause, failure) {
        // All others were tried: what the last one did is the better answer.
        (Cause::NoServer, Some(Why::Cause(cause))) => Err(cause),
        // Its answer is gone, and so are the other servers: it is asked again.
        (Cause::NoServer, Some(Why::Status(_) | Why::Call(_))) if !exchange.tried.is_empty() => {
            exchange.tried.clear();
            Ok(())
        }
        (Cause::NoServer, _) => Err(no_server(ways, exchange)),
        (cause, _) => {
            overload::refused(ways, cause);
            Err(cause)
        }
    }
}

/// Whether a kept connection turned out to be closed, and a new one to the same server will do.
fn is_tried_afresh(ways: &Ways<'_>, exchange: &Exchange, failed: &Failed) -> bool {
    failed.is_idle_close() && may_repeat(ways, exchange, failed)
}

/// Counts a request for which there was no server from the start; *returns* whether that is for its session alone.
fn no_server(ways: &Ways<'_>, exchange: &Exchange) -> Cause {
    ways.local.upstream().stats(ways.worker.id).no_server.increment();
    if exchange.session.is_bound() {
        Cause::SessionServer
    } else {
        Cause::NoServer
    }
}

/// Whether others wait for a place that the request would take from them.
pub(crate) fn others_wait(ways: &Ways<'_>, exchange: &Exchange) -> bool {
    let upstream = ways.local.upstream();
    match exchange.session.owner() {
        None => upstream.has_queue(ways.priority()),
        Some(owner) => upstream.has_queue_for(owner, ways.priority()),
    }
}

/// Claims a place at a server, unless others wait for one: they come first.
fn claim(ways: &Ways<'_>, exchange: &Exchange) -> Result<Place<Pool>, Refusal> {
    if others_wait(ways, exchange) {
        return Err(Refusal::Full);
    }
    let now = exchange.report.claims(ways.worker);
    let view = ways.local.view();
    let ask = ask(ways, exchange, now);
    view.place(&ask, &mut ways.worker.chance.borrow_mut())
}

pub(crate) fn ask<'a>(ways: &Ways<'_>, exchange: &'a Exchange, now: Instant) -> Ask<'a> {
    Ask {
        avoid: &exchange.tried,
        key: ways.key,
        home: exchange.session.home(),
        now: moment(now),
        priority: ways.priority(),
        deadline: ways.deadline.map(moment),
        share: None,
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
        let ask = Ask {
            share: overload::share(ways, client, exchange),
            ..ask(ways, exchange, began)
        };
        Ticket::join(Arc::clone(local.upstream()), &view.settings().queue, &ask)
    };
    let mut ticket = joined.map_err(|full| {
        stats.queue_rejected.increment();
        overload::why_full(ways, full)
    })?;
    stats.queue_entered.increment();
    client.timer.set(overload::patience(ways, exchange, began));
    let result = poll_fn(|cx| poll_claim(cx, ways, client, exchange, &mut ticket)).await;
    let waited = worker.wheel.now().saturating_duration_since(began);
    stats.queue_wait.observe(waited);
    exchange.report.queued += waited;
    if matches!(result, Err(Cause::QueueTimeout)) {
        stats.queue_timeouts.increment();
    }
    overload::leave(ways, ticket, result)
}

fn poll_claim(
    cx: &mut Context<'_>,
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    ticket: &mut Ticket<Arc<Upstream>>,
) -> Poll<Result<Place<Pool>, Cause>> {
    for look in 0.. {
        if look == MAX_LOOKS {
            // Called again and again for nothing: others of this worker come first.
            cx.waker().wake_by_ref();
            break;
        }
        let Poll::Ready(turn) = ticket.poll_turn(cx) else { break };
        if let Err(displaced) = turn {
            return Poll::Ready(Err(overload::why_displaced(displaced)));
        }
        let now = ways.worker.wheel.now();
        if overload::is_too_late(ways, now) {
            return Poll::Ready(Err(Cause::TooLate));
        }
        let view = ways.local.view();
        let ask = ask(ways, exchange, now);
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
