//! How do two connections go on after both switched to another protocol?
//!
//! As a [`Relay`], which is over when both sides have ended, or when nothing moved in either direction for the idle timeout.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use isobar_l4::{Relay, Relayed, Side, Tools};
use isobar_net::stream::Stream;
use isobar_observe::Cause;

use crate::carrier::Carrier;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::forward::Ways;
use crate::server::ServerConnection;

impl Side for Carrier {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write(cx, bytes)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown_write()
    }

    fn plain(&mut self) -> Option<&mut Stream> {
        if self.is_plain() { self.connection() } else { None }
    }
}

/// Passes bytes both ways until the tunnel ends.
pub(crate) async fn run(
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
    server: &mut ServerConnection,
) -> Cause {
    exchange.report.upgraded();
    // What the client sent behind its request belongs to the tunnel.
    let early = exchange.inbound.get(exchange.consumed..).unwrap_or_default();
    exchange.to_server.push(early);
    exchange.report.bytes_in += early.len() as u64;
    exchange.consumed = exchange.inbound.len();
    client.timer.clear();
    let mut relay = Relay::new(exchange.to_server.take(), exchange.to_client.take());
    let tools = Tools {
        scratch: &ways.worker.scratch,
        pipes: &ways.worker.pipes,
    };
    let idle = ways.rules.timeouts.idle;
    server.timer.set(ways.worker.wheel.now() + idle);
    let cause = poll_fn(|cx| {
        match relay.poll(cx, tools, &mut client.stream, &mut server.stream) {
            Relayed::Over => return Poll::Ready(Cause::Complete),
            Relayed::Moved => server.timer.set(ways.worker.wheel.now() + idle),
            Relayed::Still => {}
        }
        server.timer.poll_expired(cx).map(|()| Cause::IdleTimeout)
    })
    .await;
    exchange.report.bytes_in += relay.bytes_up();
    exchange.report.bytes_out += relay.bytes_down();
    cause
}
