//! How does a connection wait for a server with room?

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use isobar_net::stream::Peeked;
use isobar_observe::Cause;
use isobar_upstream::{Place, Refusal, Ticket, Upstream};

use crate::connection::Client;
use crate::opening::Ways;
use crate::worker::Kept;

/// Looks for a place that a connection in the queue makes before other tasks have their turn.
const MAX_LOOKS: u32 = 8;

/// Waits in the queue for a place at a server.
pub(crate) async fn wait(ways: &Ways<'_>, client: &mut Client) -> Result<Place<Kept>, Cause> {
    let upstream = ways.local.upstream();
    let stats = upstream.stats(ways.worker.id);
    let began = ways.worker.shared.wheel.now();
    let queue = ways.local.view().settings().queue;
    let Ok(mut ticket) = Ticket::join(Arc::clone(upstream), &queue, &ways.ask(began)) else {
        stats.queue_rejected.increment();
        return Err(why_full(ways));
    };
    stats.queue_entered.increment();
    client.timer.set(began + queue.timeout);
    // Who waits holds nothing but its socket, and that is watched: a client that leaves makes room.
    let result = match client.stream.watch() {
        Ok(()) => {
            let mut is_ahead = false;
            poll_fn(|cx| poll_place(cx, ways, client, &mut ticket, &mut is_ahead)).await
        }
        Err(_) => Err(Cause::OutOfResources),
    };
    let waited = ways.worker.shared.wheel.now().saturating_duration_since(began);
    stats.queue_wait.observe(waited);
    client.report.queued += waited;
    let mut result = result;
    match &mut result {
        Ok(place) => place.counts_for(ticket.served(ways.worker.shared.wheel.now())),
        Err(Cause::QueueTimeout) => {
            stats.queue_timeouts.increment();
            ticket.gave_up();
        }
        Err(Cause::ClientClosed) => ticket.gave_up(),
        Err(_) => drop(ticket),
    }
    result
}

fn poll_place(
    cx: &mut Context<'_>,
    ways: &Ways<'_>,
    client: &mut Client,
    ticket: &mut Ticket<Arc<Upstream>>,
    is_ahead: &mut bool,
) -> Poll<Result<Place<Kept>, Cause>> {
    for look in 0.. {
        if look == MAX_LOOKS {
            // Called again and again for nothing: others of this worker come first.
            cx.waker().wake_by_ref();
            break;
        }
        let Poll::Ready(turn) = ticket.poll_turn(cx) else { break };
        if turn.is_err() {
            return Poll::Ready(Err(Cause::Displaced));
        }
        let ask = ways.ask(ways.worker.shared.wheel.now());
        match ways.local.view().place(&ask, &mut ways.worker.chance.borrow_mut()) {
            Ok(place) => return Poll::Ready(Ok(place)),
            Err(Refusal::Full) => ticket.missed(),
            Err(Refusal::NoneAvailable) => return Poll::Ready(Err(Cause::NoServer)),
        }
    }
    if ways.worker.is_cutting() {
        return Poll::Ready(Err(Cause::Shutdown));
    }
    ways.worker.roster.note(client.seat, cx.waker());
    if client.timer.poll_expired(cx).is_ready() {
        return Poll::Ready(Err(Cause::QueueTimeout));
    }
    poll_gone(cx, client, is_ahead).map(Err)
}

/// Ready when the client has left. One that sent something first may close its sending side and still wait for an answer; one
/// that did not is taken to be gone.
fn poll_gone(cx: &mut Context<'_>, client: &mut Client, is_ahead: &mut bool) -> Poll<Cause> {
    while !*is_ahead && client.stream.poll_event(cx).is_ready() {
        match client.stream.peek(cx) {
            Peeked::Nothing => {}
            Peeked::Data => *is_ahead = true,
            Peeked::End | Peeked::Broken => return Poll::Ready(Cause::ClientClosed),
        }
    }
    Poll::Pending
}

/// Why a connection cannot join the queue.
fn why_full(ways: &Ways<'_>) -> Cause {
    if !ways.local.upstream().is_at_limit(ways.rules.priority) {
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
