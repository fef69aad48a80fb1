//! Are servers out by an operator's word or for how they answer, and only these?

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use isobar_balance::Outcome;
use isobar_plan::{OutlierSettings, Outliers, Reason, ServiceState};
use isobar_upstream::{Local, Refusal, Upstream};

use super::{Settings, place, server, settings, upstream};

const FAILURE: Outcome = Outcome::Failure { retry_after: None };

fn detecting(servers: usize, min_servers: u32) -> Arc<Upstream> {
    let names = (0..servers).map(|number| server(&format!("s{number}"), None)).collect();
    let rules = OutlierSettings::simple(2, Duration::from_secs(10));
    let outliers = Some(Outliers { rules, min_servers });
    Arc::new(Upstream::new(
        Settings {
            outliers,
            ..settings(names)
        },
        1,
    ))
}

fn is_rung(upstream: &Upstream) -> bool {
    upstream.poll_rung(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}

#[test]
fn one_failure_too_many_calls_the_judge() {
    let check = |servers, min_servers, expected: &[bool]| {
        let upstream = detecting(servers, min_servers);
        let local = Local::<()>::new(Arc::clone(&upstream));
        let at = Instant::now();
        let failed = expected.iter().map(|_| {
            place(&local).unwrap().finished(at, Duration::ZERO, FAILURE);
            is_rung(&upstream)
        });
        assert_eq!(failed.collect::<Vec<_>>(), expected, "{servers} servers");
    };
    check(1, 1, &[false, true, false]);
    check(1, 2, &[false, false, false]);
}

#[test]
fn an_answer_and_a_missing_connection_count_as_what_they_are() {
    let rules = OutlierSettings {
        consecutive_errors: None,
        consecutive_unreachable: Some(2),
        ..OutlierSettings::DEFAULT
    };
    let outliers = Some(Outliers { rules, min_servers: 1 });
    let plan = Settings {
        outliers,
        ..settings(vec![server("a", None)])
    };
    let upstream = Arc::new(Upstream::new(plan, 1));
    let local = Local::<()>::new(Arc::clone(&upstream));
    let at = Instant::now();
    let unreachable = || place(&local).unwrap().unreachable(at, Duration::ZERO);
    let ended = |outcome| place(&local).unwrap().finished(at, Duration::ZERO, outcome);
    unreachable();
    ended(FAILURE);
    unreachable();
    ended(Outcome::Success);
    unreachable();
    assert!(!is_rung(&upstream), "never two in a row");
    unreachable();
    assert!(is_rung(&upstream));
}

#[test]
fn who_is_out_gets_nothing_and_keeps_what_it_has() {
    let upstream = upstream(vec![server("a", None), server("b", None)]);
    let local = Local::<()>::new(Arc::clone(&upstream));
    let by = "127.0.0.1:5".parse().unwrap();
    let [a, b] = [0, 1].map(|slot| Arc::clone(&upstream.members().servers[slot]));
    let names = || {
        let places: Vec<_> = (0..4).map_while(|_| place(&local).ok()).collect();
        let mut names: Vec<_> = places
            .iter()
            .map(|place| place.server().server.name().to_string())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(names(), ["a", "b"]);
    let under_way: Vec<_> = (0..2).map(|_| place(&local).unwrap()).collect();
    assert_eq!(a.order(ServiceState::Drain, by), ServiceState::Enabled);
    upstream.refresh();
    assert_eq!(names(), ["b"]);
    assert_eq!(upstream.status().servers[0].in_flight, 1);
    drop(under_way);
    assert_eq!(upstream.status().servers[0].in_flight, 0);

    let (now, until) = (Instant::now(), Instant::now() + Duration::from_secs(30));
    b.eject(Reason::SuccessRate, now, until);
    upstream.refresh();
    assert_eq!(place(&local).err(), Some(Refusal::NoneAvailable));
    let status = upstream.status();
    assert_eq!(
        (status.servers[0].state_by, status.servers[1].state_by),
        (Some(by), None)
    );
    assert_eq!(status.servers[1].ejections, [0, 0, 0, 1, 0, 0]);
    assert!(
        status.servers[1]
            .ejection
            .is_some_and(|ejection| ejection.left > Duration::from_secs(20))
    );

    // Neither is over by a reload, the one by a reload that says so.
    upstream.reconfigure(settings(vec![server("b", None), server("a", Some(3))]));
    assert_eq!(names(), [""; 0]);
    let mut disabled = server("b", None);
    disabled.state = ServiceState::Disabled;
    upstream.reconfigure(settings(vec![disabled, server("a", None)]));
    upstream.reconfigure(settings(vec![server("b", None), server("a", None)]));
    assert_eq!(names(), [""; 0], "it is ejected still");
    assert_eq!(b.return_to_service(), Some(until));
    assert_eq!(b.return_to_service(), None);
    upstream.refresh();
    assert_eq!(names(), ["b"]);
    assert_eq!(a.order(ServiceState::Enabled, by), ServiceState::Drain);
    upstream.refresh();
    assert_eq!(names(), ["a", "b"]);
}
