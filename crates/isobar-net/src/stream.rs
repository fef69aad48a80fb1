//! How do bytes cross one TCP connection without waste?
//!
//! It knows readiness and system calls. What the bytes mean, how long to wait for them and whose connection this is, it
//! does not know.

mod agreed;
mod duplex;
mod greeting;
mod linked;
mod secured;

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, send, sockopt};
use tokio::io::Interest;
use tokio::task::coop;

use self::secured::{Secured, Urgency};
use crate::kernel::Watched;
use crate::ring::{Link, Seen};

pub use self::agreed::Agreed;
pub use self::greeting::HandshakeError;
pub use crate::ring::Passed;

/// What the reactor watches a stream for.
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A TCP stream that is watched only from when it first has to wait.
///
/// A short connection whose request is already there when it is accepted costs no `epoll_ctl` and no turn of the reactor.
/// Where the thread has a ring, a stream waits for bytes by having it receive them. It goes by the reactor's readiness
/// where there is none, where it has to wait for room to write, and while it receives much at a time. What was begun goes
/// on until the stream is dropped or handed off.
///
/// All waiting is for one task: the last one that polled a direction is woken for it.
#[derive(Debug)]
pub struct Stream {
    /// The stream's part in the ring; ends before the socket is closed, because fields are dropped in the order written.
    link: Option<Link>,
    socket: Watched<TcpStream>,
    /// Of a stream outside the reactor: the last read took everything there was, so another one would be a wasted call.
    drained: bool,
    /// How many reads in a row were small while the reactor watched a stream that could do with the ring.
    small_reads: u8,
    /// What stands between the socket and whoever reads and writes; none: nothing.
    secured: Option<Box<Secured>>,
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
            link: None,
            socket: Watched::new(socket),
            drained: false,
            small_reads: 0,
            secured: None,
        }
    }

    /// Gives the socket away, for another worker to take; this thread's reactor forgets it.
    ///
    /// *Cost*: one system call if it was registered, otherwise none.
    ///
    /// *Errors*: the ring is receiving or sending for it, or it is secured.
    pub fn into_std(self) -> io::Result<TcpStream> {
        match &self.link {
            _ if self.secured.is_some() => Err(ErrorKind::ResourceBusy.into()),
            Some(link) if link.owes() || link.seen() != Seen::Off => Err(ErrorKind::ResourceBusy.into()),
            _ => Ok(self.socket.into_socket()),
        }
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
        stream.link = Link::new();
        if let Some(link) = &stream.link {
            link.lead();
            // It was watched for the connection to be made. Nothing has come yet, and the ring will tell when it does.
            stream.socket.unwatch();
            stream.drained = true;
        }
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
        if let Some(read) = self.with_secured(|secured, raw| secured.poll_read(raw, cx, buf)) {
            return read;
        }
        if let Some(link) = &self.link {
            let has_rest = ready!(link.poll_stirs(cx));
            if has_rest && let Poll::Ready(Err(error)) = self.poll_rest(cx) {
                return Poll::Ready(Err(error));
            }
            if let Some(read) = self.poll_received(cx, buf) {
                return read;
            }
        }
        let len = buf.len();
        let mut attempt = |socket: &TcpStream| {
            // Not by libc, whose wrappers are cancellation points: some nanoseconds more on every call.
            let (_, bytes) = recv(socket, &mut *buf, RecvFlags::empty())?;
            Ok(Moved {
                bytes,
                exhausted: 0 < bytes && bytes < len,
            })
        };
        if self.socket.watch().is_none() {
            if let Some(read) = self.poll_unwatched(cx, Direction::Read, &mut attempt) {
                return read;
            }
            if self.receives()
                && let Some(link) = &self.link
            {
                link.note(cx);
                return Poll::Pending;
            }
        }
        let read = self.poll_io(cx, Direction::Read, attempt);
        if let Poll::Ready(Ok(bytes)) = read
            && self.socket.watch().is_some()
        {
            self.weigh(cx, bytes);
        }
        read
    }

    /// Writes as much as the kernel takes, at least one byte, or waits.
    ///
    /// *Errors*: the connection is broken, by the peer or the network.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(written) = self.with_secured(|secured, raw| secured.poll_write(raw, cx, buf, Urgency::Now)) {
            return written;
        }
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
        if let Some(written) = self.with_secured(|secured, raw| secured.poll_write(raw, cx, buf, Urgency::Last)) {
            return written;
        }
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
        if let Some(written) = self.with_secured(|secured, raw| secured.poll_write_vectored(raw, cx, bufs)) {
            return written;
        }
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
        if self.secured.as_ref().is_some_and(|secured| secured.has_event()) {
            return true;
        }
        match self.seen() {
            Seen::Off => {}
            Seen::Waiting => return false,
            Seen::Bytes | Seen::End | Seen::Broken => return true,
        }
        self.socket
            .watch()
            .is_some_and(|watch| watch.try_io(Interest::READABLE, |_| Ok(())).is_ok())
    }

    /// Whether, as far as the reactor knows, the peer has neither sent nor closed: the state of a connection fit for reuse.
    ///
    /// *Cost*: a system call only where [`has_event`](Self::has_event) says yes.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        if self.secured.as_ref().is_some_and(|secured| secured.has_event()) {
            return false;
        }
        match self.seen() {
            Seen::Off => {}
            Seen::Waiting => return true,
            Seen::Bytes | Seen::End | Seen::Broken => return false,
        }
        let Some(watch) = self.socket.watch() else {
            // The ring may have given up on it: then nobody would have told.
            return self.link.is_none() || self.is_silent();
        };
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
        if self.secured.as_ref().is_some_and(|secured| secured.has_event()) {
            return false;
        }
        if let Some(link) = &self.link {
            link.look();
        }
        if matches!(self.seen(), Seen::Bytes | Seen::End | Seen::Broken) {
            return false;
        }
        let seen = recv(self.socket.socket(), &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(seen, Err(Errno::AGAIN))
    }

    /// Is watched from now on, so that [`poll_event`](Self::poll_event) has something to tell.
    ///
    /// *Errors*: the reactor has no room.
    pub fn watch(&mut self) -> io::Result<()> {
        if self.is_watched() || self.receives() {
            return Ok(());
        }
        self.socket.watch_for(BOTH).map(|_| ())
    }

    /// Ready when there is something to read (bytes, end, error) that no read has drained; otherwise the task is woken when
    /// there is. For watching a peer that owes nothing. A stream that is not [watched](Self::is_watched) is never ready.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.secured.as_ref().is_some_and(|secured| secured.has_event()) {
            return Poll::Ready(());
        }
        if let Some(link) = &self.link {
            match link.seen() {
                // It received too much at a time and was told to stop: from now on the reactor watches it.
                Seen::Off if link.is_bulky() => {
                    if self.socket.watch_for(BOTH).is_err() {
                        return Poll::Ready(());
                    }
                }
                Seen::Off => {}
                Seen::Waiting => {
                    link.note(cx);
                    return Poll::Pending;
                }
                Seen::Bytes | Seen::End | Seen::Broken => return Poll::Ready(()),
            }
        }
        match self.socket.watch() {
            Some(watch) => watch.poll_read_ready(cx).map(|_| ()),
            None => Poll::Pending,
        }
    }

    /// Looks at what there is to read without taking it; a stream with nothing to read counts as drained.
    ///
    /// *Cost*: a system call.
    #[must_use]
    pub fn peek(&mut self, cx: &mut Context<'_>) -> Peeked {
        if let Some(peeked) = self.with_secured(|secured, raw| secured.peek(raw, cx)) {
            return peeked;
        }
        match self.seen() {
            Seen::Off | Seen::Waiting => {}
            Seen::Bytes => return Peeked::Data,
            Seen::End => return Peeked::End,
            Seen::Broken => return Peeked::Broken,
        }
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
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.say_goodbye();
        self.send_rest_now();
        self.socket.socket().shutdown(Shutdown::Write)
    }

    /// Sends what was left with the ring. What does not fit now is lost, as it would be with the connection.
    fn send_rest_now(&self) {
        if let Some(link) = &self.link {
            link.settle();
            let socket = self.socket.socket();
            let _ = link.write_rest(|rest| uninterrupted(|| Ok(send(socket, rest, SendFlags::NOSIGNAL)?)));
        }
    }

    /// Writes what the socket takes without waiting.
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| {
            Ok(send(
                self.socket.socket(),
                bytes,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            )?)
        })
    }

    /// Makes the coming close abort the connection: the peer gets a reset and unsent bytes are thrown away.
    ///
    /// *Errors*: none that a caller could act on.
    pub fn reset_on_close(&mut self) -> io::Result<()> {
        if let Some(secured) = &mut self.secured {
            secured.fall_silent();
        }
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

    /// Whether something to read would be noticed.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.socket.watch().is_some() || self.seen() != Seen::Off
    }

    /// Tries a system call until it moves something, fails or has to wait. It must fail with `WouldBlock` only where this
    /// socket, and not something else it touches, has to be waited for: the stream then counts as not ready.
    pub(crate) fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<Moved>,
    ) -> Poll<io::Result<usize>> {
        if direction == Direction::Write && self.link.as_ref().is_some_and(Link::owes) {
            ready!(self.poll_rest(cx))?;
        }
        if self.socket.watch().is_none()
            && let Some(moved) = self.poll_unwatched(cx, direction, &mut attempt)
        {
            return moved;
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

impl Stream {
    /// Tries a system call on a stream that the reactor does not watch; none: it has to wait.
    fn poll_unwatched(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        attempt: &mut impl FnMut(&TcpStream) -> io::Result<Moved>,
    ) -> Option<Poll<io::Result<usize>>> {
        let reads = direction == Direction::Read;
        if self.drained && reads {
            return None;
        }
        // The reactor counts towards a task's share of the thread; a stream outside must do so itself.
        let Poll::Ready(share) = coop::poll_proceed(cx) else {
            return Some(Poll::Pending);
        };
        match uninterrupted(|| attempt(self.socket.socket())) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.drained |= reads;
                None
            }
            Err(error) => Some(Poll::Ready(Err(error))),
            Ok(moved) => {
                share.made_progress();
                self.drained |= reads && moved.exhausted;
                Some(Poll::Ready(Ok(moved.bytes)))
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
