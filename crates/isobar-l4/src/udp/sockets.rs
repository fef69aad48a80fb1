//! Which sockets towards servers are there, and which flow does each carry?
//!
//! A socket outlives its flow where everything that was due came and nothing else did, so that nobody's datagrams are on their way: it
//! rests, as [`Resting`] says, and carries another. It is watched all the time, by a number of its own. What comes while it rests is
//! nobody's, and shows that its server sends more than it is said to.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use isobar_net::limits::is_shortage;
use isobar_net::udp::{Peer, Peers, ReadyPeers};

use super::resting::Resting;

/// Flows that one socket carries at most, so that its port stays hard to guess for who would forge an answer (RFC 5452 section 9.2).
const MAX_FLOWS: u32 = 64;

/// How old a socket is at most when it is taken again: for the same reason, and because ways and addresses of ours change.
const MAX_AGE: Duration = Duration::from_secs(10);

/// The sockets towards servers that one listener has with one worker.
#[derive(Debug)]
pub(super) struct Sockets {
    peers: Peers,
    /// By the number that they are watched by.
    open: Vec<Option<Open>>,
    free: Vec<usize>,
    resting: Resting,
    /// When time was last told.
    now: Instant,
}

#[derive(Debug)]
struct Open {
    peer: Peer,
    to: SocketAddr,
    opened: Instant,
    /// Flows that it carried, that which it carries among them.
    flows: u32,
    carries: Carries,
}

/// What a socket is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// The flow with this number.
    Flow(usize),
    /// It rests.
    Nothing,
}

/// A socket that a flow has: it is given back to [`Sockets`], one way or the other.
#[derive(Debug)]
#[must_use]
pub(super) struct Held(usize);

/// Whether a flow's socket carried others before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Anew,
    Before,
}

impl Sockets {
    /// None yet; they are watched by `peers`.
    pub(super) fn new(peers: Peers, now: Instant) -> Self {
        Self {
            peers,
            open: Vec::new(),
            free: Vec::new(),
            resting: Resting::default(),
            now,
        }
    }

    /// Closes what rests. From now on so many may.
    pub(super) fn start_over(&mut self, most: usize) {
        self.resting.hold_to(most);
        self.close_resting();
    }

    /// A socket towards an address, for a flow.
    ///
    /// *Cost*: one system call where one can be used again; otherwise three. *Errors*: descriptors,
    /// ports or memory ran out, or no way leads there.
    pub(super) fn connect(&mut self, to: SocketAddr, flow: usize, now: Instant) -> io::Result<(Held, Made)> {
        self.now = now;
        if let Some(held) = self.again(&to, flow) {
            return Ok((held, Made::Before));
        }
        let anew = match self.anew(to, flow) {
            // What rests makes room.
            Err(error) if is_shortage(&error) && !self.resting.is_empty() => {
                self.close_resting();
                self.anew(to, flow)
            }
            anew => anew,
        };
        Ok((anew?, Made::Anew))
    }

    /// One that rested long enough, and to which nothing came.
    fn again(&mut self, to: &SocketAddr, flow: usize) -> Option<Held> {
        while let Some(rested) = self.resting.take(to, self.now) {
            let number = rested.number();
            let open = self.open.get_mut(number).and_then(Option::as_mut);
            let Some(open) = open.filter(|open| open.opened + MAX_AGE > self.now) else {
                close(&mut self.open, &mut self.free, number);
                continue;
            };
            match open.peer.is_quiet() {
                Ok(true) => {
                    open.carries = Carries::Flow(flow);
                    open.flows += 1;
                    return Some(Held(number));
                }
                // What came is told of when it is its turn, and has consequences then.
                Ok(false) => {
                    self.resting.put_back(to, rested);
                    return None;
                }
                Err(_) => {
                    self.close_resting_to(to);
                    close(&mut self.open, &mut self.free, number);
                }
            }
        }
        None
    }

    fn anew(&mut self, to: SocketAddr, flow: usize) -> io::Result<Held> {
        let peer = Peer::connect(to)?;
        let number = self.free.last().copied().unwrap_or(self.open.len());
        // Memory ran out, or the number of what one user may watch.
        let watched = self.peers.add(&peer, number);
        watched.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let open = Open {
            peer,
            to,
            opened: self.now,
            flows: 1,
            carries: Carries::Flow(flow),
        };
        match self.open.get_mut(number) {
            Some(place) => {
                self.free.pop();
                *place = Some(open);
            }
            None => self.open.push(Some(open)),
        }
        Ok(Held(number))
    }

    /// The socket of a flow.
    pub(super) fn peer(&self, held: &Held) -> Option<&Peer> {
        self.resting_peer(held.0)
    }

    /// The socket with a number.
    pub(super) fn resting_peer(&self, number: usize) -> Option<&Peer> {
        self.open.get(number)?.as_ref().map(|open| &open.peer)
    }

    /// What the socket with a number is there for; none: it was closed.
    pub(super) fn carries(&self, number: usize) -> Option<Carries> {
        self.open.get(number)?.as_ref().map(|open| open.carries)
    }

    /// Closes the socket of a flow.
    pub(super) fn close(&mut self, held: Held) {
        let Held(number) = held;
        close(&mut self.open, &mut self.free, number);
    }

    /// Takes the socket of a flow to which nothing more comes: it rests, or is closed.
    pub(super) fn rest(&mut self, held: Held, now: Instant) {
        self.now = now;
        let Held(number) = held;
        if let Some(open) = self.open.get_mut(number).and_then(Option::as_mut) {
            let may = open.flows < MAX_FLOWS && open.opened + MAX_AGE > now;
            if may && self.resting.put(open.to, number, now) {
                open.carries = Carries::Nothing;
                return;
            }
        }
        close(&mut self.open, &mut self.free, number);
    }

    /// More came to the socket of a flow than was due.
    pub(super) fn exceeded(&mut self, held: &Held, now: Instant) {
        self.distrust(held.0, now);
    }

    /// Something came to a socket that rests: those towards the same address are closed, and none rests for a while.
    pub(super) fn distrust(&mut self, number: usize, now: Instant) {
        if let Some(open) = self.open.get(number).and_then(Option::as_ref) {
            let to = open.to;
            self.resting.distrust(to, now);
            self.close_resting_to(&to);
        }
    }

    /// An error is told of a socket that rests: those towards the same address are closed.
    pub(super) fn broken(&mut self, number: usize) {
        if let Some(open) = self.open.get(number).and_then(Option::as_ref) {
            let to = open.to;
            self.close_resting_to(&to);
        }
    }

    fn close_resting_to(&mut self, to: &SocketAddr) {
        let Self {
            resting, open, free, ..
        } = self;
        resting.take_all_to(to, |number| close(open, free, number));
    }

    fn close_resting(&mut self) {
        let Self {
            resting, open, free, ..
        } = self;
        resting.take_all(|number| close(open, free, number));
    }

    /// Ready with some of the sockets that have something.
    ///
    /// *Cost*: one system call; no allocation.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, found: &mut ReadyPeers) -> Poll<io::Result<()>> {
        self.peers.poll(cx, found)
    }

    /// A socket that was told of may have more than was received.
    pub(super) fn is_not_empty(&self) {
        self.peers.is_not_empty();
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.resting.poll_timeout()
    }

    /// Closes what rested too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let Self {
            resting, open, free, ..
        } = self;
        resting.handle_timeout(now, |number| close(open, free, number));
    }
}

fn close(open: &mut [Option<Open>], free: &mut Vec<usize>, number: usize) {
    if open.get_mut(number).and_then(Option::take).is_some() {
        free.push(number);
    }
}
