//! How do several requests share one connection to a server?

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use isobar_net::stream::Stream;
use isobar_upstream::Permit;
use isobar_wire::http2::meter::{Budgets, Meter};

use super::opened::Opened;
use super::pipe::{Pipe, PipeEnd};
use crate::{ServerTls, Worker};

/// What a server may do that costs it nothing, before its connection is taken for broken.
const BUDGETS: Budgets = Budgets {
    window_ms: 10_000,
    resets: 10_000,
    resets_sent: 10_000,
    pings: 1_000,
    settings: 100,
    empty_data: 1_000,
    priorities: 1_000,
    window_updates: 10_000,
    continuations: 16,
};

/// Requests that one connection carries at once at most, whatever the server allows.
const MAX_STREAMS: usize = 1_000;

/// Bytes of one answer that a server may send ahead of the client that takes them, and of all answers of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

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
    /// Its part of the connections that its upstream may have.
    _permit: Option<Permit>,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct State {
    /// Whether it takes no more requests.
    leaving: Cell<bool>,
    /// Who waits for what the server says first: the one who made the connection.
    waiting: RefCell<Option<Waker>>,
    settled: Cell<bool>,
    /// What the server said against the TLS handshake, once the connection has ended.
    refusal: RefCell<Option<String>>,
}

impl State {
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
            .handshake(PipeEnd(Rc::clone(&pipe)));
        // It only writes, and the pipe takes what is written.
        let mut unwoken = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok((send, connection))) = pin!(handshake).poll(&mut unwoken) else {
            return None;
        };
        let state = Rc::new(State::default());
        tokio::task::spawn_local(drive(connection, pipe, Rc::clone(&state)));
        Some(Rc::new(Self {
            send: RefCell::new(send),
            address,
            state,
            streams: Cell::new(0),
            idle_since: Cell::new(None),
            tls,
            _permit: permit,
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

    /// What the server said against a TLS handshake that was complete on this side.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.state.refusal.borrow().clone()
    }

    /// Gives it no more requests.
    pub(crate) fn leave(&self) {
        self.state.leaving.set(true);
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
        let max = self.send.borrow().current_max_send_streams().min(MAX_STREAMS);
        if self.streams.get() >= max || !self.is_open() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        self.idle_since.set(None);
        Some(Opened::new(Rc::clone(self)))
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

/// Moves the frames of a connection until it ends.
async fn drive(mut connection: Connection<PipeEnd, Bytes>, pipe: Rc<RefCell<Pipe>>, state: Rc<State>) {
    poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx).is_ready();
        let mut pipe = pipe.borrow_mut();
        let broken = matches!(pipe.poll_send(cx), Poll::Ready(Err(_)));
        if pipe.has_settings() && !state.settled.replace(true) {
            state.tell();
        }
        if ended || broken || pipe.is_deaf() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    state.leaving.set(true);
    *state.refusal.borrow_mut() = pipe.borrow().refusal();
    state.tell();
}
