//! Who hands a thread's wishes to its ring, and wakes those whose bytes have come?

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::unix::AsyncFd;

use super::Completion;
use super::slots::Slots;
use super::{CURRENT, Inner, Ring};
use crate::kernel::Uring;

/// How often in a row the kernel is asked for what it has put off before those for whom something came run. Newer kernels do twenty
/// operations each time, and tasks that run together do so with less than tasks that run in twenties: they find each other's instructions
/// in the processor's caches. More than this would have the first of them wait for long.
const ROUNDS: usize = 16;

/// With fewer outcomes the kernel had no more to do: what came since then may grow to a batch while tasks run.
const MANY: usize = 16;

/// The ring of this thread, from now until this is dropped.
pub(crate) struct Installed {
    ring: Rc<Ring>,
    event: AsyncFd<OwnedFd>,
}

/// Gives this thread a ring. Must be called inside its runtime.
///
/// *Errors*: the kernel is too old for it, or does not let this process have one.
pub(crate) fn install() -> io::Result<Installed> {
    let uring = Uring::new()?;
    let event = uring.watch()?;
    let inner = RefCell::new(Inner {
        uring,
        slots: Slots::new(),
        spare: Vec::new(),
        driver: None,
    });
    let ring = Rc::new(Ring { inner });
    CURRENT.set(Some(Rc::clone(&ring)));
    Ok(Installed { ring, event })
}

impl Installed {
    /// Works for the ring for as long as its thread does.
    pub(crate) async fn drive(self) {
        poll_fn(|cx| self.poll_drive(cx)).await;
    }

    fn poll_drive(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut inner = self.ring.inner.borrow_mut();
            // What is done within a call is looked at after it, and needs no event that would end the next wait at once.
            inner.uring.hush();
            let (mut any, mut refused) = (false, false);
            for _ in 0..ROUNDS {
                refused = inner.uring.enter().is_err();
                let count = inner.take_in();
                any |= count > 0;
                if refused || count < MANY || !inner.uring.has_work() {
                    break;
                }
            }
            inner.slots.wake_called();
            inner.uring.call();
            if any || refused || inner.uring.has_work() {
                // Those who were woken come first: what they want goes to the kernel in one call.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.event.poll_read_ready(cx) {
                Poll::Ready(Ok(mut event)) => event.clear_ready(),
                // Without the reactor nothing else on this thread would go on either.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    inner.driver = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl Inner {
    /// Takes in what has come, and wakes those for whom it is.
    pub(super) fn collect(&mut self) {
        self.take_in();
        self.slots.wake_called();
    }

    /// Takes in what has come; how many outcomes that were.
    ///
    /// Who is to be woken is called, and their tasks' memory is on its way from then on.
    fn take_in(&mut self) -> usize {
        let mut count = 0;
        while let Some(completion) = self.uring.completion() {
            count += 1;
            match completion {
                Completion::Received { owner, outcome, more } => {
                    if self.slots.received(owner, outcome, more, &mut self.uring).is_too_much() {
                        self.stop(owner);
                    }
                }
                Completion::Sent { owner, outcome, bytes } => {
                    if let Some(bytes) = self.slots.sent(owner, outcome, bytes) {
                        self.keep_spare(bytes);
                    }
                }
            }
        }
        count
    }
}
