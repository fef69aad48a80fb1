//! How does the HTTP/2 connection of a client live?

use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use isobar_observe::Cause;
use isobar_plan::Http2Budgets;
use isobar_wire::HeadLimits;
use isobar_wire::http2::meter::Budgets;
use isobar_wire::http2::{Connection, Ended, ErrorCode, PREFACE, Settings, StreamKey};

use super::accepted::{Accepted, Link, Securing};
use super::pipe::Pipe;
use crate::Worker;
use crate::carrier::Carrier;
use crate::connection::{Client, Session};
use crate::record::{self, Detail};

/// The first bytes of a client that speaks HTTP/2 without having agreed on it; no request of HTTP/1 begins so.
const PREFACE_BEGINS: &[u8] = b"PRI ";

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
    pipe: Rc<Pipe>,
    link: Rc<Link>,
    wait: Wait,
    /// Until when it waits; none: for as long as it takes.
    deadline: Option<Instant>,
    /// What the timer is set to.
    alarm: Option<Instant>,
    /// Whether the client was told that no more requests are taken.
    leaving: bool,
    /// Until when it may open more, because it may not have heard.
    last_word: Option<Instant>,
    /// Whether it was told so for what it did, and that was recorded.
    condemned: bool,
}

/// Serves the requests of a connection, of which `came` has been read, until it ends.
pub(crate) async fn serve(worker: &Rc<Worker>, client: &mut Client, came: Vec<u8>) {
    let Some(rules) = client.site.site.listener.http2 else {
        return;
    };
    let securing = Securing::of(client.stream.secured());
    let Carrier::Connection(stream) = mem::replace(&mut client.stream, Carrier::Shared) else {
        return;
    };
    let limits = &client.site.site.listener.limits;
    let settings = Settings {
        max_concurrent_streams: rules.max_concurrent_streams,
        stream_window: rules.stream_window,
        connection_window: rules.connection_window,
        max_held: rules.max_memory as usize,
        head: HeadLimits {
            max_bytes: limits.max_head_bytes as usize,
            max_fields: usize::from(limits.max_headers),
        },
    };
    let pipe = Pipe::new(worker, stream, rules.send_buffer as usize, |out| {
        Connection::of_server(settings, budgets(&rules.budgets), out)
    });
    pipe.receive(&came);
    drop(came);
    let mut serving = Serving {
        worker,
        pipe: Rc::clone(&pipe),
        link: Rc::new(Link::new(Rc::clone(&pipe), securing)),
        wait: Wait::Nothing,
        deadline: None,
        alarm: None,
        leaving: false,
        last_word: None,
        condemned: false,
    };
    let end = poll_fn(|cx| serving.poll(cx, client)).await;
    let Some(stream) = pipe.into_stream() else { return };
    client.stream = Carrier::Connection(stream);
    match end {
        End::Clean => client.stream.say_goodbye(),
        End::Told => client.linger(worker).await,
    }
}

impl Serving<'_> {
    /// Begins what clients ask for, and sends what was answered; ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Poll<End> {
        self.worker.roster.note(client.seat(), cx.waker());
        client.refresh(self.worker);
        self.pipe.poll_receive(cx);
        while let Some(key) = self.pipe.accept() {
            self.begin(key, client);
        }
        if self.worker.is_cutting() {
            return Poll::Ready(End::Clean);
        }
        if !self.leaving && !client.may_stay(self.worker) {
            self.leave();
        }
        let sent = self.pipe.poll_send(cx);
        let over = self.pipe.ask(Connection::over);
        match (over, sent) {
            (Some(Ended::Lost), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(End::Clean),
            (Some(ended), sent) => {
                self.condemn(client, ended);
                if sent.is_ready() {
                    return Poll::Ready(End::Told);
                }
            }
            (None, Poll::Ready(Ok(()))) if self.pipe.ask(Connection::is_done) => return Poll::Ready(End::Clean),
            (None, _) => {}
        }
        self.poll_deadline(cx, client)
    }

    fn begin(&self, key: StreamKey, client: &Client) {
        let chance = || {
            let mut chance = self.worker.chance.borrow_mut();
            [chance.below(u64::MAX), chance.below(u64::MAX)]
        };
        let stream = Accepted::new(key, &self.link, chance);
        let session = Session::of_stream(self.worker, client, stream);
        tokio::task::spawn_local(session.run_stream());
    }

    /// Asks the client to leave.
    fn leave(&mut self) {
        self.leaving = true;
        self.last_word = Some(self.worker.wheel.now() + GOODBYE);
        self.pipe.tell(Connection::leave);
    }

    /// Records why a connection ended with all requests on it.
    fn condemn(&mut self, client: &Client, ended: Ended) {
        self.leaving = true;
        if mem::replace(&mut self.condemned, true) {
            return;
        }
        let (cause, detail) = match ended {
            Ended::Broken { why, .. } => (Cause::ClientMalformed, Some(Detail::Protocol(why))),
            Ended::Flood(excess) => (Cause::ClientFlood, Some(Detail::Excess(excess))),
            Ended::Closed => (Cause::ClientHeadTimeout, None),
            Ended::Lost => return,
        };
        record::end(self.worker, client, cause, detail);
    }

    /// Waits no longer than it may.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<End> {
        let timeouts = &client.site.site.listener.timeouts;
        let owed = self.pipe.owed_since();
        let (is_within_head, heads, has_streams) = self.pipe.ask(|connection| {
            (
                connection.is_within_head(),
                connection.heads(),
                connection.has_streams(),
            )
        });
        let (wait, patience) = match () {
            () if self.condemned => (Wait::Goodbye, Some(GOODBYE)),
            () if let Some(taken) = owed => (Wait::Taking(taken), Some(timeouts.write)),
            () if is_within_head => (Wait::Head(heads), Some(timeouts.head)),
            () if has_streams => (Wait::Requests, None),
            () if self.leaving => (Wait::Goodbye, Some(GOODBYE)),
            () => (Wait::Idle, Some(timeouts.idle)),
        };
        if wait != self.wait {
            self.wait = wait;
            self.deadline = patience.map(|patience| self.worker.wheel.now() + patience);
        }
        // It may also grow old meanwhile, and has been told to leave when that comes to pass.
        let age = client.leaves_at().filter(|_| !self.leaving);
        let alarm = self.deadline.into_iter().chain(age).chain(self.last_word).min();
        if alarm != self.alarm {
            self.alarm = alarm;
            match alarm {
                Some(alarm) => client.timer.set(alarm),
                None => client.timer.clear(),
            }
        }
        ready!(client.timer.poll_expired(cx));
        self.alarm = None;
        if self.last_word.take_if(|at| *at <= self.worker.wheel.now()).is_some() {
            self.pipe.tell(Connection::insist);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.wait = Wait::Nothing;
        match wait {
            Wait::Taking(_) => return Poll::Ready(End::Clean),
            Wait::Goodbye => return Poll::Ready(if self.condemned { End::Told } else { End::Clean }),
            Wait::Head(_) => self
                .pipe
                .tell(|connection, out| connection.end(ErrorCode::ENHANCE_YOUR_CALM, out)),
            Wait::Nothing | Wait::Requests | Wait::Idle if !self.leaving => self.leave(),
            Wait::Nothing | Wait::Requests | Wait::Idle => {}
        }
        // There is something to say.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
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
