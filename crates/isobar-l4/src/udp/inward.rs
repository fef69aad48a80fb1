//! What becomes of the datagrams that clients send?

use isobar_net::udp::{Arrival, Inbox};
use isobar_observe::{Cause, DropReason};
use isobar_wire::proxy_protocol::{Endpoints, ProxyHeader, ProxyVersion, Transport};
use isobar_wire::udp::{self, ConnectionId, Datagram, Flow, Handled};

use super::Udp;
use super::flow::{Begun, Carried, Ends, Means, Served};
use crate::proxy;

/// Datagrams of a batch that wait to be sent, so that those of one flow are sent with one call.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<Waiting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    /// The number of its flow.
    flow: usize,
    /// Which datagram of the batch it is.
    datagram: usize,
    /// How much of it is a header of the PROXY protocol.
    skip: usize,
}

/// A datagram, and whose it is.
struct Told<'a> {
    ends: Ends,
    header: Option<ProxyHeader<'a>>,
    payload: &'a [u8],
}

impl Udp {
    /// Gives the datagrams of a batch to their flows' servers.
    pub(super) fn take_in(&mut self, inbox: &Inbox) {
        self.stats().datagrams_received.add(inbox.len() as u64);
        self.look_at_the_clock();
        for datagram in 0..inbox.len() {
            let dropped = match self.socket.arrival(inbox, datagram) {
                Some(arrival) => self.handle(inbox, (datagram, arrival)).err(),
                None => Some(DropReason::Unanswerable),
            };
            if let Some(reason) = dropped {
                self.stats().datagrams_dropped.count(reason, 1);
            }
        }
        self.flush(inbox);
    }

    fn handle(&mut self, inbox: &Inbox, (datagram, arrival): (usize, Arrival<'_>)) -> Result<(), DropReason> {
        let told = self.told(arrival)?;
        let now = self.since_origin();
        let handled = self.flows.handle_datagram(
            Datagram {
                from: told.ends.client,
                to: told.ends.destination,
                payload: told.payload,
            },
            now,
        );
        let (flow, ends) = match handled {
            Handled::Forward { flow, ends } => {
                let goes_on = self.goes_on(flow, &told.ends);
                if goes_on.is_err() && ends {
                    self.over(flow.index(), Cause::Complete);
                }
                goes_on?;
                (flow, ends)
            }
            Handled::New { flow, id, ends, .. } => {
                // The number may be that of a flow which made room or has just ended, with datagrams that still wait.
                self.flush(inbox);
                self.over(flow.index(), Cause::Displaced);
                self.begins((flow, id), &told)?;
                (flow, ends)
            }
            Handled::Dropped(udp::DropReason::Full) if self.orders.is_closing() => return Err(DropReason::Draining),
            Handled::Dropped(udp::DropReason::Full) => return Err(DropReason::Full),
            Handled::Dropped(udp::DropReason::Unanswerable) => return Err(DropReason::Unanswerable),
        };
        self.queue.waiting.push(Waiting {
            flow: flow.index(),
            datagram,
            skip: arrival.payload.len() - told.payload.len(),
        });
        if ends {
            self.flush(inbox);
            self.over(flow.index(), Cause::Complete);
        }
        Ok(())
    }

    /// Finds out who sent a datagram.
    fn told<'a>(&self, arrival: Arrival<'a>) -> Result<Told<'a>, DropReason> {
        let Arrival { from, to, payload } = arrival;
        let own = Ends {
            client: from,
            destination: to,
            peer: from,
            local: to,
            is_told: false,
        };
        let sources = self.site.site.listener.proxy.as_ref();
        match sources.map(|sources| proxy::is_expected(sources, from)) {
            None | Some(Ok(false)) => {
                return Ok(Told {
                    ends: own,
                    header: None,
                    payload,
                });
            }
            Some(Ok(true)) => {}
            Some(Err(_)) => return Err(DropReason::ProxyHeader),
        }
        let header = ProxyHeader::parse(payload).ok().flatten();
        let header = header.filter(|(header, _)| is_of_datagrams(header));
        let (header, len) = header.ok_or(DropReason::ProxyHeader)?;
        let ends = Ends {
            client: header.endpoints.source().unwrap_or(from),
            destination: header.endpoints.destination().unwrap_or(to),
            is_told: true,
            ..own
        };
        Ok(Told {
            ends,
            header: Some(header),
            payload: payload.get(len..).unwrap_or_default(),
        })
    }

    /// Another datagram of a flow: has it a server, if that it had is of no use any more.
    fn goes_on(&mut self, flow: Flow, ends: &Ends) -> Result<(), DropReason> {
        let Some(carried) = self.carried.get_mut(flow.index()).and_then(Option::as_mut) else {
            self.flows.end(flow);
            return Err(DropReason::NoServer);
        };
        // One who speaks for itself does not have what is meant for another sent to itself, by forging that one's address.
        if carried.ends.is_told != ends.is_told {
            return Err(DropReason::ProxyHeader);
        }
        carried.ends = *ends;
        if carried.leaves_at.is_none() && carried.served.as_ref().is_some_and(Served::is_gone) {
            let drain = self.worker.world().world.drain_timeout;
            let leaves_at = self.now + drain;
            carried.leaves_at = Some(leaves_at);
            self.leaves_at = Some(self.leaves_at.map_or(leaves_at, |at| at.min(leaves_at)));
        }
        let means = Means {
            worker: &self.worker,
            sockets: &mut self.sockets,
            now: self.now,
        };
        let settled = carried.settle(means, None);
        self.settled(flow, settled)
    }

    /// The first datagram of a flow.
    fn begins(&mut self, (flow, id): (Flow, Option<ConnectionId>), told: &Told<'_>) -> Result<(), DropReason> {
        let begun = Begun {
            flow,
            ends: told.ends,
            site: &self.site,
            told: told.header.as_ref(),
        };
        let mut carried = Box::new(Carried::begin(&self.worker, &begun, self.now));
        let site = &self.site.site;
        // How many there may be, the flows know.
        let _ = site.open.opens(self.worker.id, u32::MAX);
        self.stats().connections_accepted.increment();
        let home = id.and_then(|id| Some((id, site.ids.find(&id)?)));
        let means = Means {
            worker: &self.worker,
            sockets: &mut self.sockets,
            now: self.now,
        };
        let settled = carried.settle(means, home.as_ref().map(|(_, server)| server));
        if let Some((id, _)) = home {
            carried.goes_by(id);
        }
        let index = flow.index();
        if self.carried.len() <= index {
            self.carried.resize_with(index + 1, || None);
        }
        if let Some(place) = self.carried.get_mut(index) {
            *place = Some(carried);
        }
        self.settled(flow, settled)
    }

    /// A flow without a server ends.
    fn settled(&mut self, flow: Flow, settled: Result<(), Cause>) -> Result<(), DropReason> {
        settled.map_err(|cause| {
            self.flows.end(flow);
            self.over(flow.index(), cause);
            DropReason::NoServer
        })
    }

    /// Sends what waits, in the order in which it came, with one call for each flow.
    fn flush(&mut self, inbox: &Inbox) {
        self.queue.waiting.sort_unstable();
        let (mut dropped, waiting) = (0, std::mem::take(&mut self.queue.waiting));
        for group in waiting.chunk_by(|one, other| one.flow == other.flow) {
            let Some(first) = group.first() else { continue };
            let carried = self.carried.get_mut(first.flow).and_then(Option::as_mut);
            dropped += match carried {
                Some(carried) => {
                    let means = Means {
                        worker: &self.worker,
                        sockets: &mut self.sockets,
                        now: self.now,
                    };
                    send(means, carried, (inbox, group))
                }
                None => group.len(),
            };
        }
        if dropped > 0 {
            self.stats()
                .datagrams_dropped
                .count(DropReason::ToServer, dropped as u64);
        }
        self.queue.waiting = waiting;
        self.queue.waiting.clear();
    }
}

/// Sends datagrams of one flow to its server; how many went nowhere.
fn send(means: Means<'_>, carried: &mut Carried, (inbox, group): (&Inbox, &[Waiting])) -> usize {
    let served = carried.served.as_mut();
    let with_peer = served.and_then(|served| means.sockets.peer(&served.socket).map(|peer| (peer, served)));
    let Some((peer, served)) = with_peer else {
        return group.len();
    };
    let payload = |waiting: &Waiting| inbox.payload(waiting.datagram).get(waiting.skip..).unwrap_or_default();
    let bytes = group.iter().map(|waiting| payload(waiting).len() as u64).sum();
    let (sent, failure) = peer.send(&carried.header, group.iter().map(payload));
    let refused = group.len().saturating_sub(sent);
    served.due.sent(sent, refused);
    let stats = served.place.server().server.stats(means.worker.id);
    stats.datagrams_sent.add(sent as u64);
    stats.request_body_bytes.add(bytes);
    carried.report.bytes_in += bytes;
    if let Some(failure) = failure {
        carried.failed(means, &failure);
    }
    refused
}

/// Whether a header is one for datagrams. One that speaks for nobody has no transport.
fn is_of_datagrams(header: &ProxyHeader<'_>) -> bool {
    let is_datagram = match header.endpoints {
        Endpoints::V4 { transport, .. } | Endpoints::V6 { transport, .. } | Endpoints::Unix { transport, .. } => {
            transport == Transport::Datagram
        }
        Endpoints::Local | Endpoints::Unknown => true,
    };
    header.version == ProxyVersion::V2 && is_datagram
}
