//! What does a balancer know of the servers?
//!
//! A front is one set of counters with the group over them, the queue for its places and the budget for retries: one
//! for all workers of an instance, or one for each independent balancer.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use isobar_balance::{Balance, Candidate, Chance, Group, ServerState, Tier};

use crate::agenda::Ticket;
use crate::scenario::{Retry, Scenario};

/// What the budget for retries holds at most, and at the start: enough for a fault to be met at once.
const MAX_BUDGET: f64 = 10.0;

/// One set of counters and what goes with it.
#[derive(Debug)]
pub(super) struct Front {
    group: Group,
    states: Vec<Arc<ServerState>>,
    seeds: Chance,
    waiting: VecDeque<Ticket>,
    /// Of those, the ones that still wait.
    queued: u32,
    budget: f64,
}

/// A server that balancers know, by its slot, and its weight.
pub(super) type Known = (u32, u32);

impl Front {
    pub(super) fn new(scenario: &Scenario, known: impl Iterator<Item = Known>, seed: u64) -> Self {
        let state = |limit| Arc::new(ServerState::new(limit));
        let states: Vec<_> = scenario.servers.iter().map(|server| state(server.limit)).collect();
        let mut seeds = Chance::new(seed);
        Self {
            group: group(scenario.balance, &states, known, seeds.bits()),
            states,
            seeds,
            waiting: VecDeque::new(),
            queued: 0,
            budget: MAX_BUDGET,
        }
    }

    /// The servers that may be picked now.
    pub(super) const fn group(&self) -> &Group {
        &self.group
    }

    /// Takes in that other servers, or the same with other weights, are known; the counters stay.
    pub(super) fn regroup(&mut self, balance: Balance, known: impl Iterator<Item = Known>) {
        self.group = group(balance, &self.states, known, self.seeds.bits());
    }

    /// Gives a place on a server back.
    pub(super) fn release(&self, slot: u32) {
        if let Some(state) = self.states.get(slot as usize) {
            state.release();
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
    pub(super) fn deposit(&mut self, retry: &Retry) {
        if let Some(part) = retry.budget {
            self.budget = (self.budget + part).min(MAX_BUDGET);
        }
    }

    /// Pays for a retry; *returns* whether the budget had it.
    pub(super) fn withdraw(&mut self, retry: &Retry) -> bool {
        if retry.budget.is_none() {
            return true;
        }
        let has = self.budget >= 1.0;
        if has {
            self.budget -= 1.0;
        }
        has
    }
}

fn group(balance: Balance, states: &[Arc<ServerState>], known: impl Iterator<Item = Known>, seed: u64) -> Group {
    let candidate = |(slot, weight): Known| {
        states.get(slot as usize).map(|state| Candidate {
            slot,
            weight,
            tier: Tier::Primary,
            state: Arc::clone(state),
        })
    };
    Group::new(balance, known.filter_map(candidate).collect(), seed)
}
