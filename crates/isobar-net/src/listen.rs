//! How do connections come in?
//!
//! It opens listening sockets and accepts from them. How many connections are too many, and what to do when descriptors run
//! out, its users decide.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, ipproto, sockopt};
use tokio::io::Interest;

use crate::keepalive::{self, Keepalive};
use crate::kernel::{Watched, waiting_connections};
use crate::stream::Stream;

/// How a socket listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections the kernel keeps until they are accepted; it has a maximum of its own (`net.core.somaxconn`).
    pub backlog: u32,
    /// What the connections that it accepts inherit; none: nobody asks whether the other end is still there.
    pub keepalive: Option<Keepalive>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            keepalive: None,
        }
    }
}

/// Opens a listening, non-blocking socket that shares its address with others of this process (`SO_REUSEPORT`).
///
/// Accepted sockets inherit `TCP_NODELAY` from it. Whether `[::]` takes IPv4 connections too is the system's setting
/// (`net.ipv6.bindv6only`).
///
/// This happens on the control thread, so that an address that cannot be had is known before anything changes.
///
/// *Errors*: the address is in use by a program that does not share it, does not exist here, or needs a permission.
pub fn listen(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if options.keepalive.is_some() {
        keepalive::set(&socket, options.keepalive.as_ref())?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(TcpListener::from(socket))
}

/// A listening socket in a worker's reactor.
#[derive(Debug)]
pub struct Listener {
    socket: Watched<TcpListener>,
    /// How many more connections certainly wait, as far as was asked.
    waiting: Cell<u32>,
}

impl Listener {
    /// Takes a non-blocking listening socket into this thread's reactor.
    ///
    /// *Errors*: the reactor has no room for it.
    pub fn from_std(socket: TcpListener) -> io::Result<Self> {
        let mut socket = Watched::new(socket);
        socket.watch_for(Interest::READABLE)?;
        Ok(Self {
            socket,
            waiting: Cell::new(0),
        })
    }

    /// The next connection, which is not in the reactor yet, and its peer's address.
    ///
    /// Dropping the future loses no connection.
    ///
    /// *Cost*: one system call a connection, one or two more for a batch, none of which makes a socket for nobody.
    ///
    /// *Errors*: descriptors or memory ran out. Those of ours are passed on at once, and again at every call until the lack
    /// is over: the caller pauses. Connections that broke before they were accepted are no errors.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Polls for the next connection, as [`accept`](Self::accept) does.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SocketAddr)>> {
        let Some(watch) = self.socket.watch() else {
            return Poll::Pending;
        };
        loop {
            let mut readiness = ready!(watch.poll_read_ready(cx))?;
            match acceptfrom_with(self.socket.socket(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, Some(peer))) => {
                    if !self.may_have_more() {
                        readiness.clear_ready();
                    }
                    let peer = SocketAddr::try_from(peer)?;
                    return Poll::Ready(Ok((Stream::from_accepted(TcpStream::from(socket)), peer)));
                }
                Ok((_, None)) => return Poll::Ready(Err(ErrorKind::InvalidData.into())),
                Err(Errno::AGAIN) => {
                    self.waiting.set(0);
                    readiness.clear_ready();
                }
                Err(error) if is_of_the_connection(error) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Whether it is worth to accept once more after a connection was accepted. No only where nobody waits, as found out
    /// after whatever the reactor has told so far: who comes later makes it tell again.
    fn may_have_more(&self) -> bool {
        let known = self.waiting.get().saturating_sub(1);
        let waiting = if known > 0 {
            known
        } else {
            waiting_connections(self.socket.socket()).unwrap_or(1)
        };
        self.waiting.set(waiting);
        waiting > 0
    }

    /// The address it listens on, with the port the kernel chose where 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.socket().local_addr()
    }
}

/// Whether accept reports what happened to a waiting connection rather than to the listener: accept(2), "Error handling".
fn is_of_the_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
    )
}
