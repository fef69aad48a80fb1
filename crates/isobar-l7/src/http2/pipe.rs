//! What is between the library and the socket?
//!
//! The library asks to write piece by piece. What it writes is gathered here, and sent when it has nothing more to do in this turn. Nothing
//! is held while the connection is idle.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use isobar_net::stream::Stream;
use isobar_wire::http2::frames::Fault;
use isobar_wire::http2::meter::{Excess, Meter};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Worker;

/// Bytes that are gathered before the socket has to take some.
const OUTBOX_BYTES: usize = 64 * 1024;

/// Bytes that are read in one turn at most: a peer that sends faster than it is served must not have the worker to itself.
const TURN_BYTES: usize = 256 * 1024;

/// A connection, below the library.
pub(super) struct Pipe {
    worker: Rc<Worker>,
    stream: Stream,
    /// What came and was not read yet.
    inbox: Vec<u8>,
    read: usize,
    outbox: Outbox,
    /// Whether the library was told to wait until the socket takes more.
    is_full: bool,
    /// Bytes that the socket has taken.
    taken: u64,
    /// Bytes read in this turn.
    turn_read: usize,
    /// Whether the peer has said its first words, without which the library could not tell it what is wrong.
    is_greeted: bool,
    meter: Meter,
    began: Instant,
    /// When something last came.
    heard: Instant,
}

/// What is gathered for the socket.
#[derive(Debug, Default)]
struct Outbox {
    bytes: Vec<u8>,
    /// How many of them the socket has taken.
    sent: usize,
}

/// The library's end of a pipe.
pub(super) struct PipeEnd(pub(super) Rc<RefCell<Pipe>>);

impl Pipe {
    /// Over a connection of which some bytes were read already.
    pub(super) fn new(worker: Rc<Worker>, stream: Stream, mut meter: Meter, came: Vec<u8>) -> Self {
        meter.received(&came, 0);
        let began = worker.wheel.now();
        Self {
            worker,
            stream,
            inbox: came,
            read: 0,
            outbox: Outbox::default(),
            is_full: false,
            taken: 0,
            turn_read: 0,
            is_greeted: false,
            meter,
            began,
            heard: began,
        }
    }

    /// The peer has said its first words, or has none to say.
    pub(super) fn greeted(&mut self) {
        self.is_greeted = true;
    }

    /// The connection, whose streams have ended.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// What a server said against a TLS handshake that was complete on this side.
    pub(super) fn refusal(&self) -> Option<String> {
        self.stream.refusal()
    }

    /// When something last came.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Whether, as far as the kernel knows, the peer has neither sent nor closed.
    pub(super) fn is_silent(&self) -> bool {
        self.stream.is_silent()
    }

    /// How many heads of messages have begun to come.
    pub(super) fn heads(&self) -> u64 {
        self.meter.heads()
    }

    /// Whether the peer has sent its settings.
    pub(super) fn has_settings(&self) -> bool {
        self.meter.has_settings()
    }

    /// What the peer has sent too much of.
    pub(super) fn excess(&self) -> Option<Excess> {
        self.meter.excess()
    }

    /// What is wrong with a frame of the peer's.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.meter.fault()
    }

    /// Whether nothing more is taken from the peer.
    pub(super) fn is_deaf(&self) -> bool {
        self.meter.excess().is_some() || self.meter.fault().is_some()
    }

    /// Whether the head of a message has begun to come, and its end has not.
    pub(super) fn is_within_head(&self) -> bool {
        self.meter.is_within_head()
    }

    /// How much the peer has been sent, where there is more that it has not taken yet.
    pub(super) fn owed_since(&self) -> Option<u64> {
        (self.outbox.left() > 0 || self.stream.owes()).then_some(self.taken)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_greeted && self.is_deaf() {
            // Whatever else it wants is not looked at.
            self.inbox = Vec::new();
            self.read = 0;
            return Poll::Pending;
        }
        let held = self.inbox.get(self.read..).unwrap_or_default();
        if !held.is_empty() {
            let count = held.len().min(buf.remaining());
            buf.put_slice(held.get(..count).unwrap_or_default());
            self.read += count;
            if self.read == self.inbox.len() {
                self.inbox = Vec::new();
                self.read = 0;
            }
            return Poll::Ready(Ok(()));
        }
        if self.turn_read >= TURN_BYTES {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Self {
            worker,
            stream,
            inbox,
            meter,
            began,
            turn_read,
            is_greeted,
            heard,
            ..
        } = self;
        worker.scratch.with_input(|input| {
            let count = ready!(stream.poll_read(cx, input))?;
            let bytes = input.get(..count).unwrap_or_default();
            *turn_read += count;
            let at = worker.wheel.now();
            if count > 0 {
                // The end of the connection is no word of the peer's.
                *heard = at;
            }
            let since = at.saturating_duration_since(*began);
            meter.received(bytes, u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            if *is_greeted && (meter.excess().is_some() || meter.fault().is_some()) {
                return Poll::Pending;
            }
            let (now, later) = bytes.split_at(bytes.len().min(buf.remaining()));
            buf.put_slice(now);
            inbox.extend_from_slice(later);
            Poll::Ready(Ok(()))
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.outbox.left() >= OUTBOX_BYTES {
            self.is_full = true;
            ready!(self.poll_out(cx))?;
            self.is_full = false;
        }
        self.meter.sent(bytes);
        if self.outbox.bytes.capacity() == 0 {
            mem::swap(&mut self.outbox.bytes, &mut self.worker.outbox.borrow_mut());
        }
        self.outbox.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Ends a turn of the library's: sends what was gathered. Ready when the socket has all of it.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.turn_read = 0;
        let sent = ready!(self.poll_out(cx));
        if mem::take(&mut self.is_full) {
            // The library has more to write, and nothing else would tell it that there is room.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(sent)
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outbox.left() > 0 {
            let count = ready!(self.stream.poll_write_soon(cx, self.outbox.rest()))?;
            self.outbox.sent += count;
            self.taken += count as u64;
        }
        if self.outbox.bytes.capacity() > 0 {
            self.outbox.clear();
            let mut kept = self.worker.outbox.borrow_mut();
            if kept.capacity() == 0 && self.outbox.bytes.capacity() <= 2 * OUTBOX_BYTES {
                mem::swap(&mut self.outbox.bytes, &mut kept);
            } else {
                self.outbox.bytes = Vec::new();
            }
        }
        self.stream.poll_settled(cx)
    }
}

impl Outbox {
    /// How many bytes the socket has not taken.
    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Those.
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.sent >= OUTBOX_BYTES {
            // A socket that never takes all of it must not make it grow.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }
}

impl AsyncRead for PipeEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.0.borrow_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, bytes)
    }

    /// What was gathered is sent when the library's turn is over.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        ready!(pipe.poll_out(cx))?;
        Poll::Ready(pipe.stream.shutdown_write())
    }
}

#[cfg(test)]
mod tests {
    use super::{OUTBOX_BYTES, Outbox};

    #[test]
    fn a_socket_that_never_takes_all_makes_nothing_grow() {
        static FRAME: [u8; 16_393] = [7; 16_393];
        let mut outbox = Outbox::default();
        let (mut gathered, mut taken) = (0, 0);
        for turn in 0..10_000 {
            while outbox.left() < OUTBOX_BYTES {
                outbox.push(&FRAME);
                gathered += FRAME.len();
            }
            // Another part of it each time, and always less than there is.
            let count = 1 + turn * 7919 % (OUTBOX_BYTES - 1);
            assert_eq!(outbox.rest().len(), outbox.left());
            outbox.sent += count;
            taken += count;
            assert_eq!(outbox.left(), gathered - taken);
            let capacity = outbox.bytes.capacity();
            assert!(capacity <= 5 * OUTBOX_BYTES, "{capacity} bytes after {gathered}");
        }
    }
}
