//! Does a balancer take out who fails, for as long as live traffic would?

use std::ops::Range;
use std::time::Duration;

use isobar_balance::{Allowance, Balance, OutlierSettings, Outliers};
use isobar_sim::{Arrivals, Balancers, Change, Counters, Failing, Report, Retry, Scenario, Simulation, What};

const SECOND: u64 = 1_000_000_000;
const DEFAULT: Outliers = Outliers {
    rules: OutlierSettings::DEFAULT,
    min_servers: 5,
};

/// The server that fails.
const BAD: usize = 3;

/// Ten servers at load 0.9, of which one fails in a hundredth of the time from second 10 on, for two minutes in
/// intervals of a second.
fn scenario(seed: u64) -> Scenario {
    let failing = Failing { share: 1.0, work: 0.01 };
    Scenario {
        retry: Retry {
            attempts: 1,
            budget: Some(Allowance::DEFAULT),
        },
        outliers: Some(DEFAULT),
        changes: vec![at(10, BAD, What::Failing(Some(failing)))],
        requests: 108_000,
        warm_up: 0,
        seed,
        ..Scenario::plain(10, 0.9, 1e7)
    }
}

fn at(second: u64, server: usize, what: What) -> Change {
    let at = second * SECOND;
    Change { at, server, what }
}

fn run(scenario: Scenario) -> Report {
    let report = Simulation::run(scenario).unwrap();
    assert!(report.little.holds(), "{:?}", report.little);
    assert_eq!(report.unfinished, 0);
    report
}

/// The part of what was sent in these seconds that went to the server that fails.
fn share(report: &Report, seconds: Range<usize>) -> f64 {
    assert_eq!(report.series.interval().div_ceil(1000), SECOND / 1000);
    let cells = report.series.cells().skip(seconds.start).take(seconds.len());
    let (bad, all) = cells.fold((0, 0), |(bad, all), cells| {
        (
            bad + cells[BAD].sent,
            all + cells.iter().map(|cell| cell.sent).sum::<u32>(),
        )
    });
    f64::from(bad) / f64::from(all)
}

/// The seconds in which it was sent anything, but for those before it failed.
fn tried(report: &Report) -> Vec<usize> {
    assert_eq!(report.series.interval().div_ceil(1000), SECOND / 1000);
    let cells = report.series.cells().enumerate().skip(10);
    let tried = cells.filter(|(_, cells)| cells[BAD].sent > 0);
    tried.map(|(second, _)| second).collect()
}

/// With nobody to tell them: at most a tenth of the traffic within the first second, half a percent after that, when it
/// is out and when it was tried again, and hardly an error that a client sees.
#[test]
fn who_fails_fast_is_noticed_by_nobody() {
    let by_load = [
        Balance::LeastConnections,
        Balance::PowerOfTwo(isobar_balance::Choices::DEFAULT),
        Balance::PeakEwma,
        Balance::RoundRobin,
    ];
    for seed in 1..=3 {
        for balance in by_load {
            let report = run(Scenario {
                balance,
                ..scenario(seed)
            });
            let (first, then) = (share(&report, 10..11), share(&report, 11..120));
            assert!(first > 0.0 && first <= 0.1, "{balance}, seed {seed}: {first}");
            assert!(then <= 0.005, "{balance}, seed {seed}: {then}");
            assert!(report.error_rate() < 0.001, "{balance}, seed {seed}");
            assert!(report.servers[BAD].ejections >= 2, "{balance}, seed {seed}");
        }
    }
    // It is the detector that does it: what is charged for failures alone leaves about one in a hundred.
    let report = run(Scenario {
        outliers: None,
        ..scenario(1)
    });
    assert_eq!(report.servers[BAD].ejections, 0);
    assert!(share(&report, 11..120) > 0.005);
}

/// Half a minute, and twice as long the next time, each with up to 3 seconds more; unless there is a cap.
#[test]
fn ejections_grow_up_to_the_cap() {
    let check = |max_ejection, expected: &[Range<usize>]| {
        for seed in 1..=3 {
            let mut scenario = scenario(seed);
            scenario.outliers.as_mut().unwrap().rules.max_ejection = Duration::from_secs(max_ejection);
            let tried = tried(&run(scenario));
            for second in &tried {
                let is_expected = expected.iter().any(|range| range.contains(second));
                assert!(is_expected, "seed {seed}: {tried:?}");
            }
            for range in expected {
                assert!(
                    tried.iter().any(|second| range.contains(second)),
                    "seed {seed}: {tried:?}"
                );
            }
        }
    };
    check(300, &[10..13, 40..46, 100..112]);
    check(30, &[10..13, 40..46, 70..79, 100..112]);
}

/// All workers of an instance share one detector; each of several instances has its own, and finds out for itself.
#[test]
fn who_shares_counters_shares_a_detector() {
    let ejections = |counters| {
        let report = run(Scenario {
            balancers: Balancers { count: 4, counters },
            balance: Balance::RoundRobin,
            requests: 27_000,
            ..scenario(1)
        });
        report.servers[BAD].ejections
    };
    assert_eq!(ejections(Counters::Shared), 1);
    assert_eq!(ejections(Counters::Own), 4);
}

/// Probes that pass end an ejection; probes that fail keep a server out beside it.
#[test]
fn probes_that_pass_end_an_ejection() {
    let mut scenario = scenario(1);
    scenario.requests = 30_000;
    let first_after = |scenario: Scenario| {
        let report = run(scenario);
        let cells = report.series.cells().enumerate();
        let at = |index: usize| (index as u64 + 1) * report.series.interval() / SECOND;
        let mut again = cells.filter(|(index, cells)| at(*index) >= 13 && cells[BAD].sent > 0);
        again.next().map(|(index, _)| at(index))
    };
    scenario.changes.push(at(14, BAD, What::Failing(None)));
    assert_eq!(first_after(scenario.clone()), None);
    scenario.changes.push(at(15, BAD, What::Doubted));
    scenario.changes.push(at(20, BAD, What::Trusted));
    assert_eq!(first_after(scenario), Some(20));
}

/// With fewer servers than there must be nobody is ejected, and whoever is comes back when servers leave.
#[test]
fn few_servers_are_not_judged() {
    let mut few = scenario(1);
    few.requests = 9_000;
    few.arrivals = Arrivals::Poisson { rate: 300.0 };
    few.servers.truncate(4);
    assert_eq!(run(few.clone()).servers[BAD].ejections, 0);
    few.outliers.as_mut().unwrap().min_servers = 4;
    assert_eq!(run(few.clone()).servers[BAD].ejections, 1);
    few.changes.push(at(20, 0, What::Leave));
    let report = run(few);
    let late = report.series.cells().skip(90).map(|cells| cells[BAD].sent).sum::<u32>();
    assert!(late > 0, "it is out, though nobody is judged any more");
}

/// The other server stalls with what it has, and nothing else is to happen: who is out is waited for.
#[test]
fn who_is_out_is_waited_for() {
    let mut scenario = scenario(1);
    scenario.servers.truncate(2);
    scenario.servers.iter_mut().for_each(|server| server.limit = Some(1));
    scenario.arrivals = Arrivals::Poisson { rate: 100.0 };
    scenario.requests = 200;
    scenario.outliers = Some(Outliers {
        rules: OutlierSettings {
            consecutive_errors: Some(1),
            ..OutlierSettings::DEFAULT
        },
        min_servers: 1,
    });
    let failing = Failing { share: 1.0, work: 0.01 };
    scenario.changes = vec![
        at(0, 0, What::Failing(Some(failing))),
        at(1, 0, What::Failing(None)),
        at(1, 1, What::Speed(0.0)),
    ];
    let report = Simulation::run(scenario).unwrap();
    assert_eq!(report.servers[0].ejections, 1);
    assert_eq!(report.unfinished, 1, "only what the other server has");
}

#[test]
fn one_seed_replays_ejections() {
    let summary = |seed| {
        let report = run(Scenario {
            requests: 50_000,
            ..scenario(seed)
        });
        (report.ends, report.events, report.duration, report.series)
    };
    assert_eq!(summary(5), summary(5));
    assert_ne!(summary(5), summary(6));
}
