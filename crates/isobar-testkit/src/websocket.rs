//! How do two ends of a WebSocket talk through a proxy?

use std::io;
use std::net::{SocketAddr, TcpStream};

use tungstenite::{Error, Message};

use crate::client::is_gone;
use crate::{Origin, PATIENCE};

/// The client's end of a WebSocket.
pub type WebSocket = tungstenite::WebSocket<TcpStream>;

/// Starts a server that echoes every message of a WebSocket until it is closed.
#[must_use]
pub fn websocket_echo() -> Origin {
    Origin::raw(|stream| {
        let mut socket = tungstenite::accept(stream).map_err(io::Error::other)?;
        loop {
            match socket.read() {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).map_err(into_io)?,
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(into_io(error)),
            }
        }
    })
}

/// Opens a WebSocket to a proxy or server; reads and writes give up after [`PATIENCE`].
pub fn connect(address: SocketAddr, path: &str) -> Result<WebSocket, Error> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match tungstenite::client(format!("ws://{address}{path}"), stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
        Err(tungstenite::HandshakeError::Interrupted(_)) => Err(Error::Io(io::ErrorKind::TimedOut.into())),
    }
}

/// Whether a WebSocket ended without a close frame.
#[must_use]
pub fn was_cut(error: &Error) -> bool {
    match error {
        Error::Io(error) => is_gone(error) || error.kind() == io::ErrorKind::UnexpectedEof,
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => true,
        _ => false,
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
