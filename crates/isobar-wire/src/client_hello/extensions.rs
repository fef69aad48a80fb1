//! Which of a hello's extensions say where it wants to go? Passes over all others.
//!
//! *Source*: RFC 8446 section 4.2; the numbers are IANA's.

use core::str;

use super::{ClientHello, ClientHelloError, Protocols, Versions};
use crate::reader::Reader;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

const HOST_NAME: u8 = 0;
/// Bytes of a host name at most, written out. RFC 1035 section 2.3.4.
const MAX_HOST_NAME_BYTES: usize = 255;

/// Reads a list of extensions into the hello.
pub(super) fn read<'a>(list: &'a [u8], hello: &mut ClientHello<'a>) -> Result<(), ClientHelloError> {
    let mut reader = Reader::new(list);
    let mut seen = [false; 4];
    while !reader.is_empty() {
        let kind = reader.u16().ok_or(ClientHelloError::BadLength)?;
        let value = reader.prefixed_u16().ok_or(ClientHelloError::BadLength)?;
        let [has_name, has_alpn, has_versions, has_ech] = &mut seen;
        match kind {
            SERVER_NAME => {
                once(has_name)?;
                hello.server_name = server_name(value)?;
            }
            ALPN => {
                once(has_alpn)?;
                hello.alpn = protocols(value).ok_or(ClientHelloError::BadLength)?;
            }
            SUPPORTED_VERSIONS => {
                once(has_versions)?;
                hello.versions = versions(value).ok_or(ClientHelloError::BadLength)?;
            }
            ENCRYPTED_CLIENT_HELLO => {
                once(has_ech)?;
                hello.has_ech = true;
            }
            _ => {}
        }
    }
    Ok(())
}

fn once(seen: &mut bool) -> Result<(), ClientHelloError> {
    if core::mem::replace(seen, true) {
        return Err(ClientHelloError::RepeatedExtension);
    }
    Ok(())
}

fn server_name(value: &[u8]) -> Result<Option<&str>, ClientHelloError> {
    let mut list = Reader::new(only_list(value).ok_or(ClientHelloError::BadLength)?);
    let mut found = None;
    while !list.is_empty() {
        let kind = list.u8().ok_or(ClientHelloError::BadLength)?;
        let name = list.prefixed_u16().ok_or(ClientHelloError::BadLength)?;
        if kind == HOST_NAME && found.replace(host_name(name)?).is_some() {
            return Err(ClientHelloError::BadServerName);
        }
    }
    Ok(found)
}

fn host_name(name: &[u8]) -> Result<&str, ClientHelloError> {
    let is_valid = (1..=MAX_HOST_NAME_BYTES).contains(&name.len())
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let text = str::from_utf8(name).ok().filter(|_| is_valid);
    text.ok_or(ClientHelloError::BadServerName)
}

/// The names, none of them empty.
fn protocols(value: &[u8]) -> Option<Protocols<'_>> {
    let list = only_list(value)?;
    let mut names = Reader::new(list);
    while !names.is_empty() {
        names.prefixed_u8().filter(|name| !name.is_empty())?;
    }
    Some(Protocols { list })
}

fn versions(value: &[u8]) -> Option<Versions<'_>> {
    let mut reader = Reader::new(value);
    let list = reader.prefixed_u8()?;
    let is_valid = reader.is_empty() && !list.is_empty() && list.len().is_multiple_of(2);
    is_valid.then_some(Versions { list })
}

/// The list that is all of an extension, and not empty.
fn only_list(value: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(value);
    let list = reader.prefixed_u16()?;
    (reader.is_empty() && !list.is_empty()).then_some(list)
}
