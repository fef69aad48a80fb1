//! Does a limit of the upstream hold for whatever is in flight, also for what came before it was set?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isobar_plan::Priority;
use isobar_upstream::{Ask, Local, Refusal, Upstream};

use crate::{Waiting, place, server, settings, upstream};

fn limit(upstream: &Upstream, max_requests: Option<u32>) {
    let mut settings = settings(vec![server("a", None)]);
    settings.limits.max_requests = max_requests;
    upstream.reconfigure(settings);
}

#[test]
fn a_new_limit_counts_what_is_in_flight_already() {
    let upstream = upstream(vec![server("a", None)]);
    let local = Local::<()>::new(Arc::clone(&upstream));
    let mut held: Vec<_> = (0..3).map(|_| place(&local).unwrap()).collect();
    limit(&upstream, Some(2));
    let mut waiting = Waiting::join(&upstream);
    for left in [2, 1] {
        assert_eq!(place(&local).unwrap_err(), Refusal::Full);
        assert!(upstream.is_at_limit(Priority::Normal) && !waiting.is_called());
        held.pop();
        assert_eq!(held.len(), left);
    }
    assert!(waiting.is_called(), "one that came before the limit made room");
    held.push(waiting.look(&local).unwrap());
    assert_eq!(place(&local).unwrap_err(), Refusal::Full);
    // What was counted under the limit is so without it, and under the next one.
    limit(&upstream, None);
    held.push(place(&local).unwrap());
    limit(&upstream, Some(4));
    held.push(place(&local).unwrap());
    assert_eq!(place(&local).unwrap_err(), Refusal::Full);
    held.clear();
    let all: Vec<_> = std::iter::from_fn(|| place(&local).ok()).collect();
    assert_eq!(all.len(), 4, "nobody is counted twice, or for ever");
}

/// Once somebody has a place under the limit, no more are in flight than it says, whoever came before it was set.
#[test]
fn a_limit_holds_while_it_is_set_under_load() {
    const WORKERS: usize = 4;
    const RELOADS: u32 = 300;
    let of_server = settings(vec![server("a", None)]);
    let upstream = Arc::new(Upstream::new(of_server, WORKERS + 1));
    let is_over = AtomicBool::new(false);
    let work = || {
        let local = Local::<()>::new(Arc::clone(&upstream));
        while !is_over.load(Ordering::Relaxed) {
            // More at once than the limit allows.
            let held = [place(&local), place(&local), place(&local)];
            std::thread::yield_now();
            drop(held);
        }
    };
    let reload = || {
        let local = Local::<()>::new(Arc::clone(&upstream));
        let end = Instant::now() + Duration::from_secs(60);
        for round in 0..RELOADS {
            while upstream.status().requests.used <= 2 {
                assert!(Instant::now() < end, "no load in round {round}");
                std::thread::yield_now();
            }
            limit(&upstream, Some(2));
            let place = loop {
                assert!(Instant::now() < end, "no place in round {round}");
                match local.view().place(&Ask::default(), &mut isobar_balance::Chance::new(1)) {
                    Ok(place) => break place,
                    Err(_) => std::thread::yield_now(),
                }
            };
            for _ in 0..20 {
                let in_flight = upstream.status().requests.used;
                assert!(in_flight <= 2, "{in_flight} in flight in round {round}");
            }
            drop(place);
            limit(&upstream, None);
        }
    };
    std::thread::scope(|scope| {
        (0..WORKERS).for_each(|_| drop(scope.spawn(work)));
        let reloads = std::panic::catch_unwind(std::panic::AssertUnwindSafe(reload));
        is_over.store(true, Ordering::Relaxed);
        reloads.unwrap();
    });
    assert_eq!(upstream.status().requests.used, 0);
}
