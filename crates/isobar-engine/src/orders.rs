//! What does an operator want of a server, or of a limit?

use std::time::Instant;

use isobar_plan::{Event, OrderDone, OrderRefusal, RateLimitState, ServerOrder, ServiceChange};

use crate::Engine;

impl Engine {
    /// Takes a server out of service, or back in. It holds for as long as the server stays, unless the configuration's
    /// own word for it changes.
    ///
    /// *Errors*: nothing has changed.
    pub fn order(&self, order: &ServerOrder) -> Result<OrderDone, OrderRefusal> {
        let ServerOrder {
            upstream: upstream_name,
            server: server_name,
            state: to,
            by,
        } = order;
        // Held to the end, so that no plan and no other order comes between.
        let state = self.state();
        let world = self.published.http.world();
        let same_name = |upstream: &&std::sync::Arc<isobar_upstream::Upstream>| upstream.name() == upstream_name;
        let upstream = world.upstreams.iter().find(same_name).ok_or(OrderRefusal::NoUpstream)?;
        let members = upstream.members();
        let server = members.servers.iter().find(|server| server.name() == server_name);
        let server = server.ok_or(OrderRefusal::NoServer)?;
        if state.drain_until.is_some() {
            return Err(OrderRefusal::Draining);
        }
        let from = server.order(*to, *by);
        let in_flight = server.state().in_flight();
        if from != *to {
            upstream.refresh();
            (self.events)(Event::Service {
                upstream: upstream_name.clone(),
                server: server_name.clone(),
                change: ServiceChange::Ordered {
                    from,
                    to: *to,
                    by: *by,
                    in_flight,
                },
            });
        }
        Ok(OrderDone {
            from,
            in_flight,
            on_down: members.settings.sticky.as_ref().map(|sticky| sticky.on_down),
        })
    }

    /// Has a limit refuse again that disarmed itself; it is watched as a new one from now on. One that did not is left alone.
    ///
    /// *Returns* the state it was in; none: there is no such limit.
    pub fn rearm(&self, limit: &str) -> Option<RateLimitState> {
        let world = self.published.http.world();
        let limit = world.limits.iter().find(|known| **known.name() == *limit)?;
        Some(limit.rearm(Instant::now()))
    }
}
