//! How do many threads call one task that waits?

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Rung by anybody, heard by one task. Ringing often is heard once.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    is_rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// *Cost*: an exchange while it has been rung and not heard; otherwise a lock besides, held to take the waker out.
    pub(crate) fn ring(&self) {
        // An exchange and no load: whoever hears this ring, or the one before it, is to see what was done before this.
        if self.is_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ready when it was rung since this was last ready.
    pub(crate) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        // The waker first: whoever rings after the look below finds it.
        let before = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(cx.waker().clone());
        drop(before);
        if self.is_rung.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn ringing_is_heard_once() {
        let (bell, woken) = (Bell::default(), Arc::<Woken>::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        bell.ring();
        assert_eq!(
            bell.poll_rung(&mut cx),
            Poll::Ready(()),
            "a ring before anybody listens is not lost"
        );
        assert_eq!(bell.poll_rung(&mut cx), Poll::Pending);
        bell.ring();
        bell.ring();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(bell.poll_rung(&mut cx), Poll::Ready(()));
        assert_eq!(bell.poll_rung(&mut cx), Poll::Pending);
    }

    #[test]
    fn no_ring_is_lost_between_threads() {
        const RINGS: usize = 20_000;
        let (bell, rung) = (Bell::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..RINGS {
                    rung.fetch_add(1, Ordering::SeqCst);
                    bell.ring();
                }
            });
            let parker = Arc::new(Parker(std::thread::current()));
            let waker = Waker::from(parker);
            let mut cx = Context::from_waker(&waker);
            let mut seen = 0;
            while seen < RINGS {
                match bell.poll_rung(&mut cx) {
                    // Whoever rang before this counted before it rang.
                    Poll::Ready(()) => seen = rung.load(Ordering::SeqCst),
                    Poll::Pending => std::thread::park(),
                }
            }
        });
    }

    struct Parker(std::thread::Thread);

    impl Wake for Parker {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
}
