//! What does a worker have of a flow, and which server does it go to?

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_balance::{Otherwise, Outcome};
use isobar_net::limits::is_shortage;
use isobar_observe::{Cause, Picked};
use isobar_upstream::{Ask, Home, Permit, Place, Refusal, Server, moment};
use isobar_wire::proxy_protocol::{Endpoints, ProxyHeader, ProxyVersion, Tlvs, Transport};
use isobar_wire::udp::{ConnectionId, Flow};

use super::due::Due;
use super::sockets::{Held, Made, Sockets};
use crate::Worker;
use crate::key;
use crate::record::{self, Of, Report};
use crate::worker::{Kept, LocalUdpSite};

/// Servers that are tried for one datagram at most.
const MAX_TRIES: usize = 4;

/// Whose datagrams a flow carries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// The client, as a proxy in front tells it.
    pub(super) client: SocketAddr,
    /// Where the client sends to, likewise.
    pub(super) destination: SocketAddr,
    /// Where answers go.
    pub(super) peer: SocketAddr,
    /// The address of ours that they come from.
    pub(super) local: SocketAddr,
    /// Whether a proxy in front speaks for the client.
    pub(super) is_told: bool,
}

/// A flow, and what is held for it.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) flow: Flow,
    pub(super) ends: Ends,
    /// The rules it began by.
    pub(super) site: Rc<LocalUdpSite>,
    pub(super) number: u64,
    pub(super) report: Report,
    /// What stands before each datagram to the server.
    pub(super) header: Box<[u8]>,
    /// Where it goes; none: its server is not there any more, and the next datagram finds another.
    pub(super) served: Option<Served>,
    /// Servers that were said not to be there.
    failed: Vec<Arc<Server>>,
    /// The connection ID it goes by, in the listener's [`ServerIds`](super::ServerIds).
    id: Option<ConnectionId>,
    /// When it ends because its listener or its server is gone; none: both are there.
    pub(super) leaves_at: Option<Instant>,
}

/// What a flow has its server by.
#[derive(Debug)]
pub(super) struct Means<'a> {
    pub(super) worker: &'a Worker,
    pub(super) sockets: &'a mut Sockets,
    /// When the batch of datagrams came that is worked on.
    pub(super) now: Instant,
}

/// A server, as one flow has it.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) socket: Held,
    pub(super) place: Place<Kept>,
    /// What it is to send.
    pub(super) due: Due,
    since: Instant,
    /// Whether it has answered.
    answers: bool,
    _permit: Permit,
}

/// What is known of a flow that begins.
pub(super) struct Begun<'a> {
    pub(super) flow: Flow,
    pub(super) ends: Ends,
    pub(super) site: &'a Rc<LocalUdpSite>,
    /// What a proxy in front has said.
    pub(super) told: Option<&'a ProxyHeader<'a>>,
}

impl Carried {
    pub(super) fn begin(worker: &Worker, begun: &Begun<'_>, now: Instant) -> Self {
        let mut report = Report::begin(now);
        report.upstream = Some(Rc::clone(&begun.site.upstream));
        begun.site.upstream.upstream().stats(worker.id).requests.increment();
        Self {
            flow: begun.flow,
            ends: begun.ends,
            site: Rc::clone(begun.site),
            number: worker.connection_number(),
            report,
            header: header(begun),
            served: None,
            failed: Vec::new(),
            id: None,
            leaves_at: None,
        }
    }

    /// Has the flow a server. One that is no longer given anything is left for another, where there is one.
    ///
    /// *Errors*: there is none, and why. *Cost*: a load where it has one; otherwise a socket.
    pub(super) fn settle(&mut self, mut means: Means<'_>, home: Option<&Arc<Server>>) -> Result<(), Cause> {
        let worker = means.worker;
        let left = match &self.served {
            None => None,
            Some(served) if served.place.server().server.is_available() => return Ok(()),
            Some(served) => Some(Arc::clone(&served.place.server().server)),
        };
        let mut failure = None;
        for _ in 0..MAX_TRIES {
            let place = match self.claim((worker, means.now), home.or(left.as_ref())) {
                Ok(place)
                    if left
                        .as_ref()
                        .is_some_and(|left| Arc::ptr_eq(left, &place.server().server)) =>
                {
                    return Ok(());
                }
                Ok(place) => place,
                // It goes on with what it has.
                Err(_) if left.is_some() => return Ok(()),
                Err(cause) => return Err(self.refused(worker, failure.unwrap_or(cause))),
            };
            match self.open(&mut means, place) {
                Ok(served) => {
                    if let Some(left) = self.served.replace(served) {
                        means.sockets.close(left.socket);
                    }
                    return Ok(());
                }
                Err(cause @ Cause::ConnectFailed) => failure = Some(cause),
                Err(cause) => return Err(self.refused(worker, cause)),
            }
        }
        Err(self.refused(worker, failure.unwrap_or(Cause::NoServer)))
    }

    fn claim(&mut self, (worker, now): (&Worker, Instant), home: Option<&Arc<Server>>) -> Result<Place<Kept>, Cause> {
        let local = &self.site.upstream;
        let view = local.view();
        let priority = self.site.site.listener.route.priority;
        let ask = Ask {
            avoid: &self.failed,
            key: key::of(
                view.settings(),
                key::Source {
                    client: self.ends.client,
                    destination: Some(self.ends.destination),
                    server_name: None,
                },
            ),
            home: home.map(|server| Home {
                server,
                otherwise: Otherwise::Balance,
            }),
            now: moment(now),
            priority,
            deadline: None,
            share: None,
        };
        // Datagrams do not wait: whoever sent them sends them again.
        let full = || match (
            local.upstream().is_at_limit(priority),
            view.settings().limits.max_requests,
        ) {
            (false, _) => Cause::QueueFull,
            (true, Some(_)) => Cause::MaxRequests,
            (true, None) => Cause::MaxConnections,
        };
        if local.upstream().has_queue(priority) {
            return Err(full());
        }
        match view.place(&ask, &mut worker.chance.borrow_mut()) {
            Ok(place) => Ok(place),
            Err(Refusal::Full) => Err(full()),
            Err(Refusal::NoneAvailable) if self.failed.is_empty() => Err(Cause::NoServer),
            Err(Refusal::NoneAvailable) => {
                // All were tried; they may be there again.
                self.failed.clear();
                Err(Cause::ConnectFailed)
            }
        }
    }

    fn open(&mut self, means: &mut Means<'_>, place: Place<Kept>) -> Result<Served, Cause> {
        let Means { worker, now, .. } = *means;
        let max = place.view().settings().limits.max_connections;
        let permit = Permit::take(self.site.upstream.upstream(), max).ok_or(Cause::MaxConnections)?;
        self.report.tries(place.server());
        self.report.picked = Some(Picked::Balance);
        let server = &place.server().server;
        let stats = server.stats(worker.id);
        stats.requests.increment();
        let address = server.next_address().ok_or(Cause::NoServer)?;
        match means.sockets.connect(address, self.flow.index(), now) {
            Ok((socket, made)) => {
                match made {
                    Made::Anew => stats.connections_opened.increment(),
                    Made::Before => stats.connections_reused.increment(),
                }
                Ok(Served {
                    socket,
                    place,
                    due: Due::new(self.site.site.listener.flows.responses),
                    since: now,
                    answers: false,
                    _permit: permit,
                })
            }
            Err(error) if is_shortage(&error) => Err(Cause::OutOfResources),
            Err(_) => {
                self.unreachable((worker, now), &place);
                Err(Cause::ConnectFailed)
            }
        }
    }

    /// Counts a flow that is refused for lack of a server or of room.
    fn refused(&self, worker: &Worker, cause: Cause) -> Cause {
        let upstream = self.site.upstream.upstream();
        if cause == Cause::NoServer {
            upstream.stats(worker.id).no_server.increment();
        } else {
            let priority = self.site.site.listener.route.priority;
            upstream.priority_stats(worker.id, priority).refused.count(cause);
        }
        cause
    }

    /// Its server was said not to be there; the next datagram finds another.
    pub(super) fn failed(&mut self, means: Means<'_>, error: &io::Error) {
        if !isobar_net::udp::is_of_the_peer(error) {
            return;
        }
        if let Some(served) = self.served.take() {
            self.closed((means.worker, means.now), &served);
            self.unreachable((means.worker, means.now), &served.place);
            means.sockets.close(served.socket);
        }
    }

    fn unreachable(&mut self, (worker, now): (&Worker, Instant), place: &Place<Kept>) {
        let server = &place.server().server;
        server.stats(worker.id).failures.count(Cause::ConnectFailed);
        // How long it took to find out nobody has measured; it is no longer than the way there and back.
        place.unreachable(now, Duration::ZERO);
        self.report.note(server, Cause::ConnectFailed);
        if self.failed.len() >= MAX_TRIES {
            self.failed.clear();
        }
        self.failed.push(Arc::clone(server));
    }

    /// Counts datagrams that its server sent.
    pub(super) fn answered(&mut self, means: Means<'_>, (datagrams, bytes): (u64, u64)) {
        let Means { worker, sockets, now } = means;
        self.report.bytes_out += bytes;
        let Some(served) = &mut self.served else { return };
        if served.due.came(datagrams) {
            sockets.exceeded(&served.socket, now);
        }
        let stats = served.place.server().server.stats(worker.id);
        stats.datagrams_received.add(datagrams);
        stats.response_body_bytes.add(bytes);
        if !served.answers {
            served.answers = true;
            self.report.first_byte.get_or_insert(now);
            let took = now.saturating_duration_since(served.since);
            served.place.finished(now, took, Outcome::Success);
            self.failed.clear();
        }
    }

    /// Goes by a connection ID from now on.
    pub(super) fn goes_by(&mut self, id: ConnectionId) {
        if self.id == Some(id) {
            return;
        }
        let Some(served) = &self.served else { return };
        let ids = &self.site.site.ids;
        ids.enter(id, &served.place.server().server);
        if let Some(last) = self.id.replace(id) {
            ids.leave(&last);
        }
    }

    /// Counts it, now that it is over, and writes its line.
    pub(super) fn finish(mut self: Box<Self>, means: Means<'_>, cause: Cause) {
        let Means { worker, sockets, now } = means;
        if let Some(id) = self.id.take() {
            self.site.site.ids.leave(&id);
        }
        let expects = self.site.site.listener.flows.responses.is_some_and(|each| each > 0);
        let cause = match cause {
            Cause::IdleTimeout if self.served.is_none() && !self.report.tried().is_empty() => Cause::ConnectFailed,
            Cause::IdleTimeout if expects => Cause::ReadTimeout,
            cause => cause,
        };
        if let Some(served) = self.served.take() {
            self.closed((worker, now), &served);
            if cause == Cause::ReadTimeout {
                let waited = self.site.site.listener.flows.idle_timeout;
                let failure = Outcome::Failure { retry_after: None };
                served.place.server().server.stats(worker.id).failures.count(cause);
                served.place.finished(now, waited, failure);
            }
            if cause == Cause::Complete && served.due.is_settled() && !served.is_gone() {
                sockets.rest(served.socket, now);
            } else {
                sockets.close(served.socket);
            }
        }
        let site = &self.site.site;
        record::count(site.route.stats.of(worker.id), &self.report, cause);
        let of = Of {
            protocol: "UDP",
            listener: &site.listener.name,
            route: Some(&site.listener.route.name),
            client: self.ends.client,
            number: self.number,
        };
        record::write(worker, (&of, &self.report), cause);
        site.open.closed(worker.id);
    }

    /// Counts how long it had its server.
    fn closed(&self, (worker, now): (&Worker, Instant), served: &Served) {
        let stats = served.place.server().server.stats(worker.id);
        let lasted = now.saturating_duration_since(served.since);
        stats.connection_duration.observe(lasted);
    }
}

impl Served {
    /// Whether the server left.
    pub(super) fn is_gone(&self) -> bool {
        self.place.server().own.is_retired()
    }
}

/// The header that stands before each datagram; nothing where servers want none. What a proxy in front said is passed on.
fn header(begun: &Begun<'_>) -> Box<[u8]> {
    if begun.site.upstream.view().settings().proxy_protocol.is_none() {
        return Box::default();
    }
    let Ends {
        client, destination, ..
    } = begun.ends;
    let header = ProxyHeader {
        version: ProxyVersion::V2,
        endpoints: Endpoints::between(Transport::Datagram, client, destination),
        tlvs: begun.told.map(|told| told.tlvs).unwrap_or_default(),
        checksum: false,
    };
    let mut bytes = Vec::new();
    if header.compose(&mut bytes).is_err() {
        // It is what was heard that makes it too long; the addresses alone always fit.
        bytes.clear();
        let tlvs = Tlvs::default();
        let _ = ProxyHeader { tlvs, ..header }.compose(&mut bytes);
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is held for a flow is there once for each of very many.
    #[test]
    fn a_flow_is_small() {
        let bytes = size_of::<Carried>();
        assert!(bytes <= 640, "{bytes}");
    }
}
