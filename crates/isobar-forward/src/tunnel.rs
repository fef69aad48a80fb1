//! How long does a tunnel last, and what ends it?

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use isobar_l4::throttle::Throttled;
use isobar_l4::{Broken, Lull, Moved, Relay, Relayed};
use isobar_net::stream::Stream;
use isobar_observe::{Cause, RouteStats};
use isobar_upstream::Sharded;

use crate::Worker;
use crate::connection::Client;

/// A connection to a destination, whose bytes nobody looks at.
#[derive(Debug)]
pub(crate) struct Tunnel {
    relay: Relay,
    server: Stream,
    lull: Lull,
    /// What it carried before it was a tunnel.
    before: (u64, u64),
    /// The world whose rules it has seen.
    generation: u64,
    /// When it ends because its listener is gone; none: that is there.
    leaves_at: Option<Instant>,
    _open: Option<Open>,
}

/// One that is counted as open.
#[derive(Debug)]
struct Open {
    stats: Arc<Sharded<RouteStats>>,
    worker: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stats.of(self.worker).upgraded_connections.lower();
    }
}

/// What is on its way already when a tunnel begins.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// What the client sent behind its request.
    pub(crate) to_server: Vec<u8>,
    /// What it is told before all else.
    pub(crate) to_client: Vec<u8>,
}

impl Tunnel {
    /// A tunnel of a client to where it is connected.
    pub(crate) fn new(worker: &Worker, client: &mut Client, server: Stream, early: Early) -> Box<Self> {
        client.report.bytes_in += early.to_server.len() as u64;
        client.report.is_tunnel = true;
        let counted = client.report.rule.and_then(|rule| client.site.rules.get(rule));
        let open = counted.map(|stats| {
            let counted = stats.of(worker.id);
            counted.upgrades.increment();
            counted.upgraded_connections.raise();
            Open {
                stats: Arc::clone(stats),
                worker: worker.id,
            }
        });
        Box::new(Self {
            relay: Relay::new(early.to_server, early.to_client),
            server,
            lull: Lull::begin(worker.shared.wheel.now()),
            before: (client.report.bytes_in, client.report.bytes_out),
            generation: worker.generation(),
            leaves_at: None,
            _open: open,
        })
    }

    /// Passes bytes both ways until that is over.
    pub(crate) async fn carry(&mut self, worker: &Worker, client: &mut Client) -> Cause {
        client.timer.set(self.due(client).0);
        let cause = poll_fn(|cx| self.poll_carry(cx, worker, client)).await;
        client.report.bytes_in = self.before.0 + self.relay.bytes_up();
        client.report.bytes_out = self.before.1 + self.relay.bytes_down();
        cause
    }

    fn poll_carry(&mut self, cx: &mut Context<'_>, worker: &Worker, client: &mut Client) -> Poll<Cause> {
        let tools = worker.shared.tools();
        let (relay, server) = (&mut self.relay, &mut self.server);
        let had_ended = relay.has_ended_in_part();
        let relayed = match client.throttle.as_deref_mut() {
            None => relay.poll(cx, tools, &mut client.stream, server),
            Some(throttle) => {
                let side = &mut client.stream;
                let relayed = relay.poll(cx, tools, &mut Throttled { side, throttle }, server);
                client.report.throttled = throttle.waited();
                match relayed {
                    // It is a limit that keeps them waiting, and no peer.
                    Relayed::Still if throttle.is_holding() => Relayed::Moved(Moved::BOTH),
                    relayed => relayed,
                }
            }
        };
        match relayed {
            Relayed::Over => {
                return Poll::Ready(match self.relay.broken() {
                    Some(Broken::Client) => Cause::ClientClosed,
                    Some(Broken::Server) => Cause::ServerAborted,
                    None => Cause::Complete,
                });
            }
            Relayed::Moved(moved) => {
                let now = worker.shared.wheel.now();
                if self.relay.bytes_down() > 0 {
                    client.report.first_byte.get_or_insert(now);
                }
                self.lull.moved(moved, now);
                if self.relay.has_ended_in_part() != had_ended {
                    client.timer.set(self.ends_at(client));
                }
            }
            Relayed::Still => {}
        }
        if worker.is_cutting() {
            return Poll::Ready(Cause::Shutdown);
        }
        worker.roster.note(client.seat, cx.waker());
        self.look_up(worker, client);
        let clocks = (&worker.shared.wheel, &client.timer);
        ready!(Lull::poll_over(cx, clocks, || self.ends_at(client)));
        Poll::Ready(self.expired(worker, client))
    }

    /// When it is over unless something moves, and why.
    fn due(&self, client: &Client) -> (Instant, Cause) {
        self.lull.due(&self.relay, &client.site.listener.waits.idle)
    }

    /// The same, unless it has to leave before.
    fn ends_at(&self, client: &Client) -> Instant {
        let (due, _) = self.due(client);
        self.leaves_at.map_or(due, |at| at.min(due))
    }

    fn expired(&self, worker: &Worker, client: &mut Client) -> Cause {
        if self.leaves_at.is_some_and(|at| at <= worker.shared.wheel.now()) {
            return Cause::Drained;
        }
        let (_, cause) = self.due(client);
        match Lull::detail(&self.relay, cause) {
            Some(detail) => client.report.explain(detail, cause),
            None => cause,
        }
    }

    /// Finds out whether its listener is still there. Where it is not, its time to finish begins.
    fn look_up(&mut self, worker: &Worker, client: &Client) {
        if self.leaves_at.is_some() || self.generation == worker.generation() {
            return;
        }
        let world = worker.world();
        self.generation = world.generation;
        if world.site(&client.site.listener.name).is_none() {
            let now = worker.shared.wheel.now();
            let leaves_at = now + world.drain_timeout;
            self.leaves_at = Some(leaves_at);
            client.timer.set(self.ends_at(client));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{Accepted, serve};

    /// What is in the future of an idle tunnel is there once for each of very many.
    #[test]
    fn an_idle_tunnel_is_small() {
        fn of<F: Future>(_: impl Fn(Rc<Worker>, Accepted) -> F) -> usize {
            size_of::<F>() + size_of::<Tunnel>()
        }
        let bytes = of(serve);
        assert!(bytes <= 1024, "{bytes}");
    }
}
