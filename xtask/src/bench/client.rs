//! How many requests does a proxy answer while it is watched?
//!
//! A closed loop: every connection, and within HTTP/2 every stream, sends its next request when it has the whole answer to
//! the one before. Each answer is read to its last byte and counted; anything but a complete 200 stops the measurement,
//! because a proxy that fails is not fast.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustls::ClientConfig;

use super::dns;
use super::http1;
use super::http2::{Call, Scheme, Session};
use super::poll::{Poll, Ready};
use super::transport::Transport;

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

/// How long a proxy may say nothing at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of a proxy.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// The proxy.
    pub(super) address: SocketAddr,
    /// What is offered under TLS; none: it is spoken in the clear.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Connections that are open at any time.
    pub(super) connections: usize,
    /// What is said on each.
    pub(super) speech: Speech,
    /// How often a connection is used.
    pub(super) reuse: Reuse,
}

/// What is said on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speech {
    /// HTTP/1.1: GET of this path, one after the other.
    Http1(&'static str),
    /// HTTP/2: this call on so many streams at once.
    Http2(Call, usize),
    /// DNS over UDP: one question after the other, each from the same port unless that is used once.
    Dns,
}

/// How often a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// For every request of its turn.
    KeepAlive,
    /// For one request; it stays open.
    Once,
    /// For one request, then another takes its place; in HTTP/1.1 only.
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
        let request = match load.speech {
            Speech::Http1(path) => http1::request(path, load.reuse),
            Speech::Http2(..) => Vec::new(),
            Speech::Dns => dns::QUESTION.to_vec(),
        };
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(load.connections);
        for token in 0..load.connections {
            connections.push(Connection::open(&load, &request, &poll, token)?);
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
            let answers = connection.read(&mut self.buffer, &self.request, self.load.reuse)?;
            self.answers += answers;
            if answers > 0 && self.load.reuse == Reuse::Never {
                *connection = Connection::open(&self.load, &self.request, &self.poll, event.token)?;
            }
        }
        Ok(())
    }
}

struct Connection {
    transport: Transport,
    exchange: Exchange,
}

/// What is being said on a connection.
enum Exchange {
    Http1(http1::Answer),
    /// The session, and what it has to send.
    Http2(Box<Session>, Vec<u8>),
    Dns,
}

impl Connection {
    fn open(load: &Load, request: &[u8], poll: &Poll, token: usize) -> Result<Self> {
        let mut transport = match load.speech {
            Speech::Dns => Transport::of_datagrams(load.address)?,
            Speech::Http1(_) | Speech::Http2(..) => Transport::open(load.address, load.tls.as_ref())?,
        };
        let exchange = match load.speech {
            Speech::Dns => {
                transport.send(request)?;
                Exchange::Dns
            }
            Speech::Http1(_) => {
                transport.send(request)?;
                Exchange::Http1(http1::Answer::default())
            }
            Speech::Http2(call, streams) => {
                let scheme = if load.tls.is_some() {
                    Scheme::Https
                } else {
                    Scheme::Http
                };
                let mut out = Vec::new();
                let session = Session::open(call, scheme, streams, load.reuse, &mut out);
                transport.send(&out)?;
                out.clear();
                Exchange::Http2(Box::new(session), out)
            }
        };
        poll.add(&transport, token)?;
        Ok(Self { transport, exchange })
    }

    /// Reads what there is, and asks again where an answer is complete; how many were.
    fn read(&mut self, buffer: &mut [u8], request: &[u8], reuse: Reuse) -> Result<u64> {
        let mut answers = 0;
        while let Some(count) = self.transport.read(buffer)? {
            match &mut self.exchange {
                Exchange::Http1(answer) => {
                    if answer.take(&buffer[..count])? {
                        if reuse == Reuse::KeepAlive {
                            self.transport.send(request)?;
                        }
                        return Ok(1);
                    }
                }
                Exchange::Dns => {
                    dns::check(&buffer[..count])?;
                    if reuse == Reuse::KeepAlive {
                        self.transport.send(request)?;
                    }
                    return Ok(1);
                }
                Exchange::Http2(session, out) => {
                    answers += session.take(&buffer[..count], out)?;
                    if !out.is_empty() {
                        self.transport.send(out)?;
                        out.clear();
                    }
                }
            }
            // A short read has emptied the socket: the next bytes bring an edge.
            if self.transport.is_empty_after(count, buffer.len()) {
                break;
            }
        }
        Ok(answers)
    }
}
