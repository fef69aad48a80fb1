//! How does the HTTP/2 connection of a client live?

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request};
use isobar_observe::Cause;
use isobar_plan::{Http2, Http2Budgets};
use isobar_wire::http2::PREFACE;
use isobar_wire::http2::frames::Fault;
use isobar_wire::http2::meter::{Budgets, Excess, Meter};

use super::accepted::{Accepted, Link};
use super::pipe::{Pipe, PipeEnd};
use crate::Worker;
use crate::carrier::Carrier;
use crate::connection::{Client, Session};
use crate::record;

/// The first bytes of a client that speaks HTTP/2 without having agreed on it; no request of HTTP/1 begins so.
const PREFACE_BEGINS: &[u8] = b"PRI ";

/// What unread pieces of bodies may cost beside what is in them: 256 bytes each, less what is in them.
const SMALL_DATA: usize = 8 << 20;

/// How long a connection that was told to end may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Whether a client's first bytes are those of HTTP/2.
pub(crate) fn begins_with_preface(bytes: &[u8]) -> bool {
    bytes.starts_with(PREFACE_BEGINS) && bytes.iter().zip(PREFACE).all(|(byte, expected)| byte == expected)
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Nothing yet.
    Nothing,
    /// Its requests, which have deadlines of their own.
    Requests,
    /// The next request.
    Idle,
    /// The rest of the head with this number.
    Head(u64),
    /// That the client takes more than so many bytes of what it is sent.
    Taking(u64),
    /// Its end.
    Goodbye,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both sides know.
    Clean,
    /// The client has been told why, and should hear it.
    Told,
}

/// A connection that is served.
struct Serving<'a> {
    worker: &'a Rc<Worker>,
    connection: Connection<PipeEnd, Bytes>,
    pipe: Rc<RefCell<Pipe>>,
    link: Rc<Link>,
    wait: Wait,
    /// Until when it waits; none: for as long as it takes.
    deadline: Option<Instant>,
    /// What the timer is set to.
    alarm: Option<Instant>,
    /// Whether the client was told that no more requests are taken.
    leaving: bool,
    /// Whether it was told so for what it did.
    condemned: bool,
}

/// Serves the requests of a connection, of which `came` has been read, until it ends.
pub(crate) async fn serve(worker: &Rc<Worker>, client: &mut Client, came: Vec<u8>) {
    let Some(rules) = client.site.site.listener.http2 else {
        return;
    };
    let link = Rc::new(Link::new(client.stream.secured()));
    let Carrier::Connection(stream) = mem::replace(&mut client.stream, Carrier::Shared) else {
        return;
    };
    let meter = Meter::of_client(budgets(&rules.budgets));
    let pipe = Rc::new(RefCell::new(Pipe::new(Rc::clone(worker), stream, meter, came)));
    let end = match connect(worker, client, &pipe, &rules).await {
        Some(connection) => {
            client.timer.clear();
            pipe.borrow_mut().greeted();
            let mut serving = Serving {
                worker,
                connection,
                pipe: Rc::clone(&pipe),
                link,
                wait: Wait::Nothing,
                deadline: None,
                alarm: None,
                leaving: false,
                condemned: false,
            };
            poll_fn(|cx| serving.poll(cx, client)).await
        }
        None => End::Clean,
    };
    // Streams hold on to what the library knows of them, and not to the pipe.
    let Some(pipe) = Rc::into_inner(pipe) else { return };
    client.stream = Carrier::Connection(pipe.into_inner().into_stream());
    match end {
        End::Clean => client.stream.say_goodbye(),
        End::Told => client.linger(worker).await,
    }
}

/// Waits for the client's first frames; none: they did not come.
async fn connect(
    worker: &Rc<Worker>,
    client: &Client,
    pipe: &Rc<RefCell<Pipe>>,
    rules: &Http2,
) -> Option<Connection<PipeEnd, Bytes>> {
    let listener = &client.site.site.listener;
    let mut handshake = Builder::new()
        .max_concurrent_streams(rules.max_concurrent_streams)
        .initial_window_size(rules.stream_window)
        .initial_connection_window_size(rules.connection_window)
        .max_send_buffer_size(rules.send_buffer as usize)
        .max_header_list_size(listener.limits.max_head_bytes)
        // What is counted here by time, the library would count for as long as the connection lives.
        .max_pending_accept_reset_streams(usize::MAX)
        .max_concurrent_reset_streams(rules.max_concurrent_streams as usize)
        .max_local_error_reset_streams(None)
        .data_frame_budget(SMALL_DATA)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(PipeEnd(Rc::clone(pipe)));
    client.timer.set(worker.wheel.now() + listener.timeouts.idle);
    let connected = poll_fn(|cx| {
        worker.roster.note(client.seat(), cx.waker());
        let connected = Pin::new(&mut handshake).poll(cx);
        if let Poll::Ready(Err(_)) = pipe.borrow_mut().poll_send(cx) {
            return Poll::Ready(None);
        }
        match connected {
            Poll::Ready(connected) => Poll::Ready(connected.ok()),
            Poll::Pending if !client.may_stay(worker) => Poll::Ready(None),
            Poll::Pending => client.timer.poll_expired(cx).map(|()| None),
        }
    });
    connected.await
}

impl Serving<'_> {
    /// Begins what clients ask for, and sends what was answered; ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Poll<End> {
        self.worker.roster.note(client.seat(), cx.waker());
        client.refresh(self.worker);
        loop {
            if let Poll::Ready(result) = self.poll_requests(cx, client) {
                if let Err(error) = &result
                    && !self.condemned
                    && error.is_library()
                {
                    let excess = is_flood(error).then_some(Excess::Frames);
                    let cause = excess.map_or(Cause::ClientMalformed, |_| Cause::ClientFlood);
                    record::end(self.worker, client, cause, excess);
                }
                let broken = self.pipe.borrow_mut().poll_send(cx);
                return match (result, broken) {
                    (Ok(()), _) if !self.condemned => Poll::Ready(End::Clean),
                    (_, Poll::Ready(Err(_))) => Poll::Ready(End::Clean),
                    _ => Poll::Ready(End::Told),
                };
            }
            if self.worker.is_cutting() {
                return Poll::Ready(End::Clean);
            }
            if !self.turns(client) {
                break;
            }
        }
        if let Poll::Ready(Err(_)) = self.pipe.borrow_mut().poll_send(cx) {
            return Poll::Ready(End::Clean);
        }
        self.poll_deadline(cx, client)
    }

    /// Begins the requests that have come; ready when none will.
    fn poll_requests(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<Result<(), h2::Error>> {
        loop {
            match ready!(self.connection.poll_accept(cx)) {
                Some(Ok((request, respond))) => self.begin(request, respond, client),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn begin(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, client: &Client) {
        if request.method() == Method::CONNECT && request.uri().authority().is_none() {
            // It does not say to whom (RFC 9113 section 8.5).
            return respond.send_reset(Reason::PROTOCOL_ERROR);
        }
        let chance = || {
            let mut chance = self.worker.chance.borrow_mut();
            [chance.below(u64::MAX), chance.below(u64::MAX)]
        };
        let stream = Accepted::new(request, respond, &self.link, chance);
        let session = Session::of_stream(self.worker, client, stream);
        tokio::task::spawn_local(session.run_stream());
    }

    /// Tells the client to leave, where there is reason to; whether there is news for the library.
    fn turns(&mut self, client: &Client) -> bool {
        let (excess, fault) = {
            let pipe = self.pipe.borrow();
            (pipe.excess(), pipe.fault())
        };
        if (excess.is_some() || fault.is_some()) && !self.condemned {
            let (cause, reason) = match fault {
                Some(Fault::Length) => (Cause::ClientMalformed, Reason::FRAME_SIZE_ERROR),
                Some(Fault::Direction) => (Cause::ClientMalformed, Reason::PROTOCOL_ERROR),
                None => (Cause::ClientFlood, Reason::ENHANCE_YOUR_CALM),
            };
            self.condemn(client, cause, excess.filter(|_| fault.is_none()), reason);
            return true;
        }
        if !self.leaving && !client.may_stay(self.worker) {
            self.leaving = true;
            self.connection.graceful_shutdown();
            return true;
        }
        false
    }

    /// Ends the connection with all requests on it.
    fn condemn(&mut self, client: &Client, cause: Cause, excess: Option<Excess>, reason: Reason) {
        self.condemned = true;
        self.leaving = true;
        record::end(self.worker, client, cause, excess);
        self.connection.abrupt_shutdown(reason);
    }

    /// Waits no longer than it may.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<End> {
        let timeouts = &client.site.site.listener.timeouts;
        let (wait, patience) = {
            let pipe = self.pipe.borrow();
            match () {
                () if self.condemned => (Wait::Goodbye, Some(GOODBYE)),
                () if let Some(taken) = pipe.owed_since() => (Wait::Taking(taken), Some(timeouts.write)),
                () if pipe.is_within_head() => (Wait::Head(pipe.heads()), Some(timeouts.head)),
                () if Rc::strong_count(&self.link) > 1 => (Wait::Requests, None),
                // Those whose requests are over, and that the client has no room for.
                () if self.connection.has_streams() => (Wait::Taking(0), Some(timeouts.write)),
                () if self.leaving => (Wait::Goodbye, Some(GOODBYE)),
                () => (Wait::Idle, Some(timeouts.idle)),
            }
        };
        if wait != self.wait {
            self.wait = wait;
            self.deadline = patience.map(|patience| self.worker.wheel.now() + patience);
        }
        // It may also grow old meanwhile, and has been told to leave when that comes to pass.
        let age = client.leaves_at().filter(|_| !self.leaving);
        let alarm = self.deadline.into_iter().chain(age).min();
        if alarm != self.alarm {
            self.alarm = alarm;
            match alarm {
                Some(alarm) => client.timer.set(alarm),
                None => client.timer.clear(),
            }
        }
        ready!(client.timer.poll_expired(cx));
        self.wait = Wait::Nothing;
        self.alarm = None;
        match wait {
            Wait::Taking(_) => return Poll::Ready(End::Clean),
            Wait::Goodbye => return Poll::Ready(if self.condemned { End::Told } else { End::Clean }),
            Wait::Head(_) => {
                self.condemn(client, Cause::ClientHeadTimeout, None, Reason::ENHANCE_YOUR_CALM);
            }
            Wait::Nothing | Wait::Requests | Wait::Idle if !self.leaving => {
                self.leaving = true;
                self.connection.graceful_shutdown();
            }
            Wait::Nothing | Wait::Requests | Wait::Idle => {}
        }
        // The library has something to say.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whether the library ended a connection for what it was made to do for nothing.
fn is_flood(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
}

fn budgets(plan: &Http2Budgets) -> Budgets {
    let Http2Budgets {
        window,
        resets,
        resets_sent,
        pings,
        settings,
        empty_data,
        priorities,
        window_updates,
        continuations,
    } = *plan;
    Budgets {
        window_ms: u32::try_from(window.as_millis()).unwrap_or(u32::MAX),
        resets,
        resets_sent,
        pings,
        settings,
        empty_data,
        priorities,
        window_updates,
        continuations,
    }
}
