//! What becomes of the datagrams that servers send?

use std::net::SocketAddr;

use isobar_net::udp::{Departure, Inbox, OF_ONE_PEER};
use isobar_observe::{Cause, DropReason};
use isobar_wire::udp::{Answer, ConnectionId, QuicHeader};

use super::Udp;
use super::flow::Means;
use super::sockets::Carries;

/// Whom the datagrams of a batch are for, so that all of them are sent with one call.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// By their place in the batch; none: its flow is over.
    for_whom: Vec<Option<(SocketAddr, SocketAddr)>>,
    /// The numbers of sockets with something to receive.
    sockets: Vec<usize>,
}

impl Udp {
    /// Takes what servers have sent to the clients of the flows that their sockets carry.
    pub(super) fn pass_back(&mut self, inbox: &mut Inbox) {
        let mut sockets = std::mem::take(&mut self.answers.sockets);
        sockets.extend(self.ready.iter());
        inbox.clear();
        self.look_at_the_clock();
        for &number in &sockets {
            if inbox.room() < OF_ONE_PEER {
                self.give(inbox);
            }
            match self.sockets.carries(number) {
                Some(Carries::Flow(index)) => self.hear(index, inbox),
                Some(Carries::Nothing) => self.hear_nobodys(number, inbox),
                None => {}
            }
        }
        self.give(inbox);
        sockets.clear();
        self.answers.sockets = sockets;
    }

    /// Receives what came to a socket that rests: it is for nobody, and the socket is of no use any more.
    fn hear_nobodys(&mut self, number: usize, inbox: &mut Inbox) {
        let Some(peer) = self.sockets.resting_peer(number) else {
            return;
        };
        match peer.receive(inbox) {
            Ok(0) => {}
            Ok(count) => {
                let nobody = std::iter::repeat_n(None, count);
                self.answers.for_whom.extend(nobody);
                self.stats()
                    .datagrams_dropped
                    .count(DropReason::Unexpected, count as u64);
                self.sockets.distrust(number, self.now);
            }
            Err(_) => self.sockets.broken(number),
        }
    }

    /// Receives what the server of a flow has sent, as far as there is room.
    fn hear(&mut self, index: usize, inbox: &mut Inbox) {
        let Some(carried) = self.carried.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let Some(served) = &carried.served else { return };
        let Some(peer) = self.sockets.peer(&served.socket) else {
            return;
        };
        let first = inbox.len();
        // What comes behind the last one that is expected is found where it rests.
        let is_one = served.due.is_one();
        let received = if is_one {
            peer.receive_one(inbox)
        } else {
            peer.receive(inbox)
        };
        // Behind an error may be datagrams, unless the socket is closed for it.
        if !matches!(received, Ok(count) if count < OF_ONE_PEER) {
            self.sockets.is_not_empty();
        }
        let means = Means {
            worker: &self.worker,
            sockets: &mut self.sockets,
            now: self.now,
        };
        if let Err(error) = received {
            carried.failed(means, &error);
            return;
        }
        let bytes = (first..inbox.len())
            .map(|datagram| inbox.payload(datagram).len() as u64)
            .sum();
        if inbox.len() > first {
            carried.answered(means, ((inbox.len() - first) as u64, bytes));
        }
        for datagram in first..inbox.len() {
            let to = self.answer(index, inbox.payload(datagram));
            if to.is_none() {
                self.stats().datagrams_dropped.count(DropReason::Unexpected, 1);
            }
            self.answers.for_whom.push(to);
        }
        if is_one && self.carried.get(index).is_some_and(Option::is_some) {
            self.sockets.is_not_empty();
        }
    }

    /// Whom a datagram of a server is for, and where it comes from; none: its flow is over.
    fn answer(&mut self, index: usize, payload: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        let now = self.since_origin();
        let carried = self.carried.get_mut(index)?.as_mut()?;
        let ends = carried.ends;
        let answer = self.flows.handle_response(carried.flow, payload, now);
        let Answer::PassOn { ends: is_last, .. } = answer else {
            return None;
        };
        if let Some(id) = self
            .site
            .site
            .listener
            .flows
            .quic
            .and_then(|quic| chosen(payload, quic.id_bytes))
        {
            carried.goes_by(id);
        }
        if is_last {
            self.over(index, Cause::Complete);
        }
        Some((ends.peer, ends.local))
    }

    /// Sends the batch to the clients.
    fn give(&mut self, inbox: &mut Inbox) {
        let for_whom = self.answers.for_whom.iter().enumerate();
        let departures = for_whom.filter_map(|(datagram, for_whom)| {
            let (to, from) = (*for_whom)?;
            let payload = inbox.payload(datagram);
            Some(Departure { to, from, payload })
        });
        let wanted = self.answers.for_whom.iter().flatten().count();
        let sent = self.socket.send(departures);
        self.stats().datagrams_sent.add(sent as u64);
        if sent < wanted {
            let lost = (wanted - sent) as u64;
            self.stats().datagrams_dropped.count(DropReason::ToClient, lost);
        }
        self.answers.for_whom.clear();
        inbox.clear();
    }
}

/// The connection ID that a server of QUIC wants to be called by, where the datagram tells it.
fn chosen(payload: &[u8], id_bytes: u8) -> Option<ConnectionId> {
    match QuicHeader::parse(payload, id_bytes)? {
        QuicHeader::Long { source, .. } => ConnectionId::new(source),
        QuicHeader::Short { .. } => None,
    }
}
