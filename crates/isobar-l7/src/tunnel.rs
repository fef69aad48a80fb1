//! How do two connections go on after both switched to another protocol?
//!
//! Bytes go both ways as they come; nobody looks at them. The end of one direction is passed on, and the tunnel is
//! over when both have ended, or when nothing moved in either for the idle timeout.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use isobar_net::splice::{Pipe, SpliceError};
use isobar_observe::Cause;

use crate::Worker;
use crate::carrier::Carrier;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::flow::Outgoing;
use crate::forward::Ways;
use crate::server::ServerConnection;
use crate::worker::LocalSite;

/// A read of this size shows that bulk data is coming, which is worth a pipe.
const BULK_BYTES: usize = 64 * 1024;

/// One that is open, for as long as it is.
struct Open<'a> {
    worker: &'a Worker,
    site: Rc<LocalSite>,
    route: usize,
}

/// One direction.
struct Half<'a> {
    outgoing: &'a mut Outgoing,
    pipe: Option<Pipe>,
    state: HalfState,
    bytes: &'a mut u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HalfState {
    Open,
    /// The source has ended, or broke; what it sent last is still on its way.
    Ending,
    Ended,
}

/// What one turn came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Bytes moved, or the direction came nearer to its end.
    Moved,
    /// The direction is over.
    Over,
}

/// Passes bytes both ways until the tunnel ends.
pub(crate) async fn run(
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    server: &mut ServerConnection,
) -> Cause {
    exchange.report.upgraded();
    let _open = Open::of(ways.worker, exchange);
    // What the client sent behind its request belongs to the tunnel.
    let early = exchange.inbound.get(exchange.consumed..).unwrap_or_default();
    exchange.to_server.push(early);
    exchange.report.bytes_in += early.len() as u64;
    exchange.consumed = exchange.inbound.len();
    client.timer.clear();
    let Exchange {
        to_server,
        to_client,
        report,
        ..
    } = exchange;
    let mut up = Half::new(to_server, &mut report.bytes_in);
    let mut down = Half::new(to_client, &mut report.bytes_out);
    let idle = ways.rules.timeouts.idle;
    server.timer.set(ways.worker.wheel.now() + idle);
    poll_fn(|cx| {
        let mut moved = false;
        loop {
            let turns = [
                up.poll_turn(cx, ways.worker, &mut client.stream, &mut server.stream),
                down.poll_turn(cx, ways.worker, &mut server.stream, &mut client.stream),
            ];
            if turns.iter().all(|turn| *turn == Poll::Ready(Turn::Over)) {
                return Poll::Ready(Cause::Complete);
            }
            if !turns.contains(&Poll::Ready(Turn::Moved)) {
                break;
            }
            moved = true;
        }
        if moved {
            server.timer.set(ways.worker.wheel.now() + idle);
        }
        server.timer.poll_expired(cx).map(|()| Cause::IdleTimeout)
    })
    .await
}

impl<'a> Open<'a> {
    /// Counts one of the exchange's route; none: it has none.
    fn of(worker: &'a Worker, exchange: &Exchange) -> Option<Self> {
        let (site, route) = (exchange.report.site.clone()?, exchange.report.route?);
        let (_, counted) = site.site.rules(route)?;
        counted.stats.of(worker.id).upgraded_connections.raise();
        Some(Self { worker, site, route })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some((_, counted)) = self.site.site.rules(self.route) {
            counted.stats.of(self.worker.id).upgraded_connections.lower();
        }
    }
}

impl<'a> Half<'a> {
    fn new(outgoing: &'a mut Outgoing, bytes: &'a mut u64) -> Self {
        Self {
            outgoing,
            pipe: None,
            state: HalfState::Open,
            bytes,
        }
    }

    /// Moves this direction on by one step. A source that breaks has ended; where a destination breaks, the other
    /// direction goes on, for it may still hold the last words of the one that left.
    fn poll_turn(&mut self, cx: &mut Context<'_>, worker: &Worker, from: &mut Carrier, to: &mut Carrier) -> Poll<Turn> {
        if self.state == HalfState::Ended {
            return Poll::Ready(Turn::Over);
        }
        let before = self.outgoing.left();
        match self.outgoing.poll_flush(cx, to) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return self.end(),
            Poll::Pending if self.outgoing.left() < before => return Poll::Ready(Turn::Moved),
            Poll::Pending => return Poll::Pending,
        }
        if self.state == HalfState::Ending {
            // The other side may be gone altogether, which its own direction finds out.
            let _ = to.shutdown_write();
            return self.end();
        }
        if self.pipe.is_some() {
            self.poll_splice(cx, from, to)
        } else {
            self.poll_copy(cx, worker, from, to)
        }
    }

    fn end(&mut self) -> Poll<Turn> {
        self.state = HalfState::Ended;
        self.outgoing.clear();
        self.pipe = None;
        Poll::Ready(Turn::Moved)
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>, worker: &Worker, from: &mut Carrier, to: &mut Carrier) -> Poll<Turn> {
        worker.scratch.with_input(|input| {
            let count = match from.poll_read(cx, input) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(_) => {
                    self.state = HalfState::Ending;
                    return Poll::Ready(Turn::Moved);
                }
            };
            *self.bytes += count as u64;
            if count >= BULK_BYTES && from.is_plain() && to.is_plain() {
                self.pipe = worker.pipes.acquire().ok();
            }
            let bytes = input.get(..count).unwrap_or_default();
            match self.outgoing.write(cx, to, bytes, &[]) {
                Ok(_) => Poll::Ready(Turn::Moved),
                Err(_) => self.end(),
            }
        })
    }

    fn poll_splice(&mut self, cx: &mut Context<'_>, from: &mut Carrier, to: &mut Carrier) -> Poll<Turn> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Turn::Moved);
        };
        let (Some(from), Some(to)) = (from.connection(), to.connection()) else {
            return self.end();
        };
        match pipe.poll_splice(cx, from, to, u64::MAX) {
            Poll::Ready(Ok(spliced)) => {
                *self.bytes += spliced.read;
                if spliced.eof {
                    self.state = HalfState::Ending;
                }
                Poll::Ready(Turn::Moved)
            }
            Poll::Ready(Err(SpliceError::Write(_))) => self.end(),
            Poll::Ready(Err(SpliceError::Read(_))) => {
                self.state = HalfState::Ending;
                Poll::Ready(Turn::Moved)
            }
            Poll::Pending => {
                if pipe.buffered() == 0 {
                    // A lull: the pipe is of more use to somebody else.
                    self.pipe = None;
                }
                Poll::Pending
            }
        }
    }
}
