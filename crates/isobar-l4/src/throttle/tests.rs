//! Do those who share a rate have equal parts of it?

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;

use isobar_limit::{Bandwidth, Rate, State};
use isobar_upstream::moment;

use super::*;

/// A rate that several share.
#[derive(Debug)]
struct Shared {
    limit: Cell<Bandwidth>,
    state: RefCell<State>,
    changes: Cell<u64>,
    waited: Cell<Duration>,
}

#[derive(Debug)]
struct Part {
    shared: Rc<Shared>,
    changes: u64,
}

impl Meter for Part {
    fn piece(&self, way: Way) -> Option<u64> {
        (way == Way::Down).then(|| self.shared.limit.get().piece())
    }

    fn spend(&mut self, way: Way, bytes: u64, now: Instant) -> Duration {
        self.changes = self.shared.changes.get();
        match way {
            Way::Up => Duration::ZERO,
            Way::Down => {
                let limit = self.shared.limit.get();
                limit.spend(&mut self.shared.state.borrow_mut(), bytes, moment(now))
            }
        }
    }

    fn is_changed(&mut self) -> bool {
        self.changes != self.shared.changes.get()
    }

    fn waited(&self, time: Duration) {
        self.shared.waited.set(self.shared.waited.get() + time);
    }
}

fn shared(per_second: u64, burst: u64) -> Rc<Shared> {
    Rc::new(Shared {
        limit: Cell::new(Bandwidth::pacing(Rate::per_second(per_second), burst)),
        state: RefCell::default(),
        changes: Cell::new(0),
        waited: Cell::default(),
    })
}

fn throttle(shared: &Rc<Shared>) -> Box<Throttle> {
    let shared = Rc::clone(shared);
    Throttle::new(vec![Box::new(Part { shared, changes: 0 })]).unwrap()
}

/// Sends as fast as it may for so long: how many bytes that were.
async fn send(mut throttle: Box<Throttle>, time: Duration) -> u64 {
    let (end, mut sent) = (tokio::time::Instant::now() + time, 0);
    loop {
        let turn = poll_fn(|cx| throttle.poll_turn(cx, Way::Down)).await;
        if tokio::time::Instant::now() >= end {
            return sent;
        }
        throttle.moved(Way::Down, turn);
        sent += turn;
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

#[test]
fn whoever_shares_a_rate_has_an_equal_part() {
    let check = |per_second: u64, count: usize| {
        let shared = shared(per_second, per_second / 20);
        let sent = run(async {
            let senders = (0..count).map(|_| send(throttle(&shared), Duration::from_secs(4)));
            let senders: Vec<_> = senders.map(tokio::task::spawn_local).collect();
            let mut sent = Vec::new();
            for sender in senders {
                sent.push(sender.await.unwrap());
            }
            sent
        });
        let total: u64 = sent.iter().sum();
        let piece = shared.limit.get().piece();
        let most = per_second * 4 + per_second / 20 + piece * count as u64;
        assert!(total <= most && total >= per_second * 4 * 97 / 100, "{total} of {most}");
        let part = total / count as u64;
        assert!(
            sent.iter().all(|one| one.abs_diff(part) <= (part / 20).max(2 * piece)),
            "{sent:?} at {per_second}/s"
        );
    };
    check(1_000_000, 1);
    check(1_000_000, 8);
    check(100_000, 5);
    check(50_000_000, 3);
}

#[test]
fn nobody_waits_for_what_is_there_and_the_other_way_is_not_counted() {
    let shared = shared(1_000, 1_000_000);
    let sent = run(send(throttle(&shared), Duration::from_millis(1)));
    assert!(sent >= 1_000_000, "{sent}");
    let mut up = throttle(&shared);
    let turn = run(poll_fn(|cx| up.poll_turn(cx, Way::Up)));
    assert_eq!((turn, up.is_waiting(Way::Up)), (u64::MAX, false));
}

#[test]
fn a_change_of_the_rate_ends_a_wait() {
    let shared = shared(1_000, 1);
    let mut throttle = throttle(&shared);
    throttle.moved(Way::Down, 1_000_000);
    let waited = run(async {
        let began = tokio::time::Instant::now();
        let of = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            of.limit.set(Bandwidth::pacing(Rate::per_second(1 << 30), 1 << 30));
            *of.state.borrow_mut() = [0; 2];
            of.changes.set(1);
        });
        poll_fn(|cx| throttle.poll_turn(cx, Way::Down)).await;
        began.elapsed()
    });
    let expected = Duration::from_millis(700)..Duration::from_millis(1_100);
    assert!(expected.contains(&waited), "{waited:?}");
    assert_eq!((throttle.waited(), shared.waited.get()), (waited, waited));
}
