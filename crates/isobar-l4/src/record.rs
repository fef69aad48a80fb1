//! What is counted, and written down, of a connection when it is over?

use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use isobar_observe::access::{Record, Secured};
use isobar_observe::{Cause, Picked, RouteStats, WallTime};
use isobar_plan::Name;
use isobar_upstream::{Local, LocalServer, Server};

use crate::Worker;
use crate::connection::Client;
use crate::opening::Opened;
use crate::worker::Kept;

/// What a connection came to, gathered on its way.
#[derive(Debug)]
pub(crate) struct Report {
    /// When it was accepted.
    pub(crate) began: Instant,
    /// The route, as an index into the listener's.
    pub(crate) route: Option<usize>,
    pub(crate) upstream: Option<Rc<Local<Kept>>>,
    /// The server that was tried last.
    pub(crate) server: Option<Rc<LocalServer<Kept>>>,
    /// Why it was chosen.
    pub(crate) picked: Option<Picked>,
    attempts: u8,
    /// What went wrong on the way; none: nothing did.
    trouble: Option<Box<Trouble>>,
    pub(crate) retry_refused: bool,
    pub(crate) queued: Duration,
    /// How long the last connection took to be made.
    pub(crate) connect: Option<Duration>,
    /// When the server's first byte was there.
    pub(crate) first_byte: Option<Instant>,
    /// The name that the client asked for in its TLS handshake.
    pub(crate) server_name: Option<Box<str>>,
    /// How long its bytes waited for the sake of limits.
    pub(crate) throttled_ms: u32,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// What went wrong. Boxed: few connections have it, and very many wait for hours.
#[derive(Debug, Default)]
struct Trouble {
    /// Servers that failed, and why, as the access log has it.
    tried: Vec<u8>,
    /// What exactly was wrong with what the client sent; empty: nothing.
    detail: String,
    /// The limit that refused it.
    limit: Option<Name>,
}

impl Report {
    pub(crate) fn begin(now: Instant) -> Self {
        Self {
            began: now,
            route: None,
            upstream: None,
            server: None,
            picked: None,
            attempts: 0,
            trouble: None,
            retry_refused: false,
            queued: Duration::ZERO,
            connect: None,
            first_byte: None,
            server_name: None,
            throttled_ms: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// What exactly was wrong with what the client sent.
    pub(crate) fn explain(&mut self, detail: impl ToString) {
        self.trouble.get_or_insert_default().detail = detail.to_string();
    }

    /// This limit refused it.
    pub(crate) fn refused_by(&mut self, limit: Name) {
        self.trouble.get_or_insert_default().limit = Some(limit);
    }

    /// Another server is tried, or the same one once more.
    pub(crate) fn tries(&mut self, server: &Rc<LocalServer<Kept>>) {
        self.server = Some(Rc::clone(server));
        self.attempts = self.attempts.saturating_add(1);
        self.connect = None;
    }

    /// Takes note of a server that was not reached, and why.
    pub(crate) fn note(&mut self, server: &Server, cause: Cause) {
        let Trouble { tried, .. } = self.trouble.get_or_insert_default().as_mut();
        let space = if tried.is_empty() { "" } else { " " };
        // Writing into a Vec cannot fail.
        let _ = write!(tried, "{space}{}:{cause}", server.name());
    }

    /// Servers that were not reached, and why; empty: all were.
    pub(crate) fn tried(&self) -> &[u8] {
        self.trouble.as_ref().map_or(b"", |trouble| &trouble.tried)
    }

    fn detail(&self) -> &str {
        self.trouble.as_ref().map_or("", |trouble| &trouble.detail)
    }

    fn limit(&self) -> Option<&str> {
        self.trouble.as_ref().and_then(|trouble| trouble.limit.as_deref())
    }
}

/// Counts what a server carried.
pub(crate) fn carried(worker: &Worker, client: &mut Client, opened: &Opened, cause: Cause) {
    let (bytes_in, bytes_out) = (opened.relay.bytes_up(), opened.relay.bytes_down());
    client.report.bytes_in = bytes_in;
    client.report.bytes_out = bytes_out;
    if let Some(throttle) = &opened.throttle {
        client.report.throttled_ms = u32::try_from(throttle.waited().as_millis()).unwrap_or(u32::MAX);
    }
    let stats = opened.place.server().server.stats(worker.id);
    stats.request_body_bytes.add(bytes_in);
    stats.response_body_bytes.add(bytes_out);
    if cause == Cause::ServerAborted {
        stats.failures.count(cause);
    }
    let opened_at = client.report.began + Duration::from_millis(opened.opened_after_ms.into());
    let lasted = worker.shared.wheel.now().saturating_duration_since(opened_at);
    stats.connection_duration.observe(lasted);
}

/// Counts a connection that is over and writes its line.
pub(crate) fn finish(worker: &Worker, client: &Client, cause: Cause) {
    let report = &client.report;
    let site = &client.site.site;
    let rules = report.route.and_then(|route| site.rules(route));
    match rules {
        Some((_, counted)) => count(counted.stats.of(worker.id), report, cause),
        None => site.stats.of(worker.id).requests_refused.count(cause),
    }
    let of = Of {
        protocol: "TCP",
        listener: &site.listener.name,
        route: rules.map(|(route, _)| &*route.name),
        client: client.peer,
        number: client.number,
    };
    write(worker, (&of, report), cause);
}

/// Counts what ended for its route.
pub(crate) fn count(stats: &RouteStats, report: &Report, cause: Cause) {
    stats.exchanges.count(cause);
    stats.request_body_bytes.add(report.bytes_in);
    stats.response_body_bytes.add(report.bytes_out);
}

/// Whose report it is.
pub(crate) struct Of<'a> {
    pub(crate) protocol: &'static str,
    pub(crate) listener: &'a str,
    pub(crate) route: Option<&'a str>,
    pub(crate) client: SocketAddr,
    pub(crate) number: u64,
}

/// Writes the line of what is over.
pub(crate) fn write(worker: &Worker, (of, report): (&Of<'_>, &Report), cause: Cause) {
    if let Some(log) = &worker.world().world.log {
        worker.lines.write(log, &record(worker, (of, report), cause));
    }
}

fn record<'a>(worker: &Worker, (of, report): (&'a Of<'a>, &'a Report), cause: Cause) -> Record<'a> {
    Record {
        time: WallTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        client: of.client.ip().to_canonical(),
        peer: of.client,
        connection: of.number,
        listener: of.listener,
        route: of.route,
        upstream: report.upstream.as_ref().map(|local| &**local.upstream().name()),
        server: report.server.as_ref().map(|server| &**server.server.name()),
        picked: report.picked,
        user: None,
        method: b"",
        host: b"",
        target: b"",
        protocol: of.protocol,
        tls: report.server_name.as_deref().map(asked),
        referer: b"",
        user_agent: b"",
        forwarded_for: b"",
        request_id: b"",
        status: 0,
        bytes_in: report.bytes_in,
        bytes_out: report.bytes_out,
        duration: worker.shared.wheel.now().saturating_duration_since(report.began),
        first_byte: report.first_byte.map(|at| at.saturating_duration_since(report.began)),
        queue: report.queued,
        connect: report.connect,
        attempts: report.attempts,
        tried: report.tried(),
        tls_error: b"",
        grpc_status: None,
        limit: report.limit(),
        limit_shadow: None,
        limit_delay: Duration::ZERO,
        throttled: Duration::from_millis(report.throttled_ms.into()),
        limit_remaining: None,
        retry_refused: report.retry_refused,
        upgraded: false,
        cause,
        detail: report.detail(),
    }
}

/// What is known of a handshake of which only the first message was read.
fn asked(name: &str) -> Secured<'_> {
    Secured {
        version: "",
        cipher: None,
        name: Some(name),
    }
}
