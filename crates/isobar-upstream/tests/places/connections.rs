//! Are connections counted, and does who needs one come by it?

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use isobar_balance::Moment;
use isobar_plan::Priority;
use isobar_upstream::{Permit, Upstream, Wanted};

use crate::threads::block_on;
use crate::{Woken, server, settings, upstream};

fn permits(upstream: &Arc<Upstream>, max: u32) -> Vec<Permit> {
    std::iter::from_fn(|| Permit::take(upstream, Some(max))).collect()
}

fn with_connections(max: u32) -> Arc<Upstream> {
    let upstream = upstream(vec![server("a", None)]);
    limit(&upstream, max);
    upstream
}

fn limit(upstream: &Upstream, max: u32) {
    let mut settings = settings(vec![server("a", None)]);
    settings.limits.max_connections = Some(max);
    upstream.reconfigure(settings);
}

#[test]
fn no_more_are_open_than_may_be() {
    let upstream = upstream(vec![server("a", None)]);
    let mut held = permits(&upstream, 3);
    assert_eq!((held.len(), upstream.connections().open()), (3, 3));
    held.pop();
    assert_eq!(permits(&upstream, 3).len(), 1);
    held.push(Permit::take(&upstream, None).unwrap());
    held.extend(Permit::take(&upstream, None));
    assert_eq!(upstream.status().connections.used, 4, "a reload lowered the limit");
    held.clear();
    assert_eq!(upstream.connections().open(), 0);
}

#[test]
fn who_needs_one_calls_for_idle_ones_to_be_closed() {
    let upstream = with_connections(2);
    let connections = upstream.connections();
    let woken = [(); 3].map(|()| Arc::new(Woken::default()));
    let [sweeper, first, second] = woken.clone().map(Waker::from);
    let sweep = || connections.poll_sweep(&mut Context::from_waker(&sweeper), 0).is_ready();
    let mut held = permits(&upstream, 2);
    assert!(!sweep());
    let mut wanted = [(); 2].map(|()| Wanted::new(Arc::clone(&upstream), Priority::Normal, None));
    let poll = |wanted: &mut Wanted, waker| wanted.poll(&mut Context::from_waker(waker));
    assert!(poll(&mut wanted[0], &first).is_pending() && poll(&mut wanted[1], &second).is_pending());
    assert_eq!(connections.to_close(Some(2)), 2);
    assert!(woken[0].0.load(std::sync::atomic::Ordering::SeqCst) > 0);
    assert!(sweep() && !sweep(), "called once");
    held.pop();
    assert!(woken[1].0.load(std::sync::atomic::Ordering::SeqCst) > 0);
    let Poll::Ready(permit) = poll(&mut wanted[0], &first) else {
        panic!("one is free");
    };
    held.push(permit);
    assert!(poll(&mut wanted[1], &second).is_pending());
    let [served, gone] = wanted;
    drop((served, gone));
    assert_eq!(
        (connections.to_close(Some(2)), connections.to_close(None)),
        (0, 0),
        "who left needs none"
    );
    assert_eq!(connections.to_close(Some(1)), 1, "a reload lowered the limit");
    held.clear();
    assert_eq!(connections.open(), 0);
}

fn is_served(wanted: &mut Wanted) -> Option<Permit> {
    match wanted.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(permit) => Some(permit),
        Poll::Pending => None,
    }
}

#[test]
fn permits_are_given_in_the_order_of_the_queue() {
    use Priority::{Critical, Low, Normal};
    let check = |line: &[(Priority, Option<u64>)], expected: &[usize]| {
        let upstream = with_connections(1);
        let mut held = Permit::take(&upstream, Some(1));
        let wanted = |&(priority, due): &(Priority, Option<u64>)| {
            let mut wanted = Wanted::new(Arc::clone(&upstream), priority, due.map(Moment::new));
            assert!(is_served(&mut wanted).is_none());
            Some(wanted)
        };
        let mut line: Vec<_> = line.iter().map(wanted).collect();
        let mut order = Vec::new();
        while order.len() < expected.len() {
            drop(held.take());
            assert!(Permit::take(&upstream, Some(1)).is_none(), "a newcomer overtakes");
            // Who looks first does not have it for that.
            for index in (0..line.len()).rev() {
                if let Some(permit) = line[index].as_mut().and_then(is_served) {
                    assert!(held.replace(permit).is_none(), "more than there are");
                    line[index] = None;
                    order.push(index);
                }
            }
        }
        assert_eq!(order, expected);
        drop(held);
        assert!(Permit::take(&upstream, Some(1)).is_some());
        assert_eq!(upstream.connections().open(), 0);
    };
    check(&[(Normal, None), (Normal, None), (Normal, None)], &[0, 1, 2]);
    check(&[(Low, None), (Normal, None), (Critical, None)], &[2, 1, 0]);
    check(
        &[(Normal, Some(9)), (Normal, Some(3)), (Critical, Some(20))],
        &[2, 1, 0],
    );
}

#[test]
fn who_leaves_passes_on_what_was_kept_for_it() {
    let upstream = with_connections(1);
    let held = Permit::take(&upstream, Some(1));
    let mut wanted = [(); 3].map(|()| Wanted::new(Arc::clone(&upstream), Priority::Normal, None));
    wanted
        .iter_mut()
        .for_each(|wanted| assert!(is_served(wanted).is_none()));
    let [first, second, mut third] = wanted;
    drop(second);
    drop(held);
    drop(first);
    let held = is_served(&mut third);
    assert!(held.is_some(), "the first left with a permit, the second without");
    // One more since a reload: somebody who waits has it at once.
    let mut fourth = Wanted::new(Arc::clone(&upstream), Priority::Normal, None);
    assert!(is_served(&mut fourth).is_none());
    limit(&upstream, 2);
    assert!(Permit::take(&upstream, Some(2)).is_none());
    assert!(is_served(&mut fourth).is_some());
    drop(held);
    assert_eq!(upstream.connections().open(), 0);
}

#[test]
fn no_permit_is_lost_between_threads() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 2000;
    let upstream = with_connections(2);
    let work = |thread: usize| {
        for round in 0..ROUNDS {
            let mut wanted = Wanted::new(Arc::clone(&upstream), Priority::ALL[(round + thread) % 3], None);
            let permit = match Permit::take(&upstream, Some(2)) {
                Some(permit) => permit,
                // Some leave without having been served.
                None if round % 5 == 0 => {
                    let _ = is_served(&mut wanted);
                    continue;
                }
                None => block_on(std::future::poll_fn(|cx| wanted.poll(cx))),
            };
            assert!(upstream.connections().open() <= 2);
            drop(permit);
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
    let connections = upstream.connections();
    assert_eq!((connections.open(), connections.to_close(Some(0))), (0, 0));
}
