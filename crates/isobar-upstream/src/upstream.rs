//! How does an upstream stay itself while its settings, servers and their health change?

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use isobar_balance::{
    Allowance, Boards, Budget, Group, Guesses, Moment, OutlierSettings, Preference, Tally, Tier, Usual,
};
use isobar_observe::{PriorityStats, UpstreamStats};
use isobar_plan::{LimitStatus, Name, Priority, ReportsStatus, ServerAddress, ServerStatus, UpstreamStatus};

use crate::bell::Bell;
use crate::gate::Gate;
use crate::pace::Pace;
use crate::placement::{self, Last, tier};
use crate::queue::{Made, WaitQueue};
use crate::server::{Arrival, Joining, Resolution};
use crate::slots::Slots;
use crate::{Connections, Home, Server, Sessions, Sharded, moment};

/// A set of servers that can answer the same requests, as all workers share it.
#[derive(Debug)]
pub struct Upstream {
    name: Name,
    workers: usize,
    members: RwLock<Arc<Members>>,
    /// Serialises the writers of `members`.
    change: Mutex<()>,
    /// The epoch of `members`, to be compared without its lock.
    epoch: AtomicU64,
    /// What its servers have in flight together, where somebody needs to know.
    tally: Arc<Tally>,
    /// Where the counts of its servers are.
    boards: Mutex<Boards>,
    /// Who waits for the next state.
    watcher: Mutex<Option<Waker>>,
    queue: WaitQueue,
    bell: Bell,
    gate: Gate,
    connections: Connections,
    /// Kept up only where the queue goes by deadlines.
    pace: Pace,
    stats: Sharded<UpstreamStats>,
    /// What may be sent again.
    budget: Budget,
    /// How long answers take to begin; kept up only where requests are hedged by it.
    first_bytes: Usual,
    /// Counts picks that should have gone by reports and could not.
    guesses: Arc<Guesses>,
    priorities: Sharded<[PriorityStats; 3]>,
}

/// One consistent state of an upstream; immutable.
#[derive(Debug)]
pub struct Members {
    /// Its settings.
    pub settings: isobar_plan::Upstream,
    /// Its servers; a slot is an index into this.
    pub servers: Box<[Arc<Server>]>,
    /// Those that may be picked, and the algorithm over them.
    pub group: Group,
    slots: Arc<Slots>,
    /// How sessions are known; none: every request is for itself.
    pub(crate) sessions: Option<Arc<Sessions>>,
    /// By which rules how requests end is counted; none: it is not counted.
    pub outliers: Option<OutlierSettings>,
    /// Counts the states.
    epoch: u64,
    /// When time alone makes another state necessary, because a server that starts slowly has more of its weight then.
    next_step: Option<Moment>,
}

/// A level of priority, or the backups, as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelStrength {
    /// How many of its servers are available.
    pub available: u32,
    /// How many it has that take requests by their weight.
    pub servers: u32,
}

impl Members {
    /// Counts the states of the upstream.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How long it is until the upstream is to be [refreshed](Upstream::refresh) because a server that starts slowly has
    /// more of its weight then; none: none does.
    #[must_use]
    pub fn next_step(&self, now: Instant) -> Option<Duration> {
        let nanoseconds = self.next_step?.since(moment(now));
        Some(Duration::from_nanos(nanoseconds))
    }

    /// How many servers a level has.
    #[must_use]
    pub fn strength(&self, of: Tier) -> LevelStrength {
        let mut strength = LevelStrength {
            available: 0,
            servers: 0,
        };
        let servers = self.servers.iter().zip(&self.settings.servers);
        let is_of = |settings: &isobar_plan::Server| tier(settings) == of && settings.weight > 0;
        for (server, _) in servers.filter(|(server, settings)| is_of(settings) && server.takes_new()) {
            strength.servers += 1;
            strength.available += u32::from(server.is_available());
        }
        strength
    }

    /// The slot of a server, where it is here.
    ///
    /// *Cost*: O(log n).
    pub(crate) fn slot(&self, server: &Arc<Server>) -> Option<u32> {
        self.slots.of_server(server, &self.servers)
    }

    /// The slots of those of `servers` that are here.
    pub(crate) fn slots(&self, servers: &[Arc<Server>]) -> Vec<u32> {
        servers.iter().filter_map(|server| self.slot(server)).collect()
    }

    /// The server that a request belongs to, where it is here.
    pub(crate) fn preference(&self, home: Option<Home<'_>>) -> Option<Preference> {
        let Home { server, otherwise } = home?;
        let slot = match &self.sessions {
            Some(sessions) => sessions.slot(server.number())?,
            None => self.slot(server)?,
        };
        Some(Preference { slot, otherwise })
    }

    /// How many places are free at the servers from which a request that avoids `avoid` and belongs to `home` would be
    /// given one; none: no server is left to it. Says what a pick from `group` would find.
    pub(crate) fn room(&self, avoid: &[Arc<Server>], home: Option<Home<'_>>) -> Option<u32> {
        let avoid = self.slots(avoid);
        match self.preference(home) {
            None => self.group.room(&avoid),
            Some(preference) => self.group.room_for(preference, &avoid),
        }
    }

    /// Whether there is one server and no other for a request that avoids `avoid` and belongs to `home`.
    pub(crate) fn is_bound(&self, avoid: &[Arc<Server>], home: Option<Home<'_>>) -> bool {
        let is_bound = |preference| self.group.is_bound(preference, &self.slots(avoid));
        self.preference(home).is_some_and(is_bound)
    }

    /// Whether a server is left to a request that avoids `avoid` and belongs to `home`, full or not.
    pub(crate) fn is_left(&self, avoid: &[Arc<Server>], home: Option<Home<'_>>) -> bool {
        let avoid = self.slots(avoid);
        match self.preference(home) {
            None => self.group.is_left(&avoid),
            Some(preference) => self.group.is_left_for(preference, &avoid),
        }
    }
}

impl AsRef<Self> for Upstream {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Upstream {
    /// An upstream for `workers` workers. Of its servers' names nothing is known.
    #[must_use]
    pub fn new(settings: isobar_plan::Upstream, workers: usize) -> Self {
        Self::knowing(settings, workers, |_| None)
    }

    /// An upstream whose servers' names stand for what `known` says of them; what it does not know is to be
    /// [told](Server::resolved).
    #[must_use]
    pub fn knowing(
        settings: isobar_plan::Upstream,
        workers: usize,
        known: impl Fn(&ServerAddress) -> Option<Resolution>,
    ) -> Self {
        let tally = Arc::new(Tally::new());
        let boards = Mutex::new(Boards::for_servers(settings.servers.len()));
        let joining = Joining {
            of: &settings,
            workers,
            tally: &tally,
            boards: &boards,
            arrival: Arrival::FromTheStart,
        };
        let new = |server| new_server(server, joining, &known);
        let servers: Box<[_]> = settings.servers.iter().map(new).collect();
        if settings.placement.bound.is_none() {
            servers.iter().for_each(|server| server.state().stop_counting());
        }
        let guesses = Arc::new(Guesses::default());
        let members = members(settings.clone(), servers, 1, (None, &guesses));
        let allowance = settings.retry_budget.unwrap_or(Allowance::DEFAULT);
        Self {
            name: settings.name,
            workers,
            members: RwLock::new(Arc::new(members)),
            change: Mutex::new(()),
            epoch: AtomicU64::new(1),
            tally,
            boards,
            watcher: Mutex::default(),
            queue: WaitQueue::default(),
            bell: Bell::default(),
            gate: Gate::new(workers),
            connections: Connections::new(workers),
            pace: Pace::default(),
            stats: Sharded::new(workers),
            budget: Budget::new(allowance, moment(Instant::now())),
            first_bytes: Usual::default(),
            guesses,
            priorities: Sharded::new(workers),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its state now.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts its states: an epoch that differs from a cached one means that [`Self::members`] is worth another look.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Takes new settings. Servers of the same name and address keep counters, health and connections; of the names of
    /// others nothing is known.
    pub fn reconfigure(&self, settings: isobar_plan::Upstream) {
        self.reconfigure_knowing(settings, |_| None);
    }

    /// Takes new settings, as [`reconfigure`](Self::reconfigure) does; the names of new servers stand for what `known`
    /// says of them.
    pub fn reconfigure_knowing(
        &self,
        settings: isobar_plan::Upstream,
        known: impl Fn(&ServerAddress) -> Option<Resolution>,
    ) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.members();
        let joining = Joining {
            of: &settings,
            workers: self.workers,
            tally: &self.tally,
            boards: &self.boards,
            arrival: Arrival::Later,
        };
        let known_as = |server: &Arc<Server>| (Arc::clone(server.name()), server.address().clone());
        let same: HashMap<_, _> = old
            .servers
            .iter()
            .rev()
            .map(|server| (known_as(server), server))
            .collect();
        let servers =
            settings.servers.iter().map(
                |server| match same.get(&(Arc::clone(&server.name), server.address.clone())) {
                    Some(&same) => {
                        same.reconfigure(server, &settings);
                        Arc::clone(same)
                    }
                    None => new_server(server, joining, &known),
                },
            );
        let servers = servers.collect();
        self.publish(settings, servers);
    }

    /// Takes in that the availability of servers changed, or that time went on for those that start slowly.
    ///
    /// *Cost*: builds a new [group](Group::next), which every worker takes over with its next request.
    pub fn refresh(&self) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.members();
        self.publish(old.settings.clone(), old.servers.clone());
    }

    /// What one worker counts of it.
    #[must_use]
    pub fn stats(&self, worker: usize) -> &UpstreamStats {
        self.stats.of(worker)
    }

    /// What all workers count of it.
    pub fn all_stats(&self) -> impl Iterator<Item = &UpstreamStats> {
        self.stats.iter()
    }

    /// Takes a retry out of the budget that all workers share: *returns* whether there was one. `allowance`: none has no
    /// bound.
    ///
    /// *Cost*: a look at every worker's counter; no lock. Requests that are not sent again pay nothing.
    #[must_use]
    pub fn may_repeat(&self, allowance: Option<Allowance>, now: Moment) -> bool {
        let Some(allowance) = allowance else { return true };
        let requests = self.all_stats().map(|stats| stats.requests.value());
        let requests = requests.fold(0, u64::wrapping_add);
        self.budget.withdraw(allowance, requests, now)
    }

    /// Gives back what [`may_repeat`](Self::may_repeat) took, where nothing was sent.
    pub fn not_repeated(&self, allowance: Option<Allowance>) {
        if allowance.is_some() {
            self.budget.give_back();
        }
    }

    /// How long answers take to begin.
    #[must_use]
    pub fn first_bytes(&self) -> &Usual {
        &self.first_bytes
    }

    /// What one worker counts of its requests of a priority.
    #[must_use]
    pub fn priority_stats(&self, worker: usize, priority: Priority) -> &PriorityStats {
        &self.priorities.of(worker)[priority.index()]
    }

    /// What all workers count of its requests of a priority.
    pub fn all_priority_stats(&self, priority: Priority) -> impl Iterator<Item = &PriorityStats> {
        self.priorities.iter().map(move |stats| &stats[priority.index()])
    }

    /// What an operator is told of it.
    #[must_use]
    pub fn status(&self) -> UpstreamStatus {
        let members = self.members();
        let (slow_start, now) = (members.settings.placement.slow_start, moment(Instant::now()));
        let status = |(server, settings): (&Arc<Server>, _)| ServerStatus {
            warmth_percent: u32::from(placement::warmth(server.seen().since, slow_start, now).thousandths() / 10),
            ..server.status(settings)
        };
        let limits = &members.settings.limits;
        let servers = members.servers.iter().zip(&members.settings.servers);
        UpstreamStatus {
            name: self.name.clone(),
            queued: self.queue.len(),
            panicking: members.group.panicking().to_vec(),
            sessions: members
                .sessions
                .as_ref()
                .and_then(|sessions| sessions.count(moment(Instant::now()))),
            reports: self.reports(&members),
            queued_by: self.queue.lengths(),
            queue_max: members.settings.queue.max,
            fair: members.settings.fair_share.as_ref().map(|_| self.queue.fair_status()),
            requests: LimitStatus {
                used: members.servers.iter().map(|server| server.state().in_flight()).sum(),
                max: limits.most_requests(Priority::Critical),
            },
            connections: LimitStatus {
                used: self.connections.open(),
                max: limits.max_connections,
            },
            servers: servers.map(status).collect(),
            // That is known to whoever secures them.
            tls: None,
        }
    }

    /// What it goes by, where that is what servers report.
    fn reports(&self, members: &Members) -> Option<ReportsStatus> {
        let goes_by_reports = members.settings.balance.goes_by_reports();
        goes_by_reports.then(|| ReportsStatus {
            informed: members.group.is_informed(moment(Instant::now())).unwrap_or(false),
            fallback_picks: self.fallback_picks(),
            candidates: u32::try_from(members.group.candidates()).unwrap_or(u32::MAX),
        })
    }

    /// Picks that should have gone by reports and could not, since the start.
    #[must_use]
    pub fn fallback_picks(&self) -> u64 {
        self.guesses.number()
    }

    /// Whether requests wait that a new one of this priority has to let go first: it joins the queue before it looks
    /// for a place.
    #[must_use]
    pub fn has_queue(&self, priority: Priority) -> bool {
        self.queue.has_precedence(priority)
    }

    /// A request that had waited was given to a server, and its client left before it was answered.
    pub fn waited_in_vain(&self, priority: Priority) {
        self.queue.waited_in_vain(priority);
    }

    /// Whether its limits leave nothing to a request of this priority.
    #[must_use]
    pub fn is_at_limit(&self, priority: Priority) -> bool {
        let most = self.members().settings.limits.most_requests(priority);
        most.is_some_and(|most| self.gate.room(most) == 0)
    }

    /// Its open connections to servers.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// How long a request must be expected to take once it has a server; kept up where the queue goes by deadlines.
    #[must_use]
    pub fn expected(&self) -> Duration {
        self.pace.expected()
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Waits until its state is another than that of an epoch. Only one can wait at a time: the last one that asked.
    pub fn poll_changed(&self, epoch: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let before = watcher.replace(cx.waker().clone());
        drop(watcher);
        drop(before);
        if self.members().epoch() == epoch {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Whether requests wait that one has to let go first that belongs to a server: also those that wait for this very one.
    #[must_use]
    pub fn has_queue_for(&self, home: &Server, priority: Priority) -> bool {
        self.queue.has_precedence(priority) || home.is_awaited()
    }

    /// Whoever judges how servers answer is to look at them now.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Ready when somebody rang since this was last ready. One task may wait.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.bell.poll_rung(cx)
    }

    pub(crate) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    fn publish(&self, settings: isobar_plan::Upstream, servers: Box<[Arc<Server>]>) {
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        let last = self.members();
        let is_bounded = settings.placement.bound.is_some();
        if is_bounded {
            // Before there is a group that needs the count.
            servers.iter().for_each(|server| server.state().start_counting());
        }
        let next = Arc::new(members(settings, servers, epoch, (Some(&last), &self.guesses)));
        // The epoch first: a worker that goes by it is never behind those who look at the state itself, as the queue
        // does. In between, workers read the old state once more.
        self.epoch.store(epoch, Ordering::SeqCst);
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        for server in &last.servers {
            // What a server that left has in flight is no longer part of what is shared out.
            if !is_bounded || next.slot(server).is_none() {
                server.state().stop_counting();
            }
        }
        self.queue.call_for_room(self, Made::State);
        self.connections.serve_waiting(self);
        // Out of the lock: to wake somebody may run code of others, which may come back here.
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watcher) = watcher {
            watcher.wake();
        }
        if last.outliers.is_some() || next.outliers.is_some() {
            self.ring();
        }
    }
}

fn new_server(
    server: &isobar_plan::Server,
    joining: Joining<'_>,
    known: impl Fn(&ServerAddress) -> Option<Resolution>,
) -> Arc<Server> {
    let new = Server::new(server, joining);
    if matches!(server.address, ServerAddress::Name(..))
        && let Some(outcome) = known(&server.address)
    {
        new.resolved(outcome);
    }
    Arc::new(new)
}

/// The state with these settings and servers, which comes after `last`.
fn members(
    settings: isobar_plan::Upstream,
    servers: Box<[Arc<Server>]>,
    epoch: u64,
    (last, guesses): (Option<&Members>, &Arc<Guesses>),
) -> Members {
    let now = moment(Instant::now());
    let before = last.and_then(|last| last.sessions.as_ref());
    let slots = Slots::of(&servers);
    let slots = match last {
        Some(last) if *last.slots == slots => Arc::clone(&last.slots),
        _ => Arc::new(slots),
    };
    let sessions = settings.sticky.as_ref();
    let sessions = sessions.map(|rules| Sessions::new(rules, &settings.name, (&servers, &slots), before));
    let last = Last {
        group: last.map(|last| &last.group),
        guesses,
    };
    let outliers = settings
        .outliers
        .filter(|outliers| servers.len() >= outliers.min_servers as usize);
    let seen: Vec<_> = servers
        .iter()
        .map(|server| (Arc::clone(server), server.seen()))
        .collect();
    Members {
        group: placement::group(&settings, &seen, (epoch, now), &last),
        slots,
        next_step: placement::next_step(&seen, settings.placement.slow_start, now),
        outliers: outliers.map(|outliers| outliers.rules),
        settings,
        servers,
        sessions,
        epoch,
    }
}
