//! How does a socket get under this thread's reactor?
//!
//! The only file of the workspace with `unsafe`: tokio asks for the promise that a descriptor stays open for as long as its
//! reactor watches it, and the type here keeps that promise by owning both. It knows nothing of what is done with sockets.
#![expect(
    unsafe_code,
    reason = "registering with tokio's reactor is unsafe, because it holds a bare descriptor number"
)]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket and, once it had to wait, the reactor's watch over it.
///
/// Invariant: the watch is over the socket's own descriptor, and ends before the socket closes. It holds because both fields
/// are private to this file, the socket is lent by shared reference only, and fields are dropped in the order written.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    watch: Option<AsyncFd<RawFd>>,
    socket: S,
}

/// A socket whose descriptor is open and the same from its making to its drop.
pub(crate) trait Socket: AsRawFd + sealed::Sealed {}

impl Socket for TcpListener {}
impl Socket for TcpStream {}

mod sealed {
    pub(crate) trait Sealed {}
    impl Sealed for std::net::TcpListener {}
    impl Sealed for std::net::TcpStream {}
}

impl<S: Socket> Watched<S> {
    /// A non-blocking socket that is not watched yet.
    pub(crate) fn new(socket: S) -> Self {
        Self { watch: None, socket }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// The watch over the socket, if there is one.
    pub(crate) fn watch(&self) -> Option<&AsyncFd<RawFd>> {
        self.watch.as_ref()
    }

    /// The watch over the socket, which begins now if there was none. What arrived before is reported by the reactor's next turn.
    ///
    /// *Cost*: at first a system call and an allocation, later none. *Errors*: the reactor has no room.
    pub(crate) fn watch_for(&mut self, interest: Interest) -> io::Result<&AsyncFd<RawFd>> {
        match &mut self.watch {
            Some(watch) => Ok(watch),
            none => {
                // SAFETY: the number is that of an open descriptor, because `socket` owns it. It stays open and the same
                // while the watch lives, by the invariant of this type and that of `Socket`; a leaked value leaks both.
                let watch = unsafe { AsyncFd::register_with_interest(self.socket.as_raw_fd(), interest)? };
                Ok(none.insert(watch))
            }
        }
    }

    /// Ends the watch and gives the socket away.
    ///
    /// *Cost*: a system call if it was watched.
    pub(crate) fn into_socket(self) -> S {
        let Self { watch, socket } = self;
        drop(watch);
        socket
    }
}
