//! Do faults, changes, timeouts and retries do what they say, and is nothing lost on the way?

use std::time::Duration;

use isobar_balance::{Allowance, Balance, GradientRules, OutlierSettings, Outliers};
use isobar_sim::{
    Antagonist, Arrivals, Change, Counters, Discipline, Failing, Keys, Nonsense, Queue, Report, Retry, Scenario,
    Simulation, Wear, What,
};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// So many servers, half busy with requests of 10 ms.
fn scenario(servers: u32) -> Scenario {
    Scenario {
        queue: Queue {
            max: 1_000,
            timeout: None,
        },
        requests: 10_000,
        warm_up: 0,
        seed: 7,
        ..Scenario::plain(servers, 0.5, 1e7)
    }
}

fn run(scenario: Scenario) -> Report {
    let requests = scenario.requests - scenario.warm_up;
    let report = Simulation::run(scenario).unwrap();
    assert!(report.little.holds(), "{:?}", report.little);
    assert_eq!(report.ends.total() + report.unfinished, requests);
    report
}

fn at(seconds: u64, server: usize, what: What) -> Change {
    Change {
        at: seconds * 1000 * MS,
        server,
        what,
    }
}

#[test]
fn one_seed_replays_a_run() {
    let summary = |report: &Report| {
        (
            report.ends,
            report.events,
            report.mean,
            report.duration,
            report.latency.clone(),
        )
    };
    let first = run(scenario(5));
    assert_eq!(summary(&run(scenario(5))), summary(&first));
    let mut other = scenario(5);
    other.seed = 8;
    assert_ne!(summary(&run(other)), summary(&first));
}

/// Two algorithms see the same requests: one server leaves nothing to choose, and the runs are the same.
#[test]
fn algorithms_are_compared_over_the_same_requests() {
    let one = |balance| {
        let mut scenario = scenario(1);
        scenario.balance = balance;
        run(scenario).mean
    };
    assert_eq!(one(Balance::Random), one(Balance::LeastConnections));
}

/// A server that fails in a hundredth of the time, at load 0.9: it always looks idle, but each failure is charged for a
/// second, so that it is sent no more in a second than others have in flight. Chance sends it a tenth of all for as long as it fails.
#[test]
fn a_failure_is_charged() {
    let share = |balance| {
        let mut scenario = scenario(10);
        scenario.balance = balance;
        scenario.arrivals = Arrivals::Poisson { rate: 900.0 };
        scenario.changes = vec![at(0, 3, What::Failing(Some(Failing { share: 1.0, work: 0.01 })))];
        run(scenario).servers[3].share
    };
    assert!((share(Balance::Random) - 0.1).abs() < 0.01);
    let charged = share(Balance::LeastConnections);
    assert!(charged < 0.01, "{charged}");
}

/// With one retry every client is answered; a budget of a twentieth allows one in twenty.
#[test]
fn retries_are_paid_for() {
    let mut scenario = scenario(10);
    scenario.balance = Balance::Random;
    scenario.changes = vec![at(0, 3, What::Failing(Some(Failing { share: 1.0, work: 0.01 })))];
    let alone = run(scenario.clone());
    assert_eq!(alone.servers[3].failed, alone.servers[3].sent);
    assert_eq!(alone.ends.failed, alone.servers[3].failed);
    scenario.retry = Retry {
        attempts: 1,
        budget: None,
    };
    let retried = run(scenario.clone());
    assert_eq!(retried.ends.errors(), 0);
    assert_eq!(retried.retries, retried.servers[3].failed);
    scenario.retry.budget = Some(Allowance {
        percent: 5,
        min_per_second: 0,
    });
    let requests = scenario.requests;
    let budgeted = run(scenario);
    let allowed = requests / 20;
    assert!(
        (allowed * 9 / 10..=allowed).contains(&budgeted.retries),
        "{}",
        budgeted.retries
    );
}

/// It is away for ten of twenty seconds, and known to be for all but the first two of them.
#[test]
fn away_and_back() {
    let mut scenario = scenario(2);
    scenario.balance = Balance::Random;
    scenario.requests = 2_000;
    scenario.changes = vec![
        at(5, 0, What::Away),
        at(7, 0, What::Doubted),
        at(15, 0, What::Back),
        at(16, 0, What::Trusted),
    ];
    let report = run(scenario);
    assert!(report.ends.failed > 50, "{:?}", report.ends);
    assert_eq!(report.ends.failed, report.servers[0].failed);
    let seconds = |from: u64, to: u64| {
        let interval = report.series.interval();
        let cells = report.series.cells().enumerate();
        let within = cells.filter(move |(index, _)| {
            let start = *index as u64 * interval;
            start >= from * 1000 * MS && start + interval <= to * 1000 * MS
        });
        within.map(|(_, cells)| cells[0].sent).sum::<u32>()
    };
    assert!(seconds(0, 5) > 100 && seconds(5, 7) > 20);
    assert_eq!(seconds(7, 16), 0);
    assert!(seconds(16, 20) > 100);
}

#[test]
fn stalls_end_in_timeouts() {
    let mut scenario = scenario(2);
    scenario.balance = Balance::RoundRobin;
    scenario.timeout = Some(500 * MS);
    scenario.changes = vec![at(10, 1, What::Speed(0.0)), at(20, 1, What::Speed(1.0))];
    let report = run(scenario.clone());
    assert!(report.ends.timed_out > 400, "{:?}", report.ends);
    assert_eq!(report.latency.greatest(), 500 * MS);
    scenario.timeout = None;
    scenario.changes.truncate(1);
    let stuck = run(scenario);
    assert!(
        stuck.unfinished > 4_000,
        "a stall without an end or a timeout: {}",
        stuck.unfinished
    );
}

#[test]
fn queues_have_limits() {
    let mut scenario = scenario(1);
    scenario.arrivals = Arrivals::Batches { rate: 50.0, size: 50 };
    scenario.servers[0].limit = Some(1);
    scenario.queue.max = 9;
    let report = run(scenario.clone());
    assert!(report.ends.refused > 5_000, "{:?}", report.ends);
    // Ten of each batch find a place or wait for one.
    assert!((1_800..=2_000).contains(&report.ends.answered), "{:?}", report.ends);
    assert_eq!(report.ends.failed + report.ends.unavailable, 0);
    scenario.queue = Queue {
        max: 1_000,
        timeout: Some(50 * MS),
    };
    let impatient = run(scenario);
    assert!(impatient.ends.refused > 5_000, "{:?}", impatient.ends);
    // Fifty milliseconds of waiting and a service.
    assert!(impatient.latency.quantile(0.5) < 70 * MS);
}

/// A server with four places is given hardly more than that, whatever comes; a limit of its own holds below it.
#[test]
fn limits_follow_from_latency() {
    let load = |limit| {
        let mut scenario = scenario(1);
        scenario.servers[0].slots = 4;
        scenario.servers[0].limit = limit;
        scenario.arrivals = Arrivals::Poisson { rate: 2_000.0 };
        scenario.queue.max = 20;
        scenario.adaptive = Some(GradientRules {
            min: 1,
            max: 1_000,
            tolerance_percent: 50,
        });
        let report = run(scenario);
        assert!(report.ends.refused > 5_000, "{:?}", report.ends);
        report.servers[0].load
    };
    let found = load(None);
    assert!((3.0..12.0).contains(&found), "seed 7: {found}");
    let bound = load(Some(2));
    assert!((1.5..=2.0).contains(&bound), "seed 7: {bound}");
}

#[test]
fn without_servers_nothing_is_tried() {
    let mut scenario = scenario(1);
    scenario.servers[0].present = false;
    let report = run(scenario);
    assert_eq!(report.ends.unavailable, 10_000);
}

/// Keys go where they went before under an algorithm by key; under chance two in three of three servers do not, and
/// with one server all do.
#[test]
fn moved_keys_are_counted() {
    let moved = |balance, servers| {
        let mut scenario = scenario(servers);
        scenario.balance = balance;
        scenario.keys = Some(Keys { count: 50, skew: 0.8 });
        run(scenario).moved_rate().unwrap()
    };
    assert_eq!(moved(Balance::Random, 1), 0.0);
    assert!((moved(Balance::Random, 3) - 2.0 / 3.0).abs() < 0.03);
    for &balance in Balance::ALL.iter().filter(|balance| balance.is_keyed()) {
        assert_eq!(moved(balance, 3), 0.0, "{balance}");
    }
    assert_eq!(run(scenario(1)).moved_rate(), None);
}

/// One of eight servers leaves for the middle third: each of its keys moves twice, and of the others none on a ring.
#[test]
fn a_server_that_leaves_moves_its_own_keys_only() {
    let run = |balance| {
        let mut scenario = scenario(8);
        scenario.balance = balance;
        scenario.keys = Some(Keys { count: 400, skew: 0.0 });
        scenario.changes = vec![at(8, 2, What::Leave), at(16, 2, What::Join)];
        run(scenario)
    };
    for balance in [Balance::RingHash, Balance::Rendezvous] {
        let report = run(balance);
        assert!(
            report.moved > 0 && report.moved <= 2 * 400 / 8 + 40,
            "{balance}: {}",
            report.moved
        );
    }
    assert!(run(Balance::Maglev).moved < 400);
}

/// A bound keeps the load of what everybody asks for off one server.
#[test]
fn a_bound_spreads_what_everybody_asks_for() {
    let imbalance = |bound_percent| {
        let mut scenario = scenario(8);
        scenario.balance = Balance::RingHash;
        scenario.keys = Some(Keys { count: 1000, skew: 1.2 });
        scenario.bound_percent = bound_percent;
        scenario.timeout = Some(2_000 * MS);
        run(scenario).imbalance()
    };
    let (free, bound) = (imbalance(None), imbalance(Some(125)));
    assert!(bound < free / 4.0, "{bound} instead of {free}");
}

#[test]
fn weights_and_speeds_change_shares() {
    let mut scenario = scenario(3);
    scenario.balance = Balance::RoundRobin;
    scenario.changes = vec![at(0, 0, What::Weight(2))];
    assert!((run(scenario.clone()).servers[0].share - 0.5).abs() < 0.001);
    scenario.balance = Balance::LeastConnections;
    scenario.changes = vec![at(0, 0, What::Speed(0.2))];
    let report = run(scenario);
    assert!(report.servers[0].share < 0.25, "{:?}", report.servers);
}

/// An antagonist that is there for a third of the time and takes half of the speed leaves five sixths of it.
#[test]
fn antagonists_and_age_take_speed_away() {
    let mut scenario = scenario(4);
    for server in &mut scenario.servers {
        server.antagonist = Some(Antagonist {
            speed: 0.5,
            busy: 1e8,
            quiet: 2e8,
        });
    }
    assert!((scenario.capacity() - 4.0 * 5.0 / 6.0).abs() < 1e-9);
    let busy = |report: &Report| report.servers.iter().map(|server| server.utilisation).sum::<f64>() / 4.0;
    let disturbed = busy(&run(scenario.clone()));
    assert!((disturbed - 0.6).abs() < 0.04, "seed 7: {disturbed}");
    for server in &mut scenario.servers {
        server.antagonist = None;
        server.wear = Some(Wear {
            per_second: 0.5,
            least: 0.625,
        });
    }
    // After three quarters of a second what took 0.5 takes 0.8.
    let worn = busy(&run(scenario));
    assert!((worn - 0.8).abs() < 0.05, "seed 7: {worn}");
}

#[test]
fn nonsense_is_refused() {
    let check = |change: fn(&mut Scenario), expected| {
        let mut scenario = scenario(2);
        change(&mut scenario);
        assert_eq!(Simulation::new(scenario).unwrap_err(), expected);
    };
    check(|it| it.servers.clear(), Nonsense::NoServers);
    check(
        |it| it.servers.iter_mut().for_each(|server| server.weight = 0),
        Nonsense::NoWeight,
    );
    check(|it| it.balancers.count = 0, Nonsense::NoBalancers);
    check(|it| it.warm_up = it.requests, Nonsense::NoRequests);
    check(|it| it.changes = vec![at(0, 2, What::Away)], Nonsense::NoSuchServer);
    check(
        |it| it.arrivals = Arrivals::Poisson { rate: 0.0 },
        Nonsense::Number("arrivals"),
    );
    check(
        |it| it.arrivals = Arrivals::Poisson { rate: f64::NAN },
        Nonsense::Number("arrivals"),
    );
    check(
        |it| it.arrivals = Arrivals::Trace(vec![].into()),
        Nonsense::Number("arrivals"),
    );
    check(|it| it.service.mean = -1.0, Nonsense::Number("service"));
    let never = OutlierSettings {
        interval: Duration::ZERO,
        ..OutlierSettings::DEFAULT
    };
    let mut timeless = scenario(2);
    timeless.outliers = Some(Outliers {
        rules: never,
        min_servers: 1,
    });
    let expected = Nonsense::Number("interval of the outlier detection");
    assert_eq!(Simulation::new(timeless).unwrap_err(), expected);
    check(|it| it.servers[1].speed = 0.0, Nonsense::Number("servers"));
    check(|it| it.servers[1].slots = 0, Nonsense::Number("servers"));
    check(
        |it| it.keys = Some(Keys { count: 0, skew: 1.0 }),
        Nonsense::Number("keys"),
    );
}

fn any_change() -> impl Strategy<Value = Change> {
    let what = prop_oneof![
        Just(What::Away),
        Just(What::Back),
        Just(What::Join),
        Just(What::Leave),
        Just(What::Doubted),
        Just(What::Trusted),
        (0u32..4).prop_map(What::Weight),
        (0.0..2.0f64).prop_map(What::Speed),
        (0.0..1.0f64, 0.0..2.0f64).prop_map(|(share, work)| What::Failing(Some(Failing { share, work }))),
        Just(What::Failing(None)),
    ];
    (0u64..3_000, 0usize..4, what).prop_map(|(ms, server, what)| Change {
        at: ms * MS,
        server,
        what,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever happens, every request ends once or is told to be unfinished, and Little's law holds.
    #[test]
    fn nothing_is_lost(
        changes in prop::collection::vec(any_change(), 0..12),
        limit in prop::option::of(1u32..4),
        timeout in prop::option::of(1u64..200),
        attempts in 0u32..3,
        own: bool,
        sharing: bool,
        ejecting: bool,
        adaptive: bool,
        seed: u64,
    ) {
        let mut scenario = scenario(4);
        scenario.requests = 500;
        scenario.seed = seed;
        scenario.changes = changes;
        scenario.timeout = timeout.map(|ms| ms * MS);
        scenario.retry = Retry { attempts, budget: Some(Allowance::DEFAULT) };
        scenario.queue = Queue { max: 5, timeout: Some(30 * MS) };
        scenario.adaptive = adaptive.then_some(GradientRules {
            min: 1,
            max: 20,
            tolerance_percent: 50,
        });
        scenario.outliers = ejecting.then_some(Outliers {
            rules: OutlierSettings {
                interval: Duration::from_millis(100),
                base_ejection: Duration::from_millis(50),
                max_ejected_percent: 80,
                consecutive_errors: Some(1),
                ..OutlierSettings::DEFAULT
            },
            min_servers: 3,
        });
        scenario.balancers.count = 3;
        scenario.balancers.counters = if own { Counters::Own } else { Counters::Shared };
        for server in &mut scenario.servers {
            server.limit = limit;
            server.slots = 2;
            server.discipline = if sharing { Discipline::Sharing } else { Discipline::Fifo };
        }
        let report = run(scenario);
        prop_assert_eq!(report.latency.total(), report.ends.answered + report.ends.timed_out);
    }
}
