//! How does a client say exactly the bytes a test wants, and what does it get?

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::PATIENCE;
use crate::message::{Framing, Response, read_body, read_response_head, response_framing};

/// How long a close is looked for that an answer of HTTP/1.1 does not announce. One that comes all the same comes with it.
const UNANNOUNCED: Duration = Duration::from_millis(250);

/// The text of the error of a client whose connection was closed in good order before a byte of the answer.
pub const CLOSED_WITHOUT_ANSWER: &str = "closed before a byte of the answer";

/// One connection to a proxy or server.
///
/// *Errors*: every method fails with the socket's error, with `TimedOut` or `WouldBlock` after [`PATIENCE`], and with
/// `InvalidData` when the peer does not speak HTTP/1.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
}

/// Connects from one of the addresses of this machine.
///
/// *Errors*: the socket's.
pub fn connect_from(source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    /// The socket, for what this client has no word for.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Sends bytes in pieces of this size, with a pause after each.
    pub fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, piece: usize, pause: Duration) -> io::Result<()> {
        for piece in bytes.as_ref().chunks(piece) {
            self.send(piece)?;
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream().shutdown(Shutdown::Write)
    }

    /// Leaves at once, by a reset: unlike an orderly close it cannot be taken for a client that only has nothing more to say.
    pub fn reset(self) -> io::Result<()> {
        SockRef::from(self.stream()).set_linger(Some(Duration::ZERO))
    }

    /// Receives the answer to a request that was not HEAD, interim responses before it included.
    pub fn receive(&mut self) -> io::Result<Response> {
        let mut response = self.receive_head()?;
        self.receive_body(&mut response)?;
        Ok(response)
    }

    /// Receives the head of an answer and nothing of its body: all there is of an answer to HEAD.
    pub fn receive_head(&mut self) -> io::Result<Response> {
        if self.reader.fill_buf()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, CLOSED_WITHOUT_ANSWER));
        }
        read_response_head(&mut self.reader)
    }

    /// Receives the body of an answer whose head was received.
    pub fn receive_body(&mut self, response: &mut Response) -> io::Result<()> {
        let framing = response_framing(response)?;
        (response.body, response.trailers) = read_body(&mut self.reader, framing)?;
        Ok(())
    }

    /// Receives this many bytes as they are.
    pub fn receive_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let count = count as u64;
        Ok(read_body(&mut self.reader, Framing::Length(count))?.0)
    }

    /// Sends bytes and receives one answer.
    pub fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<Response> {
        self.send(bytes)?;
        self.receive()
    }

    /// Asks for a path.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.exchange(format!("GET {path} HTTP/1.1\r\nhost: test.example\r\n\r\n"))
    }

    /// Posts a body of known length.
    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Response> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: test.example\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.exchange([head.as_bytes(), body].concat())
    }

    /// Everything until the peer closes.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Waits for the peer to close without another byte; false: it sent something, or left the connection open.
    ///
    /// A reset counts as closed: it is what a peer's kernel sends when it closes with bytes unread.
    #[must_use]
    pub fn sees_close(&mut self) -> bool {
        match self.reader.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => is_gone(&error),
        }
    }
}

/// Whether an error says that the peer has gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected
    )
}

/// What came back for some bytes on a connection of their own.
#[derive(Debug)]
pub struct Answer {
    /// The first answer; none: the connection was closed without one.
    pub response: Option<Response>,
    /// Whether the connection was closed right after it.
    pub closed: bool,
}

impl Answer {
    /// The status; 0: there was no answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.as_ref().map_or(0, |response| response.status)
    }
}

/// Sends bytes on a new connection and reports the answer, and whether the peer closed after it.
///
/// *Errors*: the peer did neither answer nor close within [`PATIENCE`], or answered something that is not HTTP/1.
pub fn answer_to(address: SocketAddr, bytes: impl AsRef<[u8]>) -> io::Result<Answer> {
    let bytes = bytes.as_ref();
    let mut client = Client::connect(address)?;
    // The peer may answer and close before it has taken everything; what it said is read all the same.
    if let Err(error) = client.send(bytes)
        && !is_gone(&error)
    {
        return Err(error);
    }
    match client.receive() {
        Ok(response) => {
            let is_older = String::from_utf8_lossy(bytes).contains(" HTTP/1.0\r\n");
            if !is_older && !response.fields.lists("connection", "close") {
                client.stream().set_read_timeout(Some(UNANNOUNCED))?;
            }
            Ok(Answer {
                response: Some(response),
                closed: client.sees_close(),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || is_gone(&error) => Ok(Answer {
            response: None,
            closed: true,
        }),
        Err(error) => Err(error),
    }
}

/// Asks for a path on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    Client::connect(address)?.get(path)
}
