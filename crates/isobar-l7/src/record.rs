//! What is written down about an exchange when it is over?

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use isobar_balance::Outcome;
use isobar_observe::access::Record;
use isobar_observe::{Cause, Fault, GrpcStatus, Picked, WallTime};
use isobar_upstream::{Local, LocalServer, Server};
use isobar_wire::grpc_web::TextError;
use isobar_wire::http2::meter::Excess;
use isobar_wire::{BodyError, HeadError, Known, Version};

use crate::connection::Client;
use crate::exchange::Exchange;
use crate::grpc::Call;
use crate::pool::Pool;
use crate::worker::LocalSite;
use crate::{Site, Worker, fields, request};

/// What an exchange came to, gathered on its way.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// When the first byte of the request was there.
    began: Option<Instant>,
    /// The listener's rules that the request was matched by.
    pub(crate) site: Option<Rc<LocalSite>>,
    /// The route, as an index into the listener's.
    pub(crate) route: Option<usize>,
    upstream: Option<Rc<Local<Pool>>>,
    server: Option<Rc<LocalServer<Pool>>>,
    /// Why the last server tried was chosen.
    pub(crate) picked: Option<Picked>,
    attempts: u8,
    /// When the last attempt began to send.
    sent: Option<Instant>,
    first_byte: Option<Instant>,
    server_done: Option<Instant>,
    /// Whether the request's head came in pieces, or the request waited for its limits, so that its first byte was a while ago.
    head_waited: bool,
    /// Whether the answer's last bytes waited for the client after that.
    took_longer: bool,
    pub(crate) queued: Duration,
    pub(crate) connect: Option<Duration>,
    status: u16,
    /// The call of gRPC that the request is.
    pub(crate) call: Option<Call>,
    /// What the client of a call is told of it by Isobar.
    told: Option<GrpcStatus>,
    /// Whether the client has been sent the beginning of a final answer.
    pub(crate) answer_begun: bool,
    /// Whether that answer is a server's.
    server_answered: bool,
    /// Whether the server can have seen nothing of the last attempt.
    pub(crate) nothing_sent: bool,
    /// When the last of the request was sent, where that was later than its head.
    pub(crate) uploaded: Option<Instant>,
    /// Whether it is.
    pub(crate) uploads_later: bool,
    /// For how long a server that failed asked to be spared, in seconds.
    pub(crate) retry_after_s: Option<u16>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    upgraded: bool,
    cause: Option<Cause>,
    /// Why a connection to a server could not be secured, in words.
    pub(crate) tls_error: Option<String>,
    /// What exactly was wrong with the request.
    pub(crate) detail: Option<Detail>,
}

/// What exactly was wrong with a request, or with what came instead of one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Detail {
    Head(HeadError),
    Body(BodyError),
    Text(TextError),
    Excess(Excess),
    /// How HTTP/2 was not spoken.
    Protocol(&'static str),
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Text(error) => error.fmt(f),
            Self::Excess(excess) => write!(f, "too many {}", excess.text()),
            Self::Protocol(why) => f.write_str(why),
        }
    }
}

impl Report {
    pub(crate) fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    /// Another server is tried, or the same one once more.
    pub(crate) fn tries(&mut self, upstream: &Rc<Local<Pool>>, server: &Rc<LocalServer<Pool>>) {
        self.upstream = Some(Rc::clone(upstream));
        self.server = Some(Rc::clone(server));
        self.attempts = self.attempts.saturating_add(1);
        self.first_byte = None;
        self.connect = None;
        self.sent = None;
        self.uploaded = None;
        if let Some(call) = &mut self.call {
            call.said = None;
        }
    }

    /// When the server had all of the request that it got: an answer took from then on.
    pub(crate) fn asked(&self) -> Option<Instant> {
        self.uploaded.into_iter().chain(self.sent).max()
    }

    /// The answer that has begun is not passed on, and was counted.
    pub(crate) fn gives_up_answer(&mut self) {
        self.first_byte = None;
    }

    /// When the first byte of the request was there.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// The server that is tried, to be kept.
    pub(crate) fn server_arc(&self) -> Option<Arc<Server>> {
        self.server.as_ref().map(|server| Arc::clone(&server.server))
    }

    /// What is known of the request when it is tried at another server as well.
    pub(crate) fn twin(&self) -> Self {
        Self {
            began: self.began,
            site: self.site.clone(),
            route: self.route,
            attempts: self.attempts,
            head_waited: self.head_waited,
            queued: self.queued,
            picked: self.picked,
            call: self.call,
            ..Self::default()
        }
    }

    /// Takes in that the request was tried so often, at all servers together.
    pub(crate) fn counts_tries_of(&mut self, other: &Self) {
        self.attempts = self.attempts.max(other.attempts);
        self.learns_of(other);
    }

    /// Takes over why a connection of another try could not be secured, unless it knows of one itself.
    pub(crate) fn learns_of(&mut self, other: &Self) {
        if self.tls_error.is_none() {
            self.tls_error.clone_from(&other.tls_error);
        }
    }

    /// The server that is tried.
    pub(crate) fn server(&self) -> Option<&Server> {
        self.server.as_ref().map(|server| &*server.server)
    }

    /// The request's head is not whole yet.
    pub(crate) fn head_waits(&mut self) {
        self.head_waited = true;
    }

    /// Time passes between the request's head and the choice of a server.
    pub(crate) fn time_passes(&mut self) {
        self.head_waited = true;
    }

    /// When the first byte of the request was there.
    pub(crate) fn arrived(&self) -> Option<Instant> {
        self.began
    }

    /// When a server is looked for. Reads the clock only where time has passed since it last did.
    pub(crate) fn claims(&self, worker: &Worker) -> Instant {
        let at_once = self.attempts == 0 && !self.head_waited;
        self.began.filter(|_| at_once).unwrap_or_else(|| worker.wheel.now())
    }

    /// The request is about to be sent. Reads the clock only where time has passed since it last did.
    pub(crate) fn sends(&mut self, worker: &Worker) {
        let at_once = self.attempts == 1 && self.connect.is_none() && self.queued.is_zero() && !self.head_waited;
        self.sent = self.began.filter(|_| at_once).or_else(|| Some(worker.wheel.now()));
    }

    /// When the last attempt began to send.
    pub(crate) fn sent(&self) -> Option<Instant> {
        self.sent
    }

    /// The first byte of the answer is here.
    pub(crate) fn first_byte(&mut self, worker: &Worker) {
        self.first_byte.get_or_insert_with(|| worker.wheel.now());
    }

    /// The answer goes on in later turns than the one in which it began.
    pub(crate) fn took_longer(&mut self) {
        self.took_longer = true;
    }

    /// How the server did, as far as balancing is concerned: when its first byte came after all of the request was sent,
    /// and whether it failed. None: how it ended says nothing of it.
    pub(crate) fn verdict(&self, result: Result<(), Cause>) -> Option<(Duration, Outcome)> {
        let outcome = match result {
            Err(cause) if cause.fault() == Fault::Server => Outcome::Failure { retry_after: None },
            Err(_) => return None,
            Ok(()) => match self.call.and_then(|call| call.said) {
                Some(status) => call_outcome(status, None),
                None => outcome(
                    self.status,
                    self.retry_after_s.map(|seconds| Duration::from_secs(seconds.into())),
                ),
            },
        };
        let latency = self.first_byte?.saturating_duration_since(self.asked()?);
        Some((latency, outcome))
    }

    /// The server has done its part; when that was.
    pub(crate) fn server_done(&mut self, worker: &Worker) -> Instant {
        let at_once = self.first_byte.filter(|_| !self.took_longer);
        let now = at_once.unwrap_or_else(|| worker.wheel.now());
        self.took_longer = false;
        *self.server_done.insert(now)
    }

    /// The client is sent the server's final answer.
    pub(crate) fn passes_on(&mut self, status: u16) {
        self.server_answered = true;
        self.answers(status);
    }

    /// The client is sent a final answer.
    pub(crate) fn answers(&mut self, status: u16) {
        self.status = status;
        self.answer_begun = true;
    }

    /// When the call is over that the request is, whatever has come of it.
    pub(crate) fn call_until(&self) -> Option<Instant> {
        self.call.and_then(|call| call.until())
    }

    /// The client of a call is told what became of it, behind the beginning of an answer or in place of one.
    pub(crate) fn tells(&mut self, status: GrpcStatus) {
        self.told = Some(status);
        if !self.answer_begun {
            self.answers(200);
        }
    }

    /// What a call came to, as its client sees it; none: it was none.
    fn came_to(&self, cause: Cause) -> Option<CameTo> {
        let said = self.call.and_then(|call| call.said);
        let status = self.told.or(said).or(cause.grpc_status());
        (self.call.is_some() || self.told.is_some()).then_some(CameTo(status))
    }

    pub(crate) fn upgraded(&mut self) {
        self.upgraded = true;
    }

    pub(crate) fn end(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
    }

    /// The request's body broke its framing.
    pub(crate) fn malformed(&mut self, error: BodyError) -> Cause {
        self.refuses(Detail::Body(error))
    }

    /// The client does not speak as it should.
    pub(crate) fn refuses(&mut self, detail: Detail) -> Cause {
        self.detail = Some(detail);
        Cause::ClientMalformed
    }
}

/// The status of a call; none: its answer ended without one.
#[derive(Debug, Clone, Copy)]
struct CameTo(Option<GrpcStatus>);

impl CameTo {
    fn text(self) -> &'static str {
        self.0.map_or(GrpcStatus::MISSING, GrpcStatus::text)
    }
}

/// What the status of a call says of the server that gave it.
pub(crate) fn call_outcome(status: GrpcStatus, retry_after: Option<Duration>) -> Outcome {
    match status.blames_server() {
        true => Outcome::Failure { retry_after },
        false => Outcome::Success,
    }
}

/// What an answer says of the server that gave it.
pub(crate) fn outcome(status: u16, retry_after: Option<Duration>) -> Outcome {
    // What a server does not know (501, 505) is asked for by the client.
    if status < 500 || matches!(status, 501 | 505) {
        return Outcome::Success;
    }
    Outcome::Failure { retry_after }
}

/// Counts a finished exchange and writes its line; when it ended.
pub(crate) fn finish(worker: &Worker, client: &Client, exchange: &Exchange) -> Instant {
    let report = &exchange.report;
    let cause = report.cause.unwrap_or(Cause::Internal);
    let at_once = report
        .server_done
        .filter(|_| !report.took_longer && cause == Cause::Complete);
    let now = at_once.unwrap_or_else(|| worker.wheel.now());
    let since = |start: Option<Instant>, end: Instant| end.saturating_duration_since(start.unwrap_or(end));
    let duration = since(report.began, now);
    let site = &report.site.as_ref().unwrap_or(&client.site).site;
    match report.route.and_then(|route| site.rules(route)) {
        Some((_, counted)) => {
            let stats = counted.stats.of(worker.id);
            stats.responses.count(report.status);
            stats.exchanges.count(cause);
            if let Some(CameTo(status)) = report.came_to(cause) {
                stats.grpc_calls.count(status);
            }
            stats.request_body_bytes.add(report.bytes_in);
            stats.response_body_bytes.add(report.bytes_out);
            if report.upgraded {
                stats.upgrades.increment();
            } else {
                stats.duration.observe(duration);
            }
        }
        None => site.stats.of(worker.id).requests_refused.count(cause),
    }
    count_server(worker, report, cause, now);
    if let Some(log) = &worker.world().world.log {
        let detail = report.detail.map(|detail| detail.to_string());
        let mut record = record(exchange, client, site, cause, duration, since);
        record.detail = detail.as_deref().unwrap_or_default();
        worker.lines.write(log, &record);
    }
    now
}

/// Counts, and writes down, a connection that ends for what its client did, or did too much of.
pub(crate) fn end(worker: &Worker, client: &Client, cause: Cause, detail: Option<Detail>) {
    let mut exchange = worker.exchange();
    exchange.report.begin();
    exchange.report.detail = detail;
    exchange.report.end(cause);
    finish(worker, client, &exchange);
    worker.recycle(exchange);
}

fn count_server(worker: &Worker, report: &Report, cause: Cause, now: Instant) {
    let (Some(server), Some(sent)) = (&report.server, report.sent) else {
        return;
    };
    let stats = server.server.stats(worker.id);
    let Some(first_byte) = report.first_byte else { return };
    stats.first_byte.observe(first_byte.saturating_duration_since(sent));
    stats.request_body_bytes.add(report.bytes_in);
    if !report.server_answered {
        return;
    }
    stats.responses.count(report.status);
    stats.response_body_bytes.add(report.bytes_out);
    if let Some(Call { said, .. }) = report.call
        && (said.is_some() || cause == Cause::Complete)
    {
        stats.grpc_calls.count(said);
    }
    if cause == Cause::ServerAborted || cause == Cause::ReadTimeout {
        stats.failures.count(cause);
    }
    if !report.upgraded {
        stats
            .duration
            .observe(report.server_done.unwrap_or(now).saturating_duration_since(sent));
    }
}

fn record<'a>(
    exchange: &'a Exchange,
    client: &'a Client,
    site: &'a Site,
    cause: Cause,
    duration: Duration,
    since: impl Fn(Option<Instant>, Instant) -> Duration,
) -> Record<'a> {
    let Exchange { report, request, .. } = exchange;
    let head = head(exchange);
    let field = |known| request.field(known).map_or(&[][..], |field| field.value.of(head));
    let forwarding = &site.listener.forwarding;
    Record {
        time: WallTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        client: request::client_address(client.peer.ip(), head, request, forwarding),
        peer: client.peer,
        connection: client.number,
        listener: &site.listener.name,
        route: report
            .route
            .and_then(|route| site.rules(route))
            .map(|(route, _)| &*route.name),
        upstream: report.upstream.as_ref().map(|local| &**local.upstream().name()),
        server: report.server.as_ref().map(|server| &**server.server.name()),
        picked: report.picked,
        user: None,
        method: request.method_name.of(head),
        host: request.authority.of(head),
        target: request.target.of(head),
        protocol: protocol(request.version, head),
        tls: client.stream.secured(),
        referer: field(Known::Referer),
        user_agent: field(Known::UserAgent),
        forwarded_for: fields::values(head, &request.fields, Known::XForwardedFor)
            .next()
            .unwrap_or_default(),
        request_id: other_field(exchange, head, b"x-request-id"),
        status: if report.answer_begun {
            report.status
        } else {
            cause.logged_status()
        },
        grpc_status: report.came_to(cause).map(CameTo::text),
        bytes_in: report.bytes_in,
        bytes_out: report.bytes_out,
        duration,
        first_byte: report.first_byte.map(|first_byte| since(report.began, first_byte)),
        queue: report.queued,
        connect: report.connect,
        attempts: report.attempts,
        tried: &exchange.again.log,
        tls_error: report.tls_error.as_deref().unwrap_or_default().as_bytes(),
        limit: exchange.limited.refusal.as_ref().map(|refusal| &**refusal.limit.name()),
        limit_shadow: exchange.limited.shadow.as_ref().map(|limit| &**limit.name()),
        limit_delay: exchange.limited.delay,
        throttled: exchange.limited.throttled,
        limit_remaining: exchange.limited.remaining,
        retry_refused: exchange.again.refused,
        upgraded: report.upgraded,
        cause,
        detail: "",
    }
}

/// The head of the request, as far as it was read.
fn head(exchange: &Exchange) -> &[u8] {
    match exchange.head_read {
        true => exchange.inbound.get(..exchange.request.len).unwrap_or_default(),
        false => &[],
    }
}

fn other_field<'a>(exchange: &'a Exchange, head: &'a [u8], name: &[u8]) -> &'a [u8] {
    let found = exchange
        .request
        .fields
        .iter()
        .find(|field| field.name.of(head).eq_ignore_ascii_case(name));
    found.map_or(&[], |field| field.value.of(head))
}

fn protocol(version: Version, head: &[u8]) -> &'static str {
    match version {
        _ if head.is_empty() => "",
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2.0",
        Version::Http3 => "HTTP/3.0",
    }
}
