//! Which addresses and ports are in a range?

use core::net::IpAddr;

/// A range of addresses: those that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange {
    network: IpAddr,
    prefix: u8,
}

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl AddressRange {
    /// The range of an address and a prefix length; none: that is too long.
    #[must_use]
    pub const fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let network = match address {
            IpAddr::V4(v4) if prefix <= 32 => {
                let mask = match u32::MAX.checked_shl(32 - prefix as u32) {
                    Some(mask) => mask,
                    None => 0,
                };
                IpAddr::V4(core::net::Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) if prefix <= 128 => {
                let mask = match u128::MAX.checked_shl(128 - prefix as u32) {
                    Some(mask) => mask,
                    None => 0,
                };
                IpAddr::V6(core::net::Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { network, prefix })
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Self::new(address, self.prefix).is_some_and(|range| range.network == self.network)
    }

    /// Whether all of it is in another range.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.prefix >= other.prefix && other.contains(self.network)
    }
}

impl PortRange {
    /// Whether the port is in it.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}
