//! How does one request become one answer?
//!
//! [`run`] reads the request head, finds the route, and hands over to [`crate::forward`]. Whatever goes wrong on the
//! way is a [`Cause`], and becomes the client's answer in one place.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use isobar_net::splice::Pipe;
use isobar_observe::Cause;
use isobar_upstream::{Server, moment};
use isobar_wire::exchange::{Exchange as Machine, ResponseFraming, ResponseStep};
use isobar_wire::{BodyDecoder, BodyKind, HeadLimits, Parsed, RequestHead, ResponseHead, TargetForm};

use crate::again::Again;
use crate::connection::Client;
use crate::flow::{Outgoing, Wait};
use crate::forward::{Ways, forward};
use crate::limits::{self, Limited};
use crate::record::{Detail, Report};
use crate::sticky::Session;
use crate::worker::LocalSite;
use crate::{Worker, answer, deadline, grpc, key, record, request, sticky, web};

/// Buffers that grew past this are given back when their exchange ends.
pub(crate) const KEPT_BUFFER_BYTES: usize = 8 * 1024;

/// Everything one exchange needs beside its connections. Boxes of it are reused, so that a request allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Whether the request head is whole; ranges over it mean nothing before.
    pub(crate) head_read: bool,
    /// Whether the running attempt has begun to send it.
    pub(crate) head_sent: bool,
    /// Whether the server takes no more of the request.
    pub(crate) upload_refused: bool,
    /// Whether the server sent more than its answer.
    pub(crate) server_ahead: bool,
    machine: Option<Machine>,
    /// Bytes from the client: this request's head, what came behind it of its body, and of the next requests.
    pub(crate) inbound: Vec<u8>,
    /// How many of them belong to this request.
    pub(crate) consumed: usize,
    pub(crate) request: RequestHead,
    /// The canonical target, where it is not the one received.
    pub(crate) target: Vec<u8>,
    pub(crate) response: ResponseHead,
    /// The beginning of a response head that came in pieces.
    pub(crate) partial: Vec<u8>,
    pub(crate) to_client: Outgoing,
    pub(crate) to_server: Outgoing,
    pub(crate) upload: BodyDecoder,
    pub(crate) upload_wait: Wait,
    pub(crate) download: BodyDecoder,
    pub(crate) download_wait: Wait,
    pub(crate) framing: ResponseFraming,
    pub(crate) upload_pipe: Option<Pipe>,
    pub(crate) download_pipe: Option<Pipe>,
    /// Body bytes since the upload's deadline was set.
    pub(crate) upload_progress: u64,
    /// Whether the request can be sent again from what is in `inbound`.
    pub(crate) replayable: bool,
    /// Whether the client has sent more than this request, so that its connection need not be watched.
    pub(crate) client_ahead: bool,
    /// Servers that failed this request, and are not asked again while there are others.
    pub(crate) tried: Vec<Arc<Server>>,
    pub(crate) session: Session,
    /// When the running try began, where it has a timeout of its own.
    pub(crate) try_began: Option<Instant>,
    pub(crate) again: Again,
    pub(crate) limited: Limited,
    pub(crate) report: Report,
}

/// What becomes of the client connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It waits for another request.
    KeepAlive,
    /// It closes at once.
    Close,
    /// It closes when the client has heard it.
    Linger,
}

impl Exchange {
    /// Begins with the first bytes of a request.
    pub(crate) fn begin(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
        self.report.begin();
    }

    /// Begins with what the client sent behind the last request; false: there is nothing.
    pub(crate) fn begin_next(&mut self) -> bool {
        let consumed = self.consumed.min(self.inbound.len());
        self.inbound.drain(..consumed);
        // An empty line behind a body is a mistake of old clients, and no request (RFC 9112 section 2.2).
        if self.inbound.is_empty() || self.inbound == b"\r\n" {
            return false;
        }
        let inbound = std::mem::take(&mut self.inbound);
        self.clear();
        self.inbound = inbound;
        self.report.begin();
        true
    }

    /// Forgets everything but what is allocated, within reason.
    pub(crate) fn clear(&mut self) {
        for buffer in [&mut self.inbound, &mut self.target, &mut self.partial] {
            buffer.clear();
            buffer.shrink_to(KEPT_BUFFER_BYTES);
        }
        self.to_client.clear();
        self.to_server.clear();
        self.request.clear();
        self.response.clear();
        self.tried.clear();
        self.session = Session::default();
        self.try_began = None;
        self.again.clear();
        self.limited.clear();
        self.consumed = 0;
        self.upload_pipe = None;
        self.download_pipe = None;
        self.client_ahead = false;
        self.server_ahead = false;
        self.head_read = false;
        self.head_sent = false;
        self.report = Report::default();
    }

    /// What the two connections may still be used for.
    pub(crate) fn machine(&self) -> Machine {
        self.machine.unwrap_or_else(|| Machine::new(&self.request))
    }

    /// Begins the exchange anew, for another attempt.
    pub(crate) fn restart_machine(&mut self) {
        self.machine = Some(Machine::new(&self.request));
    }

    /// A head came from the server: what it means, and, if it is the final one, how the body is framed.
    pub(crate) fn take_response(&mut self, may_stay: bool) -> ResponseStep {
        let mut machine = self.machine();
        let step = machine.response_head(&self.response);
        // An answer before the end of the request: nobody knows whether that end will come.
        if !may_stay || (!self.response.is_interim() && !self.upload.is_done()) {
            machine.close_client();
        }
        self.framing = machine.response_framing(self.request.version);
        self.machine = Some(machine);
        step
    }

    /// The server closed its connection.
    pub(crate) fn server_ended(&mut self) {
        let mut machine = self.machine();
        machine.server_eof();
        self.machine = Some(machine);
    }

    /// The server has sent all of its answer: whether its connection may carry another request.
    pub(crate) fn server_keeps(&mut self) -> bool {
        let mut machine = self.machine();
        if self.upload.is_done() {
            // What is left of the request would be the beginning of the next one on the server's connection.
            if self.is_upload_sent() {
                machine.request_body_done();
            } else {
                machine.request_body_drained();
            }
        }
        machine.response_body_done();
        self.machine = Some(machine);
        machine.server_keeps() && !self.server_ahead
    }

    /// Whether the client's connection closes behind what is written now.
    pub(crate) fn is_last(&self) -> bool {
        self.download.is_done() && self.upload.is_done() && !self.machine().announces_keep_alive()
    }

    /// Whether the server has all of the request.
    pub(crate) fn is_upload_sent(&self) -> bool {
        self.upload.is_done() && self.to_server.is_empty() && self.upload_pipe.is_none() && !self.upload_refused
    }

    /// Whether nothing but silence in both directions is too long: a call of gRPC, whose messages come when they come, or a request that
    /// goes on while its answer does.
    pub(crate) fn is_stream(&self) -> bool {
        self.report.call.is_some() || (self.report.answer_begun && !self.upload.is_done() && !self.upload_refused)
    }

    /// Whose time is over: the client's for its call, or what there is for all tries until an answer begins; none: nobody's.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Cause> {
        let is_past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_past(self.report.call_until()) {
            Some(Cause::ClientDeadline)
        } else if !self.report.answer_begun && is_past(self.again.deadline) {
            Some(Cause::DeadlineExceeded)
        } else {
            None
        }
    }

    /// Whether the client waits for 100 (Continue), so that its silence is the server's.
    pub(crate) fn awaits_continue(&self) -> bool {
        self.machine().needs_continue()
    }

    /// The client sends its body, whether or not it was told to.
    pub(crate) fn continued(&mut self) {
        let mut machine = self.machine();
        machine.continued();
        self.machine = Some(machine);
    }

    /// Whether all of the request has been read, so that what follows is another one.
    pub(crate) fn is_request_over(&mut self) -> bool {
        if !self.head_read {
            return false;
        }
        if self.head_sent && !self.replayable {
            return self.upload.is_done();
        }
        match self.end_of_request() {
            Some(end) => {
                self.consumed = end;
                true
            }
            None => false,
        }
    }

    /// Whether all of the request is here, to be sent as often as needed.
    pub(crate) fn has_whole_request(&self) -> bool {
        self.replayable && self.end_of_request().is_some()
    }

    /// Bytes of the body that are here or are known to come, with its framing.
    pub(crate) fn body_here(&self) -> u64 {
        match self.request.body {
            BodyKind::Length(length) => length,
            _ => self.consumed.saturating_sub(self.request.len) as u64,
        }
    }

    /// Where the request ends in what is here of it; none: it goes on.
    fn end_of_request(&self) -> Option<usize> {
        let mut body = BodyDecoder::new(self.request.body);
        let mut end = self.request.len;
        while !body.is_done() {
            match body.decode(self.inbound.get(end..).unwrap_or_default()) {
                Ok(decoded) if decoded.consumed > 0 => end += decoded.consumed,
                _ => return None,
            }
        }
        Some(end)
    }

    /// The target that is matched and forwarded: path and query, in canonical form.
    pub(crate) fn canonical_target(&self) -> &[u8] {
        if self.target.is_empty() {
            self.request.path.of(&self.inbound)
        } else {
            &self.target
        }
    }
}

/// Serves the request that begins in `exchange`.
pub(crate) async fn run(worker: &Rc<Worker>, client: &mut Client, exchange: &mut Exchange) -> Next {
    let served = {
        let seat = client.seat();
        let mut serving = pin!(serve(worker, client, exchange));
        poll_fn(|cx| {
            worker.roster.note(seat, cx.waker());
            if worker.is_cutting() {
                Poll::Ready(Err(Cause::Shutdown))
            } else {
                serving.as_mut().poll(cx)
            }
        })
        .await
    };
    exchange.limited.throttled = client.stream.unpace();
    let next = match served {
        Ok(next) => next,
        Err(cause) => answer::refuse(worker, client, exchange, cause).await,
    };
    client.idle_since = record::finish(worker, client, exchange);
    limits::settle_by_bytes(exchange);
    exchange.limited.end();
    client.stream.unwrap_web();
    next
}

async fn serve(worker: &Rc<Worker>, client: &mut Client, exchange: &mut Exchange) -> Result<Next, Cause> {
    read_head(worker, client, exchange).await?;
    client.refresh(worker);
    let site = Rc::clone(&client.site);
    if site.site.listener.redirect_to_tls.is_some() {
        return Err(request::redirected(exchange));
    }
    let route = admit(&site, exchange)?;
    let (Some((rules, counted)), Some(local)) = (site.site.rules(route), site.upstream(route)) else {
        return Err(Cause::Internal);
    };
    let (key, reports, deadline, delay) = {
        let view = local.view();
        let fits = request::check_body(&exchange.request, &site.site.listener.limits);
        let version = view.settings().http_version;
        let reads = match rules.grpc_web {
            true => web::bridge(client, exchange, version),
            false => Ok(()),
        };
        exchange.report.call = grpc::call(exchange, version);
        fits.and(reads)?;
        let now = exchange.report.claims(worker);
        if exchange.report.call_until().is_some_and(|until| until <= now) {
            return Err(Cause::ClientDeadline);
        }
        let asked = limits::Asked {
            worker,
            client,
            site: &site.site,
            route,
            now: moment(now),
        };
        let delay = limits::ask(&asked, exchange)?;
        sticky::look_up(&view, exchange, now, local.upstream().stats(worker.id));
        let forwarding = &site.site.listener.forwarding;
        let key = key::of(view.settings(), client.peer.ip(), forwarding, exchange);
        let deadline = deadline::of(&view.settings().queue, exchange);
        (key, view.settings().reports.clone(), deadline, delay)
    };
    if !delay.is_zero() {
        limits::wait(worker, client, exchange, delay).await?;
    }
    limits::pace(client, exchange);
    let ways = Ways {
        worker,
        site: &site,
        rules,
        local,
        tls: counted.tls.as_ref(),
        key,
        reports,
        deadline,
        fair: counted.fair.as_deref(),
    };
    forward(&ways, client, exchange).await
}

/// Reads until the request head is whole.
async fn read_head(worker: &Worker, client: &mut Client, exchange: &mut Exchange) -> Result<(), Cause> {
    let limits = client.site.site.listener.limits;
    let limits = HeadLimits {
        max_bytes: limits.max_head_bytes as usize,
        max_fields: limits.max_headers.into(),
    };
    let mut deadline_set = false;
    loop {
        match exchange.request.parse(&exchange.inbound, limits) {
            Ok(Parsed::Complete) => {
                if let Some(version) = client.stream.version() {
                    exchange.request.version = version;
                }
                exchange.consumed = exchange.request.len;
                exchange.head_read = true;
                exchange.replayable = true;
                return Ok(());
            }
            Ok(Parsed::Partial) => {}
            Err(error) => {
                exchange.report.detail = Some(Detail::Head(error));
                return Err(request::cause_of(error));
            }
        }
        exchange.report.head_waits();
        if !deadline_set {
            client
                .timer
                .set(worker.wheel.now() + client.site.site.listener.timeouts.head);
            deadline_set = true;
        }
        poll_fn(|cx| poll_more(cx, worker, client, exchange)).await?;
    }
}

fn poll_more(
    cx: &mut Context<'_>,
    worker: &Worker,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Poll<Result<(), Cause>> {
    let read = worker.scratch.with_input(|input| {
        client.stream.poll_read(cx, input).map(|read| match read {
            Ok(count) if count > 0 => {
                exchange
                    .inbound
                    .extend_from_slice(input.get(..count).unwrap_or_default());
                Ok(())
            }
            _ => Err(Cause::ClientClosed),
        })
    });
    if read.is_pending() && client.timer.poll_expired(cx).is_ready() {
        return Poll::Ready(Err(Cause::ClientHeadTimeout));
    }
    read
}

/// Finds the route.
fn admit(site: &Rc<LocalSite>, exchange: &mut Exchange) -> Result<usize, Cause> {
    let Exchange {
        request,
        inbound,
        target,
        ..
    } = exchange;
    match request.form {
        TargetForm::Origin | TargetForm::Absolute => request::canonical_target(request.path.of(inbound), target)?,
        // OPTIONS * is about the server as a whole; only routes for any path take it.
        TargetForm::Asterisk => {}
        // CONNECT asks for a tunnel, which is a forward proxy's business.
        TargetForm::Authority => return Err(Cause::ClientUnsupported),
    }
    let host = exchange.request.authority.of(&exchange.inbound);
    let path = isobar_route::path_of(exchange.canonical_target());
    let route = site.site.route(host, path).ok_or(Cause::NoRoute)?;
    exchange.report.route = Some(route);
    exchange.report.site = Some(Rc::clone(site));
    Ok(route)
}
