//! Which sockets does each listener have, and which of them stay under a new plan?
//!
//! Sockets belong to an address. What the listener there is called and by which rules it serves may change without the
//! kernel noticing, so that nothing that waits to be accepted is lost. Who accepts from the sockets is not known here.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use isobar_net::listen::{ListenOptions, listen};
use isobar_net::udp;
use isobar_plan::{Endpoint, Name, Transport};

use crate::ApplyError;

/// Tells workers which sockets are meant, whatever the listener is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BindingId(u64);

/// The sockets of one listener, one per worker.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) id: BindingId,
    pub(crate) name: Name,
    /// The address it really has.
    pub(crate) address: SocketAddr,
    /// The address in the plan.
    asked: SocketAddr,
    transport: Transport,
    /// Duplicates of what the workers accept from: here the backlog can be changed.
    sockets: Vec<OwnedFd>,
    /// What the workers have not been given yet.
    fresh: Option<Vec<OwnedFd>>,
}

/// The sockets of all listeners, in the plan's order.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    list: Vec<Binding>,
    /// The addresses that the last plan gave up: their sockets may still be closing.
    left: Vec<Spot>,
    next_id: u64,
}

/// An address, and whether it is one for datagrams: those of TCP and UDP are no matter of each other.
type Spot = (SocketAddr, bool);

fn spot(address: SocketAddr, transport: Transport) -> Spot {
    (address, transport == Transport::Udp)
}

/// Where a listener's sockets come from.
#[derive(Debug)]
pub(crate) enum Claim {
    /// They are there, at this position.
    Kept(usize),
    /// They were opened.
    Opened {
        /// The address they really have.
        address: SocketAddr,
        /// One per worker.
        sockets: Vec<OwnedFd>,
        /// The same once more.
        fresh: Vec<OwnedFd>,
    },
}

impl Binding {
    /// The sockets, for the workers to accept from; none: they were taken before.
    pub(crate) fn take_fresh(&mut self) -> Option<Vec<OwnedFd>> {
        self.fresh.take()
    }

    /// Becomes the sockets of this listener. What waits to be accepted stays, also when fewer may wait from now on.
    fn serve(self, listener: &Endpoint<'_>) -> Self {
        if let Transport::Tcp { backlog, keepalive } = listener.transport
            && listener.transport != self.transport
        {
            let keepalive = keepalive.as_ref().map(isobar_l4::keepalive::told);
            for socket in &self.sockets {
                // listen(2) fails for sockets that cannot listen, and these do; the plan's values are in range.
                let _ = rustix::net::listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX));
                let _ = isobar_net::keepalive::set(socket, keepalive.as_ref());
            }
        }
        Self {
            name: listener.name.clone(),
            asked: listener.address,
            transport: listener.transport,
            ..self
        }
    }
}

impl Bindings {
    /// The sockets of the listeners, in the plan's order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Binding> {
        self.list.iter_mut()
    }

    /// The address a listener really has.
    pub(crate) fn address(&self, name: &str) -> Option<SocketAddr> {
        let binding = self.list.iter().find(|binding| &*binding.name == name)?;
        Some(binding.address)
    }

    /// Finds the sockets of every listener of a new plan among those there are, and opens the others. A listener keeps
    /// the sockets of its address also when it has a new name.
    ///
    /// *Errors*: an address cannot be had; nothing is left behind.
    pub(crate) fn claim(&self, listeners: &[Endpoint<'_>], workers: usize) -> Result<Vec<Claim>, ApplyError> {
        let kept = kept(
            &self
                .list
                .iter()
                .map(|old| (&*old.name, spot(old.asked, old.transport)))
                .collect::<Vec<_>>(),
            &listeners
                .iter()
                .map(|new| (&**new.name, spot(new.address, new.transport)))
                .collect::<Vec<_>>(),
        );
        let gone = self
            .list
            .iter()
            .enumerate()
            .filter(|(at, _)| !kept.contains(&Some(*at)));
        let ours: Vec<_> = gone
            .map(|(_, old)| spot(old.address, old.transport))
            .chain(self.left.iter().copied())
            .collect();
        let claim = |(listener, kept): (&Endpoint<'_>, &Option<usize>)| match kept {
            Some(position) => Ok(Claim::Kept(*position)),
            None => open(listener, workers, &ours).map_err(|source| ApplyError::Listen {
                name: listener.name.clone(),
                address: listener.address,
                source,
            }),
        };
        listeners.iter().zip(&kept).map(claim).collect()
    }

    /// Gives every listener what was claimed for it; *returns* those that no listener has any more, closed on this side.
    pub(crate) fn settle(&mut self, claims: Vec<Claim>, listeners: &[Endpoint<'_>]) -> Vec<BindingId> {
        let mut old: Vec<_> = std::mem::take(&mut self.list).into_iter().map(Some).collect();
        for (claim, listener) in claims.into_iter().zip(listeners) {
            let binding = match claim {
                Claim::Kept(position) => old.get_mut(position).and_then(Option::take),
                Claim::Opened {
                    address,
                    sockets,
                    fresh,
                } => {
                    self.next_id += 1;
                    Some(Binding {
                        id: BindingId(self.next_id),
                        name: listener.name.clone(),
                        address,
                        asked: listener.address,
                        transport: listener.transport,
                        sockets,
                        fresh: Some(fresh),
                    })
                }
            };
            self.list.extend(binding.map(|binding| binding.serve(listener)));
        }
        let gone = old.into_iter().flatten();
        let (ids, spots) = gone
            .map(|binding| (binding.id, spot(binding.address, binding.transport)))
            .unzip();
        self.left = spots;
        ids
    }

    /// Closes every socket on this side.
    pub(crate) fn close(&mut self) {
        for binding in &mut self.list {
            binding.sockets.clear();
            binding.fresh = None;
        }
    }
}

/// For each new listener the position of the old one whose sockets it keeps: the one of its name and address, or else
/// one of its address.
fn kept<P: PartialEq>(old: &[(&str, P)], new: &[(&str, P)]) -> Vec<Option<usize>> {
    let mut kept: Vec<_> = new
        .iter()
        .map(|listener| old.iter().position(|other| other == listener))
        .collect();
    for (at, (_, address)) in new.iter().enumerate() {
        if kept[at].is_none() {
            kept[at] = (0..old.len()).find(|position| old[*position].1 == *address && !kept.contains(&Some(*position)));
        }
    }
    kept
}

/// Opens one socket per worker at a listener's address; `ours` are those of sockets that are to be closed.
fn open(listener: &Endpoint<'_>, workers: usize, ours: &[Spot]) -> std::io::Result<Claim> {
    let mut address = listener.address;
    let (_, is_udp) = spot(address, listener.transport);
    let is_ours = |(other, other_is_udp): &Spot| *other_is_udp == is_udp && overlap(*other, address);
    if address.port() != 0 && !ours.iter().any(is_ours) {
        // A socket that shares nothing finds out whether somebody else is there; ours would silently share with them.
        match listener.transport {
            Transport::Tcp { .. } => drop(TcpListener::bind(address)?),
            Transport::Udp => drop(UdpSocket::bind(address)?),
        }
    }
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        match listener.transport {
            Transport::Tcp { backlog, keepalive } => {
                let keepalive = keepalive.as_ref().map(isobar_l4::keepalive::told);
                let socket = listen(address, ListenOptions { backlog, keepalive })?;
                address = socket.local_addr()?;
                sockets.push(OwnedFd::from(socket));
            }
            Transport::Udp => {
                let socket = udp::bind(address)?;
                address = socket.local_addr()?;
                sockets.push(OwnedFd::from(socket));
            }
        }
    }
    let fresh = sockets.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>()?;
    Ok(Claim::Opened {
        address,
        sockets,
        fresh,
    })
}

/// Whether sockets at two addresses keep each other out unless both share.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // `[::]` takes IPv4 connections too, unless the system says otherwise.
    let covers =
        |wide: SocketAddr, other: SocketAddr| wide.ip().is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    a.port() == b.port() && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use isobar_plan::{Endpoint, Listener, Transport};

    use super::{Bindings, kept, overlap};
    use crate::sample::{any_port, listener};

    fn with_backlog(backlog: u32) -> Listener {
        let mut listener = listener("a", any_port());
        listener.limits.backlog = backlog;
        listener
    }

    fn apply(bindings: &mut Bindings, listeners: &[Listener]) -> Result<usize, String> {
        let endpoints = listeners.iter().map(|listener| Endpoint {
            name: &listener.name,
            address: listener.address,
            transport: Transport::Tcp {
                backlog: listener.limits.backlog,
                keepalive: None,
            },
        });
        let listeners: &[_] = &endpoints.collect::<Vec<_>>();
        let claims = bindings.claim(listeners, 1).map_err(|error| error.to_string())?;
        Ok(bindings.settle(claims, listeners).len())
    }

    #[test]
    fn a_new_backlog_holds_for_the_sockets_there_are() {
        let mut bindings = Bindings::default();
        apply(&mut bindings, &[with_backlog(1)]).unwrap();
        let address = bindings.address("a").unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let mut waiting = Vec::new();
        while let Ok(stream) = connect() {
            waiting.push(stream);
            assert!(waiting.len() < 10, "the backlog has no end");
        }
        assert_eq!(apply(&mut bindings, &[with_backlog(16)]), Ok(0));
        assert_eq!(bindings.address("a"), Some(address));
        for _ in 0..8 {
            waiting.push(connect().expect("there is room in the longer backlog"));
        }
    }

    #[test]
    fn an_address_that_a_listener_leaves_may_be_taken_by_another() {
        let mut bindings = Bindings::default();
        apply(&mut bindings, &[listener("a", any_port())]).unwrap();
        let narrow = bindings.address("a").unwrap();
        let wide = SocketAddr::from(([0, 0, 0, 0], narrow.port()));
        for (address, gone) in [(wide, 1), (narrow, 1), (narrow, 0)] {
            assert_eq!(apply(&mut bindings, &[listener("a", address)]), Ok(gone), "{address}");
            TcpStream::connect(narrow).unwrap();
        }
        // Who has just left may still be closing.
        let still_closing: Vec<_> = bindings.list[0].fresh.take().into_iter().collect();
        assert_eq!(apply(&mut bindings, &[]), Ok(1));
        assert_eq!(apply(&mut bindings, &[listener("a", narrow)]), Ok(0));
        drop(still_closing);
    }

    #[test]
    fn an_address_of_somebody_else_is_refused_and_changes_nothing() {
        let holder = TcpListener::bind(any_port()).unwrap();
        let taken = holder.local_addr().unwrap();
        let mut bindings = Bindings::default();
        apply(&mut bindings, &[listener("a", any_port())]).unwrap();
        let mine = bindings.address("a").unwrap();
        let error = apply(&mut bindings, &[listener("b", any_port()), listener("c", taken)]);
        let error = error.unwrap_err();
        assert!(error.contains(&format!("failed to listen on {taken} (c)")), "{error}");
        assert_eq!((bindings.address("a"), bindings.address("b")), (Some(mine), None));
        // A listener that stays keeps others from its port, as somebody else does.
        let error = apply(&mut bindings, &[listener("a", any_port()), listener("d", mine)]);
        assert!(error.is_err(), "{mine} is shared without anybody's wish");
    }

    #[test]
    fn tcp_and_udp_share_an_address() {
        let (name, any) = ("a".into(), any_port());
        let claim = |bindings: &mut Bindings, address, transport| {
            let endpoints = [Endpoint {
                name: &name,
                address,
                transport,
            }];
            let claims = bindings.claim(&endpoints, 2)?;
            Ok::<_, crate::ApplyError>(bindings.settle(claims, &endpoints).len())
        };
        let tcp = Transport::Tcp {
            backlog: 1,
            keepalive: None,
        };
        // A port that is free for UDP may be somebody else's for TCP: then it is another one.
        let shared = (0..50).find_map(|_| {
            let mut bindings = Bindings::default();
            claim(&mut bindings, any, Transport::Udp).unwrap();
            let address = bindings.address("a").unwrap();
            let closed = claim(&mut bindings, address, tcp).ok()?;
            Some((bindings, address, closed))
        });
        let (mut bindings, address, closed) = shared.expect("a port that is free for both");
        assert_eq!(closed, 1);
        assert_eq!(claim(&mut bindings, address, Transport::Udp).unwrap(), 1);
        assert_eq!(claim(&mut bindings, address, Transport::Udp).unwrap(), 0);
    }

    /// Listeners are written `name@port`; the outcome is the old position for each, `-` for none.
    #[test]
    fn sockets_stay_with_their_address() {
        let check = |old: &str, new: &str, expected: &str| {
            let parse = |listener: &'static str| {
                let (name, port) = listener.split_once('@').unwrap();
                (name, format!("127.0.0.1:{port}").parse().unwrap())
            };
            let list = |text: &str| -> Vec<(&str, SocketAddr)> {
                text.to_owned().leak().split_whitespace().map(parse).collect()
            };
            let found = kept(&list(old), &list(new));
            let found: Vec<_> = found
                .iter()
                .map(|at| at.map_or("-".to_owned(), |at| at.to_string()))
                .collect();
            assert_eq!(found.join(" "), expected, "{old} => {new}");
        };
        check("", "a@1", "-");
        check("a@1", "", "");
        check("a@1", "a@1", "0");
        check("a@1", "a@2", "-");
        check("a@1", "b@1", "0");
        check("a@1 b@2", "a@2 b@1", "1 0");
        check("a@1 b@2 c@3", "a@2 b@3", "1 2");
        check("a@1", "b@2 a@1", "- 0");
        // Port 0 asks for any port, so that several listeners have the same address: the name goes first.
        check("a@0 b@0", "b@0 c@0", "1 0");
        check("a@0", "b@0 a@0", "- 0");
        check("a@0", "b@0 c@0", "0 -");
    }

    #[test]
    fn addresses_overlap_when_one_takes_what_the_other_would() {
        let check = |a: &str, b: &str, expected| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(overlap(a, b), expected, "{a} {b}");
            assert_eq!(overlap(b, a), expected, "{b} {a}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("0.0.0.0:80", "127.0.0.1:81", false);
        check("[::]:80", "127.0.0.1:80", true);
        check("[::]:80", "[::1]:80", true);
        check("0.0.0.0:80", "[::1]:80", false);
        check("0.0.0.0:80", "[::]:80", true);
    }
}
