//! What does a change of an upstream cost, and who is told of it?

use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use isobar_plan::{OutlierSettings, Outliers, Server};
use isobar_upstream::{Local, Upstream};

use crate::{place, server, settings, upstream};

fn many(count: usize) -> Vec<Server> {
    (0..count).map(|at| server(&format!("server-{at}"), None)).collect()
}

/// In a debug build the three take 0.5 s on two cores of an Intel Xeon, and 12.7 s where each server is looked for among
/// all.
#[test]
fn ten_thousand_servers_in_another_order_are_found_again() {
    let mut servers = many(10_000);
    let upstream = upstream(servers.clone());
    let local = Local::<()>::new(Arc::clone(&upstream));
    let place = place(&local).unwrap();
    let first = Arc::clone(&upstream.members().servers[0]);
    let began = Instant::now();
    for _ in 0..3 {
        servers.reverse();
        upstream.reconfigure(settings(servers.clone()));
        local.view();
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "three reloads took {took:?}");
    assert!(Arc::ptr_eq(&upstream.members().servers[9_999], &first));
    drop(place);
    assert_eq!(upstream.status().requests.used, 0);
}

const OUTLIERS: Outliers = Outliers {
    rules: OutlierSettings {
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(300),
        jitter: Duration::ZERO,
        max_ejected_percent: 10,
        consecutive_errors: Some(5),
        consecutive_unreachable: None,
        success_rate: None,
        failure_percentage: None,
        latency: None,
        max_fails: None,
    },
    min_servers: 2,
};

#[test]
fn the_judge_is_called_where_somebody_is_judged() {
    let mut cx = Context::from_waker(Waker::noop());
    let upstream = upstream(many(3));
    upstream.refresh();
    assert_eq!(upstream.poll_rung(&mut cx), Poll::Pending, "nobody is judged");
    let judged = isobar_plan::Upstream {
        outliers: Some(OUTLIERS),
        ..settings(many(3))
    };
    upstream.reconfigure(judged);
    assert_eq!(upstream.poll_rung(&mut cx), Poll::Ready(()));
    upstream.refresh();
    assert_eq!(upstream.poll_rung(&mut cx), Poll::Ready(()));
    upstream.reconfigure(settings(many(3)));
    assert_eq!(
        upstream.poll_rung(&mut cx),
        Poll::Ready(()),
        "who was ejected comes back"
    );
    upstream.refresh();
    assert_eq!(upstream.poll_rung(&mut cx), Poll::Pending);
}

/// Comes back to whatever wakes it before it has returned, as a task does that is polled where it is woken.
struct Returns<F>(F);

impl<F: Fn() + Send + Sync> Wake for Returns<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// Runs on a thread, which is left behind where it does not end.
fn ends(work: impl FnOnce() + Send + 'static) -> bool {
    let (done, ended) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    ended.recv_timeout(Duration::from_secs(20)).is_ok()
}

#[test]
fn who_is_woken_may_come_back_at_once() {
    let upstream = upstream(many(1));
    let follows = Arc::clone(&upstream);
    let waker = Waker::from(Arc::new(Returns(move || {
        let _ = follows.poll_changed(0, &mut Context::from_waker(Waker::noop()));
    })));
    let epoch = upstream.epoch();
    assert!(
        upstream
            .poll_changed(epoch, &mut Context::from_waker(&waker))
            .is_pending()
    );
    let refreshed: Arc<Upstream> = Arc::clone(&upstream);
    assert!(ends(move || refreshed.refresh()), "told of a change under a lock");

    let server = Arc::clone(&upstream.members().servers[0]);
    let asks = Arc::clone(&server);
    let waker = Waker::from(Arc::new(Returns(move || {
        asks.asking().done();
        let _ = asks.asking().poll_wanted(&mut Context::from_waker(Waker::noop()));
    })));
    assert!(
        server
            .asking()
            .poll_wanted(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert!(ends(move || server.asking().want()), "told to ask under a lock");
}
