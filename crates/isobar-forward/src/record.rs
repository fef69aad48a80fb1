//! What is counted, and written down, of who went where?

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use isobar_observe::access::Record;
use isobar_observe::{Cause, WallTime};
use isobar_plan::Name;

use crate::Worker;
use crate::connection::Client;

/// What a request, or a tunnel, came to, gathered on its way.
#[derive(Debug)]
pub(crate) struct Report {
    /// When its first byte came.
    pub(crate) began: Instant,
    /// What is spoken with the client.
    pub(crate) protocol: &'static str,
    pub(crate) method: Box<[u8]>,
    /// Where the client wants to go, with the port.
    pub(crate) host: Box<str>,
    pub(crate) target: Box<[u8]>,
    /// Who it has proved to be.
    pub(crate) user: Option<Arc<str>>,
    /// The rule that decided, among the names.
    pub(crate) rule: Option<usize>,
    /// Where it went.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) attempts: u8,
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Instant>,
    pub(crate) status: u16,
    /// The limit that refused it; none: none did.
    pub(crate) limit: Option<Name>,
    /// How long its bytes waited for the sake of limits.
    pub(crate) throttled: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) is_tunnel: bool,
    pub(crate) detail: String,
    /// Why no connection could be made.
    pub(crate) error: Option<ErrorKind>,
}

impl Report {
    pub(crate) fn begin(now: Instant) -> Self {
        Self {
            began: now,
            protocol: "",
            method: Box::default(),
            host: Box::default(),
            target: Box::default(),
            user: None,
            rule: None,
            address: None,
            attempts: 0,
            connect: None,
            first_byte: None,
            status: 0,
            limit: None,
            throttled: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            is_tunnel: false,
            detail: String::new(),
            error: None,
        }
    }

    /// What exactly is wrong.
    pub(crate) fn explain(&mut self, detail: impl ToString, cause: Cause) -> Cause {
        self.detail = detail.to_string();
        cause
    }
}

/// Counts what is over and writes its line.
pub(crate) fn finish(worker: &Worker, client: &Client, cause: Cause) {
    let report = &client.report;
    let site = &client.site;
    let now = worker.shared.wheel.now();
    match report.rule.and_then(|rule| site.rules.get(rule)) {
        Some(counted) => {
            let stats = counted.of(worker.id);
            stats.exchanges.count(cause);
            if report.status > 0 {
                stats.responses.count(report.status);
            }
            stats.request_body_bytes.add(report.bytes_in);
            stats.response_body_bytes.add(report.bytes_out);
            if !report.is_tunnel {
                stats.duration.observe(now.saturating_duration_since(report.began));
            }
        }
        None => site.stats.of(worker.id).requests_refused.count(cause),
    }
    if let Some(log) = &worker.world().log {
        let address = report.address.map(|address| address.to_string());
        worker.lines.write(log, &line(client, cause, address.as_deref(), now));
    }
}

fn line<'a>(client: &'a Client, cause: Cause, address: Option<&'a str>, now: Instant) -> Record<'a> {
    let report = &client.report;
    let listener = &client.site.listener;
    let rule = report.rule.and_then(|rule| listener.rule_names.get(rule));
    Record {
        time: WallTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        client: client.peer.ip().to_canonical(),
        peer: client.peer,
        connection: client.number,
        listener: &listener.name,
        route: rule.map(|name| &**name),
        upstream: None,
        server: address,
        picked: None,
        user: report.user.as_deref(),
        method: &report.method,
        host: report.host.as_bytes(),
        target: &report.target,
        protocol: report.protocol,
        tls: None,
        referer: b"",
        user_agent: b"",
        forwarded_for: b"",
        request_id: b"",
        status: match report.status {
            0 => cause.logged_status(),
            status => status,
        },
        grpc_status: None,
        bytes_in: report.bytes_in,
        bytes_out: report.bytes_out,
        duration: now.saturating_duration_since(report.began),
        first_byte: report.first_byte.map(|at| at.saturating_duration_since(report.began)),
        queue: Duration::ZERO,
        connect: report.connect,
        attempts: report.attempts,
        tried: b"",
        tls_error: b"",
        retry_refused: false,
        limit: report.limit.as_deref(),
        limit_shadow: None,
        limit_delay: Duration::ZERO,
        throttled: report.throttled,
        limit_remaining: None,
        upgraded: report.is_tunnel,
        cause,
        detail: &report.detail,
    }
}
