//! Which flow does a datagram belong to, and when has one ended? Knows addresses, counts and time; sockets and servers are the
//! caller's, under the number of the flow.
//!
//! A full table makes room at the cost of the flow that has been quiet longest among those whose client has not sent anything
//! since it was answered. A flood from forged addresses opens flows of that kind, so it takes the place of its own and not of
//! clients that are being served, as in the connection tracking of Linux (`early_drop`). When there is no such flow the new one
//! is refused: clients that are being served are never given up for ones that are not.
//!
//! *Source*: the counts are those of nginx's `proxy_requests` and `proxy_responses` (1.15.7 and later); RFC 8999 and RFC 9000 section 9 for
//! connection IDs.

mod lists;
mod table;

use core::hash::BuildHasher;
use core::net::SocketAddr;
use core::time::Duration;

use super::quic::{ConnectionId, QuicHeader};
use table::{Key, Table};

/// The number of a flow: small, and used again once the flow has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow(u32);

impl Flow {
    /// The place of the flow in a list of the caller's, below the largest [`FlowLimits::max_flows`] there ever was.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// What makes a flow one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyedBy {
    /// The client's address and port.
    Client,
    /// These, and the address and port it sends to.
    ClientAndLocal,
}

/// How the servers of a listener choose their connection IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuicIds {
    /// Bytes of each of their IDs, which short headers do not tell.
    pub short_id_bytes: u8,
}

/// What flows are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowLimits {
    /// Flows at once; [`MAX_FLOWS`](Self::MAX_FLOWS) at most.
    pub max_flows: u32,
    /// How long a flow lasts in which nothing is sent, in either direction.
    pub idle_timeout: Duration,
    /// After so many datagrams of a client its next one begins another flow; none: never.
    pub requests: Option<u32>,
    /// Datagrams of the server that are expected for each of the client; the flow ends with the last. None: nobody knows.
    pub responses: Option<u32>,
}

impl FlowLimits {
    /// Flows at once at most, whatever is asked for: less than 200 MB of them.
    pub const MAX_FLOWS: u32 = 1 << 20;
}

/// A datagram of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The client.
    pub from: SocketAddr,
    /// The address of ours that it was sent to.
    pub to: SocketAddr,
    /// What it says.
    pub payload: &'a [u8],
}

/// What is to be done with a datagram of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It goes to the server of a flow.
    Forward {
        /// The flow.
        flow: Flow,
        /// Whether the flow ends with it: no answer is expected, and its number is free from here on.
        ends: bool,
    },
    /// It is the first of a flow that needs a server. Where there is none, [`Flows::end`] comes next.
    New {
        /// The flow.
        flow: Flow,
        /// A flow of the same QUIC connection: this one goes to the same server, over a socket of its own.
        beside: Option<Flow>,
        /// The connection ID the datagram is for, which a server may have written its place into. Where IDs are known only.
        id: Option<ConnectionId>,
        /// Whether a flow had to make room for it, whose number it has now.
        evicts: bool,
        /// Whether the flow ends with it, as in [`Handled::Forward`].
        ends: bool,
    },
    /// It goes nowhere.
    Dropped(DropReason),
}

/// Why a datagram of a client goes nowhere. There is nobody to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DropReason {
    /// There are as many flows as there may be, and none makes room.
    #[error("there are too many flows")]
    Full,
    /// It comes from port zero or from the very address it was sent to, and nothing could be sent back.
    #[error("the datagram has no address to answer to")]
    Unanswerable,
}

/// What is to be done with a datagram of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It goes to the client.
    PassOn {
        /// The client.
        client: SocketAddr,
        /// The address of ours that it sent to first, and that it is to be answered from.
        local: SocketAddr,
        /// Whether the flow ends with it: its number is free from here on.
        ends: bool,
    },
    /// There is no such flow any more.
    Stray,
}

/// What has become of datagrams and flows so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Flows that began.
    pub opened: u64,
    /// Those of them that began beside another of the same QUIC connection.
    pub moved: u64,
    /// Flows that ended with the last datagram that was expected.
    pub finished: u64,
    /// Flows in which nothing was sent for too long.
    pub expired: u64,
    /// Flows that made room for another.
    pub evicted: u64,
    /// Datagrams that were dropped because there were too many flows.
    pub refused: u64,
    /// Datagrams that had no address to answer to.
    pub unanswerable: u64,
}

/// The flows of one listener.
///
/// ```text
///          first datagram           answered, and the client sends again
/// (none) ─────────────────▶ fresh ─────────────────────────────────────▶ assured
///                             │ makes room when the table is full           │
///                             └──────────────▶ (none) ◀─────────────────────┘
///                                  quiet for too long, last datagram, or `end`
/// ```
///
/// With [`QuicIds`] a client that changes its address stays with its server. A server tells the ID it wants to be called by in
/// its first packets, and the last one of each flow is kept: a datagram from elsewhere with that ID begins a flow beside it. It
/// does not take the flow over, because then the server could not see that the address has changed, and would send to
/// whatever address somebody forged instead of asking it first (RFC 9000 section 8.2). A client that moves on purpose takes an
/// ID that was told to it under protection (RFC 9000 section 9.5): for that, servers write their place into their IDs, and
/// [`Handled::New`] has the ID.
#[derive(Debug, Clone)]
pub struct Flows<S> {
    table: Table<S>,
    quic: Option<QuicIds>,
    limits: FlowLimits,
    /// The latest time that was ever told.
    now: Duration,
    counts: FlowCounts,
}

impl<S: BuildHasher> Flows<S> {
    /// No flows yet. Clients choose what is hashed: the hasher is to have a secret.
    ///
    /// *Cost*: the memory for all flows there may be is asked for at once, less than 200 bytes each; nothing is allocated after.
    #[must_use]
    pub fn new(keyed_by: KeyedBy, quic: Option<QuicIds>, limits: FlowLimits, hasher: S) -> Self {
        let limits = bounded(limits);
        Self {
            table: Table::new(keyed_by, limits.max_flows, hasher),
            quic,
            limits,
            now: Duration::ZERO,
            counts: FlowCounts::default(),
        }
    }

    /// Holds flows to something else from here on. No flow ends by it: of too many, those that are there stay.
    ///
    /// *Cost*: O(flows), and allocates, where there may be more than before.
    pub fn set_limits(&mut self, limits: FlowLimits) {
        self.limits = bounded(limits);
        self.table.reserve(self.limits.max_flows);
    }

    /// Judges a datagram of a client; `now` counts from an origin of the caller's, and stands still where it would go back.
    ///
    /// *Cost*: O(1), two look-ups with [`QuicIds`]; no allocation.
    pub fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Duration) -> Handled {
        self.now = self.now.max(now);
        let Datagram { from, to, payload } = datagram;
        if from.port() == 0 || from == to {
            self.counts.unanswerable += 1;
            return Handled::Dropped(DropReason::Unanswerable);
        }
        let key = Key { from, to };
        let chain = self.table.chain_of(&key);
        if let Some(slot) = self.table.find(&key, chain) {
            let ends = self.request(slot);
            return Handled::Forward { flow: Flow(slot), ends };
        }
        let id = self.destination_of(payload);
        let beside = id.and_then(|id| self.table.find_id(&id));
        let Some((slot, evicts)) = self.room_beside(beside) else {
            self.counts.refused += 1;
            return Handled::Dropped(DropReason::Full);
        };
        self.counts.opened += 1;
        self.counts.evicted += u64::from(evicts);
        self.table.open(slot, key, chain);
        if let (Some(id), Some(_)) = (id, beside) {
            self.counts.moved += 1;
            self.table.set_id(slot, id);
        }
        Handled::New {
            flow: Flow(slot),
            beside: beside.map(Flow),
            id,
            evicts,
            ends: self.request(slot),
        }
    }

    /// Judges a datagram of the server of a flow.
    ///
    /// *Cost*: O(1); no allocation.
    pub fn handle_response(&mut self, flow: Flow, payload: &[u8], now: Duration) -> Answer {
        self.now = self.now.max(now);
        let Some(entry) = self.table.entry_mut(flow.0) else {
            return Answer::Stray;
        };
        entry.responses = entry.responses.saturating_add(1);
        let Key { from, to } = entry.key;
        let source = self
            .quic
            .and_then(|ids| match QuicHeader::parse(payload, ids.short_id_bytes)? {
                QuicHeader::Long { source, .. } => ConnectionId::new(source),
                QuicHeader::Short { .. } => None,
            });
        if let Some(id) = source {
            self.table.set_id(flow.0, id);
        }
        self.table.touch(flow.0, self.now);
        Answer::PassOn {
            client: from,
            local: to,
            ends: self.finish(flow.0),
        }
    }

    /// Ends a flow, because it has no server or its socket failed. Nothing happens where it has ended.
    pub fn end(&mut self, flow: Flow) {
        self.table.close(flow.0);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; none: as long as nothing is sent, never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let (_, quiet_since) = self.table.quietest()?;
        Some(quiet_since.saturating_add(self.limits.idle_timeout))
    }

    /// Ends a flow in which nothing was sent for too long, the quietest first; called until there is none.
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Flow> {
        self.now = self.now.max(now);
        let (slot, quiet_since) = self.table.quietest()?;
        if quiet_since.saturating_add(self.limits.idle_timeout) > self.now {
            return None;
        }
        self.table.close(slot);
        self.counts.expired += 1;
        Some(Flow(slot))
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// The flows, with their clients and the addresses these sent to first.
    pub fn iter(&self) -> impl Iterator<Item = (Flow, SocketAddr, SocketAddr)> + '_ {
        self.table.iter().map(|(slot, key)| (Flow(slot), key.from, key.to))
    }

    /// What has become of datagrams and flows so far.
    #[must_use]
    pub fn counts(&self) -> FlowCounts {
        self.counts
    }

    fn destination_of(&self, payload: &[u8]) -> Option<ConnectionId> {
        let header = QuicHeader::parse(payload, self.quic?.short_id_bytes)?;
        ConnectionId::new(header.destination())
    }

    /// A slot for another flow, and whether one had to make room. It is not that of `beside`, whose server is asked for.
    fn room_beside(&mut self, beside: Option<u32>) -> Option<(u32, bool)> {
        if self.table.len() < self.limits.max_flows {
            return Some((self.table.free_slot(), false));
        }
        if self.table.len() > self.limits.max_flows {
            return None;
        }
        let slot = self.table.quietest_fresh(beside)?;
        self.table.close(slot);
        Some((slot, true))
    }

    /// Counts a datagram of the client; says whether the flow ends with it.
    fn request(&mut self, slot: u32) -> bool {
        let Some(entry) = self.table.entry_mut(slot) else {
            return false;
        };
        entry.requests = entry.requests.saturating_add(1);
        let (is_assured, is_last) = (
            entry.responses > 0,
            self.limits.requests.is_some_and(|limit| entry.requests >= limit),
        );
        if is_assured {
            self.table.assure(slot);
        }
        self.table.touch(slot, self.now);
        if is_last {
            self.table.forget_key(slot);
        }
        self.finish(slot)
    }

    /// Ends a flow in which nothing more is expected; says whether it did.
    fn finish(&mut self, slot: u32) -> bool {
        let FlowLimits {
            requests, responses, ..
        } = self.limits;
        let Some((entry, each)) = self.table.entry_mut(slot).zip(responses) else {
            return false;
        };
        let may_send_more = requests.is_some_and(|limit| entry.requests < limit);
        if may_send_more || entry.responses < each.saturating_mul(entry.requests) {
            return false;
        }
        self.table.close(slot);
        self.counts.finished += 1;
        true
    }
}

fn bounded(limits: FlowLimits) -> FlowLimits {
    FlowLimits {
        max_flows: limits.max_flows.min(FlowLimits::MAX_FLOWS),
        ..limits
    }
}
