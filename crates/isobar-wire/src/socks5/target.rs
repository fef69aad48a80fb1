//! How are addresses written in SOCKS? Knows their three types, not what is behind them.
//!
//! *Source*: RFC 1928 section 5.

use core::net::{IpAddr, SocketAddr};
use core::str;

use alloc::vec::Vec;

use super::Socks5Error;
use crate::reader::Reader;

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Where a client wants to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// An address and port. One that was sent as a name is here as well: rules for addresses are to see it.
    Address(SocketAddr),
    /// A host and port.
    Name {
        /// Letters, digits, `-`, `_` and `.`, and a last label that is no number: resolvers take such names for addresses.
        host: &'a str,
        /// The port.
        port: u16,
    },
}

/// Takes an address and a port off the front; none: there are not all of their bytes yet.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Option<Target<'a>>, Socks5Error> {
    let Some(kind) = reader.u8() else { return Ok(None) };
    match kind {
        IPV4 => Ok(address::<4>(reader)),
        IPV6 => Ok(address::<16>(reader)),
        NAME => {
            let (Some(name), Some(port)) = (reader.prefixed_u8(), reader.u16()) else {
                return Ok(None);
            };
            named(name, port).map(Some).ok_or(Socks5Error::BadName)
        }
        _ => Err(Socks5Error::AddressTypeNotSupported),
    }
}

fn address<'a, const N: usize>(reader: &mut Reader<'_>) -> Option<Target<'a>>
where
    IpAddr: From<[u8; N]>,
{
    let ip = IpAddr::from(reader.array::<N>()?);
    Some(Target::Address(SocketAddr::new(ip, reader.u16()?)))
}

fn named(name: &[u8], port: u16) -> Option<Target<'_>> {
    let host = str::from_utf8(name).ok()?;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(Target::Address(SocketAddr::new(ip, port)));
    }
    let has_only = name
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next()?;
    // `127.1`, `2130706433` and `0x7f.1` are addresses to `inet_aton`.
    let is_number = last.starts_with(|first: char| first.is_ascii_digit())
        && (last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X"));
    (has_only && !last.is_empty() && !is_number).then_some(Target::Name { host, port })
}

/// Writes an address and a port to the end of `out`.
pub(super) fn write_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(IPV4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(IPV6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}
