//! Does a timer wake the right task, once, and not too early?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;
use tokio::time::{advance, sleep};

use super::*;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn with_stopped_clock<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_time()
        .start_paused(true)
        .build_local(Default::default())
        .unwrap()
        .block_on(async { test().await })
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn expires_at_the_first_tick_at_or_past_the_deadline() {
    let start = Instant::now();
    let check = |deadline, expected| {
        let wheel = Wheel::new(start);
        let timer = wheel.timer();
        timer.set(start + deadline);
        let expires = (0..10_000).find(|&elapsed| {
            wheel.handle(start + ms(elapsed));
            timer.is_expired()
        });
        assert_eq!(expires, Some(expected), "{deadline:?}");
    };
    check(ms(0), 50);
    check(Duration::from_nanos(1), 50);
    check(ms(49), 50);
    check(ms(50), 50);
    check(ms(50) + Duration::from_nanos(1), 100);
    check(ms(3_200), 3_200);
    check(ms(3_201), 3_250);
    check(ms(9_999) - ms(50), 9_950);
}

#[test]
fn wakes_the_task_once() {
    let start = Instant::now();
    let wheel = Wheel::new(start);
    let timer = wheel.timer();
    let (wakes, waker) = Wakes::new();
    let (forgotten, earlier) = Wakes::new();
    timer.set(start + ms(100));
    timer.register(&earlier);
    assert!(timer.poll_expired(&mut Context::from_waker(&waker)).is_pending());
    wheel.handle(start + ms(99));
    assert_eq!(wakes.count(), 0);
    wheel.handle(start + ms(100));
    wheel.handle(start + ms(10_000));
    assert_eq!((wakes.count(), forgotten.count()), (1, 0));
    assert!(timer.poll_expired(&mut Context::from_waker(&waker)).is_ready());
    timer.set(start + ms(20_000));
    assert!(!timer.is_expired(), "a new deadline is a new start");
}

#[test]
fn a_timer_that_was_cleared_moved_or_dropped_wakes_nobody() {
    let start = Instant::now();
    let wheel = Wheel::new(start);
    let (wakes, waker) = Wakes::new();
    let [cleared, moved, dropped] = [wheel.timer(), wheel.timer(), wheel.timer()];
    for timer in [&cleared, &moved, &dropped] {
        timer.set(start + ms(100));
        timer.register(&waker);
    }
    cleared.clear();
    moved.set(start + ms(1_000_000));
    drop(dropped);
    wheel.handle(start + ms(999_999));
    assert_eq!(wakes.count(), 0);
    assert!(!cleared.is_expired() && !moved.is_expired());
}

#[test]
fn wakers_may_drop_timers() {
    thread_local!(static KEPT: RefCell<Vec<Timer>> = const { RefCell::new(Vec::new()) });
    struct DropsOthers;
    impl Wake for DropsOthers {
        fn wake(self: Arc<Self>) {
            KEPT.take();
        }
    }
    impl Drop for DropsOthers {
        fn drop(&mut self) {
            KEPT.take();
        }
    }
    let start = Instant::now();
    let wheel = Wheel::new(start);
    let keep = || KEPT.with_borrow_mut(|kept| kept.push(wheel.timer()));
    let timer = wheel.timer();
    let waker = || Waker::from(Arc::new(DropsOthers));

    keep();
    timer.set(start + ms(10));
    timer.register(&waker());
    wheel.handle(start + ms(50));
    assert!(KEPT.take().is_empty(), "by waking");

    timer.register(&waker());
    keep();
    timer.register(&waker());
    assert!(KEPT.take().is_empty(), "by being replaced");

    keep();
    drop(timer);
    assert!(KEPT.take().is_empty(), "by going with its timer");
}

#[test]
fn the_driver_sleeps_while_nothing_waits() {
    with_stopped_clock(|| async {
        let wheel = Wheel::new(tokio::time::Instant::now().into_std());
        let mut drive = pin!(wheel.drive());
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        let timer = wheel.timer();

        assert!(drive.as_mut().poll(&mut cx).is_pending());
        advance(Duration::from_secs(3_600)).await;
        assert_eq!(wakes.count(), 0, "no timer");

        timer.set(wheel.now() + ms(200));
        assert_eq!(wakes.count(), 1, "the driver must look when to wake");
        assert!(drive.as_mut().poll(&mut cx).is_pending());
        timer.set(wheel.now() + ms(400));
        assert_eq!(wakes.count(), 1, "a later deadline is none of its business");
        advance(ms(199)).await;
        assert_eq!(wakes.count(), 1, "the slot is not there yet");
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn never_early_and_two_ticks_late_at_most(
        waits in prop::collection::vec((0..200_000_u64, 0..60_000_u64), 1..60),
    ) {
        with_stopped_clock(|| async move {
            let wheel = Wheel::new(tokio::time::Instant::now().into_std());
            let driver = wheel.clone();
            tokio::task::spawn_local(async move { driver.drive().await });
            let tasks: Vec<_> = waits.into_iter().map(|(start, wait)| {
                let wheel = wheel.clone();
                tokio::task::spawn_local(async move {
                    sleep(ms(start)).await;
                    let timer = wheel.timer();
                    let deadline = wheel.now() + ms(wait);
                    timer.set(deadline);
                    poll_fn(|cx| timer.poll_expired(cx)).await;
                    let late = wheel.now().checked_duration_since(deadline);
                    assert!(late.is_some_and(|late| late <= 2 * TICK), "{wait} ms, late by {late:?}");
                })
            }).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}
