//! How does the kernel spell the addresses of a datagram?
//!
//! *Source*: ip(7), ipv6(7), cmsg(3); the layouts are those of Linux on 64 bits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::kernel::{Envelope, Parcel};

/// Bytes of a `struct cmsghdr`: its length, its level and its type.
const HEAD: usize = size_of::<usize>() + 2 * size_of::<i32>();

impl Parcel<'_> {
    pub(super) const EMPTY: Self = Self {
        envelope: None,
        parts: [&[], &[]],
    };
}

impl Envelope {
    pub(super) const EMPTY: Self = Self {
        control: [0; 64],
        name: [0; 28],
        name_len: 0,
        control_len: 0,
        len: 0,
    };

    /// For a datagram to `to`, which comes from an address of ours where that has to be said.
    pub(super) fn to(to: SocketAddr, from: Option<IpAddr>) -> Self {
        let mut envelope = Self::EMPTY;
        envelope.name_len = put_name(to, &mut envelope.name);
        if let Some(from) = from {
            envelope.control_len = put_source(from, &mut envelope.control);
        }
        envelope
    }

    /// Who sent the datagram.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        let family = u16::from_ne_bytes(taken(&self.name, 0)?);
        let port = u16::from_be_bytes(taken(&self.name, 2)?);
        match i32::from(family) {
            libc::AF_INET => {
                let octets: [u8; 4] = taken(&self.name, 4)?;
                Some(SocketAddrV4::new(octets.into(), port).into())
            }
            libc::AF_INET6 => {
                let octets: [u8; 16] = taken(&self.name, 8)?;
                let scope = u32::from_ne_bytes(taken(&self.name, 24)?);
                Some(SocketAddrV6::new(octets.into(), port, 0, scope).into())
            }
            _ => None,
        }
    }

    /// The address of ours that it was sent to, where the kernel has told.
    pub(super) fn destination(&self) -> Option<IpAddr> {
        let control = self.control.get(..self.control_len)?;
        let level = i32::from_ne_bytes(taken(control, size_of::<usize>())?);
        let kind = i32::from_ne_bytes(taken(control, size_of::<usize>() + 4)?);
        match (level, kind) {
            // The index of the interface, our address there, and the address in the packet's header.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let octets: [u8; 4] = taken(control, HEAD + 8)?;
                Some(Ipv4Addr::from(octets).into())
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let octets: [u8; 16] = taken(control, HEAD)?;
                Some(Ipv6Addr::from(octets).into())
            }
            _ => None,
        }
    }
}

fn taken<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

/// The family, the port, and for IPv6 a flow label before and a scope behind the address.
fn put_name(address: SocketAddr, name: &mut [u8]) -> u32 {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    put(name, 0, &u16::try_from(family).unwrap_or(0).to_ne_bytes());
    put(name, 2, &address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => {
            put(name, 4, &address.ip().octets());
            16
        }
        SocketAddr::V6(address) => {
            put(name, 8, &address.ip().octets());
            put(name, 24, &address.scope_id().to_ne_bytes());
            28
        }
    }
}

/// The control message by which a datagram leaves from an address; its length with what fills it up.
fn put_source(from: IpAddr, control: &mut [u8]) -> usize {
    let (level, kind, len) = match from {
        IpAddr::V4(from) => {
            put(control, HEAD + 4, &from.octets());
            (libc::IPPROTO_IP, libc::IP_PKTINFO, HEAD + 12)
        }
        IpAddr::V6(from) => {
            put(control, HEAD, &from.octets());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, HEAD + 20)
        }
    };
    put(control, 0, &len.to_ne_bytes());
    put(control, size_of::<usize>(), &level.to_ne_bytes());
    put(control, size_of::<usize>() + 4, &kind.to_ne_bytes());
    len.next_multiple_of(size_of::<usize>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for (to, from) in [
            ("127.0.0.1:53", Some("127.0.0.2")),
            ("[fe80::1%7]:65535", Some("::ffff:10.0.0.1")),
            ("[2001:db8::1]:1", None),
        ] {
            let (to, from) = (to.parse().unwrap(), from.map(|from| from.parse().unwrap()));
            let mut envelope = Envelope::to(to, from);
            assert_eq!(envelope.source(), Some(to));
            // What is told of a datagram of IPv4 has the address at another place than what is asked for one.
            envelope.control.copy_within(HEAD + 4..HEAD + 8, HEAD + 8);
            if from.is_none_or(|from| from.is_ipv4()) {
                assert_eq!(envelope.destination(), from);
            }
        }
    }
}
