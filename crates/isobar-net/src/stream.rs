//! How do bytes cross one TCP connection without waste?
//!
//! It knows readiness and system calls. What the bytes mean, how long to wait for them and whose connection this is, it
//! does not know.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, send, sockopt};
use tokio::io::Interest;
use tokio::task::coop;

use crate::watch::Watched;

/// What the reactor watches a stream for.
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A TCP stream that enters the reactor only when it first has to wait.
///
/// A short connection whose request is already there when it is accepted costs no `epoll_ctl` and no turn of the reactor.
/// Once registered it stays so until it is dropped or handed off.
///
/// All waiting is for one task: the last one that polled a direction is woken for it.
#[derive(Debug)]
pub struct Stream {
    socket: Watched<TcpStream>,
    /// Of a stream outside the reactor: the last read took everything there was, so another one would be a wasted call.
    drained: bool,
}

/// What one successful system call moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// Bytes moved.
    pub(crate) bytes: usize,
    /// Whether the next call in this direction would certainly have to wait.
    pub(crate) exhausted: bool,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the peer.
    Read,
    /// To the peer.
    Write,
}

/// What a look at a stream found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peeked {
    /// Nothing to read yet.
    Nothing,
    /// Bytes.
    Data,
    /// The peer's end of the stream.
    End,
    /// The connection is broken.
    Broken,
}

impl Stream {
    /// Takes over an accepted (or handed-off) socket, which must be non-blocking. It joins this thread's reactor on need.
    #[must_use]
    pub fn from_accepted(socket: TcpStream) -> Self {
        Self {
            socket: Watched::new(socket),
            drained: false,
        }
    }

    /// Gives the socket away, for another worker to take; this thread's reactor forgets it.
    ///
    /// *Cost*: one system call if it was registered, otherwise none.
    ///
    /// *Errors*: none so far.
    pub fn into_std(self) -> io::Result<TcpStream> {
        Ok(self.socket.into_socket())
    }

    /// Connects without delayed small writes (`TCP_NODELAY`).
    ///
    /// Waits without bound: the caller's timer drops the future, which closes the socket.
    ///
    /// *Errors*: those of connect(2), the server's fault for the most part; nothing was sent, so another server may be tried.
    /// Lack of descriptors or local ports is ours.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        let mut stream = Self::from_accepted(TcpStream::from(socket));
        match rustix::net::connect(stream.socket.socket(), &address) {
            Ok(()) => return Ok(stream),
            Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        // The readiness is kept: the first write goes out at once.
        stream.socket.watch_for(BOTH)?.writable().await?.retain_ready();
        sockopt::socket_error(stream.socket.socket())??;
        Ok(stream)
    }

    /// Reads what is there into a buffer that is not empty, or waits; 0 is the end of the stream.
    ///
    /// A read that does not fill the buffer shows that there is no more (epoll(7), question 9), so the next call waits
    /// without a call that could only fail.
    ///
    /// *Errors*: the connection is broken, by the peer or the network.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        debug_assert!(!buf.is_empty(), "reading nothing looks like the end of the stream");
        // Not by libc, whose wrappers are cancellation points: some nanoseconds more on every call.
        self.poll_io(cx, Direction::Read, |socket| {
            let (_, bytes) = recv(socket, &mut *buf, RecvFlags::empty())?;
            Ok(Moved {
                bytes,
                exhausted: 0 < bytes && bytes < buf.len(),
            })
        })
    }

    /// Writes as much as the kernel takes, at least one byte, or waits.
    ///
    /// *Errors*: the connection is broken, by the peer or the network.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Direction::Write, |socket| {
            let bytes = send(socket, buf, SendFlags::NOSIGNAL)?;
            Ok(Moved {
                bytes,
                exhausted: bytes < buf.len(),
            })
        })
    }

    /// Writes as [`poll_write`](Self::poll_write) does, just before the stream is shut down or dropped: the kernel holds the
    /// bytes back for a moment, so that they and the end of the stream travel in one packet.
    pub fn poll_write_last(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Direction::Write, |socket| {
            let bytes = send(socket, buf, SendFlags::NOSIGNAL | SendFlags::MORE)?;
            Ok(Moved {
                bytes,
                exhausted: bytes < buf.len(),
            })
        })
    }

    /// Writes several buffers in one system call as [`poll_write`](Self::poll_write) does one.
    ///
    /// *Shape*: at most 1,024 slices are looked at (`IOV_MAX`).
    pub fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Direction::Write, |socket| {
            let bytes = rustix::io::writev(socket, bufs)?;
            // A short write may be the fault of IOV_MAX, so it proves nothing about the socket.
            Ok(Moved {
                bytes,
                exhausted: false,
            })
        })
    }

    /// Whether the reactor has seen something to read (bytes, end, error) since the last read that drained the stream.
    ///
    /// *Cost*: one load; no system call, no waiting. A stream that never waited knows nothing and says no. Yes may be stale
    /// where the last read filled its buffer to the brim; [`is_quiet`](Self::is_quiet) finds out.
    #[must_use]
    pub fn has_event(&self) -> bool {
        self.socket
            .watch()
            .is_some_and(|watch| watch.try_io(Interest::READABLE, |_| Ok(())).is_ok())
    }

    /// Whether, as far as the reactor knows, the peer has neither sent nor closed: the state of a connection fit for reuse.
    ///
    /// *Cost*: a system call only where [`has_event`](Self::has_event) says yes.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let Some(watch) = self.socket.watch() else { return true };
        let seen = watch.try_io(Interest::READABLE, |_| {
            recv(self.socket.socket(), &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).map_err(io::Error::from)
        });
        matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Whether, as far as the kernel knows, the peer has neither sent nor closed. [`is_quiet`](Self::is_quiet) says what the
    /// reactor knew when it last looked.
    ///
    /// *Cost*: a system call.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        let seen = recv(self.socket.socket(), &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(seen, Err(Errno::AGAIN))
    }

    /// Joins the reactor now, so that [`poll_event`](Self::poll_event) has something to tell.
    ///
    /// *Errors*: the reactor has no room.
    pub fn watch(&mut self) -> io::Result<()> {
        self.socket.watch_for(BOTH).map(|_| ())
    }

    /// Ready when the reactor has seen something to read (bytes, end, error) that no read has drained; otherwise the task
    /// is woken when it does. For watching a peer that owes nothing. A stream outside the reactor is never ready.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.socket.watch() {
            Some(watch) => watch.poll_read_ready(cx).map(|_| ()),
            None => Poll::Pending,
        }
    }

    /// Looks at what there is to read without taking it; a stream with nothing to read counts as drained.
    ///
    /// *Cost*: a system call.
    #[must_use]
    pub fn peek(&self) -> Peeked {
        let socket = self.socket.socket();
        let look = || recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).map_err(io::Error::from);
        let seen = match self.socket.watch() {
            Some(watch) => watch.try_io(Interest::READABLE, |_| look()),
            None => look(),
        };
        match seen {
            Ok((_, 0)) => Peeked::End,
            Ok(_) => Peeked::Data,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Peeked::Nothing,
            Err(_) => Peeked::Broken,
        }
    }

    /// Tells the peer that no more bytes will come; reading goes on.
    ///
    /// *Errors*: the connection is gone already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.socket.socket().shutdown(Shutdown::Write)
    }

    /// Makes the coming close abort the connection: the peer gets a reset and unsent bytes are thrown away.
    ///
    /// *Errors*: none that a caller could act on.
    pub fn reset_on_close(&self) -> io::Result<()> {
        Ok(sockopt::set_socket_linger(self.socket.socket(), Some(Duration::ZERO))?)
    }

    /// The peer's address.
    ///
    /// *Cost*: a system call. *Errors*: the connection is gone already.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.socket().peer_addr()
    }

    /// This side's address.
    ///
    /// *Cost*: a system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.socket().local_addr()
    }

    /// Whether the stream is in the reactor.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.socket.watch().is_some()
    }

    /// Tries a system call until it moves something, fails or has to wait. It must fail with `WouldBlock` only where this
    /// socket, and not something else it touches, has to be waited for: the stream then counts as not ready.
    pub(crate) fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<Moved>,
    ) -> Poll<io::Result<usize>> {
        if self.socket.watch().is_none() && !(self.drained && direction == Direction::Read) {
            // The reactor counts towards a task's share of the thread; a stream outside must do so itself.
            let share = ready!(coop::poll_proceed(cx));
            match uninterrupted(|| attempt(self.socket.socket())) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    share.made_progress();
                    self.drained |= direction == Direction::Read && moved.exhausted;
                    return Poll::Ready(Ok(moved.bytes));
                }
            }
        }
        self.socket.watch_for(BOTH)?;
        let Some(watch) = self.socket.watch() else {
            return Poll::Pending;
        };
        if direction == Direction::Write {
            // There is nearly always room, so the reactor is asked only where there was none. It runs on this thread,
            // between polls: what it noted of this direction is older than the failure, and is forgotten.
            match uninterrupted(|| attempt(self.socket.socket())) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(watch.poll_write_ready(cx))?.clear_ready();
                }
                other => return Poll::Ready(other.map(|moved| moved.bytes)),
            }
        }
        loop {
            let mut readiness = ready!(match direction {
                Direction::Read => watch.poll_read_ready(cx),
                Direction::Write => watch.poll_write_ready(cx),
            })?;
            match uninterrupted(|| attempt(self.socket.socket())) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => readiness.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    if moved.exhausted {
                        readiness.clear_ready();
                    }
                    return Poll::Ready(Ok(moved.bytes));
                }
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.socket().as_fd()
    }
}

fn uninterrupted<R>(mut attempt: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
