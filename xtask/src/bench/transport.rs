//! How do bytes get to a proxy and back: as they are, within TLS, or in datagrams?
//!
//! It knows nothing of what they say.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustls::{ClientConfig, ClientConnection};

use super::identity::NAME;
use super::poll;

/// A way to a proxy.
pub(super) enum Transport {
    /// A connection, in the clear.
    Plain(TcpStream),
    /// A connection within TLS.
    Secured(TcpStream, Box<ClientConnection>),
    /// A socket of its own for datagrams.
    Datagrams(UdpSocket),
}

impl Transport {
    /// Connects; the handshake of TLS goes on with every read.
    pub(super) fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("failed to connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let Some(config) = tls else {
            return Ok(Self::Plain(stream));
        };
        let name = NAME.try_into().context("odd name of the server")?;
        let session = ClientConnection::new(Arc::clone(config), name)?;
        Ok(Self::Secured(stream, Box::new(session)))
    }

    /// Takes a port from which datagrams are sent.
    pub(super) fn of_datagrams(address: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is left")?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self::Datagrams(socket))
    }

    /// Sends all of it; during a handshake it goes out with the last message of that.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Datagrams(socket) => socket.send(bytes),
            Self::Secured(stream, session) => {
                session.writer().write_all(bytes).context("failed to encrypt")?;
                return flush(session, stream);
            }
        };
        let sent = sent.context("failed to send a request")?;
        ensure!(sent == bytes.len(), "a request did not fit into an empty socket");
        Ok(())
    }

    /// Whether a read of `count` bytes into a buffer of `room` has left nothing to read: a short one of a stream has, in the clear.
    pub(super) const fn is_empty_after(&self, count: usize, room: usize) -> bool {
        matches!(self, Self::Plain(_)) && count < room
    }

    /// Reads what there is; none: nothing more now. Ends in an error when the connection does.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let read = match self {
            Self::Plain(stream) => poll::now(stream.read(buffer)),
            Self::Datagrams(socket) => poll::now(socket.recv(buffer)),
            Self::Secured(stream, session) => return read_tls(session, stream, buffer),
        };
        match read.context("failed to read an answer")? {
            Some(0) => bail!(CLOSED),
            read => Ok(read),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) | Self::Secured(stream, _) => stream.as_fd(),
            Self::Datagrams(socket) => socket.as_fd(),
        }
    }
}

const CLOSED: &str = "the connection was closed before the answer was complete";

fn read_tls(session: &mut ClientConnection, stream: &mut TcpStream, buffer: &mut [u8]) -> Result<Option<usize>> {
    loop {
        match session.reader().read(buffer) {
            Ok(0) => bail!(CLOSED),
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context(CLOSED),
        }
        match poll::now(session.read_tls(stream)).context("failed to read an answer")? {
            None => return Ok(None),
            Some(0) => bail!(CLOSED),
            Some(_) => {}
        }
        let shook_hands = session.is_handshaking();
        session.process_new_packets().context("failed to speak TLS")?;
        if shook_hands && !session.is_handshaking() {
            // Who chooses nothing speaks what it likes.
            ensure!(session.alpn_protocol().is_some(), "no protocol was chosen by ALPN");
        }
        flush(session, stream)?;
    }
}

fn flush(session: &mut ClientConnection, stream: &mut TcpStream) -> Result<()> {
    while session.wants_write() {
        session
            .write_tls(stream)
            .context("a request did not fit into an empty socket")?;
    }
    Ok(())
}
