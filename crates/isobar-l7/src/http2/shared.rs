//! How do several requests share one connection to a server?

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use isobar_net::stream::Stream;
use isobar_net::wheel::Timer;
use isobar_upstream::Permit;
use isobar_wire::HeadLimits;
use isobar_wire::http2::meter::Budgets;
use isobar_wire::http2::{Connection, ErrorCode, Settings};

use super::opened::Opened;
use super::pipe::Pipe;
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

/// Bytes of requests that are held for a server.
const OUTBOX: usize = 64 * 1024;

/// What we allow a server.
const SETTINGS: Settings = Settings {
    // Servers open none.
    max_concurrent_streams: 0,
    stream_window: STREAM_WINDOW,
    connection_window: CONNECTION_WINDOW,
    max_held: 2 * CONNECTION_WINDOW as usize,
    head: HeadLimits {
        max_bytes: 64 * 1024 - 1,
        max_fields: 256,
    },
};

/// A connection to a server that carries several requests at once. It closes when nobody has it any more.
pub(crate) struct Shared {
    pipe: Rc<Pipe>,
    address: SocketAddr,
    state: Rc<State>,
    streams: Cell<usize>,
    /// When it was first seen to carry nothing.
    idle_since: Cell<Option<Instant>>,
    /// What it is secured by; none: it is not.
    tls: Option<ServerTls>,
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
    /// Whether nobody has it any more.
    abandoned: Cell<bool>,
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
    /// Speaks HTTP/2 on a new connection from now on.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        stream: Stream,
        address: SocketAddr,
        (tls, permit): (Option<ServerTls>, Option<Permit>),
    ) -> Rc<Self> {
        let begin = |out: &mut Vec<u8>| Connection::of_client(SETTINGS, BUDGETS, out);
        let pipe = Pipe::new(worker, stream, OUTBOX, begin);
        let state = Rc::new(State::new(worker.wheel.now()));
        let driver = Driver {
            pipe: Rc::clone(&pipe),
            state: Rc::clone(&state),
            timer: worker.wheel.timer(),
            worker: Rc::clone(worker),
            leaves: false,
            _permit: permit,
        };
        tokio::task::spawn_local(driver.run());
        Rc::new(Self {
            pipe,
            address,
            state,
            streams: Cell::new(0),
            idle_since: Cell::new(None),
            tls,
        })
    }

    pub(super) fn pipe(&self) -> &Pipe {
        &self.pipe
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
        !self.state.leaving.get() && self.pipe.ask(Connection::is_open)
    }

    /// Whether, as far as the kernel knows, the server has neither closed it nor said anything.
    ///
    /// *Cost*: a system call.
    pub(crate) fn is_silent(&self) -> bool {
        self.pipe.is_silent()
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
        self.pipe.ask(Connection::max_streams).min(MAX_STREAMS) as usize
    }

    /// A stream ended.
    pub(super) fn ended(&self) {
        self.streams.set(self.streams.get() - 1);
    }

    /// Whether the server takes WebSockets on streams (RFC 8441).
    pub(super) fn takes_websockets(&self) -> bool {
        self.pipe.ask(Connection::takes_websockets)
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
        self.pipe.wake_driver();
    }
}

/// What moves the bytes of a connection.
struct Driver {
    pipe: Rc<Pipe>,
    state: Rc<State>,
    worker: Rc<Worker>,
    timer: Timer,
    /// Whether it is to end soon.
    leaves: bool,
    /// Its part of the connections that its upstream may have, for as long as there is one.
    _permit: Option<Permit>,
}

impl Driver {
    /// Moves bytes until the connection ends.
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        self.state.leaving.set(true);
        *self.state.refusal.borrow_mut() = self.pipe.refusal();
        self.state.tell();
        drop(self.pipe.into_stream());
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipe.poll_receive(cx);
        if self.state.abandoned.get() && !std::mem::replace(&mut self.leaves, true) {
            // A server that does not listen is not waited for.
            self.timer.set(self.worker.wheel.now() + GOODBYE);
            self.pipe
                .tell(|connection, out| connection.end(ErrorCode::NO_ERROR, out));
        }
        let sent = self.pipe.poll_send(cx);
        self.state.heard.set(self.pipe.heard());
        let (has_settings, is_over) = self.pipe.ask(|connection| {
            (
                connection.has_settings(),
                connection.over().is_some() || connection.is_done(),
            )
        });
        if has_settings && !self.state.settled.replace(true) {
            self.state.tell();
        }
        match sent {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            // Whoever broke the protocol is told so, as far as it listens at once.
            _ if is_over && !self.leaves => Poll::Ready(()),
            Poll::Ready(Ok(())) if is_over => Poll::Ready(()),
            _ if self.leaves => self.timer.poll_expired(cx),
            _ => Poll::Pending,
        }
    }
}
