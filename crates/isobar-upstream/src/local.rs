//! How does one worker look at an upstream without taking a lock?

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_balance::{Attention, Chance, Finish, Outcome, Pick, Query, Tier, Verdict};
use isobar_plan::QueueOrder;

use crate::gate::Shard;
use crate::queue::{Held, Made};
use crate::{Ask, Members, Server, Sessions, Upstream, moment};

/// What a worker keeps for a server.
pub trait Retire {
    /// The server left: lets go of what is kept, and keeps nothing from now on. Whoever still has a [`Place`] at the
    /// server holds on to this, perhaps for hours.
    fn retire(&self);
}

/// Nothing is kept.
impl Retire for () {
    fn retire(&self) {}
}

/// One worker's way to an upstream. `P` is what the worker keeps per server, such as a pool of connections.
#[derive(Debug)]
pub struct Local<P> {
    upstream: Arc<Upstream>,
    shard: Shard,
    view: RefCell<Rc<View<P>>>,
}

/// One consistent state of an upstream, as one worker sees it.
#[derive(Debug)]
pub struct View<P> {
    upstream: Arc<Upstream>,
    shard: Shard,
    members: Arc<Members>,
    servers: Box<[Rc<LocalServer<P>>]>,
}

/// A server, and what one worker keeps for it.
#[derive(Debug)]
pub struct LocalServer<P> {
    /// What all workers know of it.
    pub server: Arc<Server>,
    /// What this worker keeps.
    pub own: P,
}

/// A place at a server, counted for all workers. Dropping it gives the place back, whatever the way out was.
#[derive(Debug)]
pub struct Place<P> {
    view: Rc<View<P>>,
    slot: usize,
    tier: Tier,
    /// Requests in flight at the server when it was picked, this one among them.
    in_flight: u32,
    /// Whether it is counted against the upstream's limits.
    gated: Gated,
    /// What it counts for, where it was waited for and places are divided. Boxed, because it is rare.
    held: Option<Box<Held>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gated {
    Yes,
    No,
}

/// Why no server was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Every available server is at its limit.
    Full,
    /// No server is available, or all were tried.
    NoneAvailable,
}

impl<P: Default + Retire> Local<P> {
    /// A worker's way to `upstream`.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>) -> Self {
        let shard = upstream.gate().shard();
        let view = RefCell::new(Rc::new(View::new(&upstream, shard, None)));
        Self { upstream, shard, view }
    }

    /// The shared upstream.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The upstream as it is now; servers that stayed keep what the worker has for them, and those that left lose it.
    ///
    /// *Cost*: one load and a reference count while nothing changed.
    pub fn view(&self) -> Rc<View<P>> {
        let mut view = self.view.borrow_mut();
        if view.members.epoch() != self.upstream.epoch() {
            let next = Rc::new(View::new(&self.upstream, self.shard, Some(&view)));
            let last = std::mem::replace(&mut *view, next);
            for (slot, server) in last.servers.iter().enumerate() {
                let stayed = view.servers.get(slot).is_some_and(|other| Rc::ptr_eq(other, server));
                if !stayed && view.members.slot(&server.server).is_none() {
                    server.own.retire();
                }
            }
        }
        Rc::clone(&view)
    }

    /// The upstream left: so did all its servers.
    pub fn retire(&self) {
        for server in self.view().servers() {
            server.own.retire();
        }
    }
}

impl<P: Default> View<P> {
    fn new(upstream: &Arc<Upstream>, shard: Shard, last: Option<&Self>) -> Self {
        let members = upstream.members();
        let known = |server| last?.servers.get(last?.members.slot(server)? as usize);
        let servers = members.servers.iter().map(|server| {
            known(server).map_or_else(
                || {
                    Rc::new(LocalServer {
                        server: Arc::clone(server),
                        own: P::default(),
                    })
                },
                Rc::clone,
            )
        });
        let servers = servers.collect();
        Self {
            upstream: Arc::clone(upstream),
            shard,
            members,
            servers,
        }
    }
}

impl<P> View<P> {
    /// The settings of this state.
    #[must_use]
    pub fn settings(&self) -> &isobar_plan::Upstream {
        &self.members.settings
    }

    /// The shared upstream.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// How sessions are known; none: every request is for itself.
    #[must_use]
    pub fn sessions(&self) -> Option<&Sessions> {
        self.members.sessions.as_deref()
    }

    /// The servers, by slot.
    #[must_use]
    pub fn servers(&self) -> &[Rc<LocalServer<P>>] {
        &self.servers
    }

    /// How many places are free for a request; none: no server is available to it.
    #[must_use]
    pub fn room(&self, ask: &Ask<'_>) -> Option<u32> {
        self.members.room(ask.avoid, ask.home)
    }

    /// Picks a server for a request and takes a place at it.
    ///
    /// *Cost*: no lock, and an allocation only where there is something to avoid; the rest is the algorithm's.
    pub fn place(self: &Rc<Self>, ask: &Ask<'_>, chance: &mut Chance) -> Result<Place<P>, Refusal> {
        let &Ask {
            avoid, key, home, now, ..
        } = ask;
        let gated = self.enter(ask)?;
        let query = Query {
            avoid: &self.members.slots(avoid),
            key,
            now,
        };
        let pick = match self.members.preference(home) {
            None => self.members.group.pick(&query, chance),
            Some(preference) => self.members.group.pick_for(preference, &query, chance),
        };
        match pick {
            Pick::Server { slot, tier } => {
                let mut place = Place {
                    view: Rc::clone(self),
                    slot: slot as usize,
                    tier,
                    in_flight: 0,
                    gated,
                    held: None,
                };
                place.in_flight = place.server().server.state().in_flight();
                Ok(place)
            }
            Pick::Full => Err(self.refused(Refusal::Full, gated)),
            Pick::NoneAvailable => Err(self.refused(Refusal::NoneAvailable, gated)),
        }
    }

    /// Counts the request in the upstream's limits.
    fn enter(&self, ask: &Ask<'_>) -> Result<Gated, Refusal> {
        let gate = self.upstream.gate();
        let most = match self.settings().limits.most_requests(ask.priority) {
            Some(most) => most,
            None => {
                gate.enter_unlimited(self.shard);
                // Whoever goes by a limit set meanwhile either finds this one counted, or is found here.
                let most = || self.upstream.members().settings.limits.most_requests(ask.priority);
                let is_current = self.upstream.epoch() == self.members.epoch();
                let Some(most) = (!is_current).then(most).flatten() else {
                    return Ok(Gated::No);
                };
                self.leave(Gated::No, Made::Otherwise);
                most
            }
        };
        if gate.enter(most) {
            return Ok(Gated::Yes);
        }
        // Where no server is left, to wait is of no use: it would be called again and again.
        Err(match self.members.is_left(ask.avoid, ask.home) {
            true => Refusal::Full,
            false => Refusal::NoneAvailable,
        })
    }

    /// Lets go of what was taken of the upstream's limits. Somebody may have found them used up meanwhile, and wait.
    fn leave(&self, gated: Gated, made: Made<'_>) {
        match gated {
            Gated::Yes => self.upstream.gate().leave(),
            Gated::No => self.upstream.gate().leave_unlimited(self.shard),
        }
        self.upstream.queue().call_for_room(&self.upstream, made);
    }

    fn refused(&self, refusal: Refusal, gated: Gated) -> Refusal {
        self.leave(gated, Made::Otherwise);
        refusal
    }
}

impl<P> Place<P> {
    /// The server.
    ///
    /// *Panics* never: a group is built from the servers of its own state.
    #[must_use]
    pub fn server(&self) -> &Rc<LocalServer<P>> {
        &self.view.servers[self.slot]
    }

    /// The state that it was picked from.
    #[must_use]
    pub fn view(&self) -> &Rc<View<P>> {
        &self.view
    }

    /// The server's slot in that state.
    #[must_use]
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Tells balancing how the request ended at this server: when, how long the first byte took, and whether the server
    /// failed. Not to be told: requests whose end says nothing of the server.
    pub fn finished(&self, now: Instant, latency: Duration, outcome: Outcome) {
        let verdict = match outcome {
            Outcome::Success => Verdict::Answered,
            Outcome::Failure { .. } => Verdict::ServerError,
        };
        self.count(now, latency, verdict);
        self.tell(now, latency, outcome);
    }

    /// Tells balancing that no connection to this server could be made, and when and after how long it was given up.
    pub fn unreachable(&self, now: Instant, latency: Duration) {
        self.count(now, latency, Verdict::Unreachable);
        self.tell(now, latency, Outcome::Failure { retry_after: None });
    }

    /// Counts for outlier detection how the request ended.
    ///
    /// *Cost*: a load where there is none. No lock, but by a failure that is one too many.
    fn count(&self, now: Instant, latency: Duration, verdict: Verdict) {
        let Some(rules) = &self.view.members.outliers else {
            return;
        };
        let conduct = self.server().server.conduct();
        if rules.latency.is_some() && verdict == Verdict::Answered {
            conduct.count_latency(latency);
        }
        if conduct.count(verdict, moment(now), rules) == Attention::Due {
            self.view.upstream.ring();
        }
    }

    fn tell(&self, now: Instant, latency: Duration, outcome: Outcome) {
        let finish = Finish {
            now: moment(now),
            latency,
            in_flight: self.in_flight,
            outcome,
        };
        let wanted = self.view.settings().balance.feedback();
        let server = &self.server().server;
        server.state().finished(&finish, wanted);
        self.adapt(&finish);
        if self.view.settings().queue.order == QueueOrder::Deadline && outcome == Outcome::Success {
            self.view.upstream.pace().see(latency);
        }
    }

    /// Tells how long the client waited for this server before it left without an answer.
    pub fn abandoned(&self, now: Instant, waited: Duration) {
        let server = &self.server().server;
        if server.concurrency().is_adaptive() {
            let finish = Finish {
                now: moment(now),
                latency: waited,
                in_flight: self.in_flight,
                outcome: Outcome::Failure { retry_after: None },
            };
            self.adapt(&finish);
        }
    }

    /// Has the server's limit found anew, where it is looked for; whoever waits for a place may have one then.
    fn adapt(&self, finish: &Finish) {
        let server = &self.server().server;
        let before = server.state().limit();
        server.concurrency().finished(finish, server.state());
        if server.state().limit() > before {
            let queue = self.view.upstream.queue();
            queue.call_for_room(&self.view.upstream, Made::Place(server));
        }
    }

    /// Has servers asked for their load that the algorithm wants to hear of, now that this one was picked. For
    /// algorithms that go by reports; nothing waits for the answers.
    ///
    /// *Cost*: that of [`Group::probes`](isobar_balance::Group::probes), and of [`Asking::want`](crate::Asking::want) for
    /// each of them.
    pub fn wants_reports(&self, now: Instant, chance: &mut Chance) {
        let query = Query {
            now: moment(now),
            ..Query::default()
        };
        let members = &self.view.members;
        for slot in members.group.probes(self.tier, &query, chance).iter() {
            if let Some(server) = members.servers.get(slot as usize) {
                server.asking().want();
            }
        }
    }

    /// Says what it counts for until it is given back.
    pub fn counts_for(&mut self, held: Option<Held>) {
        self.held = held.map(Box::new);
    }

    /// Whether it is a backup that was picked.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }
}

impl<P> Drop for Place<P> {
    fn drop(&mut self) {
        self.server().server.state().release();
        if let Some(held) = self.held.take() {
            self.view.upstream.queue().ended(*held);
        }
        self.view.leave(self.gated, Made::Place(&self.server().server));
    }
}
