//! Do two listeners want the same address?

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::document::{Admin, Listener, Protocol};
use crate::problem::{Path, Problem, Problems, Spot};

/// Reports every address that an earlier listener has already, also as part of every address of its family. TCP and UDP are no
/// matter of each other.
///
/// An IPv6 address never clashes with an IPv4 one: `[::]` is the IPv6 addresses only where both are listened on.
pub(super) fn check(listeners: &[Listener], admin: Option<&Admin>, problems: &mut Problems) {
    let root = Path::ROOT.key("listeners");
    let (mut tcp, mut udp) = (Taken::default(), Taken::default());
    for (index, listener) in listeners.iter().enumerate() {
        let address = listener.address.0;
        let taken = match listener.protocol {
            Protocol::Http | Protocol::Tcp | Protocol::ForwardProxy => &mut tcp,
            Protocol::Udp => &mut udp,
        };
        if let Some((other, first)) = taken.clash(address) {
            let at = root.index(index);
            problems.push(twice(at.key("address"), address, other, first));
        }
        taken.add(address, index);
    }
    if let Some(Admin { address }) = admin
        && let Some((other, first)) = tcp.clash(address.0)
    {
        let at = Path::ROOT.key("admin");
        problems.push(twice(at.key("address"), address.0, other, first));
    }
}

/// The addresses listened on so far, each with the position of its first listener.
#[derive(Default)]
struct Taken {
    exact: HashMap<SocketAddr, usize>,
    /// The first address of each port and family.
    any: HashMap<(u16, bool), SocketAddr>,
}

impl Taken {
    fn add(&mut self, address: SocketAddr, index: usize) {
        self.exact.entry(address).or_insert(index);
        self.any.entry((address.port(), address.is_ipv4())).or_insert(address);
    }

    fn clash(&self, address: SocketAddr) -> Option<(SocketAddr, usize)> {
        if address.port() == 0 {
            return None;
        }
        let every = every_address_like(address);
        let part = || {
            self.any
                .get(&(address.port(), address.is_ipv4()))
                .filter(|_| address == every)
        };
        let other = [address, every]
            .into_iter()
            .find(|other| self.exact.contains_key(other));
        let other = other.or_else(|| part().copied())?;
        Some((other, *self.exact.get(&other)?))
    }
}

/// Every address of the machine that is of the same family and port.
fn every_address_like(address: SocketAddr) -> SocketAddr {
    let every: IpAddr = match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(every, address.port())
}

fn twice(at: Path<'_>, address: SocketAddr, other: SocketAddr, first: usize) -> Problem {
    let message = if address == other {
        format!("another listener has the address {address} already")
    } else {
        format!("the address {address} overlaps with {other}, on which another listener is")
    };
    let root = Path::ROOT.key("listeners");
    let first = root.index(first);
    Problem::error(at, message).related(first.key("address"), Spot::Value, "the other listener")
}
