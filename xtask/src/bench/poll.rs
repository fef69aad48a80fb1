//! Which of my sockets can go on?
//!
//! Edge-triggered: each socket is registered once and its owner remembers what it is ready for, so that the floor pays
//! for nothing but its own reads and writes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Socket, Type};

/// Events taken from the kernel at once.
const EVENTS: usize = 512;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// An epoll instance.
pub(super) struct Poll {
    fd: OwnedFd,
    events: Vec<epoll::Event>,
}

/// What a socket became ready for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    /// As given to [`Poll::add`].
    pub(super) token: usize,
    /// There is something to read, or the end.
    pub(super) readable: bool,
    /// There is room to write.
    pub(super) writable: bool,
    /// The peer has closed its side: read until the end, no further edge will come.
    pub(super) closed: bool,
}

impl Poll {
    /// A new instance without sockets.
    pub(super) fn new() -> io::Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            fd,
            events: Vec::with_capacity(EVENTS),
        })
    }

    /// Registers a socket for both directions; closing it ends that.
    pub(super) fn add(&self, socket: impl AsFd, token: usize) -> io::Result<()> {
        use epoll::EventFlags as Flags;
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        Ok(epoll::add(
            &self.fd,
            socket,
            epoll::EventData::new_u64(token as u64),
            flags,
        )?)
    }

    /// Waits for edges and puts them into `ready`, in place of what was there.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        use epoll::EventFlags as Flags;
        self.events.clear();
        ready.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.fd, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            let closed = flags.intersects(Flags::RDHUP | Flags::HUP | Flags::ERR);
            Ready {
                token: usize::try_from(event.data.u64()).unwrap_or(usize::MAX),
                readable: closed || flags.contains(Flags::IN),
                writable: flags.intersects(Flags::OUT | Flags::HUP | Flags::ERR),
                closed,
            }
        }));
        Ok(())
    }
}

/// A socket that listens on a free port of the loopback.
pub(super) fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Begins a connection; it is there when the stream becomes writable.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Accepts one connection; none: nobody waits.
pub(super) fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The result of a read or write; none: not now.
pub(super) fn now(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
