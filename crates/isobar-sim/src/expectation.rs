//! Which law does a scenario follow, if any?
//!
//! Queueing theory answers for scenarios that are simple enough: equal servers, independent requests, exponential
//! work, nothing that happens on the way. For those its lines are drawn beside what was simulated.

use isobar_balance::Balance;

use crate::scenario::{Arrivals, Counters, Discipline, Scenario};
use crate::service::Shape;
use crate::theory;

/// A model that theory has figures for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// Every server by itself: what chance gives.
    EachByItself,
    /// One line for all servers: what nothing can better.
    OneQueue,
    /// Every server sees every n-th request.
    InTurn,
    /// Of so many servers drawn by chance the least busy, where there are very many.
    Choices(u8),
}

impl Law {
    /// Its name in the field and what it stands for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EachByItself => "M/M/c per server: chance",
            Self::OneQueue => "M/M/n: one queue for all",
            Self::InTurn => "E_n/M/1: in turn",
            Self::Choices(_) => "mean field: the least busy of a few",
        }
    }
}

/// What theory expects of a scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expectation {
    /// By which law.
    pub law: Law,
    servers: u32,
    slots: u32,
    load: f64,
    /// The mean service time in nanoseconds.
    service: f64,
}

impl Expectation {
    /// What theory expects: the bounds that hold for every algorithm, best last, and the algorithm's own law where it
    /// has one; empty: the scenario is not simple enough, or asks for more than the servers can do.
    pub fn of(scenario: &Scenario) -> impl Iterator<Item = Self> {
        let simple = is_simple(scenario);
        let choices = match scenario.balance {
            Balance::PowerOfTwo(choices) if is_one_front(scenario) => choices.number(),
            _ => 0,
        };
        let in_turn = scenario.balance == Balance::RoundRobin && is_one_front(scenario);
        let slots = scenario.servers.first().map_or(1, |server| server.slots);
        let laws = [
            (true, Law::EachByItself),
            (in_turn && slots == 1, Law::InTurn),
            (choices > 0 && slots == 1, Law::Choices(choices)),
            (true, Law::OneQueue),
        ];
        let speed = scenario.servers.first().map_or(1.0, |server| server.speed);
        let expectation = Self {
            law: Law::OneQueue,
            servers: u32::try_from(scenario.servers.len()).unwrap_or(u32::MAX),
            slots,
            load: scenario.load(),
            service: scenario.service.mean / speed,
        };
        let laws = laws.into_iter().filter(move |(holds, _)| simple && *holds);
        laws.map(move |(_, law)| Self { law, ..expectation })
    }

    /// The mean time, in nanoseconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let times = match self.law {
            Law::EachByItself => theory::mmn_mean(self.slots, self.load),
            Law::OneQueue => theory::mmn_mean(self.servers.saturating_mul(self.slots), self.load),
            Law::InTurn => theory::round_robin_mean(self.servers, self.load),
            Law::Choices(choices) => theory::choices_mean(choices.into(), self.load),
        };
        times * self.service
    }

    /// The probability that a request stays longer than so many nanoseconds.
    #[must_use]
    pub fn tail(&self, time: f64) -> f64 {
        let times = time / self.service;
        match self.law {
            Law::EachByItself => theory::mmn_tail(self.slots, self.load, times),
            Law::OneQueue => theory::mmn_tail(self.servers.saturating_mul(self.slots), self.load, times),
            Law::Choices(choices) => theory::choices_tail(choices.into(), self.load, times),
            Law::InTurn => libm::exp(-times * (1.0 - theory::round_robin_busy(self.servers, self.load))),
        }
    }
}

fn is_one_front(scenario: &Scenario) -> bool {
    scenario.balancers.count == 1 || scenario.balancers.counters == Counters::Shared
}

fn is_simple(scenario: &Scenario) -> bool {
    let Some(first) = scenario.servers.first() else {
        return false;
    };
    let alike = scenario.servers.iter().all(|server| {
        let undisturbed = server.antagonist.is_none() && server.wear.is_none() && server.limit.is_none();
        let equal = (server.weight, server.slots, server.speed) == (first.weight, first.slots, first.speed);
        undisturbed && equal && server.present && server.discipline == Discipline::Fifo
    });
    alike
        && matches!(scenario.arrivals, Arrivals::Poisson { .. })
        && scenario.service.shape == Shape::Exponential
        && scenario.changes.is_empty()
        && scenario.timeout.is_none()
        && scenario.adaptive.is_none()
        && scenario
            .outliers
            .is_none_or(|outliers| outliers.rules.latency.is_none())
        && scenario.load() < 1.0
}
