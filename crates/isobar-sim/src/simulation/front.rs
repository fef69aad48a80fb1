//! What does a balancer know of the servers?
//!
//! A front is one set of counters with the group over them, the queue for its places and the budget for retries: one
//! for all workers of an instance, or one for each independent balancer.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use isobar_balance::{
    Allowance, Arrangement, Boards, Bound, Budget, Candidate, Chance, Finish, Group, Moment, Report, ServerState,
    Standing,
};

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
    seeds: Chance,
    waiting: VecDeque<Ticket>,
    /// Of those, the ones that still wait.
    queued: u32,
    budget: Budget,
    /// Requests that came.
    requests: u64,
}

/// What a front has of a server, whether it knows it now or not.
#[derive(Debug)]
struct Entry {
    id: u64,
    label: Arc<str>,
    state: Arc<ServerState>,
}

/// A server that balancers know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) slot: u32,
    pub(super) weight: u32,
    /// Whether it is thought to answer.
    pub(super) standing: Standing,
}

impl Front {
    pub(super) fn new(scenario: &Scenario, known: impl Iterator<Item = Known>, seed: u64) -> Self {
        let mut boards = Boards::for_servers(scenario.servers.len());
        let mut entry = |server: &Server| Entry {
            id: name_hash(&server.name),
            label: Arc::from(&*server.name),
            state: Arc::new(boards.server(server.limit)),
        };
        let servers: Vec<Entry> = scenario.servers.iter().map(&mut entry).collect();
        let mut seeds = Chance::new(seed);
        let arrangement = Arrangement {
            bound: scenario.bound_percent.map(|percent| Bound { percent }),
            panic_percent: NO_PANIC,
            ..Arrangement::new(scenario.balance)
        };
        Self {
            group: Group::new(arrangement.clone(), candidates(&servers, known), seeds.bits()),
            arrangement,
            servers,
            seeds,
            waiting: VecDeque::new(),
            queued: 0,
            budget: Budget::new(scenario.retry.budget.unwrap_or(Allowance::DEFAULT), Moment::new(0)),
            requests: 0,
        }
    }

    /// The servers that may be picked now.
    pub(super) const fn group(&self) -> &Group {
        &self.group
    }

    /// Takes in that other servers, or the same with other weights, are known; the counters stay.
    pub(super) fn regroup(&mut self, known: impl Iterator<Item = Known>) {
        let candidates = candidates(&self.servers, known);
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

fn candidates(servers: &[Entry], known: impl Iterator<Item = Known>) -> Vec<Candidate> {
    let candidate = |known: Known| {
        let entry = servers.get(known.slot as usize)?;
        Some(Candidate {
            label: Some(Arc::clone(&entry.label)),
            weight: known.weight,
            standing: known.standing,
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
