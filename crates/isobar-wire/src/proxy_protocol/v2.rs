//! What does the binary header of version 2 say? Knows its frame and addresses; TLVs are read elsewhere.
//!
//! *Source*: section 2.2.

use core::net::{SocketAddrV4, SocketAddrV6};

use alloc::vec::Vec;

use super::{ComposeError, Endpoints, ProxyError, ProxyHeader, ProxyVersion, Tlvs, Transport, tlv};
use crate::reader::Reader;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes up to and with the length.
const FRAME_BYTES: usize = 16;

const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

const UNSPEC: u8 = 0;
const INET: u8 = 1;
const INET6: u8 = 2;
const UNIX: u8 = 3;

const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;

/// Whose addresses follow, and between which kind of sockets.
#[derive(Clone, Copy)]
enum Block {
    /// None: whatever follows is passed over.
    Local,
    Unknown,
    V4(Transport),
    V6(Transport),
    Unix(Transport),
}

/// Judges each byte of the frame as soon as it is there, and the rest once all of it is.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader<'_>, usize)>, ProxyError> {
    let shared = bytes.len().min(SIGNATURE.len());
    if bytes.get(..shared) != SIGNATURE.get(..shared) {
        return Err(ProxyError::NotProxy);
    }
    let mut reader = Reader::new(bytes.get(shared..).unwrap_or_default());
    let Some(version_and_command) = reader.u8() else {
        return Ok(None);
    };
    if version_and_command >> 4 != VERSION {
        return Err(ProxyError::BadVersion);
    }
    let command = version_and_command & 0xf;
    if command > PROXY {
        return Err(ProxyError::BadCommand);
    }
    let Some(family) = reader.u8() else { return Ok(None) };
    let block = block(command, family)?;
    let Some(length) = reader.u16() else { return Ok(None) };
    let len = FRAME_BYTES + usize::from(length);
    if len > ProxyError::MAX_V2_BYTES {
        return Err(ProxyError::TooLong);
    }
    if usize::from(length) < address_bytes(block) {
        return Err(ProxyError::TooShort);
    }
    let Some(header) = bytes.get(..len) else {
        return Ok(None);
    };
    Ok(Some((read(header, block)?, len)))
}

fn block(command: u8, family: u8) -> Result<Block, ProxyError> {
    if command == LOCAL {
        return Ok(Block::Local);
    }
    let transport = match family & 0xf {
        UNSPEC => None,
        STREAM => Some(Transport::Stream),
        DATAGRAM => Some(Transport::Datagram),
        _ => return Err(ProxyError::BadFamily),
    };
    match (family >> 4, transport) {
        (INET, Some(transport)) => Ok(Block::V4(transport)),
        (INET6, Some(transport)) => Ok(Block::V6(transport)),
        (UNIX, Some(transport)) => Ok(Block::Unix(transport)),
        (UNSPEC..=UNIX, _) => Ok(Block::Unknown),
        _ => Err(ProxyError::BadFamily),
    }
}

const fn address_bytes(block: Block) -> usize {
    match block {
        Block::Local | Block::Unknown => 0,
        Block::V4(_) => 12,
        Block::V6(_) => 36,
        Block::Unix(_) => 216,
    }
}

/// Reads a header of which all is there.
fn read(header: &[u8], block: Block) -> Result<ProxyHeader<'_>, ProxyError> {
    let addresses = header.get(FRAME_BYTES..).unwrap_or_default();
    let endpoints = endpoints(block, addresses).ok_or(ProxyError::TooShort)?;
    let (tlvs, checksum) = match block {
        // How much of what follows are addresses of a kind nobody knows, nothing says.
        Block::Local | Block::Unknown => (Tlvs::default(), false),
        Block::V4(_) | Block::V6(_) | Block::Unix(_) => tlv::read(header, FRAME_BYTES + address_bytes(block))?,
    };
    Ok(ProxyHeader {
        version: ProxyVersion::V2,
        endpoints,
        tlvs,
        checksum,
    })
}

fn endpoints(block: Block, addresses: &[u8]) -> Option<Endpoints<'_>> {
    let mut reader = Reader::new(addresses);
    Some(match block {
        Block::Local => Endpoints::Local,
        Block::Unknown => Endpoints::Unknown,
        Block::V4(transport) => {
            let ips = (reader.array::<4>()?.into(), reader.array::<4>()?.into());
            Endpoints::V4 {
                transport,
                source: SocketAddrV4::new(ips.0, reader.u16()?),
                destination: SocketAddrV4::new(ips.1, reader.u16()?),
            }
        }
        Block::V6(transport) => {
            let ips = (reader.array::<16>()?.into(), reader.array::<16>()?.into());
            Endpoints::V6 {
                transport,
                source: SocketAddrV6::new(ips.0, reader.u16()?, 0, 0),
                destination: SocketAddrV6::new(ips.1, reader.u16()?, 0, 0),
            }
        }
        Block::Unix(transport) => Endpoints::Unix {
            transport,
            source: reader.bytes(108)?.try_into().ok()?,
            destination: reader.bytes(108)?.try_into().ok()?,
        },
    })
}

/// Writes a header; what has been written is of no use after an error.
pub(super) fn compose(out: &mut Vec<u8>, header: &ProxyHeader<'_>) -> Result<(), ComposeError> {
    let start = out.len();
    out.extend_from_slice(SIGNATURE);
    let (command, family) = match header.endpoints {
        Endpoints::Local => (LOCAL, UNSPEC),
        Endpoints::Unknown => (PROXY, UNSPEC),
        Endpoints::V4 { transport, .. } => (PROXY, INET << 4 | number(transport)),
        Endpoints::V6 { transport, .. } => (PROXY, INET6 << 4 | number(transport)),
        Endpoints::Unix { transport, .. } => (PROXY, UNIX << 4 | number(transport)),
    };
    out.extend_from_slice(&[VERSION << 4 | command, family, 0, 0]);
    write_addresses(out, &header.endpoints);
    if !matches!(header.endpoints, Endpoints::Local | Endpoints::Unknown) {
        let checksum = header.checksum.then(|| tlv::reserve_checksum(out));
        tlv::compose(out, &header.tlvs)?;
        write_length(out, start)?;
        if let Some(at) = checksum {
            tlv::fill_checksum(out, start, at);
        }
    }
    Ok(())
}

const fn number(transport: Transport) -> u8 {
    match transport {
        Transport::Stream => STREAM,
        Transport::Datagram => DATAGRAM,
    }
}

fn write_addresses(out: &mut Vec<u8>, endpoints: &Endpoints<'_>) {
    let ports = match endpoints {
        Endpoints::Local | Endpoints::Unknown => return,
        Endpoints::V4 {
            source, destination, ..
        } => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            (source.port(), destination.port())
        }
        Endpoints::V6 {
            source, destination, ..
        } => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            (source.port(), destination.port())
        }
        Endpoints::Unix {
            source, destination, ..
        } => {
            out.extend_from_slice(*source);
            out.extend_from_slice(*destination);
            return;
        }
    };
    out.extend_from_slice(&ports.0.to_be_bytes());
    out.extend_from_slice(&ports.1.to_be_bytes());
}

fn write_length(out: &mut [u8], start: usize) -> Result<(), ComposeError> {
    let header = out.get_mut(start..).unwrap_or_default();
    if header.len() > ProxyError::MAX_V2_BYTES {
        return Err(ComposeError::TooLong);
    }
    let length = u16::try_from(header.len().saturating_sub(FRAME_BYTES)).map_err(|_| ComposeError::TooLong)?;
    if let Some(place) = header.get_mut(FRAME_BYTES - 2..FRAME_BYTES) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
