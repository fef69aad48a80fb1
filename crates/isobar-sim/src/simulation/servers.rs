//! What happens to servers on the way?
//!
//! A server's speed is its own, times what an antagonist, its age and a fault leave of it.

use alloc::vec::Vec;

use isobar_balance::{Chance, Report, Standing};

use super::front::Known;
use crate::agenda::{Agenda, Event};
use crate::draws;
use crate::meter::Meter;
use crate::scenario::{Antagonist, Change, Failing, Scenario, Server, Wear, What};
use crate::station::{Job, Station};

/// Steps in which a server loses what it can lose of its speed.
const WEAR_STEPS: f64 = 100.0;

/// All servers.
#[derive(Debug)]
pub(super) struct Servers {
    stations: Vec<Station>,
    conditions: Vec<Condition>,
    meters: Vec<Meter>,
    /// Which requests fail.
    failures: Chance,
}

/// How a server is.
#[derive(Debug)]
struct Condition {
    speed: f64,
    fault: f64,
    disturbed: bool,
    age: f64,
    antagonist: Option<Antagonist>,
    wear: Option<Wear>,
    failing: Option<Failing>,
    is_away: bool,
    is_known: bool,
    is_doubted: bool,
    weight: u32,
    /// When its antagonist comes and goes: the same whatever the algorithm.
    chance: Chance,
}

/// What a change led to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Whether balancers know other servers, or other weights.
    pub(super) is_known_otherwise: bool,
    /// Requests that were lost.
    pub(super) lost: Vec<Job>,
}

impl Condition {
    fn new(server: &Server, chance: Chance) -> Self {
        Self {
            speed: server.speed,
            fault: 1.0,
            disturbed: false,
            age: 1.0,
            antagonist: server.antagonist,
            wear: server.wear,
            failing: None,
            is_away: false,
            is_known: server.present,
            is_doubted: false,
            weight: server.weight,
            chance,
        }
    }

    fn current_speed(&self) -> f64 {
        let left = self
            .antagonist
            .filter(|_| self.disturbed)
            .map_or(1.0, |antagonist| antagonist.speed);
        self.speed * self.fault * self.age * left
    }

    /// How long the antagonist stays as it is.
    fn next_turn(&mut self) -> Option<u64> {
        let antagonist = self.antagonist?;
        let mean = if self.disturbed {
            antagonist.busy
        } else {
            antagonist.quiet
        };
        Some(draws::nanoseconds(draws::exponential(&mut self.chance, mean)).max(1))
    }
}

/// Time in which a server loses one step of what it can lose.
fn wear_step(wear: &Wear) -> u64 {
    draws::nanoseconds((1.0 - wear.least) / WEAR_STEPS / wear.per_second * 1e9).max(1)
}

impl Servers {
    pub(super) fn new(scenario: &Scenario, agenda: &mut Agenda) -> Self {
        let mut seeds = draws::stream(scenario.seed, 6);
        let condition = |server| Condition::new(server, Chance::new(seeds.bits()));
        let station = |server: &Server| Station::new(server.discipline, server.slots, server.speed);
        let mut servers = Self {
            conditions: scenario.servers.iter().map(condition).collect(),
            stations: scenario.servers.iter().map(station).collect(),
            meters: scenario.servers.iter().map(|_| Meter::default()).collect(),
            failures: draws::stream(scenario.seed, 7),
        };
        for (at, change) in (0..).zip(&scenario.changes) {
            agenda.put(change.at, Event::Change(at));
        }
        for index in 0..u32::try_from(servers.conditions.len()).unwrap_or(u32::MAX) {
            servers.begin(index, agenda);
        }
        servers
    }

    /// An antagonist is there from the start as often as it is later on.
    fn begin(&mut self, server: u32, agenda: &mut Agenda) {
        let condition = &mut self.conditions[server as usize];
        if let Some(antagonist) = condition.antagonist {
            condition.disturbed = draws::happens(&mut condition.chance, antagonist.presence());
        }
        if let Some(turn) = condition.next_turn() {
            agenda.put(turn, Event::Antagonist(server));
        }
        if let Some(wear) = condition.wear {
            agenda.put(wear_step(&wear), Event::Wear(server));
        }
        self.apply_speed(0, server, agenda);
    }

    /// The servers that balancers know.
    pub(super) fn known(&self) -> impl Iterator<Item = Known> {
        let conditions = (0..).zip(&self.conditions);
        conditions
            .filter(|(_, condition)| condition.is_known)
            .map(|(slot, condition)| Known {
                slot,
                weight: condition.weight,
                standing: if condition.is_doubted {
                    Standing::Doubtful
                } else {
                    Standing::Available
                },
            })
    }

    pub(super) fn stations_mut(&mut self) -> &mut [Station] {
        &mut self.stations
    }

    /// Whether a request will fail, and how much work it will be; none: the server is not there.
    pub(super) fn reception(&mut self, server: u32, work: f64) -> Option<(bool, f64)> {
        let condition = &self.conditions[server as usize];
        if condition.is_away {
            return None;
        }
        let fails = condition
            .failing
            .filter(|failing| draws::happens(&mut self.failures, failing.share));
        Some((fails.is_some(), work * fails.map_or(1.0, |failing| failing.work)))
    }

    pub(super) fn take(&mut self, now: u64, server: u32, job: Job, agenda: &mut Agenda) {
        self.stations[server as usize].take(now, job);
        self.replan(server, agenda);
    }

    pub(super) fn done(&mut self, now: u64, server: u32, plan: u32, agenda: &mut Agenda) -> Option<Job> {
        let job = self.stations[server as usize].done(now, plan);
        self.replan(server, agenda);
        if let Some(job) = &job {
            self.meters[server as usize].count(job);
        }
        job
    }

    /// What a server says of itself; none: it is not there.
    pub(super) fn report(&mut self, now: u64, server: u32) -> Option<Report> {
        if self.conditions[server as usize].is_away {
            return None;
        }
        let station = &mut self.stations[server as usize];
        station.advance(now);
        Some(Report {
            in_flight: Some(u32::try_from(station.present()).unwrap_or(u32::MAX)),
            latency: None,
            load: self.meters[server as usize].load(now, station),
        })
    }

    fn replan(&mut self, server: u32, agenda: &mut Agenda) {
        if let Some((at, plan)) = self.stations[server as usize].replan() {
            agenda.put(at, Event::Done { server, plan });
        }
    }

    fn apply_speed(&mut self, now: u64, server: u32, agenda: &mut Agenda) {
        let speed = self.conditions[server as usize].current_speed();
        self.stations[server as usize].set_speed(now, speed);
        self.replan(server, agenda);
    }

    /// The antagonist comes, or goes.
    pub(super) fn antagonist(&mut self, now: u64, server: u32, agenda: &mut Agenda) {
        let condition = &mut self.conditions[server as usize];
        condition.disturbed = !condition.disturbed;
        if let Some(turn) = condition.next_turn() {
            agenda.put(now.saturating_add(turn), Event::Antagonist(server));
        }
        self.apply_speed(now, server, agenda);
    }

    /// The server is a step older.
    pub(super) fn wear(&mut self, now: u64, server: u32, agenda: &mut Agenda) {
        let condition = &mut self.conditions[server as usize];
        let Some(wear) = condition.wear else {
            return;
        };
        condition.age = (condition.age - (1.0 - wear.least) / WEAR_STEPS).max(wear.least);
        agenda.put(now.saturating_add(wear_step(&wear)), Event::Wear(server));
        self.apply_speed(now, server, agenda);
    }

    /// Makes a change of the scenario true.
    pub(super) fn change(&mut self, now: u64, change: Change, agenda: &mut Agenda) -> Outcome {
        let server = u32::try_from(change.server).unwrap_or(u32::MAX);
        let condition = &mut self.conditions[change.server];
        let mut outcome = Outcome::default();
        match change.what {
            What::Speed(factor) => condition.fault = factor,
            What::Failing(failing) => condition.failing = failing,
            What::Away => {
                condition.is_away = true;
                outcome.lost = self.stations[change.server].lose(now);
            }
            What::Back => {
                condition.is_away = false;
                condition.age = 1.0;
            }
            What::Join => outcome.is_known_otherwise = !core::mem::replace(&mut condition.is_known, true),
            What::Leave => outcome.is_known_otherwise = core::mem::replace(&mut condition.is_known, false),
            What::Doubted => outcome.is_known_otherwise = !core::mem::replace(&mut condition.is_doubted, true),
            What::Trusted => outcome.is_known_otherwise = core::mem::replace(&mut condition.is_doubted, false),
            What::Weight(weight) => {
                condition.weight = weight;
                outcome.is_known_otherwise = true;
            }
        }
        self.apply_speed(now, server, agenda);
        outcome
    }
}
