//! Which addresses are nobody's on the public internet?
//!
//! A proxy that let its clients go there would lend them its place in the network: to services of its own machine, to those
//! behind it, and to the metadata of clouds, with which keys come.
//!
//! *Source*: the IANA registries of special-purpose addresses (RFC 6890), as of 2025; RFC 3879, 4193, 4291, 6052, 7526, 8215; the
//! manuals of the clouds for their metadata.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::AddressRange;

type Special = (AddressRange, &'static str);

const fn v4(octets: [u8; 4], prefix: u8, purpose: &'static str) -> Special {
    let address = IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes(octets)));
    match AddressRange::new(address, prefix) {
        Some(range) => (range, purpose),
        None => panic!("the prefix is too long"),
    }
}

const fn v6(first: u128, prefix: u8, purpose: &'static str) -> Special {
    match AddressRange::new(IpAddr::V6(Ipv6Addr::from_bits(first)), prefix) {
        Some(range) => (range, purpose),
        None => panic!("the prefix is too long"),
    }
}

/// Of several that have an address, the first is the narrowest.
static OF_V4: [Special; 17] = [
    v4([169, 254, 169, 254], 32, "metadata of a cloud"),
    v4([168, 63, 129, 16], 32, "metadata of a cloud"),
    v4([100, 100, 100, 200], 32, "metadata of a cloud"),
    v4([0, 0, 0, 0], 8, "this network"),
    v4([10, 0, 0, 0], 8, "private"),
    v4([100, 64, 0, 0], 10, "shared behind a provider's translation"),
    v4([127, 0, 0, 0], 8, "loopback"),
    v4([169, 254, 0, 0], 16, "link-local"),
    v4([172, 16, 0, 0], 12, "private"),
    v4([192, 0, 0, 0], 24, "protocol assignments"),
    v4([192, 0, 2, 0], 24, "documentation"),
    v4([192, 88, 99, 0], 24, "6to4 relays"),
    v4([192, 168, 0, 0], 16, "private"),
    v4([198, 18, 0, 0], 15, "benchmarking"),
    v4([198, 51, 100, 0], 24, "documentation"),
    v4([203, 0, 113, 0], 24, "documentation"),
    v4([224, 0, 0, 0], 3, "multicast or reserved"),
];

static OF_V6: [Special; 14] = [
    v6(0xfd00_0ec2 << 96 | 0x254, 128, "metadata of a cloud"),
    v6(0, 128, "unspecified"),
    v6(1, 128, "loopback"),
    v6(0, 96, "IPv4-compatible"),
    v6(0x0064_ff9b_0001 << 80, 48, "local translation to IPv4"),
    v6(0x0100 << 112, 64, "discard"),
    v6(0x2001 << 112, 23, "protocol assignments"),
    v6(0x2001_0db8 << 96, 32, "documentation"),
    v6(0x2002 << 112, 16, "6to4"),
    v6(0x3fff << 112, 20, "documentation"),
    v6(0xfc00 << 112, 7, "unique local"),
    v6(0xfe80 << 112, 10, "link-local"),
    v6(0xfec0 << 112, 10, "site-local"),
    v6(0xff00 << 112, 8, "multicast"),
];

/// What is handed out to the public.
const GLOBAL_V6: Special = v6(0x2000 << 112, 3, "");
const NAT64: Special = v6(0x0064_ff9b << 96, 96, "translation to a special IPv4 address");

/// The narrowest special-purpose range that has the address, and what it is for; none: it is for everybody.
#[must_use]
pub fn special_purpose(address: IpAddr) -> Option<(AddressRange, &'static str)> {
    let of = |table: &'static [Special]| table.iter().find(|(range, _)| range.contains(address)).copied();
    match address.to_canonical() {
        IpAddr::V4(_) => of(&OF_V4),
        IpAddr::V6(v6) if NAT64.0.contains(address) => {
            // It is as special as what it is translated to.
            let within = embedded(v6.into());
            within.and_then(special_purpose).map(|_| NAT64)
        }
        IpAddr::V6(_) => of(&OF_V6).or_else(|| {
            let reserved = AddressRange::new(address, 3).filter(|range| *range != GLOBAL_V6.0);
            reserved.map(|range| (range, "reserved"))
        }),
    }
}

/// The IPv4 address to which a translator or a tunnel on the way would take packets for this one; none: there is none in it.
#[must_use]
pub fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let bits = v6.to_bits();
    let low_word = |bits: u128| u32::try_from(bits & u128::from(u32::MAX)).ok();
    let word = match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0, ..] => low_word(bits),
        [0x2002, ..] => low_word(bits >> 80),
        // Teredo has it with every bit turned. RFC 4380 section 4.
        [0x2001, 0, ..] => low_word(!bits),
        _ => None,
    };
    word.map(|word| Ipv4Addr::from_bits(word).into())
}
