//! The figures that the documentation quotes, with fewer requests and room for chance.

use isobar_balance::{Balance, Choices, Orca, Prequal};
use isobar_sim::{Antagonist, Arrivals, Balancers, Counters, Discipline, Report, Scenario, Service, Shape, Simulation};

const SEED: u64 = 3;

/// `count` servers that share themselves out among their requests, disturbed as said, and as many balancers that know
/// nothing of each other.
fn scenario(count: u32, antagonist: Antagonist, service: Service, load: f64) -> Scenario {
    let mut scenario = Scenario {
        balancers: Balancers {
            count,
            counters: Counters::Own,
        },
        service,
        requests: 60_000,
        warm_up: 15_000,
        seed: SEED,
        ..Scenario::plain(count, load, service.mean)
    };
    for server in &mut scenario.servers {
        server.discipline = Discipline::Sharing;
        server.antagonist = Some(antagonist);
    }
    let rate = load * scenario.capacity() * 1e9 / service.mean;
    scenario.arrivals = Arrivals::Poisson { rate };
    scenario
}

fn run(scenario: &Scenario, balance: Balance) -> Report {
    let report = Simulation::run(Scenario {
        balance,
        ..scenario.clone()
    });
    let report = report.unwrap();
    assert!(report.little.holds(), "seed {SEED}: {:?}", report.little);
    report
}

/// 100 servers that toggle between full and 0.4 speed, 100 balancers, load 0.9: one request in a thousand takes at most
/// a fifth of the time that it takes under two choices by what each balancer counts itself.
#[test]
fn probes_tell_what_counts_of_ones_own_do_not() {
    let toggling = Antagonist {
        speed: 0.4,
        busy: 1e9,
        quiet: 1e9,
    };
    let service = Service {
        mean: 1e7,
        shape: Shape::Exponential,
    };
    let scenario = scenario(100, toggling, service, 0.9);
    let p999 = |balance| run(&scenario, balance).latency.quantile(0.999) as f64;
    let (probed, counted) = (
        p999(Balance::Prequal(Prequal::DEFAULT)),
        p999(Balance::PowerOfTwo(Choices::DEFAULT)),
    );
    assert!(probed * 5.0 <= counted, "seed {SEED}: {probed} against {counted}");
}

/// The setting of the paper on Prequal: as many balancers as servers, normally distributed work, a deadline of five
/// seconds. Its order is Prequal, then what counts requests, then weighted round robin, with errors only for the others
/// and the tail at less than half.
#[test]
fn prequal_bears_antagonists() {
    let antagonist = Antagonist {
        speed: 0.4,
        busy: 5e9,
        quiet: 1e10,
    };
    let service = Service {
        mean: 4e7,
        shape: Shape::TruncatedNormal { variation: 1.0 },
    };
    let mut scenario = scenario(60, antagonist, service, 0.75);
    scenario.timeout = Some(5_000_000_000);
    let prequal = run(&scenario, Balance::Prequal(Prequal::DEFAULT));
    let counted = run(&scenario, Balance::LeastConnections);
    let weighted = run(&scenario, Balance::OrcaWeightedRoundRobin(Orca::DEFAULT));
    let p99 = |report: &Report| report.latency.quantile(0.99);
    assert_eq!(prequal.ends.errors(), 0, "seed {SEED}");
    assert!(
        p99(&prequal) * 2 < p99(&counted),
        "seed {SEED}: {} against {}",
        p99(&prequal),
        p99(&counted)
    );
    assert!(
        p99(&counted) <= p99(&weighted),
        "seed {SEED}: {} against {}",
        p99(&counted),
        p99(&weighted)
    );
    assert!(
        weighted.error_rate() > counted.error_rate() && counted.error_rate() > 0.0,
        "seed {SEED}"
    );
}
