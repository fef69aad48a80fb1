//! Each rule at its border, how long ejections last, how many are out, and what ends them.

use super::{
    Attention, Change, Conduct, Ejection, FailurePercentage, LatencyRule, OutlierDetector, OutlierSettings, Reason,
    SuccessRate, Verdict,
};
use crate::{Chance, Moment};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use proptest::prelude::*;

use Verdict::{Answered, ServerError, Unreachable};

fn at(seconds: u64) -> Moment {
    Moment::default().after(Duration::from_secs(seconds))
}

/// Everything off, no jitter: each test turns on what it is about.
const NOTHING: OutlierSettings = OutlierSettings {
    jitter: Duration::ZERO,
    consecutive_errors: None,
    consecutive_unreachable: None,
    success_rate: None,
    max_ejected_percent: 100,
    ..OutlierSettings::DEFAULT
};

struct Fixture {
    settings: OutlierSettings,
    conducts: Vec<Arc<Conduct>>,
    detector: OutlierDetector,
    chance: Chance,
}

impl Fixture {
    fn new(settings: OutlierSettings, servers: usize) -> Self {
        let conducts: Vec<Arc<Conduct>> = (0..servers).map(|_| Arc::default()).collect();
        let mut detector = OutlierDetector::new(settings, at(0));
        detector.follow(conducts.iter().cloned());
        Self {
            settings,
            conducts,
            detector,
            chance: Chance::new(1),
        }
    }

    fn count(&self, server: usize, verdict: Verdict, times: u32, seconds: u64) -> Vec<Attention> {
        let count = |_| self.conducts[server].count(verdict, at(seconds), &self.settings);
        (0..times).map(count).collect()
    }

    /// Servers that an evaluation ejects, with the reason and for how long; and those that it takes back.
    fn evaluate(&mut self, seconds: u64) -> (Vec<(usize, Reason, u64)>, Vec<usize>) {
        let (mut out, mut back) = (Vec::new(), Vec::new());
        for Change { server, what } in self.detector.evaluate(at(seconds), &mut self.chance) {
            match what {
                Ejection::Ejected { until, reason } => {
                    out.push((server, reason, until.since(at(seconds)) / 1_000_000_000));
                }
                Ejection::Returned => back.push(server),
            }
        }
        (out, back)
    }

    fn ejected(&mut self, seconds: u64) -> Vec<usize> {
        self.evaluate(seconds)
            .0
            .into_iter()
            .map(|(server, ..)| server)
            .collect()
    }
}

#[test]
fn errors_in_a_row() {
    let settings = OutlierSettings {
        consecutive_errors: Some(3),
        ..NOTHING
    };
    let mut all = Fixture::new(settings, 4);
    all.count(0, ServerError, 2, 0);
    all.count(0, Answered, 1, 0);
    all.count(0, ServerError, 2, 0);
    assert_eq!(all.ejected(1), []);
    let attention = all.count(1, ServerError, 5, 1);
    assert_eq!(
        attention,
        [
            Attention::None,
            Attention::None,
            Attention::Due,
            Attention::None,
            Attention::None
        ]
    );
    all.count(1, Answered, 1, 1);
    let out = all.evaluate(1).0;
    assert_eq!(
        out,
        [(1, Reason::ConsecutiveErrors(5), 30)],
        "a success does not hide what came before it"
    );
    assert_eq!(all.ejected(2), []);
    all.count(0, Answered, 1, 2);
    all.count(0, ServerError, 2, 2);
    all.count(0, Answered, 1, 2);
    all.count(0, ServerError, 1, 2);
    assert_eq!(all.ejected(2), [], "neither row is long enough");
    all.count(0, Answered, 1, 2);
    all.count(0, ServerError, 3, 2);
    all.count(0, Answered, 1, 2);
    all.count(0, ServerError, 1, 2);
    assert_eq!(all.ejected(2), [0], "nor does a shorter row that comes after it");
    all.count(2, Unreachable, 3, 2);
    assert_eq!(all.ejected(2), [2], "a server that cannot be reached gives no answers");
}

/// Answers are answers, whatever the client did to get them; an error shows that the server can be reached.
#[test]
fn connections_in_a_row() {
    let settings = OutlierSettings {
        consecutive_unreachable: Some(2),
        ..NOTHING
    };
    let mut all = Fixture::new(settings, 3);
    all.count(0, Unreachable, 1, 0);
    all.count(0, ServerError, 9, 0);
    all.count(0, Unreachable, 1, 0);
    all.count(1, Answered, 1000, 0);
    assert_eq!(all.ejected(0), []);
    assert_eq!(all.count(2, Unreachable, 2, 0), [Attention::None, Attention::Due]);
    assert_eq!(all.evaluate(0).0, [(2, Reason::ConsecutiveUnreachable(2), 30)]);
}

/// nginx: failures within the time are counted though others succeed, and start anew after a pause.
#[test]
fn the_simple_mode() {
    let mut all = Fixture::new(OutlierSettings::simple(2, Duration::from_secs(10)), 3);
    all.count(0, ServerError, 1, 0);
    assert_eq!(all.ejected(0), []);
    all.count(0, ServerError, 1, 11);
    assert_eq!(all.ejected(11), [], "the first was too long ago");
    all.count(0, Answered, 5, 15);
    assert_eq!(all.count(0, Unreachable, 1, 21), [Attention::Due]);
    assert_eq!(all.evaluate(21), ([(0, Reason::MaxFails(2), 10)].into(), [].into()));
    assert_eq!(all.evaluate(30).1, []);
    assert_eq!(all.evaluate(31).1, [0]);
    all.count(0, ServerError, 1, 32);
    assert_eq!(all.ejected(32), [], "it counts anew");
    let mut off = Fixture::new(OutlierSettings::simple(0, Duration::from_secs(10)), 3);
    off.count(0, ServerError, 1000, 0);
    assert_eq!(off.ejected(10), []);
}

/// Servers by (answered, failed), and who is out after one interval.
fn check_interval(settings: OutlierSettings, servers: &[(u32, u32)], expected: &[usize]) {
    let mut all = Fixture::new(settings, servers.len());
    for (server, &(answered, failed)) in servers.iter().enumerate() {
        all.count(server, Answered, answered, 1);
        all.count(server, ServerError, failed, 1);
    }
    assert_eq!(all.ejected(9), [], "before the interval");
    assert_eq!(all.ejected(10), expected, "{servers:?}");
}

/// gRPC's figures: one of five stands out by 2.0 deviations, one of four only by 1.73, two of five by 1.22.
#[test]
fn success_rates() {
    let settings = OutlierSettings {
        success_rate: Some(SuccessRate::DEFAULT),
        ..NOTHING
    };
    let well = (100, 0);
    check_interval(settings, &[well, well, (0, 100), well, well], &[2]);
    check_interval(settings, &[well, well, (97, 3), well, well], &[2]);
    check_interval(settings, &[well, well, (0, 100), well], &[]);
    check_interval(settings, &[well, (0, 100), (0, 100), well, well], &[]);
    check_interval(settings, &[well, well, (0, 99), well, well], &[]);
    check_interval(settings, &[(50, 50); 5], &[]);
    check_interval(settings, &[(0, 100); 8], &[]);
    let four = OutlierSettings {
        success_rate: Some(SuccessRate {
            minimum_hosts: 4,
            ..SuccessRate::DEFAULT
        }),
        ..NOTHING
    };
    check_interval(four, &[well, well, (0, 100), well], &[]);
    let mut many = [well; 30];
    (many[4], many[9]) = ((60, 40), (20, 80));
    check_interval(settings, &many, &[9, 4]);
}

#[test]
fn failure_percentages() {
    let settings = OutlierSettings {
        failure_percentage: Some(FailurePercentage::DEFAULT),
        ..NOTHING
    };
    let well = (50, 0);
    check_interval(settings, &[well, well, well, (15, 85), (16, 84)], &[3]);
    check_interval(settings, &[well, well, well, (15, 85), (0, 50)], &[4, 3]);
    check_interval(settings, &[well, well, well, well, (0, 49)], &[]);
    check_interval(settings, &[well, well, well, (0, 50)], &[]);
}

#[test]
fn latencies() {
    let settings = OutlierSettings {
        latency: Some(LatencyRule::DEFAULT),
        ..NOTHING
    };
    let check = |milliseconds: &[u64], expected: &[usize]| {
        let mut all = Fixture::new(settings, milliseconds.len());
        for (server, &latency) in milliseconds.iter().enumerate() {
            all.count(server, Answered, 100, 1);
            (0..100).for_each(|_| all.conducts[server].count_latency(Duration::from_millis(latency)));
        }
        assert_eq!(all.ejected(10), expected, "{milliseconds:?}");
    };
    check(&[10, 11, 12, 10, 31], &[]);
    check(&[10, 11, 12, 10, 34], &[4]);
    check(&[10, 11, 12, 100, 500], &[4, 3]);
    check(&[10, 11, 12, 500], &[]);
    check(&[500, 501, 502, 503, 504], &[]);
    check(&[0; 6], &[]);
    check(&[], &[]);
}

/// 30 s, 60 s, 90 s, up to the most; less again after intervals in which it was in.
#[test]
fn ejections_grow_and_are_forgotten() {
    let settings = OutlierSettings {
        consecutive_errors: Some(1),
        max_ejection: Duration::from_secs(100),
        ..NOTHING
    };
    let mut all = Fixture::new(settings, 2);
    let mut now = 0;
    let mut eject = |all: &mut Fixture, pause: u64| {
        for _ in 0..pause / 10 {
            now += 10;
            assert_eq!(all.evaluate(now).0, []);
        }
        all.count(0, ServerError, 1, now);
        let out = all.evaluate(now).0;
        let &[(0, Reason::ConsecutiveErrors(1), time)] = &out[..] else {
            panic!("at {now} s: {out:?}");
        };
        now += time;
        // The sweep that comes with the return finds it still out, or in again with nothing to its account.
        assert_eq!(all.evaluate(now).1, [0]);
        time
    };
    let times = [0, 0, 0, 0, 20, 1000].map(|pause| eject(&mut all, pause));
    assert!(times[..4].is_sorted() && times[0] == 30 && times[3] == 100, "{times:?}");
    assert!(times[4] <= 100 && times[5] == 30, "{times:?}");
}

#[test]
fn a_part_is_out_at_most_but_one_may_be_and_never_all() {
    let check = |servers, percent, expected| {
        let settings = OutlierSettings {
            consecutive_errors: Some(1),
            max_ejected_percent: percent,
            ..NOTHING
        };
        let mut all = Fixture::new(settings, servers);
        for server in 0..servers {
            all.count(server, ServerError, 1, 0);
        }
        assert_eq!(all.ejected(0).len(), expected, "{percent} % of {servers}");
        assert_eq!(
            (0..servers).filter(|&server| all.detector.is_ejected(server)).count(),
            expected
        );
    };
    check(0, 10, 0);
    check(1, 100, 0);
    check(2, 100, 1);
    check(2, 10, 1);
    check(19, 10, 1);
    check(20, 10, 2);
    check(100, 10, 10);
    check(100, 0, 0);
    check(10, 255, 9);
}

#[test]
fn jitter_is_added_by_chance() {
    let settings = OutlierSettings {
        consecutive_errors: Some(1),
        jitter: Duration::from_secs(10),
        ..NOTHING
    };
    let mut all = Fixture::new(settings, 50);
    (0..50).for_each(|server| drop(all.count(server, ServerError, 1, 0)));
    let times: std::collections::BTreeSet<u64> = all.evaluate(0).0.into_iter().map(|(_, _, time)| time).collect();
    assert!(
        times.len() > 5 && times.iter().all(|time| (30..40).contains(time)),
        "seed 1: {times:?}"
    );
}

#[test]
fn a_health_check_that_passes_ends_it() {
    let settings = OutlierSettings {
        consecutive_errors: Some(2),
        ..NOTHING
    };
    let mut all = Fixture::new(settings, 3);
    assert_eq!(all.detector.probe_passed(0), None);
    all.count(0, ServerError, 2, 0);
    assert_eq!(all.ejected(0), [0]);
    // Requests that were under way fail too, after it is out.
    all.count(0, ServerError, 7, 1);
    let back = all.detector.probe_passed(0);
    assert_eq!(
        back,
        Some(Change {
            server: 0,
            what: Ejection::Returned
        })
    );
    assert_eq!(all.evaluate(1), ([].into(), [].into()));
    all.count(0, ServerError, 2, 2);
    assert_eq!(all.evaluate(2).0, [(0, Reason::ConsecutiveErrors(2), 60)]);
}

#[test]
fn who_is_followed_keeps_its_record() {
    let settings = OutlierSettings {
        consecutive_errors: Some(1),
        ..NOTHING
    };
    let mut all = Fixture::new(settings, 3);
    all.count(2, ServerError, 1, 0);
    assert_eq!(all.ejected(0), [2]);
    let kept = [Arc::clone(&all.conducts[2]), Arc::default()];
    all.detector.follow(kept);
    assert!(all.detector.is_ejected(0) && !all.detector.is_ejected(1) && !all.detector.is_ejected(2));
    assert_eq!(all.evaluate(30).1, [0]);
    all.detector.follow([]);
    assert_eq!(
        (all.detector.poll_timeout(), all.evaluate(60)),
        (None, Default::default())
    );
}

#[test]
fn the_last_that_serves_is_not_ejected_whatever_the_others_miss_for() {
    let settings = OutlierSettings {
        consecutive_errors: Some(1),
        ..NOTHING
    };
    let mut all = Fixture::new(settings, 4);
    all.detector.missing(&[1, 2]);
    all.count(1, ServerError, 1, 0);
    assert_eq!(all.ejected(0), [], "who gets no requests is not ejected");
    all.count(0, ServerError, 1, 0);
    all.count(3, ServerError, 1, 0);
    assert_eq!(all.ejected(0), [0], "and of the others not the last");
    all.detector.missing(&[1, 2, 3]);
    assert_eq!(
        all.evaluate(1),
        ([].into(), [0].into()),
        "who is out serves when nobody else does"
    );
    all.detector.missing(&[0, 1, 2, 3]);
    assert_eq!(all.evaluate(2), ([].into(), [].into()));
    all.detector.missing(&[]);
    all.count(2, ServerError, 1, 3);
    assert_eq!(all.ejected(3), [2]);
    all.detector.missing(&[0, 1, 2, 3]);
    assert_eq!(all.evaluate(4).1, [], "who is missing for two reasons stays out");
}

#[test]
fn it_says_when_to_look() {
    let settings = OutlierSettings {
        consecutive_errors: Some(1),
        interval: Duration::from_secs(20),
        ..NOTHING
    };
    let mut all = Fixture::new(settings, 2);
    assert_eq!(all.detector.poll_timeout(), Some(at(20)));
    all.evaluate(20);
    all.count(0, ServerError, 1, 21);
    all.evaluate(21);
    assert_eq!(all.detector.poll_timeout(), Some(at(40)));
    all.evaluate(40);
    assert_eq!(all.detector.poll_timeout(), Some(at(51)));
    all.detector.reconfigure(NOTHING, at(45));
    assert!(all.detector.is_ejected(0));
    assert_eq!(all.evaluate(51).1, [0]);
    assert_eq!(all.detector.poll_timeout(), Some(at(55)));
}

/// A clock that goes back ejects nobody and lets nobody back early.
#[test]
fn time_that_goes_back_stands_still() {
    let settings = OutlierSettings {
        consecutive_errors: Some(1),
        ..NOTHING
    };
    let mut all = Fixture::new(settings, 2);
    all.count(0, ServerError, 1, 100);
    assert_eq!(all.ejected(100), [0]);
    assert_eq!(all.evaluate(0), Default::default());
    assert_eq!(all.evaluate(129), Default::default());
    assert_eq!(all.evaluate(130).1, [0]);
}

proptest! {
    /// Whatever happens: never more out than may be, nobody out twice or back twice, and all are back in the end.
    #[test]
    fn ejections_and_returns_are_in_pairs(
        servers in 1usize..12,
        percent in 0u8..=100,
        events in prop::collection::vec((0usize..12, 0u32..40, 0u32..120, 0u64..40), 0..60),
        seed: u64,
    ) {
        let settings = OutlierSettings {
            max_ejected_percent: percent,
            failure_percentage: Some(FailurePercentage::DEFAULT),
            ..OutlierSettings::DEFAULT
        };
        let mut all = Fixture::new(settings, servers);
        all.chance = Chance::new(seed);
        let mut is_out = std::vec![false; servers];
        let mut now = 0;
        for (server, failed, answered, passed) in events {
            now += passed;
            all.count(server % servers, ServerError, failed, now);
            all.count(server % servers, Answered, answered, now);
            let (out, back) = all.evaluate(now);
            for server in back {
                prop_assert!(std::mem::replace(&mut is_out[server], false));
            }
            for (server, _, time) in out {
                prop_assert!(!std::mem::replace(&mut is_out[server], true));
                prop_assert!((30..=303).contains(&time));
            }
            let count = is_out.iter().filter(|&&out| out).count();
            let part = (servers * usize::from(percent) / 100).max(usize::from(percent > 0));
            prop_assert!(count <= part.min(servers - 1));
        }
        all.evaluate(now + 304);
        prop_assert!((0..servers).all(|server| !all.detector.is_ejected(server)));
    }
}
