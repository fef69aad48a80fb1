//! UDP: datagrams come in, go to a server, and its answers go back.
//!
//! [`serve`] is the life of one listener on one worker. `inward` takes what clients send to the flows that [`Flows`] says it belongs
//! to, `flow` finds a server for each, and `outward` takes what servers send back to the clients. Which flow ends when is
//! `isobar-wire`'s to say, and which server is `isobar-balance`'s.
//!
//! Each flow has a socket of its own towards its server, so that the kernel tells whose answers are whose, and that a server is not
//! there. `sockets` has them all, those as well that wait for another flow. A worker serves the clients whom the kernel gives it: the
//! flows of one client are all with one worker for as long as the client keeps its address.

mod due;
mod flow;
mod ids;
mod inward;
mod orders;
mod outward;
mod resting;
mod sockets;

use std::collections::hash_map::RandomState;
use std::future::poll_fn;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use isobar_net::limits::descriptor_limit;
use isobar_net::udp::{Inbox, Peers, ReadyPeers, Socket};
use isobar_net::wheel::Timer;
use isobar_observe::{Cause, ListenerStats};
use isobar_plan::{FlowKey, FlowRules};
use isobar_wire::udp::{Flow, FlowLimits, Flows, KeyedBy, QuicIds};

pub use ids::ServerIds;
pub use orders::Orders;

use self::flow::{Carried, Means, Served};
use self::inward::Queue;
use self::outward::Answers;
use self::sockets::Sockets;
use crate::Worker;
use crate::worker::LocalUdpSite;
use crate::world::World;

/// Batches that are carried, in each direction, before other tasks have their turn.
const MAX_BATCHES: usize = 16;

/// Idle flows that end before other tasks have their turn.
const MAX_ENDS: usize = 1024;

/// One listener on one worker.
struct Udp {
    worker: Rc<Worker>,
    orders: Rc<Orders>,
    socket: Socket,
    sockets: Sockets,
    site: Rc<LocalUdpSite>,
    flows: Flows<RandomState>,
    /// By the number of the flow.
    carried: Vec<Option<Box<Carried>>>,
    timer: Timer,
    seat: usize,
    /// When time began for `flows`.
    origin: Instant,
    /// When the batch of datagrams came that is worked on: each would look at the clock many times.
    now: Instant,
    /// The world and the orders that it has seen.
    seen: (u64, u64),
    /// When the first of the flows ends whose listener or server is gone.
    leaves_at: Option<Instant>,
    queue: Queue,
    answers: Answers,
    ready: ReadyPeers,
}

/// Serves one listener until it is told to close, and its last flow has ended; its servers are listened to by `peers`.
///
/// *Errors*: the socket cannot be listened to.
pub fn serve(
    worker: Rc<Worker>,
    orders: Rc<Orders>,
    socket: UdpSocket,
    peers: Peers,
) -> io::Result<impl Future<Output = ()>> {
    let mut udp = Udp::new(worker, orders, Socket::from_std(socket)?, peers);
    Ok(async move { poll_fn(|cx| udp.poll(cx)).await })
}

impl Drop for Udp {
    fn drop(&mut self) {
        self.worker.roster.leave(self.seat);
        for carried in self.carried.iter_mut().filter_map(Option::take) {
            carried.site.site.open.closed(self.worker.id);
        }
    }
}

impl Udp {
    fn new(worker: Rc<Worker>, orders: Rc<Orders>, socket: Socket, peers: Peers) -> Self {
        let site = worker.world().udp_site_or_orphan(&orders.site());
        let now = worker.shared.wheel.now();
        Self {
            socket,
            sockets: Sockets::new(peers, now),
            flows: flows(&site),
            carried: Vec::new(),
            timer: worker.shared.wheel.timer(),
            seat: worker.roster.enter(),
            origin: now,
            now,
            seen: (0, 0),
            leaves_at: None,
            queue: Queue::default(),
            answers: Answers::default(),
            ready: ReadyPeers::default(),
            site,
            worker,
            orders,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.worker.roster.note(self.seat, cx.waker());
        self.orders.note(cx.waker());
        self.look_at_the_clock();
        self.look_up();
        if self.worker.is_cutting() {
            self.end_all(Cause::Shutdown);
            return Poll::Ready(());
        }
        let worker = Rc::clone(&self.worker);
        let mut inbox = worker.inbox.borrow_mut();
        let inbox = inbox.get_or_insert_with(Inbox::default);
        let mut batches = 0;
        while self.poll_batch(cx, inbox) {
            batches += 1;
            if batches == MAX_BATCHES {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.expire() {
            cx.waker().wake_by_ref();
        }
        if self.orders.is_closing() && self.flows.is_empty() && batches == 0 {
            return Poll::Ready(());
        }
        self.set_timer(cx);
        Poll::Pending
    }

    /// Carries what is there, at most one batch in each direction; whether there was something.
    fn poll_batch(&mut self, cx: &mut Context<'_>, inbox: &mut Inbox) -> bool {
        let mut any = false;
        // Answers first: flows end with them.
        if let Poll::Ready(Ok(())) = self.sockets.poll(cx, &mut self.ready) {
            self.pass_back(inbox);
            any = true;
        }
        match self.socket.poll_receive(cx, inbox) {
            Poll::Ready(Ok(())) => {
                self.take_in(inbox);
                any = true;
            }
            // Memory ran out: it is tried again when more comes.
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        any
    }

    fn look_at_the_clock(&mut self) {
        self.now = self.worker.shared.wheel.now();
    }

    /// The time, as flows count it.
    fn since_origin(&self) -> Duration {
        self.now.saturating_duration_since(self.origin)
    }

    fn stats(&self) -> &ListenerStats {
        self.site.site.stats.of(self.worker.id)
    }

    /// Finds out what has changed: orders, rules, servers.
    fn look_up(&mut self) {
        let seen = (self.worker.generation(), self.orders.version());
        if std::mem::replace(&mut self.seen, seen) == seen {
            return;
        }
        let world = self.worker.world();
        world.refresh();
        let last = std::mem::replace(&mut self.site, world.udp_site_or_orphan(&self.orders.site()));
        let (old, new) = (&last.site.listener.flows, &self.site.site.listener.flows);
        if (old.keyed_by, old.quic) != (new.keyed_by, new.quic) {
            // What a flow is has changed: those there are cannot be told apart by that.
            self.end_all(Cause::Drained);
            self.flows = flows(&self.site);
        }
        let mut limits = limits(&self.site);
        if self.orders.is_closing() {
            limits.max_flows = 0;
        }
        self.flows.set_limits(limits);
        // Those that rest may be of servers that are gone.
        self.sockets.start_over(at_rest(&self.site, limits, &world.world));
        let leaves_at = self.now + world.world.drain_timeout;
        for carried in self.carried.iter_mut().flatten() {
            let is_gone = world.udp_site(&carried.site.site.listener.name).is_none();
            let is_gone = is_gone || carried.served.as_ref().is_some_and(Served::is_gone);
            if carried.leaves_at.is_none() && is_gone {
                carried.leaves_at = Some(leaves_at);
            }
        }
        self.leaves_at = self
            .carried
            .iter()
            .flatten()
            .filter_map(|carried| carried.leaves_at)
            .min();
    }

    /// Ends flows whose time is over; whether there may be more of them.
    fn expire(&mut self) -> bool {
        self.look_at_the_clock();
        self.sockets.handle_timeout(self.now);
        let now = self.since_origin();
        for _ in 0..MAX_ENDS {
            let Some(flow) = self.flows.handle_timeout(now) else {
                self.expire_leaving();
                return false;
            };
            self.over(flow.index(), Cause::IdleTimeout);
        }
        true
    }

    /// Ends flows whose listener or server is gone, when they had their time.
    fn expire_leaving(&mut self) {
        let now = self.now;
        if self.leaves_at.is_none_or(|at| at > now) {
            return;
        }
        let leaving: Vec<Flow> = self
            .flows
            .iter()
            .map(|(flow, ..)| flow)
            .filter(|flow| {
                let carried = self.carried.get(flow.index()).and_then(Option::as_ref);
                carried.is_some_and(|carried| carried.leaves_at.is_some_and(|at| at <= now))
            })
            .collect();
        for flow in leaving {
            self.flows.end(flow);
            self.over(flow.index(), Cause::Drained);
        }
        self.leaves_at = self
            .carried
            .iter()
            .flatten()
            .filter_map(|carried| carried.leaves_at)
            .min();
    }

    fn set_timer(&self, cx: &mut Context<'_>) {
        let idle = self.flows.poll_timeout().map(|after| self.origin + after);
        let rested = self.sockets.poll_timeout();
        match [idle, rested, self.leaves_at].into_iter().flatten().min() {
            Some(at) => self.timer.set(at),
            None => self.timer.clear(),
        }
        self.timer.register(cx.waker());
    }

    /// A flow ended, in `flows` as well: lets go of what is held for it.
    fn over(&mut self, index: usize, cause: Cause) {
        if let Some(carried) = self.carried.get_mut(index).and_then(Option::take) {
            let means = Means {
                worker: &self.worker,
                sockets: &mut self.sockets,
                now: self.now,
            };
            carried.finish(means, cause);
        }
    }

    fn end_all(&mut self, cause: Cause) {
        let all: Vec<Flow> = self.flows.iter().map(|(flow, ..)| flow).collect();
        for flow in all {
            self.flows.end(flow);
            self.over(flow.index(), cause);
        }
    }
}

fn flows(site: &LocalUdpSite) -> Flows<RandomState> {
    let FlowRules { keyed_by, quic, .. } = site.site.listener.flows;
    let keyed_by = match keyed_by {
        FlowKey::Client => KeyedBy::Client,
        FlowKey::ClientAndDestination => KeyedBy::ClientAndLocal,
    };
    let quic = quic.map(|quic| QuicIds {
        short_id_bytes: quic.id_bytes,
    });
    Flows::new(keyed_by, quic, limits(site), RandomState::new())
}

/// How many sockets may rest: with all workers and listeners an eighth of the descriptors that there may be.
fn at_rest(site: &LocalUdpSite, limits: FlowLimits, world: &World) -> usize {
    let FlowRules {
        responses,
        reuse_sockets,
        ..
    } = site.site.listener.flows;
    if !reuse_sockets || responses.is_none_or(|each| each == 0) {
        return 0;
    }
    let shares = workers(site).saturating_mul(world.udp.len().max(1) as u64);
    let most = (descriptor_limit() / 8 / shares).min(limits.max_flows.into());
    usize::try_from(most).unwrap_or(usize::MAX)
}

fn workers(site: &LocalUdpSite) -> u64 {
    site.site.open.by_worker().count().max(1) as u64
}

/// What one worker's flows are held to.
fn limits(site: &LocalUdpSite) -> FlowLimits {
    let rules = &site.site.listener.flows;
    let workers = u32::try_from(workers(site)).unwrap_or(u32::MAX);
    FlowLimits {
        max_flows: rules.max_flows.div_ceil(workers),
        idle_timeout: rules.idle_timeout,
        requests: rules.requests,
        responses: rules.responses,
    }
}
