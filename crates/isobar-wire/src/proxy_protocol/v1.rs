//! What does the line of version 1 say? Knows text and its limits, not binary headers.
//!
//! *Source*: section 2.1.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use core::str::{self, FromStr};

use alloc::vec::Vec;

use super::{Endpoints, ProxyError, ProxyHeader, ProxyVersion, Tlvs, Transport};
use crate::write;

const PREFIX: &[u8] = b"PROXY ";

/// Judges a line once its end is there: what cannot become a line is refused earlier.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader<'_>, usize)>, ProxyError> {
    let shared = bytes.len().min(PREFIX.len());
    if bytes.get(..shared) != PREFIX.get(..shared) {
        return Err(ProxyError::NotProxy);
    }
    let window = bytes.get(..ProxyError::MAX_V1_BYTES).unwrap_or(bytes);
    let Some(end) = memchr::memchr2(b'\r', b'\n', window) else {
        let has_room = bytes.len() < ProxyError::MAX_V1_BYTES;
        return if has_room {
            Ok(None)
        } else {
            Err(ProxyError::BadLineEnd)
        };
    };
    let (line, after) = window.split_at(end);
    match after {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if window.len() < ProxyError::MAX_V1_BYTES => return Ok(None),
        _ => return Err(ProxyError::BadLineEnd),
    }
    let endpoints = read_line(line.get(PREFIX.len()..).unwrap_or_default())?;
    let header = ProxyHeader {
        version: ProxyVersion::V1,
        endpoints,
        tlvs: Tlvs::default(),
        checksum: false,
    };
    Ok(Some((header, end + 2)))
}

fn read_line(line: &[u8]) -> Result<Endpoints<'_>, ProxyError> {
    let mut words = line.split(|&byte| byte == b' ');
    let is_v4 = match words.next() {
        Some(b"UNKNOWN") => return Ok(Endpoints::Unknown),
        Some(b"TCP4") => true,
        Some(b"TCP6") => false,
        _ => return Err(ProxyError::BadProtocol),
    };
    let words = [words.next(), words.next(), words.next(), words.next(), words.next()];
    let [
        Some(source),
        Some(destination),
        Some(source_port),
        Some(destination_port),
        None,
    ] = words
    else {
        return Err(ProxyError::BadLine);
    };
    let ports = (port(source_port)?, port(destination_port)?);
    let transport = Transport::Stream;
    if is_v4 {
        return Ok(Endpoints::V4 {
            transport,
            source: SocketAddrV4::new(address::<Ipv4Addr>(source)?, ports.0),
            destination: SocketAddrV4::new(address::<Ipv4Addr>(destination)?, ports.1),
        });
    }
    // The last 32 bits may be written as those of IPv4 are: `inet_ntop`, which senders use, does so with mapped addresses.
    Ok(Endpoints::V6 {
        transport,
        source: SocketAddrV6::new(address::<Ipv6Addr>(source)?, ports.0, 0, 0),
        destination: SocketAddrV6::new(address::<Ipv6Addr>(destination)?, ports.1, 0, 0),
    })
}

fn address<A: FromStr>(word: &[u8]) -> Result<A, ProxyError> {
    let text = str::from_utf8(word).map_err(|_| ProxyError::BadLine)?;
    text.parse().map_err(|_| ProxyError::BadLine)
}

/// Digits without leading zeros or a sign.
fn port(word: &[u8]) -> Result<u16, ProxyError> {
    let is_canonical = word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || !word.starts_with(b"0"));
    if !is_canonical {
        return Err(ProxyError::BadLine);
    }
    address(word)
}

pub(super) fn compose(out: &mut Vec<u8>, endpoints: &Endpoints<'_>) {
    out.extend_from_slice(PREFIX);
    let ports = match endpoints {
        Endpoints::V4 {
            transport: Transport::Stream,
            source,
            destination,
        } => {
            out.extend_from_slice(b"TCP4 ");
            write_v4(out, *source.ip());
            write_v4(out, *destination.ip());
            Some((source.port(), destination.port()))
        }
        Endpoints::V6 {
            transport: Transport::Stream,
            source,
            destination,
        } => {
            out.extend_from_slice(b"TCP6 ");
            write_v6(out, source.ip());
            write_v6(out, destination.ip());
            Some((source.port(), destination.port()))
        }
        Endpoints::Local
        | Endpoints::Unknown
        | Endpoints::V4 { .. }
        | Endpoints::V6 { .. }
        | Endpoints::Unix { .. } => None,
    };
    if let Some((source, destination)) = ports {
        write::decimal(out, source.into());
        out.push(b' ');
        write::decimal(out, destination.into());
    } else {
        out.extend_from_slice(b"UNKNOWN");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_v4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let [first, rest @ ..] = address.octets();
    write::decimal(out, first.into());
    for octet in rest {
        out.push(b'.');
        write::decimal(out, octet.into());
    }
    out.push(b' ');
}

/// Hexadecimal to the last group, as the section wants it, with the longest run of zero groups left out.
fn write_v6(out: &mut Vec<u8>, address: &Ipv6Addr) {
    let groups = address.segments();
    let (start, length) = longest_zeros(groups);
    let mut after_gap = true;
    for (at, group) in groups.into_iter().enumerate() {
        if at == start && length > 1 {
            out.extend_from_slice(b"::");
            after_gap = true;
        }
        if length > 1 && (start..start + length).contains(&at) {
            continue;
        }
        if !after_gap {
            out.push(b':');
        }
        write_hexadecimal(out, group);
        after_gap = false;
    }
    out.push(b' ');
}

/// Where the longest run of zero groups begins, and how many it has; the first of several.
fn longest_zeros(groups: [u16; 8]) -> (usize, usize) {
    let (mut longest, mut current) = ((0, 0), (0, 0));
    for (at, group) in groups.into_iter().enumerate() {
        current = match (group, current) {
            (0, (start, length)) if length > 0 => (start, length + 1),
            (0, _) => (at, 1),
            _ => (0, 0),
        };
        if current.1 > longest.1 {
            longest = current;
        }
    }
    longest
}

fn write_hexadecimal(out: &mut Vec<u8>, group: u16) {
    let mut has_begun = false;
    for shift in [12, 8, 4, 0] {
        let [_, digit] = ((group >> shift) & 0xf).to_be_bytes();
        has_begun |= digit != 0 || shift == 0;
        if has_begun {
            out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }
}
