//! How do two ends of a WebSocket talk through a proxy?

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use tungstenite::{Error, Message};

use crate::client::is_gone;
use crate::peers::python_packages;
use crate::process::Process;
use crate::{Origin, PATIENCE, wait_for};

/// The client's end of a WebSocket.
pub type WebSocket = tungstenite::WebSocket<TcpStream>;

/// A server that is written in Python, of another make than the one in this kit: it sends messages back as they came, piece by
/// piece, and closes with the code that a message `close CODE` asks for.
const SERVER: &str = r#"
import asyncio, websockets.asyncio.server as server

async def serve(socket):
    async for message in socket:
        if isinstance(message, str) and message.startswith("close "):
            await socket.close(int(message.split()[1]), "as asked")
        else:
            size = max(1, len(message) // 3)
            pieces = [message[at:at + size] for at in range(0, len(message), size)] or [message]
            await socket.send(pieces)

async def main():
    async with server.serve(serve, "127.0.0.1", 0, max_size=None) as listening:
        print("port", listening.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

asyncio.run(main())
"#;

/// A client of the same make, which says so when everything came back as it should.
const CLIENT: &str = r#"
import asyncio, os, sys
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

async def main():
    async with connect(sys.argv[1], max_size=None, compression=None if sys.argv[2] == "plain" else "deflate") as socket:
        large = os.urandom(4_000_000)
        for message in ["", "gr\u00fc\u00dfe", large, "x" * 100_000]:
            await socket.send(message)
            assert await socket.recv() == message, "another message came back"
        await socket.send([large[:1], large[1:70_000], large[70_000:]])
        assert await socket.recv() == large, "another message came back"
        await (await socket.ping(b"there?"))
        await socket.send("close 4321")
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4321, "as asked"), closed
            print("well")

asyncio.run(asyncio.wait_for(main(), 30))
"#;

/// A server of WebSockets that is no relative of anything here: the package `websockets`, in Python.
#[derive(Debug)]
pub struct PythonEcho {
    _process: Process,
    address: SocketAddr,
}

impl PythonEcho {
    /// Starts it and waits until it listens.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).env("PYTHONPATH", python_packages());
        let process = Process::spawn(&mut command).expect("python3 is installed");
        let port: u16 = wait_for("the server of WebSockets listens", || {
            let said = process.stdout();
            said.lines().find_map(|line| line.strip_prefix("port ")?.parse().ok())
        });
        Self {
            _process: process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Has a client written in Python send what a [`PythonEcho`] sends back, compressed or `plain`; an error is what it says.
#[track_caller]
pub fn python_client(address: SocketAddr, compression: &str) -> Result<(), String> {
    let url = format!("ws://{address}/");
    let mut command = Command::new("python3");
    command.args(["-c", CLIENT, &url, compression]);
    let output = command
        .env("PYTHONPATH", python_packages())
        .output()
        .expect("python3 is installed");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if said.trim() == "well" { Ok(()) } else { Err(said) }
}

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
