//! What is between the streams of a connection and its socket?
//!
//! Streams read and write here, each in its own task, and the one task that drives the connection moves bytes. What the streams have to
//! say is gathered, and sent when the driver's turn comes. Nothing is held while the connection is idle.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use isobar_net::stream::Stream;
use isobar_wire::http2::{Answer, Asked, Connection, ErrorCode, Reading, StreamError, StreamKey};

use super::outbox::Outbox;
use crate::Worker;

/// Bytes that are read in one turn at most: a peer that sends faster than it is served must not have the worker to itself.
const TURN_BYTES: usize = 256 * 1024;

/// Bytes of data that a stream sends in its turn, where several wait.
const TURN_DATA: usize = 16 * 1024;

/// Bytes beyond all data that may wait for a peer before it is no longer heard: heads, and answers to what it says. Data alone must never
/// make us deaf: who sends a lot to a slow peer would keep others from being heard.
const MAX_OWED: usize = 64 * 1024;

/// Room of an outbox that is kept for others.
const KEPT: usize = 128 * 1024;

/// What all streams of a connection have in common.
pub(super) struct Pipe {
    worker: Rc<Worker>,
    inner: RefCell<Inner>,
    /// Bytes that are gathered before those who have data to send wait.
    outbox_max: usize,
}

struct Inner {
    /// None: it has been taken back.
    stream: Option<Stream>,
    connection: Connection,
    outbox: Outbox,
    /// Bytes that the socket has taken.
    taken: u64,
    began: Instant,
    /// When something last came.
    heard: Instant,
    /// Who holds a stream, by its slot.
    holders: Vec<Option<Waker>>,
    driver: Option<Waker>,
}

/// Holders that a connection without streams remembers.
const HOLDERS_KEPT: usize = 4;

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").finish_non_exhaustive()
    }
}

impl Pipe {
    /// Whether the peer takes so little of what it is sent that nothing more is read of it.
    fn is_deaf(&self, inner: &Inner) -> bool {
        inner.outbox.left() >= self.outbox_max.max(TURN_DATA) + MAX_OWED
    }

    /// Over a socket. `begin` makes the connection, and appends what it says first.
    pub(super) fn new(
        worker: &Rc<Worker>,
        stream: Stream,
        outbox_max: usize,
        begin: impl FnOnce(&mut Vec<u8>) -> Connection,
    ) -> Rc<Self> {
        let mut outbox = Outbox::default();
        let connection = begin(outbox.end(&mut worker.outbox.borrow_mut()));
        let began = worker.wheel.now();
        Rc::new(Self {
            worker: Rc::clone(worker),
            inner: RefCell::new(Inner {
                stream: Some(stream),
                connection,
                outbox,
                taken: 0,
                began,
                heard: began,
                holders: Vec::new(),
                driver: None,
            }),
            outbox_max,
        })
    }

    /// What is known of the connection.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&Connection) -> T) -> T {
        question(&self.inner.borrow().connection)
    }

    /// Has something done about the connection; what it says then is sent with the driver's next turn.
    pub(super) fn tell<T>(&self, act: impl FnOnce(&mut Connection, &mut Vec<u8>) -> T) -> T {
        let inner = &mut *self.inner.borrow_mut();
        let mut out = Vec::new();
        let result = act(&mut inner.connection, &mut out);
        if !out.is_empty() {
            inner.out(&self.worker).extend_from_slice(&out);
            inner.wake_driver();
        }
        inner.wake_holders();
        result
    }

    /// What a server said against a TLS handshake that was complete on this side.
    pub(super) fn refusal(&self) -> Option<String> {
        self.inner.borrow().stream.as_ref().and_then(Stream::refusal)
    }

    /// When something last came.
    pub(super) fn heard(&self) -> Instant {
        self.inner.borrow().heard
    }

    /// Whether, as far as the kernel knows, the peer has neither sent nor closed.
    ///
    /// *Cost*: a system call.
    pub(super) fn is_silent(&self) -> bool {
        self.inner.borrow().stream.as_ref().is_some_and(Stream::is_silent)
    }

    /// How much the peer has been sent, where there is more that it has not taken yet.
    pub(super) fn owed_since(&self) -> Option<u64> {
        let inner = self.inner.borrow();
        let owes = inner.outbox.left() > 0 || inner.stream.as_ref().is_some_and(Stream::owes);
        owes.then_some(inner.taken)
    }

    /// Wakes the driver.
    pub(super) fn wake_driver(&self) {
        self.inner.borrow_mut().wake_driver();
    }

    /// Takes the socket back. Those who still hold a stream are told that it is lost.
    pub(super) fn into_stream(self: Rc<Self>) -> Option<Stream> {
        let inner = &mut *self.inner.borrow_mut();
        inner.connection.lost();
        inner.wake_holders();
        inner.driver = None;
        inner.stream.take()
    }

    /// Takes in what has been read already.
    pub(super) fn receive(&self, bytes: &[u8]) {
        self.inner.borrow_mut().receive(&self.worker, bytes);
    }

    /// Takes in what has come, until nothing more has, or it was a lot.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>) {
        let inner = &mut *self.inner.borrow_mut();
        inner.driver = Some(cx.waker().clone());
        let mut turn = 0;
        while inner.connection.over().is_none() && !self.is_deaf(inner) {
            if turn >= TURN_BYTES {
                return cx.waker().wake_by_ref();
            }
            let read = self.worker.scratch.with_input(|input| {
                let Some(stream) = &mut inner.stream else {
                    return Poll::Ready(Ok(0));
                };
                let read = stream.poll_read(cx, input);
                if let Poll::Ready(Ok(count @ 1..)) = read {
                    inner.receive(&self.worker, input.get(..count).unwrap_or_default());
                }
                read
            });
            match read {
                Poll::Ready(Ok(count @ 1..)) => turn += count,
                Poll::Ready(_) => {
                    inner.connection.lost();
                    inner.wake_holders();
                }
                Poll::Pending => return,
            }
        }
    }

    /// Sends what was gathered, and lets those go on who wait for room. Ready when the socket has all of it.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.inner.borrow_mut();
        let was_deaf = self.is_deaf(inner);
        let sent = inner.poll_out(cx, &self.worker);
        let room = self.outbox_max.saturating_sub(inner.outbox.left());
        if was_deaf && !self.is_deaf(inner) {
            // The peer is heard again.
            cx.waker().wake_by_ref();
        }
        if room > 0 && inner.connection.has_queue() {
            let turns = (room / TURN_DATA).max(1);
            let given = (0..turns).take_while(|_| inner.connection.give_turn()).count();
            if given > 0 {
                inner.wake_holders();
                // Whoever does not use its turn leaves it to the next.
                cx.waker().wake_by_ref();
            }
        }
        sent
    }

    /// The next stream that the client opened, and has not given up since.
    pub(super) fn accept(&self) -> Option<StreamKey> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            let key = inner.connection.accept()?;
            if inner.connection.failed(key).is_none() {
                return Some(key);
            }
            // Both know that already. What came on it is given back to the window of the connection.
            let out = inner.outbox.end(&mut self.worker.outbox.borrow_mut());
            inner.connection.close(key, ErrorCode::CANCEL, out);
        }
    }

    /// Reads the message that comes on a stream into a buffer that is not empty, or waits; 0 is the end.
    ///
    /// *Errors*: the stream was cut off.
    pub(super) fn poll_read(
        &self,
        key: StreamKey,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize, StreamError>> {
        let inner = &mut *self.inner.borrow_mut();
        let mut out = Vec::new();
        let reading = inner.connection.read(key, buf, &mut out);
        if !out.is_empty() {
            inner.out(&self.worker).extend_from_slice(&out);
            inner.wake_driver();
        }
        match reading {
            Reading::Bytes(count) => Poll::Ready(Ok(count)),
            Reading::End => Poll::Ready(Ok(0)),
            Reading::Failed(error) => Poll::Ready(Err(error)),
            Reading::Wait => {
                inner.wait(key, cx);
                Poll::Pending
            }
        }
    }

    /// Sends data; with `ends`, and all of it taken, the stream ends behind it. Takes as much as there is room for, at least a byte, or
    /// waits for room.
    ///
    /// *Errors*: the stream was cut off.
    pub(super) fn poll_data(
        &self,
        key: StreamKey,
        cx: &mut Context<'_>,
        (bytes, ends): (&[u8], bool),
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.inner.borrow_mut();
        let room = self.outbox_max.saturating_sub(inner.outbox.left());
        let out = inner.outbox.end(&mut self.worker.outbox.borrow_mut());
        let sent = inner.connection.send_data(key, (bytes, ends), room, out);
        match sent.map_err(io::Error::other)? {
            0 if !bytes.is_empty() => {
                inner.outbox.rests(&mut self.worker.outbox.borrow_mut(), KEPT);
                inner.connection.wait_for_room(key);
                inner.wait(key, cx);
                Poll::Pending
            }
            count => {
                inner.wake_driver();
                Poll::Ready(Ok(count))
            }
        }
    }

    /// Sends the head of a response.
    pub(super) fn respond(&self, key: StreamKey, answer: Answer<'_>) -> Result<(), StreamError> {
        let inner = &mut *self.inner.borrow_mut();
        let out = inner.outbox.end(&mut self.worker.outbox.borrow_mut());
        inner.connection.respond(key, answer, out)?;
        inner.wake_driver();
        Ok(())
    }

    /// Opens a stream with a request.
    pub(super) fn open(&self, asked: Asked<'_>) -> Result<StreamKey, StreamError> {
        let inner = &mut *self.inner.borrow_mut();
        let out = inner.outbox.end(&mut self.worker.outbox.borrow_mut());
        let key = inner.connection.open(asked, out)?;
        inner.wake_driver();
        Ok(key)
    }

    /// Ready when a stream was cut off.
    pub(super) fn poll_failed(&self, key: StreamKey, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.connection.failed(key).is_some() {
            return Poll::Ready(());
        }
        inner.wait(key, cx);
        Poll::Pending
    }

    /// Lets go of a stream; one that has not come to its end is reset.
    pub(super) fn close(&self, key: StreamKey, code: ErrorCode) {
        self.tell(|connection, out| connection.close(key, code, out));
        let inner = &mut *self.inner.borrow_mut();
        if let Some(holder) = inner.holders.get_mut(key.slot()) {
            *holder = None;
        }
        if !inner.connection.has_streams() {
            if inner.holders.capacity() > HOLDERS_KEPT {
                inner.holders = Vec::new();
            }
            // It may have waited for that.
            inner.wake_driver();
        }
    }
}

impl Inner {
    /// Where to append what is to be sent.
    fn out(&mut self, worker: &Worker) -> &mut Vec<u8> {
        self.outbox.end(&mut worker.outbox.borrow_mut())
    }

    fn receive(&mut self, worker: &Worker, bytes: &[u8]) {
        self.heard = worker.wheel.now();
        let since = self.heard.saturating_duration_since(self.began);
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let out = self.outbox.end(&mut worker.outbox.borrow_mut());
        self.connection.receive(bytes, now_ms, out);
        self.wake_holders();
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    fn wake_holders(&mut self) {
        while let Some(key) = self.connection.next_news() {
            if let Some(holder) = self.holders.get_mut(key.slot()).and_then(Option::take) {
                holder.wake();
            }
        }
    }

    /// Has the holder of a stream woken with the next news of it.
    fn wait(&mut self, key: StreamKey, cx: &Context<'_>) {
        if self.holders.len() <= key.slot() {
            self.holders.resize_with(key.slot() + 1, || None);
        }
        if let Some(holder) = self.holders.get_mut(key.slot())
            && !holder.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *holder = Some(cx.waker().clone());
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        while self.outbox.left() > 0 {
            let count = ready!(stream.poll_write_soon(cx, self.outbox.rest()))?;
            self.outbox.took(count);
            self.taken += count as u64;
        }
        self.outbox.rests(&mut worker.outbox.borrow_mut(), KEPT);
        stream.poll_settled(cx)
    }
}
