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
            let entered = inner.uring.enter();
            let any = inner.collect();
            inner.uring.call();
            if any || entered.is_err() || inner.uring.has_work() {
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
    /// Takes in what has come. Whether anything has.
    ///
    /// Tasks are woken when all of it has been looked at: until then their memory is on its way.
    pub(super) fn collect(&mut self) -> bool {
        let mut any = false;
        while let Some(completion) = self.uring.completion() {
            any = true;
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
        self.slots.wake_called();
        any
    }
}
