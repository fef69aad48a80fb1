//! What is behind the measured proxies?
//!
//! The cheapest server that speaks enough HTTP/1.1: it reads a head up to its empty line, looks at the path and at
//! `Connection: close`, and answers with bytes made in advance. It trusts its clients and must never see a network.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::poll::{self, Poll};
use super::slots::Slots;

const LISTENER: usize = usize::MAX;

/// The answers: path, and bytes of the body.
const ANSWERS: [(&str, usize); 3] = [("/1k", 1024), ("/64k", 64 * 1024), ("/1m", 1024 * 1024)];

/// Bytes of the body under a path; none: there is no answer for it.
pub(super) fn length(path: &str) -> Option<usize> {
    let answer = ANSWERS.iter().find(|(known, _)| *known == path);
    answer.map(|&(_, length)| length)
}

/// Serves until it is killed.
pub(super) fn run(listener: &TcpListener) -> io::Result<()> {
    let answers = ANSWERS.map(|(path, length)| Answer {
        path,
        bytes: answer(length),
    });
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
            connection.readable |= event.readable;
            connection.writable |= event.writable;
            if !matches!(connection.serve(&answers, &mut buffer), Ok(Progress::Waits)) {
                connections.remove(event.token);
            }
        }
    }
}

struct Answer {
    path: &'static str,
    bytes: Vec<u8>,
}

fn answer(length: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sun, 01 Nov 2026 00:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + length, b'x');
    bytes
}

enum Progress {
    Waits,
    Closes,
}

struct Connection {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// A head that is not complete yet.
    head: Vec<u8>,
    /// What is being answered, and how much of it was sent.
    sending: Option<(usize, usize)>,
    closes: bool,
}

impl Connection {
    const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            readable: false,
            writable: false,
            head: Vec::new(),
            sending: None,
            closes: false,
        }
    }

    fn serve(&mut self, answers: &[Answer], buffer: &mut [u8]) -> io::Result<Progress> {
        loop {
            if let Some((index, sent)) = self.sending {
                if !self.writable {
                    return Ok(Progress::Waits);
                }
                let rest = &answers[index].bytes[sent..];
                let count = poll::now(self.stream.write(rest))?.unwrap_or(0);
                self.writable = count == rest.len();
                self.sending = (count < rest.len()).then_some((index, sent + count));
                continue;
            }
            if self.closes {
                return Ok(Progress::Closes);
            }
            if self.take_request(answers)? {
                continue;
            }
            if !self.readable {
                return Ok(Progress::Waits);
            }
            match poll::now(self.stream.read(buffer))? {
                None => self.readable = false,
                Some(0) => return Ok(Progress::Closes),
                Some(count) => self.head.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Takes a complete head from the front of what was read; whether there was one.
    fn take_request(&mut self, answers: &[Answer]) -> io::Result<bool> {
        let Some(end) = find(&self.head, b"\r\n\r\n") else {
            return Ok(false);
        };
        let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let index = answers.iter().position(|answer| answer.path == path);
        let index = index.ok_or_else(|| io::Error::other(format!("no answer for {path}")))?;
        self.closes = head.contains("\r\nconnection: close");
        self.sending = Some((index, 0));
        self.head.drain(..end + 4);
        Ok(true)
    }
}

/// Where `pattern` begins in `bytes`.
pub(super) fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
