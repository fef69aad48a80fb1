//! What is one try at one server?

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use isobar_balance::Outcome;
use isobar_net::limits::is_shortage;
use isobar_net::stream::Stream;
use isobar_observe::Cause;
use isobar_upstream::{Permit, Place, Wanted, moment};

use crate::connection::Client;
use crate::keepalive;
use crate::opening::Ways;
use crate::worker::Kept;

/// Addresses of one server that are tried at most.
const MAX_ADDRESSES: usize = 4;

/// Connects to one of the server's addresses, all within one deadline: the next is tried where one refuses.
pub(crate) async fn connect(
    ways: &Ways<'_>,
    client: &mut Client,
    place: &Place<Kept>,
) -> Result<(Stream, Permit), Cause> {
    let worker = ways.worker;
    let server = &place.server().server;
    let stats = server.stats(worker.id);
    stats.requests.increment();
    let began = worker.shared.wheel.now();
    client.timer.set(began + ways.rules.timeouts.connect);
    let (permit, too_slow) = permit(ways, client).await?;
    let mut result = Err(Cause::ConnectFailed);
    for _ in 0..server.addresses().len().min(MAX_ADDRESSES) {
        let Some(address) = server.next_address() else { break };
        result = one(ways, client, address, too_slow).await;
        if result.as_ref().err() != Some(&Cause::ConnectFailed) {
            break;
        }
    }
    let now = worker.shared.wheel.now();
    let took = now.saturating_duration_since(began);
    client.report.connect = Some(took);
    let stream = result?;
    keepalive::ask(&stream, ways.local.view().settings().tcp_keepalive.as_ref());
    stats.connections_opened.increment();
    place.finished(now, took, Outcome::Success);
    Ok((stream, permit))
}

async fn one(ways: &Ways<'_>, client: &Client, address: SocketAddr, too_slow: Cause) -> Result<Stream, Cause> {
    let mut connect = pin!(Stream::connect(address));
    poll_fn(|cx| {
        if let Poll::Ready(result) = connect.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(|error| match is_shortage(&error) {
                true => Cause::OutOfResources,
                false => Cause::ConnectFailed,
            }));
        }
        if ways.worker.is_cutting() {
            return Poll::Ready(Err(Cause::Shutdown));
        }
        ways.worker.roster.note(client.seat, cx.waker());
        client.timer.poll_expired(cx).map(|()| Err(too_slow))
    })
    .await
}

/// The right to open a connection, and what it means if no time is left then: nothing a server could be blamed for, where that
/// was spent waiting.
async fn permit(ways: &Ways<'_>, client: &Client) -> Result<(Permit, Cause), Cause> {
    let upstream = ways.local.upstream();
    let max = ways.local.view().settings().limits.max_connections;
    if let Some(permit) = Permit::take(upstream, max) {
        return Ok((permit, Cause::ConnectTimeout));
    }
    let due = ways.deadline.map(moment);
    let mut wanted = Wanted::new(Arc::clone(upstream), ways.rules.priority, due);
    poll_fn(|cx| {
        if let Poll::Ready(permit) = wanted.poll(cx) {
            return Poll::Ready(Ok((permit, Cause::MaxConnections)));
        }
        if ways.worker.is_cutting() {
            return Poll::Ready(Err(Cause::Shutdown));
        }
        ways.worker.roster.note(client.seat, cx.waker());
        client.timer.poll_expired(cx).map(|()| Err(Cause::MaxConnections))
    })
    .await
}
