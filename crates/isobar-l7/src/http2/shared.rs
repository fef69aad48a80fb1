//! How do several requests share one connection to a server?

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use isobar_net::stream::Stream;
use isobar_net::wheel::Timer;
use isobar_upstream::Permit;
use isobar_wire::http2::meter::{Budgets, Meter};

use super::opened::Opened;
use super::pipe::{Pipe, PipeEnd};
use crate::{ServerTls, Worker};

/// What a server may do that costs it nothing, before its connection is taken for broken.
const BUDGETS: Budgets = Budgets {
    window_ms: 10_000,
    resets: 10_000,
    // Those are our clients' doing.
    resets_sent: u32::MAX,
    pings: 1_000,
    settings: 100,
    empty_data: 1_000,
    priorities: 1_000,
    window_updates: 10_000,
    continuations: 16,
};

/// Requests that one connection carries at once at most, whatever the server allows.
const MAX_STREAMS: u32 = 250;

/// Bytes of one answer that a server may send ahead of the client that takes them. All answers of a connection together have room for
/// that: clients that take nothing must not hold up the answers of others.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// A connection on which nothing came for so long, and a request was given up, may be dead.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a connection may take to end that nobody has any more.
const GOODBYE: Duration = Duration::from_secs(2);

/// Bytes of one request that are held for a server, and of the head of an answer that are taken.
const SEND_BUFFER: usize = 64 * 1024;
const HEAD_BYTES: u32 = 64 * 1024 - 1;

/// What unread pieces of answers may cost beside what is in them: 256 bytes each, less what is in them.
const SMALL_DATA: usize = 16 << 20;

/// A connection to a server that carries several requests at once. It closes when nobody has it any more.
pub(crate) struct Shared {
    send: RefCell<SendRequest<Bytes>>,
    address: SocketAddr,
    state: Rc<State>,
    streams: Cell<usize>,
    /// When it was first seen to carry nothing.
    idle_since: Cell<Option<Instant>>,
    /// What it is secured by; none: it is not.
    tls: Option<ServerTls>,
    pipe: Weak<RefCell<Pipe>>,
}

/// What is known of a connection.
#[derive(Debug)]
struct State {
    /// Whether it takes no more requests.
    leaving: Cell<bool>,
    /// When something was last heard of the server.
    heard: Cell<Instant>,
    /// When the first request was sent after that; earlier: none was.
    unanswered_since: Cell<Instant>,
    /// Whether nobody has it any more, and who has to know.
    abandoned: Cell<bool>,
    driver: RefCell<Option<Waker>>,
    /// Who waits for what the server says first: the one who made the connection.
    waiting: RefCell<Option<Waker>>,
    settled: Cell<bool>,
    /// What the server said against the TLS handshake, once the connection has ended.
    refusal: RefCell<Option<String>>,
    /// Whether that was told.
    told: Cell<bool>,
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            leaving: Cell::new(false),
            heard: Cell::new(now),
            unanswered_since: Cell::new(now),
            abandoned: Cell::new(false),
            driver: RefCell::default(),
            waiting: RefCell::default(),
            settled: Cell::new(false),
            refusal: RefCell::default(),
            told: Cell::new(false),
        }
    }

    /// Wakes who waits.
    fn tell(&self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("address", &self.address)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Speaks HTTP/2 on a new connection from now on; none: it is of no use.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        stream: Stream,
        address: SocketAddr,
        (tls, permit): (Option<ServerTls>, Option<Permit>),
    ) -> Option<Rc<Self>> {
        let pipe = Rc::new(RefCell::new(Pipe::new(
            Rc::clone(worker),
            stream,
            Meter::of_server(BUDGETS),
            Vec::new(),
        )));
        pipe.borrow_mut().greeted();
        let handshake = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(HEAD_BYTES)
            .data_frame_budget(SMALL_DATA)
            // Frames of requests that were given up are on their way for a while; that is no fault of the server's.
            .max_concurrent_reset_streams(MAX_STREAMS as usize)
            .max_local_error_reset_streams(None)
            .handshake(PipeEnd(Rc::clone(&pipe)));
        // It only writes, and the pipe takes what is written.
        let mut unwoken = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok((send, connection))) = pin!(handshake).poll(&mut unwoken) else {
            return None;
        };
        let state = Rc::new(State::new(worker.wheel.now()));
        let weak = Rc::downgrade(&pipe);
        let driver = Driver {
            connection,
            pipe,
            state: Rc::clone(&state),
            timer: worker.wheel.timer(),
            worker: Rc::clone(worker),
            leaves: false,
            _permit: permit,
        };
        tokio::task::spawn_local(driver.run());
        Some(Rc::new(Self {
            send: RefCell::new(send),
            address,
            state,
            streams: Cell::new(0),
            idle_since: Cell::new(None),
            tls,
            pipe: weak,
        }))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether it is as secure as `tls` has it now.
    pub(crate) fn is_secured_by(&self, tls: Option<&ServerTls>) -> bool {
        match (&self.tls, tls) {
            (Some(one), Some(other)) => one.is(other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether it takes more requests, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        let mut unwoken = Context::from_waker(Waker::noop());
        let broken = matches!(self.send.borrow_mut().poll_ready(&mut unwoken), Poll::Ready(Err(_)));
        !self.state.leaving.get() && !broken
    }

    /// Whether, as far as the kernel knows, the server has neither closed it nor said anything.
    ///
    /// *Cost*: a system call.
    pub(crate) fn is_silent(&self) -> bool {
        let pipe = self.pipe.upgrade();
        pipe.is_some_and(|pipe| pipe.try_borrow().is_ok_and(|pipe| pipe.is_silent()))
    }

    /// When something was last heard of the server.
    pub(super) fn heard(&self) -> Instant {
        self.state.heard.get()
    }

    /// A request was sent.
    pub(super) fn asks(&self, now: Instant) {
        if self.state.unanswered_since.get() <= self.heard() {
            self.state.unanswered_since.set(now);
        }
    }

    /// A request was given up. A connection on which nothing comes takes no more of them: if it is dead, nobody would notice as long as
    /// requests are written to it.
    pub(super) fn gave_up(&self) {
        // Before anybody was waiting there was nothing to say.
        let silent_since = self.state.unanswered_since.get().max(self.heard());
        if Instant::now().saturating_duration_since(silent_since) >= SILENCE {
            self.state.leaving.set(true);
        }
    }

    /// Whether what the server said against a TLS handshake has not been told yet; it has been then.
    pub(crate) fn is_news(&self) -> bool {
        !self.state.told.replace(true)
    }

    /// What the server said against a TLS handshake that was complete on this side.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.state.refusal.borrow().clone()
    }

    /// Whether it carries nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Since when it has carried nothing, as far as it was looked at; none: it does.
    pub(crate) fn idle_since(&self, now: Instant) -> Option<Instant> {
        let since = self.is_idle().then(|| self.idle_since.get().unwrap_or(now));
        self.idle_since.set(since);
        since
    }

    /// A stream for one more request; none: there is no room for one.
    pub(crate) fn open(self: &Rc<Self>) -> Option<Opened> {
        if self.streams.get() >= self.room() || !self.is_open() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        self.idle_since.set(None);
        Some(Opened::new(Rc::clone(self)))
    }

    /// How many requests it carries at once.
    pub(crate) fn room(&self) -> usize {
        self.send.borrow().current_max_send_streams().min(MAX_STREAMS as usize)
    }

    /// A stream ended.
    pub(super) fn ended(&self) {
        self.streams.set(self.streams.get() - 1);
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.send.borrow().clone()
    }

    /// Whether the server takes WebSockets on streams (RFC 8441).
    pub(super) fn takes_websockets(&self) -> bool {
        self.send.borrow().is_extended_connect_protocol_enabled()
    }

    /// Waits until the server has said how much it takes, before which nobody knows how many may share the connection; false: it
    /// said something else.
    pub(crate) async fn settled(&self) -> bool {
        poll_fn(|cx| {
            if !self.state.settled.get() && !self.state.leaving.get() {
                *self.state.waiting.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(self.state.settled.get() && !self.state.leaving.get())
        })
        .await
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.state.abandoned.set(true);
        if let Some(waker) = self.state.driver.take() {
            waker.wake();
        }
    }
}

/// What moves the frames of a connection.
struct Driver {
    connection: Connection<PipeEnd, Bytes>,
    pipe: Rc<RefCell<Pipe>>,
    state: Rc<State>,
    worker: Rc<Worker>,
    timer: Timer,
    /// Whether it is to end soon.
    leaves: bool,
    /// Its part of the connections that its upstream may have, for as long as there is one.
    _permit: Option<Permit>,
}

impl Driver {
    /// Moves frames until the connection ends.
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        self.state.leaving.set(true);
        *self.state.refusal.borrow_mut() = self.pipe.borrow().refusal();
        self.state.tell();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ended = Pin::new(&mut self.connection).poll(cx).is_ready();
        let mut pipe = self.pipe.borrow_mut();
        let broken = matches!(pipe.poll_send(cx), Poll::Ready(Err(_)));
        self.state.heard.set(pipe.heard());
        if pipe.has_settings() && !self.state.settled.replace(true) {
            self.state.tell();
        }
        if ended || broken || pipe.is_deaf() {
            return Poll::Ready(());
        }
        if !self.state.abandoned.get() {
            *self.state.driver.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // The library says goodbye, and a server that does not listen is not waited for.
        if !std::mem::replace(&mut self.leaves, true) {
            self.timer.set(self.worker.wheel.now() + GOODBYE);
        }
        self.timer.poll_expired(cx)
    }
}
