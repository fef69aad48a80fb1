//! How do two connections go on after both switched to another protocol?
//!
//! Bytes go both ways as they come; nobody looks at them. The end of one direction is passed on, and the tunnel is
//! over when both have ended, when one side broke, or when neither sent anything for the idle timeout.

use std::future::poll_fn;
use std::task::{Context, Poll};

use isobar_net::splice::Pipe;
use isobar_net::stream::Stream;
use isobar_observe::Cause;

use crate::Worker;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::flow::Outgoing;
use crate::forward::Ways;
use crate::server::ServerConnection;

/// A read of this size shows that bulk data is coming, which is worth a pipe.
const BULK_BYTES: usize = 64 * 1024;

/// There and back.
const DIRECTIONS: usize = 2;

/// One direction.
struct Half<'a> {
    outgoing: &'a mut Outgoing,
    pipe: Option<Pipe>,
    state: HalfState,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HalfState {
    Open,
    /// The source has ended; what it sent last is still on its way.
    Ending,
    Ended,
}

/// What one turn came to.
enum Turn {
    /// Bytes moved, or the end was passed on.
    Moved,
    /// The direction is over.
    Over,
    /// A connection broke.
    Broken,
}

/// Passes bytes both ways until the tunnel ends.
pub(crate) async fn run(
    ways: Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    server: &mut ServerConnection,
) -> Cause {
    exchange.report.upgraded();
    // What the client sent behind its request belongs to the tunnel.
    let early = exchange.inbound.get(exchange.consumed..).unwrap_or_default();
    exchange.to_server.push(early);
    exchange.consumed = exchange.inbound.len();
    client.timer.clear();
    let Exchange {
        to_server,
        to_client,
        report,
        ..
    } = exchange;
    let mut up = Half {
        outgoing: to_server,
        pipe: None,
        state: HalfState::Open,
        bytes: 0,
    };
    let mut down = Half {
        outgoing: to_client,
        pipe: None,
        state: HalfState::Open,
        bytes: 0,
    };
    let idle = ways.rules.timeouts.idle;
    let mut moved = true;
    let cause = poll_fn(|cx| {
        loop {
            let turns = [
                up.poll_turn(cx, ways.worker, &mut client.stream, &mut server.stream),
                down.poll_turn(cx, ways.worker, &mut server.stream, &mut client.stream),
            ];
            let mut over = 0;
            let mut again = false;
            for turn in turns {
                match turn {
                    Poll::Ready(Turn::Moved) => again = true,
                    Poll::Ready(Turn::Over) => over += 1,
                    // Either side may end a tunnel as it likes; what a broken one means only its ends know.
                    Poll::Ready(Turn::Broken) => return Poll::Ready(Cause::Complete),
                    Poll::Pending => {}
                }
            }
            if over == DIRECTIONS {
                return Poll::Ready(Cause::Complete);
            }
            moved |= again;
            if !again {
                break;
            }
        }
        if std::mem::take(&mut moved) {
            server.timer.set(ways.worker.wheel.now() + idle);
        }
        server.timer.poll_expired(cx).map(|()| Cause::IdleTimeout)
    })
    .await;
    report.bytes_in += up.bytes;
    report.bytes_out += down.bytes;
    cause
}

impl Half<'_> {
    fn poll_turn(&mut self, cx: &mut Context<'_>, worker: &Worker, from: &mut Stream, to: &mut Stream) -> Poll<Turn> {
        match self.outgoing.poll_flush(cx, to) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Turn::Broken),
            Poll::Pending => return Poll::Pending,
        }
        match self.state {
            HalfState::Open => {}
            HalfState::Ending => {
                self.state = HalfState::Ended;
                // The other side may be gone altogether, which its own direction finds out.
                let _ = to.shutdown_write();
                return Poll::Ready(Turn::Over);
            }
            HalfState::Ended => return Poll::Ready(Turn::Over),
        }
        if self.pipe.is_some() {
            self.poll_splice(cx, from, to)
        } else {
            self.poll_copy(cx, worker, from, to)
        }
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>, worker: &Worker, from: &mut Stream, to: &mut Stream) -> Poll<Turn> {
        worker.scratch.with_input(|input| {
            let count = match from.poll_read(cx, input) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Turn::Broken),
                Poll::Ready(Ok(0)) => {
                    self.state = HalfState::Ending;
                    return Poll::Ready(Turn::Moved);
                }
                Poll::Ready(Ok(count)) => count,
            };
            self.bytes += count as u64;
            if count >= BULK_BYTES {
                self.pipe = worker.pipes.acquire().ok();
            }
            let bytes = input.get(..count).unwrap_or_default();
            match self.outgoing.write(cx, to, bytes, &[]) {
                Ok(_) => Poll::Ready(Turn::Moved),
                Err(_) => Poll::Ready(Turn::Broken),
            }
        })
    }

    fn poll_splice(&mut self, cx: &mut Context<'_>, from: &mut Stream, to: &mut Stream) -> Poll<Turn> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Turn::Moved);
        };
        match pipe.poll_splice(cx, from, to, u64::MAX) {
            Poll::Ready(Ok(spliced)) => {
                self.bytes += spliced.read;
                if spliced.eof {
                    self.state = HalfState::Ending;
                }
                Poll::Ready(Turn::Moved)
            }
            Poll::Ready(Err(_)) => Poll::Ready(Turn::Broken),
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
