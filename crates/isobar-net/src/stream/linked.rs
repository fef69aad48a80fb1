//! What of a stream goes by way of the ring?
//!
//! What is received there, what is left with it to be sent, and when a stream goes from there to readiness and back.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use tokio::task::coop;

use super::secured::Urgency;
use super::{BOTH, Stream, uninterrupted};
use crate::kernel::BUFFER_BYTES;
use crate::ring::{Link, Passed, SMALL_BYTES, Seen, Taken};

/// Small reads in a row that bring a stream back to the ring.
const SLIM_AFTER: u8 = 32;

impl Stream {
    /// Leaves a small message with the ring, which sends it together with those of the other tasks that run now; without a
    /// ring, and for a larger message, as [`poll_write`](Self::poll_write).
    ///
    /// A stream that receives much at a time writes at once as well: its peer begins to answer earlier.
    ///
    /// What was left is tried within this turn of the thread. What the socket does not take then is sent when the stream is
    /// read from or written to the next time, or lost when it is dropped; that the connection is broken is told by the
    /// next read or write.
    pub fn poll_write_soon(&mut self, cx: &mut Context<'_>, message: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(written) = self.with_secured(|secured, raw| secured.poll_write(raw, cx, message, Urgency::Soon)) {
            return written;
        }
        if message.len() <= SMALL_BYTES {
            if self.link.is_none() {
                self.link = Link::new();
            }
            let socket = self.socket.socket().as_fd();
            if let Some(link) = &self.link
                && !link.is_bulky()
                && link.send(socket, message)
            {
                // To be woken if the socket does not take all of it, whatever else the task waits for then.
                link.note(cx);
                return Poll::Ready(Ok(message.len()));
            }
        }
        self.poll_write(cx, message)
    }

    /// Passes on what came for this stream to another one, where that takes neither a read nor a write: it came by way of the ring, and
    /// is left with it. If nothing more has come the task is woken when it does.
    ///
    /// *Cost*: bytes are copied once.
    pub fn pass_on(&mut self, cx: &Context<'_>, to: &Self) -> Passed {
        let (Some(link), Some(other)) = (&self.link, &to.link) else {
            return Passed::NotSo;
        };
        if self.is_secured() || to.is_secured() {
            return Passed::NotSo;
        }
        let passed = link.pass_on(cx, (other, to.socket.socket().as_fd()));
        // As where it is read.
        self.drained &= !matches!(passed, Passed::Bytes { .. });
        passed
    }

    /// Has nobody woken for what comes by way of the ring, until somebody waits for it again.
    pub fn forget(&self) {
        if let Some(link) = &self.link {
            link.forget();
        }
    }

    /// Whether something that was left with the ring has not been taken by the socket.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.link.as_ref().is_some_and(Link::owes) || self.secured.as_ref().is_some_and(|secured| secured.owes())
    }

    /// Sends what was left with the ring and not taken by the socket, or waits for room; ready when there is no such thing.
    ///
    /// *Errors*: the connection is broken.
    pub fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(flushed) = self.with_secured(|secured, raw| secured.poll_flush(raw, cx)) {
            ready!(flushed)?;
        }
        self.poll_rest(cx)
    }

    /// Sends what was left with the ring, and tried, and not taken by the socket, or waits for room; ready when there is no such
    /// thing. What the ring is about to try is its own business.
    ///
    /// *Errors*: the connection is broken.
    pub fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.link {
            Some(link) if link.has_rest() => self.poll_rest(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// What comes by way of the ring; none: the stream has to be read in another way.
    pub(super) fn poll_received(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Option<Poll<io::Result<usize>>> {
        let link = self.link.as_ref()?;
        let share = match coop::poll_proceed(cx) {
            Poll::Ready(share) => share,
            Poll::Pending => return Some(Poll::Pending),
        };
        let result = match link.take(buf) {
            Taken::Off => return None,
            Taken::Waiting => {
                link.note(cx);
                return Some(Poll::Pending);
            }
            Taken::Bytes(count) => Ok(count),
            Taken::End => Ok(0),
            Taken::Broken(code) => Err(io::Error::from_raw_os_error(code)),
        };
        share.made_progress();
        // Behind what the ring received may be more.
        self.drained = false;
        Some(Poll::Ready(result))
    }

    /// Has the ring receive for this stream; false: it has to go by readiness.
    pub(super) fn receives(&mut self) -> bool {
        if self.link.is_none() {
            self.link = Link::new();
        }
        let socket = self.socket.socket().as_fd();
        let receives = |link: &Link| !link.is_bulky() && link.receive(socket).is_ok();
        let receives = self.link.as_ref().is_some_and(receives);
        // What comes from now on is not what the last read has taken.
        self.drained &= !receives;
        receives
    }

    /// Lets a stream that the reactor watches go back to the ring when it has read little at a time for a while.
    pub(super) fn weigh(&mut self, cx: &Context<'_>, bytes: usize) {
        let Some(link) = &self.link else { return };
        self.small_reads = if bytes < BUFFER_BYTES { self.small_reads + 1 } else { 0 };
        if self.small_reads >= SLIM_AFTER {
            self.small_reads = 0;
            link.slimmed();
            self.socket.unwatch();
            // Whoever waits for room to write is no longer known to the reactor, and has to ask again.
            cx.waker().wake_by_ref();
            self.drained = false;
        }
    }

    /// Sends what was left with the ring and not taken by the socket, or waits for room; ready when there is no such thing.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(link) = &self.link else {
                return Poll::Ready(Ok(()));
            };
            if !link.owes() {
                return Poll::Ready(Ok(()));
            }
            link.settle();
            let socket = self.socket.socket();
            let written = link.write_rest(|rest| uninterrupted(|| Ok(send(socket, rest, SendFlags::NOSIGNAL)?)));
            match written {
                Ok(true) => {}
                Ok(false) => {
                    // The kernel takes nothing now; the driver tries again, and wakes this task.
                    link.note(cx);
                    return if link.owes() {
                        Poll::Pending
                    } else {
                        Poll::Ready(Ok(()))
                    };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let watch = self.socket.watch_for(BOTH)?;
                    ready!(watch.poll_write_ready(cx))?.clear_ready();
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// What the ring has for this stream.
    pub(super) fn seen(&self) -> Seen {
        self.link.as_ref().map_or(Seen::Off, Link::seen)
    }

    /// Takes the oldest of what came by way of the ring, as far as `f` says that it used it, and has no more come that way.
    /// Ready when there is nothing of the kind, and will be none.
    pub(crate) fn poll_unlink(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> Poll<Option<io::Result<usize>>> {
        let Some(link) = &self.link else {
            return Poll::Ready(None);
        };
        link.stop();
        match link.seen() {
            Seen::Off => Poll::Ready(None),
            Seen::Waiting => {
                link.note(cx);
                Poll::Pending
            }
            Seen::Bytes => Poll::Ready(Some(link.lend(f))),
            Seen::End => Poll::Ready(Some(Ok(0))),
            Seen::Broken => Poll::Ready(Some(Err(ErrorKind::ConnectionReset.into()))),
        }
    }
}
