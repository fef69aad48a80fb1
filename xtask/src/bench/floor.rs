//! What does forwarding cost when nothing is understood?
//!
//! The least that a proxy of one thread can do with epoll: one connection to the server per client, one read and one
//! write per piece, 64 KiB at a time. Every figure of a proxy that parses is given as a ratio to this.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use super::poll::{self, Poll};
use super::slots::Slots;

/// Bytes moved by one read and one write.
const BUFFER: usize = 64 * 1024;

/// The token of the listener; those of connections are even for clients and odd for servers.
const LISTENER: usize = usize::MAX;

/// Forwards between clients of `listener` and the server at `to`, until it is killed.
pub(super) fn run(listener: &TcpListener, to: SocketAddr) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.add(listener, LISTENER)?;
    let mut pairs = Slots::new();
    let mut ready = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        poll.wait(None, &mut ready)?;
        for event in &ready {
            if event.token == LISTENER {
                accept(&poll, listener, to, &mut pairs)?;
                continue;
            }
            let index = event.token / 2;
            let Some(pair) = pairs.at(index) else { continue };
            let side = if event.token % 2 == 0 {
                &mut pair.client
            } else {
                &mut pair.server
            };
            side.readable |= event.readable;
            side.writable |= event.writable;
            side.closed |= event.closed;
            if !matches!(pair.forward(&mut buffer), Ok(Progress::Waits)) {
                pairs.remove(index);
            }
        }
    }
}

fn accept(poll: &Poll, listener: &TcpListener, to: SocketAddr, pairs: &mut Slots<Pair>) -> io::Result<()> {
    while let Some(client) = poll::accept(listener)? {
        let server = poll::connect(to)?;
        let token = pairs.next() * 2;
        poll.add(&client, token)?;
        poll.add(&server, token + 1)?;
        pairs.insert(Pair {
            client: Side::new(client),
            server: Side::new(server),
        });
    }
    Ok(())
}

/// Whether a pair of connections has a future.
enum Progress {
    Waits,
    Done,
}

struct Pair {
    client: Side,
    server: Side,
}

impl Pair {
    fn forward(&mut self, buffer: &mut [u8]) -> io::Result<Progress> {
        let up = self.client.forward_to(&mut self.server, buffer)?;
        let down = self.server.forward_to(&mut self.client, buffer)?;
        Ok(if matches!((up, down), (Progress::Done, Progress::Done)) {
            Progress::Done
        } else {
            Progress::Waits
        })
    }
}

/// One connection, with what was read from it and could not yet be written to the other.
struct Side {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    closed: bool,
    /// Read everything, and told the other.
    ended: bool,
    pending: Vec<u8>,
}

impl Side {
    const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            readable: false,
            writable: false,
            closed: false,
            ended: false,
            pending: Vec::new(),
        }
    }

    fn forward_to(&mut self, other: &mut Self, buffer: &mut [u8]) -> io::Result<Progress> {
        loop {
            if self.ended {
                return Ok(Progress::Done);
            }
            if !other.writable {
                return Ok(Progress::Waits);
            }
            if !self.pending.is_empty() {
                let sent = other.write(&self.pending)?;
                self.pending.drain(..sent);
                continue;
            }
            let count = if self.readable {
                poll::now(self.stream.read(buffer))?
            } else {
                None
            };
            match count {
                None => {
                    self.readable = false;
                    return Ok(Progress::Waits);
                }
                Some(0) => {
                    self.ended = true;
                    other.stream.shutdown(Shutdown::Write)?;
                }
                Some(count) => {
                    // A short read has emptied the socket (epoll(7), question 9), unless the end is behind it.
                    self.readable = count == buffer.len() || self.closed;
                    let sent = other.write(&buffer[..count])?;
                    self.pending.extend_from_slice(&buffer[sent..count]);
                }
            }
        }
    }

    /// Writes what there is room for.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = poll::now(self.stream.write(bytes))?.unwrap_or(0);
        self.writable = sent == bytes.len();
        Ok(sent)
    }
}
