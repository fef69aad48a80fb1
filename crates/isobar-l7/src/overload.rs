//! What is told of requests that were refused, or left, because there was too much to do?

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use isobar_observe::Cause;
use isobar_plan::Priority;
use isobar_upstream::{Displaced, Permit, Place, QueueFull, Share, Ticket, Upstream, Wanted, moment};

use crate::again::{Failed, Why};
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::flow::poll_watch;
use crate::forward::Ways;
use crate::limits::{self, Subject};
use crate::pool::Pool;

impl Ways<'_> {
    /// How much the request matters.
    pub(crate) fn priority(&self) -> Priority {
        self.rules.priority
    }
}

/// With whom a request shares the upstream.
///
/// *Cost*: a hash of its key; asked of requests that wait.
pub(crate) fn share(ways: &Ways<'_>, client: &Client, exchange: &Exchange) -> Option<Share> {
    let listener = &ways.site.site.listener;
    let subject = Subject {
        client,
        listener,
        route: Some(ways.rules),
        exchange,
        address: limits::client_address(client, listener, exchange),
    };
    Some(ways.fair?.share(&subject))
}

/// Why another request has this one's place in the queue.
pub(crate) fn why_displaced(displaced: Displaced) -> Cause {
    match displaced {
        Displaced::ByPrecedence => Cause::Displaced,
        Displaced::ByShare => Cause::FairShare,
    }
}

/// Why a request cannot join the queue.
pub(crate) fn why_full(ways: &Ways<'_>, full: QueueFull) -> Cause {
    if full == QueueFull::HasItsShare {
        return Cause::FairShare;
    }
    let upstream = ways.local.upstream();
    if !upstream.is_at_limit(ways.priority()) {
        return Cause::QueueFull;
    }
    let view = ways.local.view();
    let limits = &view.settings().limits;
    // Without a limit of its own for requests, it is connections that are short.
    match (limits.max_requests, limits.max_connections) {
        (Some(requests), Some(connections)) if connections < requests => Cause::MaxConnections,
        (None, _) => Cause::MaxConnections,
        _ => Cause::MaxRequests,
    }
}

/// Leaves the queue with what came of waiting.
pub(crate) fn leave<Q: AsRef<Upstream>>(
    ways: &Ways<'_>,
    ticket: Ticket<Q>,
    result: Result<Place<Pool>, Cause>,
) -> Result<Place<Pool>, Cause> {
    match result {
        Ok(mut place) => {
            place.counts_for(ticket.served(ways.worker.wheel.now()));
            Ok(place)
        }
        Err(cause) => {
            match cause {
                Cause::QueueTimeout
                | Cause::ClientClosed
                | Cause::TooLate
                | Cause::DeadlineExceeded
                | Cause::ClientDeadline => ticket.gave_up(),
                _ => drop(ticket),
            }
            Err(cause)
        }
    }
}

/// When a wait that begins now ends: the time to wait is over then, or none is left for an answer.
pub(crate) fn patience(ways: &Ways<'_>, exchange: &Exchange, began: Instant) -> Instant {
    let limit = began + ways.local.view().settings().queue.timeout;
    let others = latest_start(ways).into_iter().chain(exchange.again.deadline);
    others.fold(limit, Instant::min)
}

/// Why a wait is over.
pub(crate) fn expired(ways: &Ways<'_>, exchange: &Exchange) -> Cause {
    let now = ways.worker.wheel.now();
    if let Some(cause) = exchange.overdue(now) {
        cause
    } else if is_too_late(ways, now) {
        Cause::TooLate
    } else {
        Cause::QueueTimeout
    }
}

/// Whether an answer would come after the request's deadline.
pub(crate) fn is_too_late(ways: &Ways<'_>, now: Instant) -> bool {
    latest_start(ways).is_some_and(|latest| latest <= now)
}

fn latest_start(ways: &Ways<'_>) -> Option<Instant> {
    let deadline = ways.deadline?;
    // A deadline nearer than what answers usually take is missed already.
    Some(
        deadline
            .checked_sub(ways.local.upstream().expected())
            .unwrap_or(deadline),
    )
}

/// Counts a request that was refused.
pub(crate) fn refused(ways: &Ways<'_>, cause: Cause) {
    let upstream = ways.local.upstream();
    let stats = upstream.priority_stats(ways.worker.id, ways.priority());
    stats.refused.count(cause);
}

/// A try failed. A client that left, its own deadline, or one of all tries together, tells that the server, or the wait before it, took too long.
pub(crate) fn failed(ways: &Ways<'_>, exchange: &Exchange, place: &Place<Pool>, failed: &Failed) {
    if !matches!(
        failed.why,
        Why::Cause(Cause::ClientClosed | Cause::DeadlineExceeded | Cause::ClientDeadline)
    ) {
        return;
    }
    let now = ways.worker.wheel.now();
    if let Some(asked) = exchange.report.asked() {
        place.abandoned(now, now.saturating_duration_since(asked));
    }
    if failed.why == Why::Cause(Cause::ClientClosed) && !exchange.report.queued.is_zero() {
        ways.local.upstream().waited_in_vain(ways.priority());
    }
}

/// The right to open a connection.
pub(crate) enum Granted {
    AtOnce(Permit),
    /// There was a wait for it, which is nothing that a server could be blamed for.
    AfterAWait(Permit),
}

/// Who is watched during a wait: a client that leaves ends it.
pub(crate) struct Watched<'a> {
    pub(crate) client: &'a mut Client,
    pub(crate) exchange: &'a mut Exchange,
}

/// The right to open a connection. Where all are in use, idle ones are closed first. `watched`: none where somebody else
/// watches the client.
pub(crate) async fn permit(ways: &Ways<'_>, watched: Option<Watched<'_>>, deadline: Instant) -> Result<Granted, Cause> {
    let upstream = ways.local.upstream();
    let max = ways.local.view().settings().limits.max_connections;
    match Permit::take(upstream, max) {
        Some(permit) => Ok(Granted::AtOnce(permit)),
        // Boxed: rare enough to allocate for.
        None => Box::pin(wait_for_permit(ways, watched, deadline))
            .await
            .map(Granted::AfterAWait),
    }
}

async fn wait_for_permit(
    ways: &Ways<'_>,
    mut watched: Option<Watched<'_>>,
    deadline: Instant,
) -> Result<Permit, Cause> {
    let due = ways.deadline.map(moment);
    let mut wanted = Wanted::new(Arc::clone(ways.local.upstream()), ways.priority(), due);
    let timer = ways.worker.wheel.timer();
    timer.set(deadline);
    if let Some(Watched { client, .. }) = &mut watched
        && client.stream.watch().is_err()
    {
        return Err(Cause::OutOfResources);
    }
    poll_fn(|cx| {
        if let Poll::Ready(permit) = wanted.poll(cx) {
            return Poll::Ready(Ok(permit));
        }
        if let Some(Watched { client, exchange }) = &mut watched
            && let Poll::Ready(cause) = poll_watch(cx, client, exchange)
        {
            return Poll::Ready(Err(cause));
        }
        timer.poll_expired(cx).map(|()| Err(Cause::MaxConnections))
    })
    .await
}
