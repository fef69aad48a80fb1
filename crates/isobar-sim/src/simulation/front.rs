//! What does a balancer know of the servers?
//!
//! A front is one set of counters with the group over them, the queue for its places, the budget for retries and the
//! detector of outliers: one for all workers of an instance, or one for each independent balancer.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use isobar_balance::{
    Allowance, Arrangement, Attention, Boards, Bound, Budget, Candidate, Chance, Finish, Gradient, GradientRules,
    Group, Moment, Report, ServerState, Standing, Verdict,
};

use super::detection::{Detection, Judgement};
use crate::agenda::Ticket;
use crate::scenario::{Retry, Scenario, Server};

/// As in the data plane: a server that is not thought to answer is never tried, however few others there are.
const NO_PANIC: u32 = 0;

/// One set of counters and what goes with it.
#[derive(Debug)]
pub(super) struct Front {
    arrangement: Arrangement,
    group: Group,
    servers: Vec<Entry>,
    adaptive: Option<GradientRules>,
    seeds: Chance,
    waiting: VecDeque<Ticket>,
    /// Of those, the ones that still wait.
    queued: u32,
    budget: Budget,
    detection: Option<Detection>,
    /// Requests that came.
    requests: u64,
}

/// What a front has of a server, whether it knows it now or not.
#[derive(Debug)]
struct Entry {
    id: u64,
    label: Arc<str>,
    state: Arc<ServerState>,
    /// Its limit by the scenario.
    limit: Option<u32>,
    gradient: Gradient,
}

/// A server that balancers know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) slot: u32,
    pub(super) weight: u32,
    /// Whether it is thought to answer.
    pub(super) standing: Standing,
}

impl Entry {
    /// The smaller of both limits is the one that holds.
    fn apply(&self, rules: &GradientRules) {
        let found = self.gradient.limit(rules);
        self.state
            .set_limit(Some(self.limit.map_or(found, |limit| limit.min(found))));
    }
}

impl Front {
    pub(super) fn new(scenario: &Scenario, known: impl Iterator<Item = Known>, seed: u64) -> Self {
        let mut boards = Boards::for_servers(scenario.servers.len());
        let mut entry = |server: &Server| Entry {
            id: name_hash(&server.name),
            label: Arc::from(&*server.name),
            state: Arc::new(boards.server(server.limit)),
            limit: server.limit,
            gradient: Gradient::new(),
        };
        let servers: Vec<Entry> = scenario.servers.iter().map(&mut entry).collect();
        if let Some(rules) = &scenario.adaptive {
            servers.iter().for_each(|server| server.apply(rules));
        }
        let mut seeds = Chance::new(seed);
        let detection = |settings| Detection::new(settings, servers.len(), seed);
        let detection = scenario.outliers.map(detection);
        let arrangement = Arrangement {
            bound: scenario.bound_percent.map(|percent| Bound { percent }),
            panic_percent: NO_PANIC,
            ..Arrangement::new(scenario.balance)
        };
        Self {
            group: Group::new(arrangement.clone(), candidates(&servers, known, None), seeds.bits()),
            arrangement,
            servers,
            adaptive: scenario.adaptive,
            seeds,
            waiting: VecDeque::new(),
            queued: 0,
            budget: Budget::new(scenario.retry.budget.unwrap_or(Allowance::DEFAULT), Moment::new(0)),
            detection,
            requests: 0,
        }
    }

    /// The servers that may be picked now.
    pub(super) const fn group(&self) -> &Group {
        &self.group
    }

    /// Takes in that other servers, or the same with other weights, are known; the counters stay.
    pub(super) fn regroup(&mut self, known: impl Iterator<Item = Known>) {
        let candidates = candidates(&self.servers, known, self.detection.as_ref());
        self.group = self.group.next(self.arrangement.clone(), candidates, self.seeds.bits());
    }

    /// Gives a place on a server back.
    pub(super) fn release(&self, slot: u32) {
        if let Some(server) = self.servers.get(slot as usize) {
            server.state.release();
        }
    }

    /// Requests in flight that it counts for a server.
    pub(super) fn in_flight(&self, slot: u32) -> u32 {
        self.servers
            .get(slot as usize)
            .map_or(0, |server| server.state.in_flight())
    }

    /// Places taken on all servers.
    pub(super) fn places_taken(&self) -> u64 {
        self.servers
            .iter()
            .map(|server| u64::from(server.state.in_flight()))
            .sum()
    }

    /// Takes in how a request ended at a server.
    pub(super) fn finished(&self, slot: u32, finish: &Finish) {
        if let Some(server) = self.servers.get(slot as usize) {
            server.state.finished(finish, self.arrangement.balance.feedback());
        }
    }

    /// Takes in how a request ended, or that its client left, for the limit that follows from latency; *returns* whether
    /// there is more room.
    pub(super) fn adapt(&self, slot: u32, finish: &Finish) -> bool {
        let (Some(rules), Some(server)) = (&self.adaptive, self.servers.get(slot as usize)) else {
            return false;
        };
        let before = server.state.limit();
        if server.gradient.finished(rules, finish) {
            server.apply(rules);
        }
        server.state.limit() > before
    }

    /// Counts how a request ended at a server, for the detector; *returns* whether servers are to be judged now.
    pub(super) fn count(&self, slot: u32, verdict: Verdict, finish: &Finish) -> Attention {
        let count = |it: &Detection| it.count(slot, verdict, finish.latency, finish.now.nanoseconds());
        self.detection.as_ref().map_or(Attention::None, count)
    }

    /// Tells the detector which servers are known.
    pub(super) fn follow(&mut self, known: impl Iterator<Item = Known>, now: u64) {
        if let Some(detection) = &mut self.detection {
            detection.follow(known, now);
        }
    }

    /// Tells the detector that a server passes its probes.
    pub(super) fn probes_passed(&mut self, slot: u32) {
        if let Some(detection) = &mut self.detection {
            detection.probes_passed(slot);
        }
    }

    /// Has the detector judge the servers; *returns* those that were ejected, and whether any is in or out since.
    pub(super) fn judge(&mut self, now: u64) -> (Vec<u32>, bool) {
        self.detection
            .as_mut()
            .map(|detection| detection.judge(now))
            .unwrap_or_default()
    }

    /// When servers are to be judged next, where that is not planned yet.
    pub(super) fn plan_judgement(&mut self, now: u64) -> Option<Judgement> {
        self.detection.as_mut()?.plan(now)
    }

    /// Takes in what a server says of itself.
    pub(super) fn reported(&self, slot: u32, report: &Report, now: u64) {
        if let Some(server) = self.servers.get(slot as usize) {
            server.state.reported(report, Moment::new(now));
        }
    }

    /// Lets a request wait; *returns* whether there was room.
    pub(super) fn enqueue(&mut self, ticket: Ticket, max: u32) -> bool {
        let is_room = self.queued < max;
        if is_room {
            self.queued += 1;
            self.waiting.push_back(ticket);
        }
        is_room
    }

    /// Who has waited longest, or did and has left.
    pub(super) fn first_waiting(&self) -> Option<Ticket> {
        self.waiting.front().copied()
    }

    pub(super) fn forget_first(&mut self) {
        self.waiting.pop_front();
    }

    /// One that waited does not any more.
    pub(super) const fn leave(&mut self) {
        self.queued -= 1;
    }

    /// A request came, which pays for a part of a retry.
    pub(super) const fn deposit(&mut self) {
        self.requests += 1;
    }

    /// Pays for a retry, as the data plane does; *returns* whether the budget had it.
    pub(super) fn withdraw(&self, retry: &Retry, now: u64) -> bool {
        retry
            .budget
            .is_none_or(|allowance| self.budget.withdraw(allowance, self.requests, Moment::new(now)))
    }
}

fn candidates(servers: &[Entry], known: impl Iterator<Item = Known>, detection: Option<&Detection>) -> Vec<Candidate> {
    let candidate = |known: Known| {
        let entry = servers.get(known.slot as usize)?;
        let is_ejected = detection.is_some_and(|detection| detection.is_ejected(known.slot));
        Some(Candidate {
            label: Some(Arc::clone(&entry.label)),
            weight: known.weight,
            standing: if is_ejected { Standing::Doubtful } else { known.standing },
            ..Candidate::new(known.slot, entry.id, Arc::clone(&entry.state))
        })
    };
    known.filter_map(candidate).collect()
}

/// FNV-1a, as the data plane makes it of a server's name.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
