//! What does a header say beside addresses? Knows the registered TLVs and passes over the others' values.
//!
//! *Source*: sections 2.2 to 2.2.8.

use core::str;

use alloc::vec::Vec;

use super::crc32c::Crc32c;
use super::{ComposeError, ProxyError};
use crate::reader::Reader;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const SSL_SIG_ALG: u8 = 0x24;
const SSL_KEY_ALG: u8 = 0x25;
const NETNS: u8 = 0x30;

const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
const CLIENT_CERT_SESS: u8 = 0x04;

/// What a header says beside addresses. What it does not say is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tlvs<'a> {
    /// The protocol above the connection, as in ALPN. Section 2.2.1.
    pub alpn: Option<&'a [u8]>,
    /// The name the client asked for, as in SNI. Section 2.2.2.
    pub authority: Option<&'a str>,
    /// What tells the connection from all others; at most [`MAX_UNIQUE_ID_BYTES`](Self::MAX_UNIQUE_ID_BYTES). Section 2.2.5.
    pub unique_id: Option<&'a [u8]>,
    /// The client's TLS. Section 2.2.6.
    pub ssl: Option<Ssl<'a>>,
    /// The network namespace; US-ASCII. Section 2.2.7.
    pub netns: Option<&'a str>,
    /// The ones of other types. Section 2.2.8.
    pub others: OtherTlvs<'a>,
}

/// What is said of the client's TLS. Sub-TLVs of other types are passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ssl<'a> {
    /// Whether the client connected over TLS (`PP2_CLIENT_SSL`).
    pub is_tls: bool,
    /// Whether it showed a certificate in this connection (`PP2_CLIENT_CERT_CONN`).
    pub has_certificate: bool,
    /// Whether it did at least once in its session (`PP2_CLIENT_CERT_SESS`).
    pub session_has_certificate: bool,
    /// Zero: there was a certificate, and it was verified. Anything else is the sender's reason why not.
    pub verify: u32,
    /// As `TLSv1.3`; US-ASCII.
    pub version: Option<&'a str>,
    /// The common name of the client's certificate.
    pub cn: Option<&'a str>,
    /// As `ECDHE-RSA-AES128-GCM-SHA256`; US-ASCII.
    pub cipher: Option<&'a str>,
    /// What the proxy's certificate is signed with, as `RSA-SHA256`; US-ASCII.
    pub sig_alg: Option<&'a str>,
    /// The key of the proxy's certificate, as `RSA2048`; US-ASCII.
    pub key_alg: Option<&'a str>,
}

impl Tlvs<'_> {
    /// Bytes of a unique ID at most. Section 2.2.5.
    pub const MAX_UNIQUE_ID_BYTES: usize = 128;
}

/// TLVs of types that have no registered meaning: those of applications, clouds and experiments.
///
/// *Shape*: in the order of the header. Equal when the same types have the same values in the same order.
#[derive(Debug, Clone, Copy, Default)]
pub struct OtherTlvs<'a> {
    /// A whole run of TLVs; those of registered types are passed over.
    block: &'a [u8],
}

impl<'a> OtherTlvs<'a> {
    /// The TLVs in `block`, each a type, two bytes of length and a value. Those of registered types are passed over.
    ///
    /// *Errors*: [`ProxyError::BadTlv`], the last one is cut off.
    pub fn new(block: &'a [u8]) -> Result<Self, ProxyError> {
        let mut reader = Reader::new(block);
        while !reader.is_empty() {
            next_tlv(&mut reader).ok_or(ProxyError::BadTlv)?;
        }
        Ok(Self { block })
    }

    /// Types and values.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.block);
        core::iter::from_fn(move || next_tlv(&mut reader)).filter(|&(kind, _)| !is_registered(kind))
    }
}

impl PartialEq for OtherTlvs<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

fn is_registered(kind: u8) -> bool {
    matches!(kind, ALPN | AUTHORITY | CRC32C | NOOP | UNIQUE_ID | SSL | NETNS)
}

fn next_tlv<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let kind = reader.u8()?;
    Some((kind, reader.prefixed_u16()?))
}

/// The TLVs of `header`, which begin at `start`, and whether there is a checksum among them.
pub(super) fn read(header: &[u8], start: usize) -> Result<(Tlvs<'_>, bool), ProxyError> {
    let block = header.get(start..).unwrap_or_default();
    let mut tlvs = Tlvs {
        others: OtherTlvs { block },
        ..Tlvs::default()
    };
    let mut checksum = None;
    let mut reader = Reader::new(block);
    while !reader.is_empty() {
        let (kind, value) = next_tlv(&mut reader).ok_or(ProxyError::BadTlv)?;
        match kind {
            ALPN => set(&mut tlvs.alpn, value)?,
            AUTHORITY => set(&mut tlvs.authority, utf8(value)?)?,
            CRC32C => {
                let told = value.try_into().map(u32::from_be_bytes);
                let at = header.len() - reader.rest().len() - value.len();
                set(&mut checksum, (at, told.map_err(|_| ProxyError::BadTlv)?))?;
            }
            UNIQUE_ID if value.len() > Tlvs::MAX_UNIQUE_ID_BYTES => return Err(ProxyError::BadTlv),
            UNIQUE_ID => set(&mut tlvs.unique_id, value)?,
            SSL => set(&mut tlvs.ssl, read_ssl(value)?)?,
            NETNS => set(&mut tlvs.netns, ascii(value)?)?,
            _ => {}
        }
    }
    if let Some((at, told)) = checksum
        && checksum_of(header, at) != told
    {
        return Err(ProxyError::BadChecksum);
    }
    Ok((tlvs, checksum.is_some()))
}

/// The checksum of a header whose own checksum stands at `at`: four zeros count in its place.
fn checksum_of(header: &[u8], at: usize) -> u32 {
    Crc32c::new()
        .add(header.get(..at).unwrap_or_default())
        .add(&[0; 4])
        .add(header.get(at + 4..).unwrap_or_default())
        .value()
}

fn read_ssl(value: &[u8]) -> Result<Ssl<'_>, ProxyError> {
    let mut reader = Reader::new(value);
    let (Some(client), Some(verify)) = (reader.u8(), reader.u32()) else {
        return Err(ProxyError::BadTlv);
    };
    let mut ssl = Ssl {
        is_tls: client & CLIENT_SSL != 0,
        has_certificate: client & CLIENT_CERT_CONN != 0,
        session_has_certificate: client & CLIENT_CERT_SESS != 0,
        verify,
        ..Ssl::default()
    };
    while !reader.is_empty() {
        let (kind, value) = next_tlv(&mut reader).ok_or(ProxyError::BadTlv)?;
        match kind {
            SSL_VERSION => set(&mut ssl.version, ascii(value)?)?,
            SSL_CN => set(&mut ssl.cn, utf8(value)?)?,
            SSL_CIPHER => set(&mut ssl.cipher, ascii(value)?)?,
            SSL_SIG_ALG => set(&mut ssl.sig_alg, ascii(value)?)?,
            SSL_KEY_ALG => set(&mut ssl.key_alg, ascii(value)?)?,
            _ => {}
        }
    }
    Ok(ssl)
}

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), ProxyError> {
    match place.replace(value) {
        Some(_) => Err(ProxyError::RepeatedTlv),
        None => Ok(()),
    }
}

fn utf8(value: &[u8]) -> Result<&str, ProxyError> {
    str::from_utf8(value).map_err(|_| ProxyError::BadText)
}

fn ascii(value: &[u8]) -> Result<&str, ProxyError> {
    utf8(value).and_then(|text| {
        if text.is_ascii() {
            Ok(text)
        } else {
            Err(ProxyError::BadText)
        }
    })
}

/// Writes the TLVs in the order of their types' numbers, the others last.
pub(super) fn compose(out: &mut Vec<u8>, tlvs: &Tlvs<'_>) -> Result<(), ComposeError> {
    if tlvs.unique_id.is_some_and(|id| id.len() > Tlvs::MAX_UNIQUE_ID_BYTES) {
        return Err(ComposeError::UniqueIdTooLong);
    }
    write_optional(out, ALPN, tlvs.alpn)?;
    write_optional(out, AUTHORITY, tlvs.authority.map(str::as_bytes))?;
    write_optional(out, UNIQUE_ID, tlvs.unique_id)?;
    if let Some(ssl) = &tlvs.ssl {
        let at = begin(out, SSL);
        compose_ssl(out, ssl)?;
        end(out, at)?;
    }
    write_optional(out, NETNS, only_ascii(tlvs.netns)?)?;
    for (kind, value) in tlvs.others.iter() {
        write_optional(out, kind, Some(value))?;
    }
    Ok(())
}

fn compose_ssl(out: &mut Vec<u8>, ssl: &Ssl<'_>) -> Result<(), ComposeError> {
    let flags = [
        (ssl.is_tls, CLIENT_SSL),
        (ssl.has_certificate, CLIENT_CERT_CONN),
        (ssl.session_has_certificate, CLIENT_CERT_SESS),
    ];
    out.push(
        flags
            .iter()
            .filter(|(is_set, _)| *is_set)
            .fold(0, |all, (_, bit)| all | bit),
    );
    out.extend_from_slice(&ssl.verify.to_be_bytes());
    write_optional(out, SSL_VERSION, only_ascii(ssl.version)?)?;
    write_optional(out, SSL_CN, ssl.cn.map(str::as_bytes))?;
    write_optional(out, SSL_CIPHER, only_ascii(ssl.cipher)?)?;
    write_optional(out, SSL_SIG_ALG, only_ascii(ssl.sig_alg)?)?;
    write_optional(out, SSL_KEY_ALG, only_ascii(ssl.key_alg)?)
}

fn only_ascii(text: Option<&str>) -> Result<Option<&[u8]>, ComposeError> {
    match text {
        Some(text) if !text.is_ascii() => Err(ComposeError::NotAscii),
        text => Ok(text.map(str::as_bytes)),
    }
}

fn write_optional(out: &mut Vec<u8>, kind: u8, value: Option<&[u8]>) -> Result<(), ComposeError> {
    let Some(value) = value else { return Ok(()) };
    let length = u16::try_from(value.len()).map_err(|_| ComposeError::TooLong)?;
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// Writes a checksum of zeros, and says where it stands.
pub(super) fn reserve_checksum(out: &mut Vec<u8>) -> usize {
    let at = begin(out, CRC32C);
    out.extend_from_slice(&[0; 4]);
    // Four bytes have a length.
    let _ = end(out, at);
    at
}

/// Writes the checksum of the header from `start` in its place at `at`, once all else is written.
pub(super) fn fill_checksum(out: &mut [u8], start: usize, at: usize) {
    let checksum = Crc32c::new().add(out.get(start..).unwrap_or_default()).value();
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Writes a type and a length to be filled in; gives where the value begins.
fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    out.extend_from_slice(&[kind, 0, 0]);
    out.len()
}

/// Fills in the length of what has been written since `at`.
fn end(out: &mut [u8], at: usize) -> Result<(), ComposeError> {
    let length = u16::try_from(out.len().saturating_sub(at)).map_err(|_| ComposeError::TooLong)?;
    if let Some(place) = out.get_mut(at.saturating_sub(2)..at) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
