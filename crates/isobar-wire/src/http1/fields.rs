//! What are the fields of a head? Names and values are found and checked, and nothing is known of their meaning but
//! which fields the proxy acts on.

use alloc::vec::Vec;

use httparse::{EMPTY_HEADER, Header};

use super::lines::{FieldLines, MAX_FIELDS};
use crate::{Field, HeadError, Known, Span};

/// Reads field lines into `fields`. `head` are the bytes that spans are relative to; `lines` lie within them.
///
/// *Errors*: of the first line at fault.
#[inline]
pub(crate) fn parse(head: &[u8], lines: &FieldLines<'_>, fields: &mut Vec<Field>) -> Result<(), HeadError> {
    // The room for httparse's headers is initialised, which is paid per header: so it is taken by need.
    match lines.count {
        0..=16 => parse_up_to::<16>(head, lines, fields),
        17..=64 => parse_up_to::<64>(head, lines, fields),
        _ => parse_up_to::<MAX_FIELDS>(head, lines, fields),
    }
}

#[inline]
fn parse_up_to<const N: usize>(head: &[u8], lines: &FieldLines<'_>, fields: &mut Vec<Field>) -> Result<(), HeadError> {
    let mut room = [EMPTY_HEADER; N];
    let Ok(httparse::Status::Complete((len, headers))) = httparse::parse_headers(lines.bytes, &mut room) else {
        return Err(explain(lines.bytes));
    };
    if len != lines.bytes.len() || headers.len() != lines.count {
        debug_assert!(false, "httparse and the search for line ends disagree");
        return Err(HeadError::BadFieldValue);
    }
    fields.extend(headers.iter().map(|header| field(head, header)));
    Ok(())
}

#[inline]
fn field(head: &[u8], header: &Header<'_>) -> Field {
    let name = header.name.as_bytes();
    Field {
        known: Known::from_name(name),
        nominated: false,
        name: Span::locate(head, name),
        value: Span::locate(head, header.value),
    }
}

/// What is wrong with field lines that httparse refuses.
#[cold]
fn explain(lines: &[u8]) -> HeadError {
    let mut rest = lines;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        let line = rest.get(..at).unwrap_or_default();
        rest = rest.get(at + 1..).unwrap_or_default();
        let Some(line) = line.strip_suffix(b"\r") else {
            return HeadError::BareLf;
        };
        if line.is_empty() {
            break;
        }
        if let Err(error) = field_line(line) {
            return error;
        }
    }
    debug_assert!(false, "httparse refuses what is fine");
    HeadError::BadFieldName
}

/// Splits one field line, without its CRLF, into name and value; the value without the whitespace around it.
///
/// *Cost*: looks at every byte; for trailers and for explaining errors, where [`parse`] is fast.
pub(crate) fn field_line(line: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    if line.first().is_none_or(|&byte| is_whitespace(byte)) {
        return Err(HeadError::ObsFold);
    }
    if memchr::memchr(b'\r', line).is_some() {
        return Err(HeadError::BareCr);
    }
    let colon = memchr::memchr(b':', line).ok_or(HeadError::BadFieldName)?;
    let (name, rest) = line.split_at_checked(colon).ok_or(HeadError::BadFieldName)?;
    let value = rest.get(1..).unwrap_or_default();
    if !is_token(name) {
        let bare = trim(name);
        let spaced = bare.len() < name.len() && is_token(bare);
        return Err(if spaced {
            HeadError::WhitespaceBeforeColon
        } else {
            HeadError::BadFieldName
        });
    }
    if value.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(HeadError::BadFieldValue);
    }
    Ok((name, trim(value)))
}

/// Whether these bytes are a token. RFC 9110 section 5.6.2.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether a token may have this byte. RFC 9110 section 5.6.2.
#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether this byte is optional whitespace. RFC 9110 section 5.6.3.
#[inline]
pub(crate) fn is_whitespace(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// These bytes without the optional whitespace around them.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let Some((&first, rest)) = bytes.split_first()
        && is_whitespace(first)
    {
        bytes = rest;
    }
    while let Some((&last, rest)) = bytes.split_last()
        && is_whitespace(last)
    {
        bytes = rest;
    }
    bytes
}
