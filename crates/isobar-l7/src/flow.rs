//! How do the bytes of one exchange move both ways at once?
//!
//! A [`Flow`] borrows the two connections and the exchange between them for one phase: until the answer begins
//! ([`Flow::poll_answer`]), then until it ends ([`Flow::poll_body`]). The request's body goes on beneath both
//! ([`crate::upload`]), because a server may answer before it has read everything. Nothing here holds a buffer
//! while it waits, except for bytes that one side sent and the other has not yet taken.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use isobar_l4::throttle::Way;
use isobar_net::stream::Peeked;
use isobar_net::wheel::Timer;
use isobar_observe::Cause;

use crate::carrier::Carrier;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::forward::Ways;
use crate::server::ServerConnection;

/// Buffers that grew past this are given back when their exchange ends.
const KEPT_BUFFER_BYTES: usize = 4 * 1024;

/// Two connections, and the exchange between them.
pub(crate) struct Flow<'a> {
    pub(crate) ways: &'a Ways<'a>,
    pub(crate) client: &'a mut Client,
    pub(crate) server: &'a mut ServerConnection,
    pub(crate) exchange: &'a mut Exchange,
}

/// Bytes that a peer has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

/// Whom one direction waits for, and so whose deadline is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nobody yet: the next one waited for gets a new deadline.
    #[default]
    Nobody,
    /// The client.
    Client,
    /// The server.
    Server,
    /// The other direction, which has deadlines of its own.
    Upload,
    /// Either side of a stream.
    Anybody,
    /// Nobody, but it is time to look whether the client is still there.
    Watch,
    /// Its turn among those that share the rate of a limit.
    Turn,
}

/// How long a server may take before a connection outside the reactor joins it to be watched.
const WATCH_PATIENCE: Duration = Duration::from_millis(250);

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// How many bytes there are.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BUFFER_BYTES);
        self.sent = 0;
    }

    /// Takes what is here.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.sent));
        bytes
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes what is here; ready when all of it is taken.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut Carrier) -> Poll<std::io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match to.poll_write(cx, rest) {
                Poll::Ready(Ok(count)) => self.sent += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.clear();
        Poll::Ready(Ok(()))
    }

    /// Writes the last bytes before the connection is closed, and keeps what the peer does not take.
    pub(crate) fn write_last(&mut self, cx: &mut Context<'_>, to: &mut Carrier, bytes: &[u8]) -> std::io::Result<()> {
        let mut taken = 0;
        if self.is_empty()
            && let Poll::Ready(written) = to.poll_write_last(cx, bytes)
        {
            taken = written?;
        }
        self.push(bytes.get(taken..).unwrap_or_default());
        Ok(())
    }

    /// Leaves a small message with the worker's ring where it may ([`Carrier::poll_write_soon`]), and keeps what the peer does
    /// not take. How many bytes it took.
    pub(crate) fn write_soon(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Carrier,
        message: &[u8],
    ) -> std::io::Result<usize> {
        let mut taken = 0;
        if self.is_empty()
            && let Poll::Ready(written) = to.poll_write_soon(cx, message)
        {
            taken = written?;
        }
        self.push(message.get(taken..).unwrap_or_default());
        Ok(taken)
    }

    /// Writes `head` and `data` in one call, and keeps what the peer does not take. How many bytes it took.
    pub(crate) fn write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Carrier,
        head: &[u8],
        data: &[u8],
    ) -> std::io::Result<usize> {
        let mut taken = 0;
        if self.is_empty() {
            let written = match (head.is_empty(), data.is_empty()) {
                (true, true) => return Ok(0),
                (false, true) => to.poll_write(cx, head),
                (true, false) => to.poll_write(cx, data),
                (false, false) => to.poll_write_vectored(cx, [head, data]),
            };
            if let Poll::Ready(written) = written {
                taken = written?;
            }
        }
        self.push(head.get(taken..).unwrap_or_default());
        self.push(data.get(taken.saturating_sub(head.len())..).unwrap_or_default());
        Ok(taken)
    }
}

impl Wait {
    /// Waits for `whom`: sets a deadline unless it is set already. Ready when it has passed.
    pub(crate) fn poll_for(
        &mut self,
        cx: &mut Context<'_>,
        whom: Self,
        timer: &Timer,
        deadline: impl FnOnce() -> Instant,
    ) -> Poll<()> {
        if *self != whom {
            timer.set(deadline());
            *self = whom;
        }
        timer.poll_expired(cx)
    }
}

impl Flow<'_> {
    /// Whether the kernel can pass bytes on by itself.
    pub(crate) fn is_plain(&self) -> bool {
        self.client.stream.is_plain() && self.server.stream.is_plain()
    }

    /// The response direction waits for the server: ready, with the cause, when it took too long.
    pub(crate) fn poll_server_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let Self {
            ways, server, exchange, ..
        } = self;
        let deadline = || ways.worker.wheel.now() + ways.rules.timeouts.read;
        exchange
            .download_wait
            .poll_for(cx, Wait::Server, &server.timer, deadline)
            .map(|()| Cause::ReadTimeout)
    }

    /// The head of the answer is waited for: ready, with the cause, when it took too long.
    pub(crate) fn poll_head_deadline(&mut self, cx: &mut Context<'_>, now: Option<Instant>) -> Poll<Cause> {
        let Self {
            ways, server, exchange, ..
        } = self;
        let one_try = exchange.try_began.zip(ways.rules.retry.try_timeout);
        let one_try =
            one_try.map(|(began, timeout)| exchange.report.uploaded.map_or(began, |at| at.max(began)) + timeout);
        let all = exchange.again.deadline;
        let now = || now.unwrap_or_else(|| ways.worker.wheel.now());
        let (patience, silence) = match exchange.report.call {
            Some(_) => (ways.rules.timeouts.idle.both, Cause::IdleTimeout),
            None => (ways.rules.timeouts.read, Cause::ReadTimeout),
        };
        let read = || now() + patience;
        let deadline = || one_try.into_iter().chain(all).fold(read(), Instant::min);
        let expired = exchange
            .download_wait
            .poll_for(cx, Wait::Server, &server.timer, deadline);
        expired.map(|()| {
            let now = ways.worker.wheel.now();
            let one_try = one_try.filter(|one_try| now >= *one_try);
            exchange.overdue(now).unwrap_or(match one_try {
                Some(_) => Cause::TryTimeout,
                None => silence,
            })
        })
    }

    /// The client's bytes wait for the sake of a limit: nobody is late but a call that has a time of its own. Ready, with the cause, when
    /// that is over, or the client has left.
    pub(crate) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        if self.exchange.upload.is_done()
            && let Poll::Ready(cause) = poll_watch_patiently(cx, self.ways, self.client, self.exchange)
        {
            return Poll::Ready(cause);
        }
        let Self { server, exchange, .. } = self;
        let Some(until) = exchange.report.call_until() else {
            exchange.download_wait = Wait::Nobody;
            return Poll::Pending;
        };
        exchange
            .download_wait
            .poll_for(cx, Wait::Turn, &server.timer, || until)
            .map(|()| Cause::ClientDeadline)
    }

    /// Nothing moves in either direction of a stream: ready, with the cause, when that lasts too long, or there is no time left.
    pub(crate) fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        if self.client.stream.is_held(Way::Up) || self.client.stream.is_held(Way::Down) {
            return self.poll_held(cx);
        }
        let Self {
            ways, server, exchange, ..
        } = self;
        let all = match exchange.report.answer_begun {
            true => exchange.report.call_until(),
            false => exchange.again.deadline,
        };
        let idle = || ways.worker.wheel.now() + ways.rules.timeouts.idle.both;
        let expired = exchange.download_wait.poll_for(cx, Wait::Anybody, &server.timer, || {
            all.into_iter().fold(idle(), Instant::min)
        });
        expired.map(|()| exchange.overdue(ways.worker.wheel.now()).unwrap_or(Cause::IdleTimeout))
    }

    /// The request is under way, and its own deadlines hold: ready, with the cause, when all tries together took too long.
    pub(crate) fn poll_upload_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let Self { server, exchange, .. } = self;
        let Some(deadline) = exchange.again.deadline else {
            exchange.download_wait = Wait::Nobody;
            return Poll::Pending;
        };
        exchange
            .download_wait
            .poll_for(cx, Wait::Upload, &server.timer, || deadline)
            .map(|()| Cause::DeadlineExceeded)
    }

    /// The response direction waits for the client: ready, with the cause, when it took too long.
    pub(crate) fn poll_client_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        if self.client.stream.is_held(Way::Down) {
            return self.poll_held(cx);
        }
        let Self {
            ways, server, exchange, ..
        } = self;
        let write = || ways.worker.wheel.now() + ways.site.site.listener.timeouts.write;
        let until = exchange.report.call_until();
        let expired = exchange.download_wait.poll_for(cx, Wait::Client, &server.timer, || {
            until.into_iter().fold(write(), Instant::min)
        });
        expired.map(|()| {
            let overdue = exchange.overdue(ways.worker.wheel.now());
            overdue.unwrap_or(Cause::ClientWriteTimeout)
        })
    }
}

/// Sends the client what is left of the answer, after the server has done its part.
pub(crate) fn poll_flushed(
    cx: &mut Context<'_>,
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Poll<Result<(), Cause>> {
    let before = exchange.to_client.left();
    match exchange.to_client.poll_flush(cx, &mut client.stream) {
        Poll::Ready(result) => Poll::Ready(result.map_err(|_| Cause::ClientClosed)),
        Poll::Pending => {
            if exchange.to_client.left() < before {
                exchange.download_wait = Wait::Nobody;
            }
            if client.stream.is_held(Way::Down) {
                exchange.download_wait = Wait::Nobody;
                return poll_watch_patiently(cx, ways, client, exchange).map(Err);
            }
            let deadline = || ways.worker.wheel.now() + ways.site.site.listener.timeouts.write;
            let expired = exchange
                .download_wait
                .poll_for(cx, Wait::Client, &client.timer, deadline);
            expired.map(|()| Err(Cause::ClientWriteTimeout))
        }
    }
}

/// Ready, with the cause, when a client that owes us nothing has gone away, so that nobody works for it in vain.
///
/// A client that announced the end of its connection (`Connection: close`, HTTP/1.0) may close its sending side and
/// still wait for the answer; one that did not is taken to be gone, as nginx does.
pub(crate) fn poll_watch(cx: &mut Context<'_>, client: &mut Client, exchange: &mut Exchange) -> Poll<Cause> {
    if exchange.client_ahead {
        return Poll::Pending;
    }
    while client.stream.poll_event(cx).is_ready() {
        match client.stream.peek(cx) {
            Peeked::Nothing => {}
            Peeked::Data => {
                exchange.client_ahead = true;
                return Poll::Pending;
            }
            Peeked::End if !exchange.request.keep_alive => {
                exchange.client_ahead = true;
                return Poll::Pending;
            }
            Peeked::End | Peeked::Broken => return Poll::Ready(Cause::ClientClosed),
        }
    }
    Poll::Pending
}

/// Watches as [`poll_watch`] does, but a connection outside the reactor only after a while: it would have to join just
/// for that, and short ones never need to. The request's own timer has nothing else to do by then.
pub(crate) fn poll_watch_patiently(
    cx: &mut Context<'_>,
    ways: &Ways<'_>,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Poll<Cause> {
    if !client.stream.is_watched() {
        let deadline = || ways.worker.wheel.now() + WATCH_PATIENCE;
        let patient = exchange.upload_wait.poll_for(cx, Wait::Watch, &client.timer, deadline);
        if patient.is_pending() {
            return Poll::Pending;
        }
        if client.stream.watch().is_err() {
            return Poll::Ready(Cause::OutOfResources);
        }
    }
    poll_watch(cx, client, exchange)
}
