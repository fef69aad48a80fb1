//! How many requests does a proxy answer while it is watched?
//!
//! A closed loop: every connection sends its next request when it has the whole answer to the one before. Each answer
//! is read to its last byte and counted; anything but a complete 200 stops the measurement, because a proxy that
//! fails is not fast.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::origin::find;
use super::poll::{self, Poll, Ready};

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

/// How long a proxy may say nothing at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of a proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// The proxy.
    pub(super) address: SocketAddr,
    /// Requests that are under way at any time, each on its own connection.
    pub(super) connections: usize,
    /// The path, which says how long the answer is.
    pub(super) path: &'static str,
    /// How often a connection is used.
    pub(super) reuse: Reuse,
}

/// How often a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// For every request of its turn.
    KeepAlive,
    /// For one request.
    Never,
}

/// Connections under load.
pub(super) struct Client {
    load: Load,
    request: Vec<u8>,
    poll: Poll,
    ready: Vec<Ready>,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// Complete answers since the beginning.
    pub(super) answers: u64,
}

impl Client {
    /// Opens the connections and sends the first requests.
    pub(super) fn start(load: Load) -> Result<Self> {
        let request = request(load);
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(load.connections);
        for token in 0..load.connections {
            connections.push(Connection::open(load.address, &request, &poll, token)?);
        }
        let buffer = vec![0; BUFFER];
        Ok(Self {
            load,
            request,
            poll,
            ready: Vec::new(),
            connections,
            buffer,
            answers: 0,
        })
    }

    /// Goes on until `time` is over.
    pub(super) fn run_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// Goes on until this many answers more are there.
    pub(super) fn run_requests(&mut self, count: u64) -> Result<()> {
        let end = self.answers + count;
        while self.answers < end {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<()> {
        self.poll.wait(Some(PATIENCE), &mut self.ready)?;
        ensure!(!self.ready.is_empty(), "no answer for {} s", PATIENCE.as_secs());
        for event in self.ready.iter().filter(|event| event.readable) {
            let connection = &mut self.connections[event.token];
            if !connection.read(&mut self.buffer)? {
                continue;
            }
            self.answers += 1;
            match self.load.reuse {
                Reuse::KeepAlive => connection.send(&self.request)?,
                Reuse::Never => {
                    *connection = Connection::open(self.load.address, &self.request, &self.poll, event.token)?;
                }
            }
        }
        Ok(())
    }
}

fn request(load: Load) -> Vec<u8> {
    let connection = match load.reuse {
        Reuse::KeepAlive => "",
        Reuse::Never => "Connection: close\r\n",
    };
    let path = load.path;
    let head = format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: isobar-bench/1\r\nAccept: */*\r\n");
    format!("{head}Accept-Encoding: gzip, br\r\n{connection}\r\n").into_bytes()
}

struct Connection {
    stream: TcpStream,
    /// A head that is not complete yet.
    head: Vec<u8>,
    /// Bytes of the body that are still to come; none: the head is.
    body: Option<usize>,
}

impl Connection {
    fn open(address: SocketAddr, request: &[u8], poll: &Poll, token: usize) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("failed to connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut connection = Self {
            stream,
            head: Vec::new(),
            body: None,
        };
        connection.send(request)?;
        poll.add(&connection.stream, token)?;
        Ok(connection)
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        let sent = self.stream.write(request).context("failed to send a request")?;
        ensure!(sent == request.len(), "a request did not fit into an empty socket");
        Ok(())
    }

    /// Reads what there is; whether the answer is complete.
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool> {
        loop {
            let count = match poll::now(self.stream.read(buffer)).context("failed to read an answer")? {
                None => return Ok(false),
                Some(0) => bail!("the connection was closed before the answer was complete"),
                Some(count) => count,
            };
            self.body = match self.body {
                Some(rest) => Some(rest.checked_sub(count).context("more bytes came than the answer has")?),
                None => self.take_head(&buffer[..count])?,
            };
            if self.body == Some(0) {
                self.body = None;
                return Ok(true);
            }
            // A short read has emptied the socket: the next bytes bring an edge.
            if count < buffer.len() {
                return Ok(false);
            }
        }
    }

    /// Takes bytes of the head; when it is complete, how many bytes of the body are still to come.
    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        self.head.extend_from_slice(bytes);
        let Some(end) = find(&self.head, b"\r\n\r\n") else {
            return Ok(None);
        };
        let length = content_length(&self.head[..end])?;
        let rest = (end + 4 + length)
            .checked_sub(self.head.len())
            .context("more bytes came than the answer has")?;
        self.head.clear();
        Ok(Some(rest))
    }
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "the answer was `{status}`");
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = fields
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("the answer has no Content-Length")?;
    value.trim().parse().context("the answer has an odd Content-Length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Option<usize>) {
        assert_eq!(content_length(head.as_bytes()).ok(), expected, "{head}");
    }

    #[test]
    fn reads_the_length_of_a_good_answer_only() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 7", Some(7));
        check("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length:7", Some(7));
        check("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 7", None);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: x", None);
    }
}
