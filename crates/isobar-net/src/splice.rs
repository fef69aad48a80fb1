//! How do bytes cross the proxy without being copied?
//!
//! splice(2) moves pages from one socket to another by way of a pipe. It knows how many bytes to move and between which
//! streams; why, it does not know.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::stream::{Direction, Moved, Stream};

/// Bytes a pipe is asked to hold, and takes at once for a destination that keeps up.
///
/// Relaying 1 MiB messages on two busy cores (`measure bulk`, median of 14 runs) cost 467 µs of processor time a MiB with
/// pipes of 64 KiB, 406 with 256, 328 with 512 and 286 with 1 MiB, which is also what an ordinary user may have at most.
pub const PIPE_BYTES: usize = 1024 * 1024;

/// Bytes a pipe takes at once for a destination that does not keep up, or has not shown that it does: what is in a pipe is
/// kernel memory that a slow client holds.
const CAUTIOUS_BYTES: usize = 256 * 1024;

/// Bytes a pipe must hold to be worth more than copying.
const LEAST_BYTES: usize = 64 * 1024;

/// Bytes a transfer may move before others get their turn.
const SHARE_BYTES: u64 = 1024 * 1024;

/// The pipes of one worker. Clones are handles to the same pool.
#[derive(Debug, Clone)]
pub struct Pipes {
    pool: Rc<Pool>,
}

#[derive(Debug)]
struct Pool {
    idle: RefCell<Vec<Ends>>,
    max_idle: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe on loan. Dropping it gives it back if it is empty, and closes it otherwise.
#[derive(Debug)]
pub struct Pipe {
    /// Present until the pipe is dropped.
    ends: Option<Ends>,
    pool: Rc<Pool>,
    /// Bytes in the pipe.
    buffered: u64,
    /// Bytes it takes at once.
    stride: usize,
    /// Bytes read since the task last waited.
    unpaused: u64,
}

/// What one call of [`Pipe::poll_splice`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spliced {
    /// Bytes taken from the source.
    pub read: u64,
    /// Bytes handed to the destination's kernel buffer; those of earlier calls may be among them.
    pub written: u64,
    /// Whether the source has ended.
    pub eof: bool,
}

/// Which connection of a transfer broke.
#[derive(Debug, thiserror::Error)]
pub enum SpliceError {
    /// The source.
    #[error("read from the source: {0}")]
    Read(#[source] io::Error),
    /// The destination.
    #[error("write to the destination: {0}")]
    Write(#[source] io::Error),
}

impl From<SpliceError> for io::Error {
    fn from(error: SpliceError) -> Self {
        match error {
            SpliceError::Read(error) | SpliceError::Write(error) => error,
        }
    }
}

impl Pipes {
    /// A pool that keeps so many idle pipes at most; there is no bound to those on loan.
    #[must_use]
    pub fn new(max_idle: usize) -> Self {
        Self {
            pool: Rc::new(Pool {
                idle: RefCell::new(Vec::new()),
                max_idle,
            }),
        }
    }

    /// An empty pipe.
    ///
    /// *Cost*: none while there are idle ones, otherwise two system calls and two descriptors.
    ///
    /// *Errors*: descriptors ran out, or this user's share of pipe memory; the caller copies instead.
    pub fn acquire(&self) -> io::Result<Pipe> {
        let idle = self.pool.idle.borrow_mut().pop();
        let ends = match idle {
            Some(ends) => ends,
            None => Ends::open()?,
        };
        Ok(Pipe {
            ends: Some(ends),
            pool: Rc::clone(&self.pool),
            buffered: 0,
            stride: CAUTIOUS_BYTES,
            unpaused: 0,
        })
    }

    /// How many idle pipes there are.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.pool.idle.borrow().len()
    }
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user's pipes are bounded together (pipe(7), pipe-user-pages-soft), so ask for less before giving up.
        let granted = [PIPE_BYTES, CAUTIOUS_BYTES, LEAST_BYTES]
            .into_iter()
            .any(|size| fcntl_setpipe_size(&write, size).is_ok());
        if granted {
            Ok(Self { read, write })
        } else {
            Err(ErrorKind::QuotaExceeded.into())
        }
    }
}

impl Pipe {
    /// Bytes that were read and not yet written.
    #[must_use]
    pub fn buffered(&self) -> u64 {
        self.buffered
    }

    /// Moves a pipe's fill of bytes from one stream towards the other, or waits for whichever side has to be waited for.
    ///
    /// Takes `limit` bytes from the source at most. The transfer is over when the source has ended or all that was wanted is
    /// read, and [`buffered`](Self::buffered) is 0: call it, with a limit of 0 if need be, until then.
    ///
    /// *Errors*: one of the connections is broken; what is in the pipe is lost.
    pub fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        limit: u64,
    ) -> Poll<Result<Spliced, SpliceError>> {
        debug_assert!(!from.is_secured() && !to.is_secured(), "the kernel cannot encrypt");
        let mut done = Spliced::default();
        if self.buffered == 0 {
            if limit == 0 {
                return Poll::Ready(Ok(done));
            }
            ready!(self.poll_share(cx));
            done.read = ready!(self.poll_fill(cx, from, limit)).map_err(SpliceError::Read)?;
            if done.read == 0 {
                return Poll::Ready(Ok(Spliced { eof: true, ..done }));
            }
        }
        let drained = self.poll_drain(cx, to);
        self.stride = if self.buffered == 0 { PIPE_BYTES } else { CAUTIOUS_BYTES };
        match drained {
            Poll::Ready(written) => done.written = written.map_err(SpliceError::Write)?,
            Poll::Pending if done.read == 0 => return Poll::Pending,
            Poll::Pending => {}
        }
        Poll::Ready(Ok(done))
    }

    /// Lets other tasks run when two fast peers have kept this one from ever waiting.
    fn poll_share(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.unpaused < SHARE_BYTES {
            return Poll::Ready(());
        }
        self.unpaused = 0;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Fills the empty pipe.
    ///
    /// Only an empty pipe is filled, since splice says the same for a full pipe as for a socket without data, and a pipe can
    /// be full, of small packets, long before it holds its bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut Stream, limit: u64) -> Poll<io::Result<u64>> {
        let Some(ends) = &self.ends else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        };
        let length = usize::try_from(limit).unwrap_or(usize::MAX).min(self.stride);
        // What came by another way comes first. It fits: the pipe is empty and holds many buffers.
        let received = |bytes: &[u8]| {
            let some = bytes.get(..length).unwrap_or(bytes);
            Ok(rustix::io::write(&ends.write, some)?)
        };
        if let Some(received) = ready!(from.poll_unlink(cx, received)) {
            self.buffered = received? as u64;
            self.unpaused += self.buffered;
            return Poll::Ready(Ok(self.buffered));
        }
        let polled = from.poll_io(cx, Direction::Read, |socket| {
            let bytes = splice(
                socket,
                None,
                &ends.write,
                None,
                length,
                SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
            )?;
            Ok(Moved {
                bytes,
                exhausted: false,
            })
        });
        if polled.is_pending() {
            self.unpaused = 0;
        }
        let bytes = ready!(polled)? as u64;
        self.buffered = bytes;
        self.unpaused += bytes;
        Poll::Ready(Ok(bytes))
    }

    /// Empties the pipe, which is not empty, as far as the socket takes it.
    ///
    /// Without `SPLICE_F_MORE`: it gained nothing measurable, and would hold the tail back where the source pauses.
    fn poll_drain(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<u64>> {
        let Some(ends) = &self.ends else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        };
        let length = usize::try_from(self.buffered).unwrap_or(usize::MAX);
        let polled = to.poll_io(cx, Direction::Write, |socket| {
            let bytes = splice(
                &ends.read,
                None,
                socket,
                None,
                length,
                SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
            )?;
            Ok(Moved {
                bytes,
                exhausted: false,
            })
        });
        if polled.is_pending() {
            self.unpaused = 0;
        }
        let bytes = ready!(polled)? as u64;
        self.buffered = self.buffered.saturating_sub(bytes);
        Poll::Ready(Ok(bytes))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        let mut idle = self.pool.idle.borrow_mut();
        if self.buffered == 0 && idle.len() < self.pool.max_idle {
            idle.push(ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_transfer_that_never_waits_pauses_after_its_share() {
        let mut pipe = Pipes::new(1).acquire().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut pending_after = |moved| {
            pipe.unpaused += moved;
            pipe.poll_share(&mut cx).is_pending()
        };
        assert!(!pending_after(SHARE_BYTES - 1));
        assert!(pending_after(1));
        assert!(!pending_after(0), "one pause is enough");
    }
}
