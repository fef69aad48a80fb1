//! How do bytes get to a proxy and back: as they are, or within TLS?
//!
//! It knows nothing of what they say.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustls::{ClientConfig, ClientConnection};

use super::identity::NAME;
use super::poll;

/// A connection to a proxy.
pub(super) struct Transport {
    stream: TcpStream,
    /// None: in the clear.
    tls: Option<Box<ClientConnection>>,
}

impl Transport {
    /// Connects; the handshake of TLS goes on with every read.
    pub(super) fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("failed to connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let session = |config: &Arc<ClientConfig>| -> Result<_> {
            let name = NAME.try_into().context("odd name of the server")?;
            Ok(Box::new(ClientConnection::new(Arc::clone(config), name)?))
        };
        Ok(Self {
            stream,
            tls: tls.map(session).transpose()?,
        })
    }

    /// Sends all of it; during a handshake it goes out with the last message of that.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(session) = &mut self.tls {
            session.writer().write_all(bytes).context("failed to encrypt")?;
            return flush(session, &mut self.stream);
        }
        let sent = self.stream.write(bytes).context("failed to send a request")?;
        ensure!(sent == bytes.len(), "a request did not fit into an empty socket");
        Ok(())
    }

    /// Whether a read of `count` bytes into a buffer of `room` has left nothing to read: a short one has, in the clear.
    pub(super) const fn is_empty_after(&self, count: usize, room: usize) -> bool {
        self.tls.is_none() && count < room
    }

    /// Reads what there is; none: nothing more now. Ends in an error when the connection does.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let read = match &mut self.tls {
            None => poll::now(self.stream.read(buffer)),
            Some(session) => return read_tls(session, &mut self.stream, buffer),
        };
        match read.context("failed to read an answer")? {
            Some(0) => bail!(CLOSED),
            read => Ok(read),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
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
