//! Do the algorithms do under load what theory and their purpose say?
//!
//! A small model of servers that work on one request after the other, with arrivals and service times by chance, in
//! virtual time. The seeds are fixed, and tolerances are several times what other seeds give.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use isobar_balance::{
    Balance, Candidate, Chance, Choices, Finish, Group, Moment, Outcome, Pick, Prequal, Query, Report, ReportedLoad,
    ServerState,
};

/// The mean service time, in nanoseconds.
const SERVICE: f64 = 10_000_000.0;

const SERVICE_SECONDS: f32 = 0.01;

/// A request at a server.
#[derive(Debug, Clone, Copy)]
struct Request {
    balancer: usize,
    arrived: u64,
    in_flight: u32,
    fails: bool,
}

struct Server {
    /// What each balancer knows of it.
    states: Vec<Arc<ServerState>>,
    queue: VecDeque<Request>,
    answered: u32,
}

/// What is to be measured.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    balance: Balance,
    /// That do not know of each other; each request comes to one by chance.
    balancers: usize,
    servers: u32,
    limit: Option<u32>,
    /// Of all servers together.
    load: f64,
    requests: u32,
    /// From which request on the first server fails everything in a hundredth of the time.
    fails_from: u32,
    seed: u64,
}

struct Model {
    scenario: Scenario,
    servers: Vec<Server>,
    groups: Vec<Group>,
    chance: Chance,
    /// When the request a server works on is done.
    done: BinaryHeap<Reverse<(u64, usize)>>,
    now: u64,
    /// Of requests since the second half began, in nanoseconds.
    times: Vec<f64>,
    /// Picks of the first server since it fails, and of all.
    picks: (u32, u32),
}

impl Model {
    fn new(scenario: Scenario) -> Self {
        let server = |_| Server {
            states: (0..scenario.balancers)
                .map(|_| Arc::new(ServerState::new(scenario.limit)))
                .collect(),
            queue: VecDeque::new(),
            answered: 0,
        };
        let servers: Vec<Server> = (0..scenario.servers).map(server).collect();
        let group = |balancer: usize| {
            let candidate = |(slot, server): (u32, &Server)| {
                Candidate::new(slot, u64::from(slot), Arc::clone(&server.states[balancer]))
            };
            let candidates = (0..).zip(&servers).map(candidate).collect();
            Group::new(scenario.balance, candidates, scenario.seed + balancer as u64)
        };
        Self {
            groups: (0..scenario.balancers).map(group).collect(),
            servers,
            chance: Chance::new(scenario.seed),
            done: BinaryHeap::new(),
            now: 0,
            times: Vec::new(),
            picks: (0, 0),
            scenario,
        }
    }

    fn run(mut self) -> Self {
        let gap = SERVICE / (self.scenario.load * f64::from(self.scenario.servers));
        let mut arrival = 0;
        for request in 0..self.scenario.requests {
            arrival += self.exponential(gap);
            while let Some(&Reverse((time, server))) = self.done.peek()
                && time <= arrival
            {
                self.done.pop();
                self.finish(server, time);
            }
            self.now = arrival;
            self.arrive(request);
        }
        self
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        let uniform = (self.chance.bits() >> 11) as f64 / (1u64 << 53) as f64;
        Duration::from_secs_f64(-(1.0 - uniform).ln() * mean / 1e9)
            .as_nanos()
            .try_into()
            .unwrap()
    }

    fn arrive(&mut self, request: u32) {
        let query = Query {
            now: Moment::new(self.now),
            ..Query::default()
        };
        let balancer = self.chance.index(self.groups.len());
        let Pick::Server { slot, tier } = self.groups[balancer].pick(&query, &mut self.chance) else {
            return;
        };
        let fails = request >= self.scenario.fails_from;
        if fails {
            self.picks.0 += u32::from(slot == 0);
            self.picks.1 += 1;
        }
        let server = &mut self.servers[slot as usize];
        server.queue.push_back(Request {
            balancer,
            arrived: self.now,
            in_flight: server.states[balancer].in_flight(),
            fails: fails && slot == 0,
        });
        if server.queue.len() == 1 {
            self.begin(slot as usize);
        }
        for probed in self.groups[balancer].probes(tier, &query, &mut self.chance).iter() {
            self.report(probed as usize, balancer);
        }
    }

    fn begin(&mut self, server: usize) {
        if let Some(&Request { fails, .. }) = self.servers[server].queue.front() {
            let time = self.exponential(if fails { SERVICE / 100.0 } else { SERVICE });
            self.done.push(Reverse((self.now + time, server)));
        }
    }

    fn finish(&mut self, server: usize, time: u64) {
        self.now = time;
        let Some(request) = self.servers[server].queue.pop_front() else {
            return;
        };
        self.begin(server);
        let latency = time - request.arrived;
        self.times.push(latency as f64);
        let outcome = match request.fails {
            true => Outcome::Failure { retry_after: None },
            false => Outcome::Success,
        };
        let finish = Finish {
            now: Moment::new(time),
            latency: Duration::from_nanos(latency),
            in_flight: request.in_flight,
            outcome,
        };
        let at = &mut self.servers[server];
        at.answered += 1;
        at.states[request.balancer].finished(&finish, self.scenario.balance.feedback());
        at.states[request.balancer].release();
        self.report(server, request.balancer);
    }

    /// The server tells a balancer what it has in flight and how busy it is: very little, when it fails fast.
    fn report(&self, server: usize, balancer: usize) {
        let at = &self.servers[server];
        let seconds = self.now as f32 / 1e9;
        let rps = at.answered as f32 / seconds.max(0.001);
        let report = Report {
            in_flight: Some(at.queue.len().try_into().unwrap()),
            latency: None,
            load: Some(ReportedLoad {
                utilization: (rps * SERVICE_SECONDS).clamp(0.01, 1.0),
                rps,
                eps: 0.0,
            }),
        };
        at.states[balancer].reported(&report, Moment::new(self.now));
    }

    /// The mean time in the system of requests after the first half, in service times.
    fn mean_time(&self) -> f64 {
        let settled = &self.times[self.times.len() / 2..];
        settled.iter().sum::<f64>() / settled.len() as f64 / SERVICE
    }
}

fn mean_time(balance: Balance, load: f64, requests: u32) -> f64 {
    let scenario = Scenario {
        balance,
        balancers: 1,
        servers: 100,
        limit: None,
        load,
        requests,
        fails_from: u32::MAX,
        seed: 20_261_124,
    };
    Model::new(scenario).run().mean_time()
}

/// With counters that all share, 100 servers at 90 % load are nearly as good as one queue for all of them: 1.07
/// service times, where Erlang's formula for M/M/100 gives 1.0217 as the least there can be.
#[test]
fn least_connections_is_nearly_one_queue() {
    let mean = mean_time(Balance::LeastConnections, 0.9, 60_000);
    assert!((1.02..1.12).contains(&mean), "{mean}");
}

/// Mitzenmacher's mean-field model has, in service times at 90 % load, 2.61 for two choices and 2.03 for three;
/// by its sum over i of load^((d^i - d) / (d - 1)).
#[test]
fn choices_follow_the_mean_field() {
    let mean_field = |load: f64, choices: i32| -> f64 {
        let term = |i| load.powf(f64::from(choices.pow(i) - choices) / f64::from(choices - 1));
        (1..12).map(term).sum()
    };
    for (choices, load) in [(2, 0.7), (2, 0.9), (3, 0.9)] {
        let expected = mean_field(load, choices);
        let choices = Choices::new(u8::try_from(choices).unwrap());
        let mean = mean_time(Balance::PowerOfTwo(choices), load, 120_000);
        assert!(
            (mean / expected - 1.0).abs() < 0.08,
            "{choices:?} at {load}: {mean}, not {expected}"
        );
    }
}

/// In the order in which they know something, with one balancer: nothing, two servers, all.
#[test]
fn information_is_worth_time() {
    let mean = |balance| mean_time(balance, 0.8, 40_000);
    let random = mean(Balance::Random);
    let round_robin = mean(Balance::RoundRobin);
    let two = mean(Balance::PowerOfTwo(Choices::DEFAULT));
    let all = mean(Balance::LeastConnections);
    let times = [random, round_robin, two, all];
    assert!(times.is_sorted_by(|worse, better| *worse > better * 1.2), "{times:?}");
}

/// Fifty balancers that do not know of each other, and fifty servers: what each balancer sent says little, and what
/// servers say is worth the probes. Measured with this seed: least connections 7.4 service times, two choices 6.5,
/// Prequal 2.9; and 5.6 with a latency that is not scaled to what is in flight, in which this test fails.
#[test]
fn many_balancers_need_to_be_told() {
    let mean = |balance| {
        let scenario = Scenario {
            balance,
            balancers: 50,
            servers: 50,
            limit: None,
            load: 0.9,
            requests: 60_000,
            fails_from: u32::MAX,
            seed: 4,
        };
        Model::new(scenario).run().mean_time()
    };
    let least = mean(Balance::LeastConnections);
    let two = mean(Balance::PowerOfTwo(Choices::DEFAULT));
    let prequal = mean(Balance::Prequal(Prequal::DEFAULT));
    let busy_only = mean(Balance::Prequal(Prequal {
        quantile_percent: Some(0),
        ..Prequal::DEFAULT
    }));
    assert!(prequal * 1.5 < two.min(least), "{prequal}, not {two} or {least}");
    assert!(busy_only * 2.0 < two.min(least), "{busy_only}, not {two} or {least}");
}

/// One of ten servers begins to fail, a hundred times as fast as it would work, at 90 % load. Of the requests of the
/// first second, 900, it gets no more than the tenth that it would get if it were well.
#[test]
fn who_fails_fast_attracts_nothing() {
    for balance in [
        Balance::LeastConnections,
        Balance::PowerOfTwo(Choices::DEFAULT),
        Balance::LeastTime,
        Balance::PeakEwma,
        Balance::OrcaWeightedRoundRobin(isobar_balance::Orca {
            blackout: Duration::ZERO,
            ..isobar_balance::Orca::DEFAULT
        }),
        Balance::Prequal(Prequal::DEFAULT),
        Balance::FirstAvailable,
    ] {
        for seed in 1..=3 {
            let scenario = Scenario {
                balance,
                balancers: 1,
                servers: 10,
                limit: (balance == Balance::FirstAvailable).then_some(50),
                load: 0.9,
                requests: 2_700,
                fails_from: 1_800,
                seed,
            };
            let (picks, of) = Model::new(scenario).run().picks;
            assert!(of >= 890, "{balance}, seed {seed}: only {of} were sent");
            assert!(
                picks * 10 <= of,
                "{balance}, seed {seed}: {picks} of {of} went to who fails"
            );
        }
    }
}
