//! Do two listeners want the same address?

use std::net::SocketAddr;

use crate::document::{Admin, Listener};
use crate::problem::{Path, Problem, Problems, Spot};

/// Reports every address that an earlier listener has already, also as part of every address of its family.
///
/// An IPv6 address never clashes with an IPv4 one: `[::]` is the IPv6 addresses only where both are listened on.
/// *Cost*: the product of the listeners.
pub(super) fn check(listeners: &[Listener], admin: Option<&Admin>, problems: &mut Problems) {
    let root = Path::ROOT.key("listeners");
    let mut taken: Vec<(SocketAddr, usize)> = Vec::with_capacity(listeners.len());
    for (index, listener) in listeners.iter().enumerate() {
        let address = listener.address.0;
        let at = root.index(index);
        if let Some(&(other, first)) = taken.iter().find(|(other, _)| clash(*other, address)) {
            problems.push(twice(at.key("address"), address, other, first));
        }
        taken.push((address, index));
    }
    if let Some(Admin { address }) = admin
        && let Some(&(other, first)) = taken.iter().find(|(other, _)| clash(*other, address.0))
    {
        problems.push(twice(Path::ROOT.key("admin").key("address"), address.0, other, first));
    }
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

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    let same_port = one.port() == other.port() && one.port() != 0;
    same_port && a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
}
