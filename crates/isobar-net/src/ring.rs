//! How does a stream wait for bytes without asking the kernel each time?
//!
//! The streams of a worker share one io_uring. A stream that waits for the first time asks it to receive from then on;
//! what comes is put into the ring's buffers and its task is woken. Small messages can be left with the ring, which sends
//! those of all tasks that ran in one call. With many connections a call serves dozens of messages.
//!
//! Streams that receive much at a time are better served by larger buffers or by splice(2): they are told so
//! ([`Link::is_bulky`]) and go back to readiness. What the bytes mean is not known here.

mod driver;
mod outgoing;
mod slots;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use self::slots::{Receive, Rest, Slots};
use crate::kernel::{Filled, Uring};

pub(crate) use self::driver::install;
pub(crate) use self::outgoing::Outgoing;
pub(crate) use self::slots::{Seen, Taken};

/// Larger messages are written at once: for them a call of their own is little, and the copy is much.
pub(crate) const SMALL_BYTES: usize = 4 * 1024;

/// Room for small messages that is kept for the next ones.
const SPARE: usize = 256;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
}

/// The ring of one worker thread.
pub(crate) struct Ring {
    inner: RefCell<Inner>,
}

/// What came of an operation; `owner` is whoever began it.
#[derive(Debug)]
pub(crate) enum Completion {
    /// Bytes, the end of the stream (none), or why no more can be received.
    Received {
        owner: u32,
        outcome: Result<Option<Filled>, i32>,
        /// Whether more will come without being asked for.
        more: bool,
    },
    /// How many bytes were taken, or why none were, and what was to be sent.
    Sent {
        owner: u32,
        outcome: Result<usize, i32>,
        bytes: Vec<u8>,
    },
}

struct Inner {
    uring: Uring,
    slots: Slots,
    /// Room for messages to send.
    spare: Vec<Vec<u8>>,
    /// Who takes care of the ring; none: it is about to, or has not begun.
    driver: Option<std::task::Waker>,
}

/// What came of passing on what a stream received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// Bytes went.
    Bytes {
        /// So many.
        count: usize,
        /// Whether that was all; the task is woken when more comes.
        is_all: bool,
    },
    /// Nothing has come; the task is woken when it does.
    Nothing,
    /// It has to be read and written.
    NotSo,
}

/// A stream's part in the ring. Dropping it ends everything that goes on, before the socket is closed.
pub(crate) struct Link {
    ring: Rc<Ring>,
    index: u32,
}

impl Link {
    /// A part in this thread's ring; none: it has no ring, or no room in it.
    pub(crate) fn new() -> Option<Self> {
        let ring = CURRENT.with_borrow(Option::clone)?;
        let index = ring.inner.borrow_mut().slots.enter()?;
        Some(Self { ring, index })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        f(&mut self.ring.inner.borrow_mut())
    }

    /// Has this task woken for what comes.
    pub(crate) fn note(&self, cx: &Context<'_>) {
        let last = self.with(|inner| inner.slots.at(self.index).note(cx.waker()));
        // Dropped when nothing is borrowed: it may be the last that holds its task.
        drop(last);
    }

    /// Its task goes before others whose bytes came at the same time.
    pub(crate) fn lead(&self) {
        self.with(|inner| inner.slots.at(self.index).leads = true);
    }

    /// Has nobody woken for what comes.
    pub(crate) fn forget(&self) {
        let last = self.with(|inner| inner.slots.at(self.index).waker.take());
        // As above.
        drop(last);
    }

    /// Leaves what has come with the ring for another stream's socket, if that is one small message and nothing waits to be sent on
    /// either; if nothing has come, or nothing more, the task is woken when it does.
    pub(crate) fn pass_on(&self, cx: &Context<'_>, to: (&Self, BorrowedFd<'_>)) -> Passed {
        let (link, socket) = to;
        if !Rc::ptr_eq(&self.ring, &link.ring) {
            return Passed::NotSo;
        }
        let mut last = [None, None];
        let passed = self.with(|inner| {
            let passed = inner.pass_on(self.index, (link.index, socket));
            if passed != Passed::NotSo {
                last = [self.index, link.index].map(|index| inner.slots.at(index).note(cx.waker()));
            }
            passed
        });
        // As above.
        drop(last);
        passed
    }

    /// Ready when there is something to take or to do, with whether that is something the socket did not take; otherwise the task is
    /// woken when there is.
    pub(crate) fn poll_stirs(&self, cx: &Context<'_>) -> Poll<bool> {
        let (polled, last) = self.with(|inner| {
            let slot = inner.slots.at(self.index);
            match (slot.rest.is_some(), slot.seen()) {
                (false, Seen::Waiting) => (Poll::Pending, slot.note(cx.waker())),
                (has_rest, _) => (Poll::Ready(has_rest), None),
            }
        });
        // As above.
        drop(last);
        polled
    }

    /// What there is to take.
    pub(crate) fn seen(&self) -> Seen {
        self.with(|inner| inner.slots.at(self.index).seen())
    }

    /// Whether it receives more at a time than the ring is made for.
    pub(crate) fn is_bulky(&self) -> bool {
        self.with(|inner| inner.slots.at(self.index).bulky)
    }

    /// It may receive by way of the ring once more.
    pub(crate) fn slimmed(&self) {
        self.with(|inner| inner.slots.at(self.index).bulky = false);
    }

    /// Receives from now on, unless it does already or the stream has ended.
    ///
    /// *Errors*: the kernel takes nothing now.
    pub(crate) fn receive(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.with(|inner| {
            let slot = inner.slots.at(self.index);
            if slot.receive != Receive::Off || slot.end.is_some() {
                return Ok(());
            }
            inner.uring.receive(self.index, socket)?;
            inner.slots.at(self.index).receive = Receive::On;
            inner.wake_driver();
            Ok(())
        })
    }

    /// Receives no more than what is on its way; [`Seen::Waiting`] until that has come.
    pub(crate) fn stop(&self) {
        self.with(|inner| inner.stop(self.index));
    }

    /// Takes what has come, as far as there is room for it. The room is not empty.
    pub(crate) fn take(&self, room: &mut [u8]) -> Taken {
        self.with(|inner| inner.slots.take(self.index, &mut inner.uring, room))
    }

    /// Lends the oldest of what has come, until `f` says how much of it was used.
    pub(crate) fn lend<E>(&self, f: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<usize, E> {
        self.with(|inner| inner.slots.lend(self.index, &mut inner.uring, f))
    }

    /// Leaves a small message with the ring. No: the last one is still there, or nothing can be taken now.
    pub(crate) fn send(&self, socket: BorrowedFd<'_>, message: &[u8]) -> bool {
        self.with(|inner| {
            let slot = inner.slots.at(self.index);
            if slot.sending || slot.rest.is_some() {
                return false;
            }
            let mut bytes = inner.spare.pop().unwrap_or_default();
            bytes.extend_from_slice(message);
            if let Err(bytes) = inner.uring.send(self.index, socket, bytes) {
                inner.keep_spare(bytes);
                return false;
            }
            inner.slots.at(self.index).sending = true;
            inner.wake_driver();
            true
        })
    }

    /// Whether something left with the ring has been tried and was not taken by the socket.
    pub(crate) fn has_rest(&self) -> bool {
        self.with(|inner| inner.slots.at(self.index).rest.is_some())
    }

    /// Whether something that was left with the ring has not been taken by the socket.
    pub(crate) fn owes(&self) -> bool {
        self.with(|inner| inner.slots.at(self.index).owes())
    }

    /// Has the kernel try now what was left with the ring.
    pub(crate) fn settle(&self) {
        self.with(|inner| {
            if inner.slots.at(self.index).sending {
                // What goes wrong now goes right when the driver tries, and then this task is woken.
                let _ = inner.uring.enter();
                inner.collect();
                let slot = inner.slots.at(self.index);
                slot.awaits_sent = slot.sending;
            }
        });
    }

    /// Lends what the socket did not take, until `write` says how much of it was used. False: there is nothing.
    pub(crate) fn write_rest(&self, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
        // The rest is out of the slot while it is lent: `write` may come back to the ring.
        let Some(mut rest) = self.with(|inner| inner.slots.at(self.index).rest.take()) else {
            return Ok(false);
        };
        let written = write(rest.bytes.get(rest.sent..).unwrap_or_default());
        rest.sent += written.as_ref().map_or(0, |&count| count);
        self.with(|inner| {
            if rest.sent < rest.bytes.len() {
                inner.slots.at(self.index).rest = Some(rest);
            } else {
                inner.keep_spare(rest.bytes);
            }
        });
        written.map(|_| true)
    }

    /// Looks at what has come in the meantime.
    pub(crate) fn look(&self) {
        self.with(Inner::collect);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let last = self.with(|inner| {
            inner.stop(self.index);
            // What is asked for names the socket by its number, which another one may have in a moment: a kernel that has no
            // memory to take it is asked until it has.
            while inner.uring.is_behind() {
                if inner.uring.enter().is_err() {
                    std::thread::yield_now();
                }
                inner.collect();
            }
            // Nobody would be told otherwise, and the kernel would keep the socket until its peer closes.
            while inner.slots.at(self.index).receive == Receive::On {
                inner.stop(self.index);
                if inner.uring.enter().is_err() {
                    std::thread::yield_now();
                }
                inner.collect();
            }
            inner.slots.leave(self.index, &mut inner.uring)
        });
        drop(last);
    }
}

impl Inner {
    fn pass_on(&mut self, from: u32, (to, socket): (u32, BorrowedFd<'_>)) -> Passed {
        let target = self.slots.at(to);
        let takes = !target.sending && !target.bulky;
        if target.rest.is_some() || self.slots.at(from).rest.is_some() {
            return Passed::NotSo;
        }
        let source = self.slots.at(from);
        match source.seen() {
            Seen::Waiting => return Passed::Nothing,
            Seen::Bytes if takes && source.has_one() => {}
            _ => return Passed::NotSo,
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        let Ok(count) = self.slots.lend(from, &mut self.uring, |came| {
            bytes.extend_from_slice(came);
            Ok::<_, std::convert::Infallible>(came.len())
        });
        match self.uring.send(to, socket, bytes) {
            Ok(()) => self.slots.at(to).sending = true,
            // Whoever polls next sends it.
            Err(bytes) => self.slots.at(to).rest = Some(Box::new(Rest { bytes, sent: 0 })),
        }
        self.wake_driver();
        let is_all = self.slots.at(from).seen() == Seen::Waiting && self.slots.at(to).rest.is_none();
        Passed::Bytes { count, is_all }
    }

    fn stop(&mut self, index: u32) {
        if self.slots.at(index).receive == Receive::On && self.uring.cancel_receive(index).is_ok() {
            self.slots.at(index).receive = Receive::Stopping;
            self.wake_driver();
        }
    }

    fn keep_spare(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
