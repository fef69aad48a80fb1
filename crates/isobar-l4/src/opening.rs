//! Which servers is a connection offered to, until one takes it?

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use isobar_net::stream::Stream;
use isobar_observe::{Cause, Picked, RetryReason};
use isobar_plan::{HashPart, ProxySources, QueueOrder, TcpRoute};
use isobar_upstream::{Ask, Local, Permit, Place, Refusal, Server, moment};
use isobar_wire::proxy_protocol::{Endpoints, ProxyHeader, ProxyVersion, Tlvs, Transport};

use crate::Worker;
use crate::connecting;
use crate::connection::Client;
use crate::divided::Unopened;
use crate::hello;
use crate::key;
use crate::lull::Lull;
use crate::proxy::{self, HeaderReader, ProxyFault, Told};
use crate::relay::Relay;
use crate::sources;
use crate::throttle::{self, Subject, Throttle, UsedUp, Way};
use crate::waiting;
use crate::worker::Kept;

/// A connection that a server has taken. Boxed: on its way out of `open` it would be in the connection's task twice.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) relay: Relay,
    pub(crate) server: Stream,
    pub(crate) place: Place<Kept>,
    pub(crate) lull: Lull,
    /// How long after its accept it was connected.
    pub(crate) opened_after_ms: u32,
    /// When it ends because its listener or its server is gone; none: both are there. Boxed: there is none for nearly all of its time.
    pub(crate) leaves_at: Option<Box<Instant>>,
    /// The rates that its bytes share; none: they are nobody else's business.
    pub(crate) throttle: Option<Box<Throttle>>,
    /// Its part of the connections that its upstream may have.
    pub(crate) _permit: Permit,
}

/// Where a connection goes, and by which rules.
pub(crate) struct Ways<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) rules: &'a TcpRoute,
    pub(crate) local: &'a Rc<Local<Kept>>,
    /// The connection's key, where the upstream goes by keys.
    pub(crate) key: Option<u64>,
    /// Servers that could not be reached.
    pub(crate) tried: Vec<Arc<Server>>,
    /// Until when it may wait, where the queue goes by deadlines.
    pub(crate) deadline: Option<Instant>,
    /// Tries after the first that were granted.
    retries: u32,
    /// How long the next try, which has been granted, waits.
    pause: Option<Duration>,
}

/// Finds out who the client is, its route, and a server that takes it.
pub(crate) async fn open(worker: &Rc<Worker>, client: &mut Client) -> Result<Box<Opened>, Unopened> {
    let site = Rc::clone(&client.site);
    let told = match &site.site.listener.proxy {
        Some(sources) => told(worker, client, sources).await?,
        None => None,
    };
    let limits = &site.site.listener.limits.sources;
    client.entered = sources::enter(&site.site.open, limits, client.peer.ip(), client.report.began)?;
    let begun = hello::begin(worker, client).await?;
    let Some(route) = begun.route else {
        return Err(Unopened::Left(begun.bytes));
    };
    client.report.route = Some(route);
    let ((rules, _), local) = site.site.rules(route).zip(site.upstream(route)).ok_or(Cause::NoRoute)?;
    client.report.upstream = Some(Rc::clone(local));
    let throttle = throttle(worker, client, (route, begun.bytes.len() as u64))?;
    let view = local.view();
    let queue = view.settings().queue;
    let mut ways = Ways {
        worker,
        rules,
        local,
        key: key_of(view.settings(), client, told.as_ref()),
        tried: Vec::new(),
        deadline: (queue.order == QueueOrder::Deadline).then(|| client.report.began + queue.timeout),
        retries: 0,
        pause: None,
    };
    let (server, permit, place) = ways.run(client).await?;
    let mut first = Vec::new();
    if let Some(version) = view.settings().proxy_protocol {
        introduce(version, client, told.as_ref(), &mut first);
    }
    first.extend_from_slice(&begun.bytes);
    let now = worker.shared.wheel.now();
    let opened_after = now.saturating_duration_since(client.report.began);
    Ok(Box::new(Opened {
        relay: Relay::introduced(first, begun.bytes.len() as u64),
        server,
        place,
        lull: Lull::begin(now),
        opened_after_ms: u32::try_from(opened_after.as_millis()).unwrap_or(u32::MAX),
        leaves_at: None,
        throttle,
        _permit: permit,
    }))
}

/// The rates that the bytes of a connection share; of those that were read already so many count.
///
/// *Errors*: there is nothing left of one.
fn throttle(
    worker: &Worker,
    client: &mut Client,
    (route, early): (usize, u64),
) -> Result<Option<Box<Throttle>>, Cause> {
    let Some((rules, counted)) = client.site.site.rules(route) else {
        return Ok(None);
    };
    if counted.metering.is_empty() {
        return Ok(None);
    }
    let subject = Subject {
        source: client.peer.ip(),
        tls_name: client.report.server_name.as_deref(),
        user: None,
        listener: &client.site.site.listener.name,
        route: &rules.name,
    };
    let throttle = throttle::of(&counted.metering, &subject, worker.id);
    let mut throttle = throttle.map_err(|UsedUp { cause, limit, .. }| {
        client.report.refused_by(limit);
        cause
    })?;
    if let Some(throttle) = &mut throttle {
        throttle.moved(Way::Up, early);
    }
    Ok(throttle)
}

/// Reads whom a proxy in front speaks for; none: the client speaks for itself. From then on that is who the client is.
async fn told(worker: &Worker, client: &mut Client, sources: &ProxySources) -> Result<Option<Told>, Cause> {
    let told = match proxy::is_expected(sources, client.peer) {
        Ok(false) => return Ok(None),
        Ok(true) => {
            let began = client.report.began;
            client.timer.set(began + client.site.site.listener.handshake_timeout);
            let mut reader = HeaderReader::default();
            poll_fn(|cx| {
                if let Poll::Ready(told) = reader.poll(cx, &worker.shared.scratch, &mut client.stream) {
                    return Poll::Ready(told);
                }
                if worker.is_cutting() {
                    return Poll::Ready(Err(ProxyFault::Late));
                }
                worker.roster.note(client.seat, cx.waker());
                client.timer.poll_expired(cx).map(|()| Err(ProxyFault::Late))
            })
            .await
        }
        Err(fault) => Err(fault),
    };
    match told {
        Ok(told) => {
            client.peer = told.source.unwrap_or(client.peer);
            Ok(Some(told))
        }
        Err(fault) => {
            client.report.explain(fault);
            Err(Cause::ProxyHeader)
        }
    }
}

/// Writes the header by which a server knows the client. What a proxy in front said of the connection is passed on.
fn introduce(version: isobar_plan::ProxyVersion, client: &Client, told: Option<&Told>, out: &mut Vec<u8>) {
    let endpoints = match proxy::destination(told, &client.stream) {
        Ok(destination) => Endpoints::between(Transport::Stream, client.peer, destination),
        Err(_) => Endpoints::Unknown,
    };
    let heard = told.and_then(|told| ProxyHeader::parse(&told.header).ok().flatten());
    let heard = heard.map(|(header, _)| header.tlvs).unwrap_or_default();
    let header = ProxyHeader {
        version: match version {
            isobar_plan::ProxyVersion::V1 => ProxyVersion::V1,
            isobar_plan::ProxyVersion::V2 => ProxyVersion::V2,
        },
        endpoints,
        tlvs: Tlvs {
            authority: heard.authority.or(client.report.server_name.as_deref()),
            ..heard
        },
        checksum: false,
    };
    if header.compose(out).is_err() {
        // It is what was heard that makes it too long; the addresses alone always fit.
        let tlvs = Tlvs::default();
        let _ = ProxyHeader { tlvs, ..header }.compose(out);
    }
}

fn key_of(upstream: &isobar_plan::Upstream, client: &Client, told: Option<&Told>) -> Option<u64> {
    if upstream.hash.is_empty() {
        return None;
    }
    let by_port = upstream.hash.contains(&HashPart::DestinationPort);
    let destination = || proxy::destination(told, &client.stream).ok();
    let source = key::Source {
        client: client.peer,
        destination: if by_port { destination() } else { None },
        server_name: client.report.server_name.as_deref(),
    };
    key::of(upstream, source)
}

impl Ways<'_> {
    async fn run(&mut self, client: &mut Client) -> Result<(Stream, Permit, Place<Kept>), Cause> {
        self.local.upstream().stats(self.worker.id).requests.increment();
        let mut failure = None;
        loop {
            if let Some(pause) = self.pause.take() {
                self.sleep(client, pause).await?;
            }
            let place = match self.claim() {
                Ok(place) => Ok(place),
                Err(Refusal::Full) => waiting::wait(self, client).await,
                Err(Refusal::NoneAvailable) => Err(Cause::NoServer),
            };
            let place = match (place, failure) {
                (Ok(place), _) => place,
                // All others were tried: why the last one did not take it says more.
                (Err(Cause::NoServer), Some(cause)) => return Err(cause),
                (Err(cause), _) => return Err(self.refused(cause)),
            };
            client.report.tries(place.server());
            client.report.picked = Some(Picked::Balance);
            match connecting::connect(self, client, &place).await {
                Ok((server, permit)) => return Ok((server, permit, place)),
                Err(cause) => {
                    self.tell(client, &place, cause);
                    drop(place);
                    if !self.is_tried_again(client, cause) {
                        return Err(self.refused(cause));
                    }
                    failure = Some(cause);
                }
            }
        }
    }

    /// Counts a connection that is refused for lack of a server or of room.
    fn refused(&self, cause: Cause) -> Cause {
        let upstream = self.local.upstream();
        if cause == Cause::NoServer {
            upstream.stats(self.worker.id).no_server.increment();
        } else {
            let stats = upstream.priority_stats(self.worker.id, self.rules.priority);
            stats.refused.count(cause);
        }
        cause
    }

    /// Claims a place at a server, unless others wait for one: they come first.
    fn claim(&self) -> Result<Place<Kept>, Refusal> {
        if self.local.upstream().has_queue(self.rules.priority) {
            return Err(Refusal::Full);
        }
        let ask = self.ask(self.worker.shared.wheel.now());
        self.local.view().place(&ask, &mut self.worker.chance.borrow_mut())
    }

    pub(crate) fn ask(&self, now: Instant) -> Ask<'_> {
        Ask {
            avoid: &self.tried,
            key: self.key,
            home: None,
            now: moment(now),
            priority: self.rules.priority,
            deadline: self.deadline.map(moment),
            share: None,
        }
    }

    /// Tells everybody who wants to know that a server was not reached.
    fn tell(&self, client: &mut Client, place: &Place<Kept>, cause: Cause) {
        let server = &place.server().server;
        server.stats(self.worker.id).failures.count(cause);
        if cause.blames_one_server() {
            let now = self.worker.shared.wheel.now();
            place.unreachable(now, client.report.connect.unwrap_or_default());
            client.report.note(server, cause);
        }
    }

    /// Whether another server is tried after a failure; it has been paid for then, and the failed server is avoided.
    ///
    /// A try that reached nobody was no work for anybody, so the next one is free. That it took until a deadline to find out
    /// may be for too much load, so that is not.
    fn is_tried_again(&mut self, client: &mut Client, cause: Cause) -> bool {
        let retry = &self.rules.retry;
        let wanted = RetryReason::of(cause) == Some(RetryReason::ConnectFailure) && retry.on.connect_failure;
        let Some(failed) = client.report.server.as_ref().map(|server| Arc::clone(&server.server)) else {
            return false;
        };
        if !wanted || self.retries >= retry.attempts {
            return false;
        }
        self.tried.push(Arc::clone(&failed));
        let now = self.worker.shared.wheel.now();
        let is_left = self.local.view().room(&self.ask(now)).is_some();
        // A server that failed is asked again only after a pause, and not where it was too slow.
        let way = is_left || (retry.backoff.is_some() && cause == Cause::ConnectFailed);
        if !way || (cause != Cause::ConnectFailed && !self.is_paid(client)) {
            return false;
        }
        if !is_left {
            self.tried.clear();
        }
        self.pause = retry.backoff.map(|backoff| {
            let longest = backoff.base.saturating_mul(1 << self.retries.min(20)).min(backoff.max);
            let nanoseconds = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
            Duration::from_nanos(self.worker.chance.borrow_mut().below(nanoseconds.saturating_add(1)))
        });
        self.retries += 1;
        failed.stats(self.worker.id).retries.increment();
        let stats = self.local.upstream().stats(self.worker.id);
        stats.retries.count(RetryReason::ConnectFailure);
        true
    }

    /// Takes a try out of the upstream's budget.
    fn is_paid(&self, client: &mut Client) -> bool {
        let upstream = self.local.upstream();
        let allowance = self.local.view().settings().retry_budget;
        let paid = upstream.may_repeat(allowance, moment(self.worker.shared.wheel.now()));
        if !paid {
            upstream.stats(self.worker.id).retries_refused.increment();
            client.report.retry_refused = true;
        }
        paid
    }

    /// Waits before the next try.
    async fn sleep(&self, client: &Client, pause: Duration) -> Result<(), Cause> {
        // The wheel is too coarse for this, and its ticks would bring together what is spread by chance.
        let until = self.worker.shared.wheel.now() + pause;
        let mut sleep = pin!(tokio::time::sleep_until(until.into()));
        poll_fn(|cx| {
            if self.worker.is_cutting() {
                return Poll::Ready(Err(Cause::Shutdown));
            }
            self.worker.roster.note(client.seat, cx.waker());
            sleep.as_mut().poll(cx).map(Ok)
        })
        .await
    }
}
