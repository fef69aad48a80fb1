//! How do two connections go on after both switched to another protocol?
//!
//! As a [`Relay`], which is over when both sides have ended, or when nothing moved for too long.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use isobar_l4::throttle::Way;
use isobar_l4::{Lull, Moved, Relay, Relayed, Side, Tools};
use isobar_net::stream::Stream;
use isobar_observe::Cause;

use crate::Worker;
use crate::carrier::Carrier;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::forward::Ways;
use crate::server::ServerConnection;
use crate::worker::LocalSite;

impl Side for Carrier {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read(cx, buf)
    }

    fn poll_write_soon(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_soon(cx, bytes)
    }

    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_untaken(cx)
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_settled(cx)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown_write()
    }

    fn plain(&mut self) -> Option<&mut Stream> {
        if self.is_plain() { self.connection() } else { None }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, way: Way) -> Poll<u64> {
        self.poll_turn(cx, way)
    }

    fn moved(&mut self, way: Way, bytes: u64) {
        self.moved(way, bytes);
    }
}

/// One that is open, for as long as it is.
struct Open<'a> {
    worker: &'a Worker,
    site: Rc<LocalSite>,
    route: usize,
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
    let mut relay = Relay::new(exchange.to_server.take(), exchange.to_client.take());
    let tools = Tools {
        scratch: &ways.worker.scratch,
        pipes: &ways.worker.pipes,
    };
    let waits = &ways.rules.timeouts.idle;
    let mut lull = Lull::begin(ways.worker.wheel.now());
    let (bytes_in, bytes_out) = (exchange.report.bytes_in, exchange.report.bytes_out);
    server.timer.set(lull.due(&relay, waits).0);
    poll_fn(|cx| {
        let had_ended = relay.has_ended_in_part();
        let relayed = relay.poll(cx, tools, &mut client.stream, &mut server.stream);
        // Whatever ends it from outside, what it carried is known.
        exchange.report.bytes_in = bytes_in + relay.bytes_up();
        exchange.report.bytes_out = bytes_out + relay.bytes_down();
        let is_held = client.stream.is_held(Way::Up) || client.stream.is_held(Way::Down);
        match relayed {
            Relayed::Over => return Poll::Ready(Cause::Complete),
            Relayed::Moved(moved) => {
                lull.moved(moved, ways.worker.wheel.now());
                if relay.has_ended_in_part() != had_ended {
                    server.timer.set(lull.due(&relay, waits).0);
                }
            }
            // It is a limit that keeps them waiting, and no peer.
            Relayed::Still if is_held => lull.moved(Moved::BOTH, ways.worker.wheel.now()),
            Relayed::Still => {}
        }
        let clocks = (&ways.worker.wheel, &server.timer);
        Lull::poll_over(cx, clocks, || lull.due(&relay, waits).0).map(|()| lull.due(&relay, waits).1)
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
