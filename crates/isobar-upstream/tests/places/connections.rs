//! Are connections counted, and does who needs one come by it?

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use isobar_upstream::{Permit, Upstream, Wanted};

use crate::{Woken, server, upstream};

fn permits(upstream: &Arc<Upstream>, max: u32) -> Vec<Permit> {
    std::iter::from_fn(|| Permit::take(upstream, Some(max))).collect()
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
    let upstream = upstream(vec![server("a", None)]);
    let connections = upstream.connections();
    let woken = [(); 3].map(|()| Arc::new(Woken::default()));
    let [sweeper, first, second] = woken.clone().map(Waker::from);
    let sweep = || connections.poll_sweep(&mut Context::from_waker(&sweeper), 0).is_ready();
    let mut held = permits(&upstream, 2);
    assert!(!sweep());
    let mut wanted = [(); 2].map(|()| Wanted::new(Arc::clone(&upstream)));
    let poll = |wanted: &mut Wanted, waker| wanted.poll(&mut Context::from_waker(waker), Some(2));
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
