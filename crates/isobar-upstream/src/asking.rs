//! Does anybody want to know how loaded a server is?
//!
//! Workers want it after a pick, many of them at once and again and again; one task asks the server. Between the two is
//! one word a server: whoever wants it sets it, and until the answer is there everybody else finds it set. So there is
//! one question under way at a time, however many want the answer, and no request waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Whether a server is to be asked.
#[derive(Debug, Default)]
pub struct Asking {
    wanted: AtomicBool,
    /// Of the task that asks, while it waits for somebody to want it.
    asker: Mutex<Option<Waker>>,
}

impl Asking {
    /// Wants the server to be asked. Without a task that asks it is without effect.
    ///
    /// *Cost*: a load while that is wanted already. Otherwise the task is woken, which takes a lock that only the task
    /// could hold, for a few instructions.
    pub fn want(&self) {
        if self.wanted.load(Ordering::Relaxed) || self.wanted.swap(true, Ordering::SeqCst) {
            return;
        }
        // Out of the lock: to wake somebody may run code of others, which may come back here.
        let asker = self.lock().take();
        if let Some(asker) = asker {
            asker.wake();
        }
    }

    /// Ready when the server is to be asked. For one task at a time.
    pub fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wanted.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        let before = self.lock().replace(cx.waker().clone());
        drop(before);
        // Whoever wanted it before the waker was there did not find one.
        if self.wanted.load(Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The server was asked, and whatever came of that is known: it may be wanted anew.
    pub fn done(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.asker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Asking;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};
    use std::time::{Duration, Instant};

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn many_who_want_it_wake_the_asker_once() {
        let (asking, woken) = (Asking::default(), Arc::new(Counting::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        for round in 1..=3 {
            assert_eq!(asking.poll_wanted(&mut cx), Poll::Pending);
            (0..5).for_each(|_| asking.want());
            assert_eq!(woken.0.load(Ordering::SeqCst), round);
            assert_eq!(asking.poll_wanted(&mut cx), Poll::Ready(()));
            asking.want();
            asking.done();
        }
    }

    /// Wanted at whatever moment, it is never missed: who wants it next only does when the last time was noticed.
    #[test]
    fn nothing_is_missed() {
        const ROUNDS: usize = 5_000;
        let (asking, asked) = (Arc::new(Asking::default()), Arc::new(AtomicUsize::new(0)));
        let asker = {
            let (asking, asked) = (Arc::clone(&asking), Arc::clone(&asked));
            thread::spawn(move || {
                let waker = Waker::from(Arc::new(Unpark(thread::current())));
                for _ in 0..ROUNDS {
                    while asking.poll_wanted(&mut Context::from_waker(&waker)).is_pending() {
                        thread::park();
                    }
                    asking.done();
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let end = Instant::now() + Duration::from_secs(60);
        for round in 0..ROUNDS {
            asking.want();
            while asked.load(Ordering::SeqCst) <= round {
                assert!(Instant::now() < end, "missed in round {round}");
                thread::yield_now();
            }
        }
        asker.join().unwrap();
    }

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
}
