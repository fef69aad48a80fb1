//! What is behind a proxy that speaks HTTP/2 to its servers?
//!
//! The cheapest server of unary calls (gRPC over HTTP/2 without TLS): it answers every request that has ended with the
//! same message, and looks at no field. It trusts its clients and must never see a network.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::frames::{self, Duties, Frame, Kind};
use super::poll::{self, Poll};
use super::slots::Slots;

const LISTENER: usize = usize::MAX;

/// A message of 128 bytes, with the five that gRPC puts before it.
pub(super) const REQUEST: [u8; 5 + 128] = message();

/// Bytes of the body of an answer: a message of 1 KiB, with the five before it.
pub(super) const ANSWER_LENGTH: usize = ANSWER.len();

const ANSWER: [u8; 5 + 1024] = message();

/// Not compressed, then the length, then the message (gRPC over HTTP2, Length-Prefixed-Message).
const fn message<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [b'x'; LENGTH];
    bytes[0] = 0;
    let length = ((LENGTH - 5) as u64).to_be_bytes();
    let mut index = 0;
    while index < 4 {
        bytes[1 + index] = length[4 + index];
        index += 1;
    }
    bytes
}

/// Serves until it is killed.
pub(super) fn run(listener: &TcpListener) -> io::Result<()> {
    let answer = Answer::new();
    let mut poll = Poll::new()?;
    poll.add(listener, LISTENER)?;
    let mut connections = Slots::new();
    let mut ready = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        poll.wait(None, &mut ready)?;
        for event in &ready {
            if event.token == LISTENER {
                while let Some(stream) = poll::accept(listener)? {
                    poll.add(&stream, connections.next())?;
                    connections.insert(Connection::new(stream));
                }
                continue;
            }
            let Some(connection) = connections.at(event.token) else {
                continue;
            };
            connection.writable |= event.writable;
            if connection.serve(&answer, &mut buffer).is_err() {
                connections.remove(event.token);
            }
        }
    }
}

/// The blocks of fields of every answer, which need no table.
struct Answer {
    head: Vec<u8>,
    trailers: Vec<u8>,
}

impl Answer {
    fn new() -> Self {
        let mut head = Vec::new();
        frames::put_indexed(&mut head, 8);
        // Not to be put into the table: field 31, content-type (RFC 7541 section 6.2.2).
        head.extend([0x0f, 31 - 15]);
        frames::put_text(&mut head, "application/grpc");
        let mut trailers = vec![0];
        frames::put_text(&mut trailers, "grpc-status");
        frames::put_text(&mut trailers, "0");
        Self { head, trailers }
    }

    fn put(&self, out: &mut Vec<u8>, stream: u32) {
        for (kind, flags, payload) in [
            (Kind::Headers, frames::END_HEADERS, &self.head[..]),
            (Kind::Data, 0, &ANSWER),
            (Kind::Headers, frames::END_HEADERS | frames::END_STREAM, &self.trailers),
        ] {
            frames::put(
                out,
                Frame {
                    kind,
                    flags,
                    stream,
                    payload,
                },
            );
        }
    }
}

struct Connection {
    stream: TcpStream,
    writable: bool,
    /// What was read and is no whole frame yet.
    read: Vec<u8>,
    /// Bytes of the preface that are still to come.
    preface: usize,
    duties: Duties,
    /// Requests that wait for the window of the connection.
    asked: Vec<u32>,
    window: i64,
    out: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let mut out = Vec::new();
        frames::put_opening(&mut out, &[]);
        Self {
            stream,
            writable: false,
            read: Vec::new(),
            preface: frames::PREFACE.len(),
            duties: Duties::default(),
            asked: Vec::new(),
            window: frames::INITIAL_WINDOW,
            out,
        }
    }

    /// Goes on until there is nothing more to read; an error ends the connection.
    fn serve(&mut self, answer: &Answer, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let count = poll::now(self.stream.read(buffer))?;
            if count == Some(0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read.extend_from_slice(&buffer[..count.unwrap_or(0)]);
            self.take_frames().map_err(io::Error::other)?;
            self.answer(answer);
            self.send()?;
            // A short read has emptied the socket: the next bytes bring an edge.
            if count.is_none_or(|count| count < buffer.len()) {
                return Ok(());
            }
        }
    }

    fn take_frames(&mut self) -> anyhow::Result<()> {
        let skipped = self.preface.min(self.read.len());
        self.preface -= skipped;
        let mut rest = &self.read[skipped..];
        while let Some(frame) = frames::take(&mut rest)? {
            self.duties.answer(&frame, &mut self.out);
            match frame.kind {
                Kind::Headers | Kind::Data if frame.has(frames::END_STREAM) => self.asked.push(frame.stream),
                Kind::WindowUpdate if frame.stream == 0 => self.window += frame.increment(),
                _ => {}
            }
        }
        let taken = self.read.len() - rest.len();
        self.read.drain(..taken);
        Ok(())
    }

    /// Answers the requests that the window of the connection has room for.
    fn answer(&mut self, answer: &Answer) {
        const LENGTH: i64 = ANSWER_LENGTH as i64;
        let room = usize::try_from(self.window / LENGTH).unwrap_or(0);
        let count = room.min(self.asked.len());
        for stream in self.asked.drain(..count) {
            answer.put(&mut self.out, stream);
            self.window -= LENGTH;
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.writable && !self.out.is_empty() {
            let sent = poll::now(self.stream.write(&self.out))?.unwrap_or(0);
            self.writable = sent == self.out.len();
            self.out.drain(..sent);
        }
        Ok(())
    }
}
