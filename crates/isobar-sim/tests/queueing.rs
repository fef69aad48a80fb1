//! Is what is simulated what queueing theory says?
//!
//! Every case prints its seed and holds within a stated part of the expected mean, several standard errors wide: the
//! times of neighbours in a queue are alike, so that a million requests at load 0.9 are worth some thousand.

use isobar_balance::{Balance, Choices};
use isobar_sim::{Arrivals, Counters, Discipline, Expectation, Law, Report, Scenario, Shape, Simulation, theory};

const SEED: u64 = 20_261_124;
/// The mean service time in nanoseconds.
const SERVICE: f64 = 1e7;

fn scenario(balance: Balance, servers: u32, load: f64) -> Scenario {
    Scenario {
        balance,
        requests: 300_000,
        warm_up: 30_000,
        seed: SEED,
        ..Scenario::plain(servers, load, SERVICE)
    }
}

fn run(scenario: Scenario) -> Report {
    let report = Simulation::run(scenario).unwrap();
    assert!(report.little.holds(), "seed {SEED}: {:?}", report.little);
    assert_eq!(report.unfinished, 0);
    report
}

#[track_caller]
fn near(report: &Report, expected: f64, within: f64) {
    let found = report.mean / SERVICE;
    assert!(
        (found / expected - 1.0).abs() < within,
        "seed {SEED}: {} has mean {found} ± {} instead of {expected}",
        report.balance,
        report.half_width / SERVICE
    );
}

#[test]
fn random_is_mm1() {
    for (load, within) in [(0.3, 0.02), (0.7, 0.04), (0.9, 0.1)] {
        let report = run(scenario(Balance::Random, 50, load));
        near(&report, theory::mm1_mean(load), within);
        // The time is exponential, so that one in a hundred stays ln 100 means.
        let p99 = report.latency.quantile(0.99) as f64 / report.mean;
        assert!((p99 / 100f64.ln() - 1.0).abs() < 0.1, "seed {SEED}: p99 is {p99} means");
        let busy = report.servers.iter().map(|server| server.utilisation).sum::<f64>() / 50.0;
        assert!((busy / load - 1.0).abs() < 0.02, "seed {SEED}: utilisation {busy}");
    }
}

/// The mean field of the least busy of `d` servers. At load 0.95 and `d` 1 neighbours in a queue are alike for a
/// thousand service times, which is why the tolerance grows.
#[test]
fn choices_are_their_mean_field() {
    let check = |choices, load, within| {
        let mut scenario = scenario(Balance::PowerOfTwo(Choices::new(choices)), 100, load);
        scenario.requests = if choices == 1 { 300_000 } else { 120_000 };
        scenario.warm_up = scenario.requests / 4;
        let report = run(scenario.clone());
        near(&report, theory::choices_mean(choices.into(), load), within);
        let own = Expectation::of(&scenario)
            .find(|law| law.law == Law::Choices(choices))
            .unwrap();
        let time = report.latency.quantile(0.99) as f64;
        let found = own.tail(time);
        assert!(
            found > 0.002 && found < 0.04,
            "seed {SEED}: {found} instead of 0.01 for {choices} at {load}"
        );
    };
    for (load, wide) in [(0.7, 0.03), (0.9, 0.08), (0.95, 0.25)] {
        check(1, load, wide);
        check(2, load, 0.04);
        check(3, load, 0.04);
    }
}

#[test]
fn round_robin_is_erlang_n() {
    for (servers, load, within) in [(2, 0.7, 0.03), (20, 0.7, 0.03), (50, 0.9, 0.07)] {
        let report = run(scenario(Balance::RoundRobin, servers, load));
        near(&report, theory::round_robin_mean(servers, load), within);
    }
}

/// A limit of one request a server makes the balancer's queue the one queue of M/M/n, whatever the algorithm.
#[test]
fn one_queue_is_mmn() {
    for balance in [Balance::LeastConnections, Balance::Random] {
        for (servers, load) in [(5, 0.7), (10, 0.9)] {
            let mut scenario = scenario(balance, servers, load);
            scenario.servers.iter_mut().for_each(|server| server.limit = Some(1));
            scenario.requests = 150_000;
            near(&run(scenario), theory::mmn_mean(servers, load), 0.06);
        }
    }
}

/// M/G/1: what waits in order depends on the variance, what shares the server does not.
#[test]
fn service_times_matter_as_pollaczek_and_khinchine_say() {
    let shapes = [
        Shape::Deterministic,
        Shape::Lognormal { variation: 1.5 },
        Shape::Bimodal {
            large: 0.1,
            factor: 10.0,
        },
        Shape::TruncatedNormal { variation: 1.0 },
    ];
    for shape in shapes {
        let mut scenario = scenario(Balance::Random, 50, 0.6);
        scenario.service.shape = shape;
        scenario.requests = 200_000;
        let variation = scenario.service.squared_variation();
        near(&run(scenario.clone()), theory::mg1_mean(0.6, variation), 0.06);
        scenario
            .servers
            .iter_mut()
            .for_each(|server| server.discipline = Discipline::Sharing);
        near(&run(scenario), theory::mm1_mean(0.6), 0.06);
    }
}

/// Two servers of half the speed with half the work each are as good as one: M/M/2 by slots.
#[test]
fn slots_are_servers_of_one_queue() {
    let mut scenario = scenario(Balance::Random, 20, 0.7);
    scenario.servers.iter_mut().for_each(|server| server.slots = 4);
    scenario.arrivals = Arrivals::Poisson {
        rate: 0.7 * 80.0 * 1e9 / SERVICE,
    };
    near(&run(scenario), theory::mmn_mean(4, 0.7), 0.04);
}

/// Counters that all workers share come near the one queue; counters of their own do not. 100 servers at load 0.9. What
/// counters of their own come to depends on how servers with equal counts are told apart: 4.2 by even chance, 4.5 by the
/// first from a random one on, 4.6 by the fewer recent picks of two, 5.6 by the longest without a pick.
#[test]
fn shared_counters_are_what_matters() {
    let mut shared = scenario(Balance::LeastConnections, 100, 0.9);
    shared.balancers.count = 16;
    shared.requests = 100_000;
    shared.warm_up = 20_000;
    let mut own = shared.clone();
    own.balancers.counters = Counters::Own;
    let shared = run(shared);
    near(&shared, 1.067, 0.02);
    assert!(shared.mean / SERVICE > theory::mmn_mean(100, 0.9));
    near(&run(own), 4.6, 0.06);
}

/// The laws that are drawn: what chance gives above what was found, and one queue below.
#[test]
fn expectations_enclose_what_is_found() {
    let mut scenario = scenario(Balance::RoundRobin, 20, 0.8);
    let report = run(scenario.clone());
    let laws: Vec<Expectation> = Expectation::of(&scenario).collect();
    let named: Vec<Law> = laws.iter().map(|law| law.law).collect();
    assert_eq!(named, [Law::EachByItself, Law::InTurn, Law::OneQueue]);
    assert!(laws[0].mean() > report.mean && report.mean > laws[2].mean());
    let time = report.latency.quantile(0.9) as f64;
    assert!((laws[1].tail(time) - 0.1).abs() < 0.02, "seed {SEED}");
    scenario.servers[0].speed = 0.5;
    assert_eq!(Expectation::of(&scenario).count(), 0);
}
