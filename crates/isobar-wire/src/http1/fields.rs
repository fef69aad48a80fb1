//! What are the fields of a head? Names and values are found and checked, and nothing is known of their meaning but
//! which fields the proxy acts on.
//!
//! *Source*: RFC 9110 section 5, RFC 9112 section 5, without line folding.

use alloc::vec::Vec;

use super::bytes::Class;
use super::scan;
use crate::{Field, HeadError, Known, Span};

/// What there was to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    /// All fields of a head, which ends at `end`.
    Complete { end: usize },
    /// Well-formed fields, and the bytes end before the head does.
    Incomplete,
    /// A line that is not well-formed, or one too many: [`refusal::of_fields`](super::refusal::of_fields) says what
    /// that means.
    Refused,
}

/// Reads the field lines of a head, the first of which begins at `start`, into `fields`.
///
/// *Shape*: `window` has at most 65,535 bytes, and `fields` is empty. What is in it is of use only where all fields
/// were read.
///
/// *Cost*: one pass over the bytes.
#[inline]
pub(crate) fn read(window: &[u8], start: usize, max_fields: usize, fields: &mut Vec<Field>) -> Fields {
    let mut rest = window.get(start..).unwrap_or_default();
    loop {
        match rest {
            [b'\r', b'\n', after @ ..] => {
                return Fields::Complete {
                    end: window.len() - after.len(),
                };
            }
            [] | [b'\r'] => return Fields::Incomplete,
            _ if fields.len() == max_fields => return Fields::Refused,
            _ => {}
        }
        let after_name = scan::after_token(rest);
        let name = before(rest, after_name);
        let value = match after_name {
            [b':', value @ ..] if !name.is_empty() => skip_whitespace(value),
            [] => return Fields::Incomplete,
            _ => return Fields::Refused,
        };
        let after_value = scan::after_text(value);
        let text = without_trailing_whitespace(before(value, after_value));
        let after = match after_value {
            [b'\r', b'\n', after @ ..] => after,
            [] | [b'\r'] => return Fields::Incomplete,
            _ => return Fields::Refused,
        };
        fields.push(Field {
            known: Known::from_name(name),
            nominated: false,
            name: Span::within(window.len() - rest.len(), name.len()),
            value: Span::within(window.len() - value.len(), text.len()),
        });
        rest = after;
    }
}

/// Splits one field line, without its CRLF, into name and value; the value without the whitespace around it.
///
/// *Cost*: looks at every byte; for trailers and for explaining errors, where [`read`] is fast.
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
    if Class::TEXT.prefix(value) < value.len() {
        return Err(HeadError::BadFieldValue);
    }
    Ok((name, trim(value)))
}

/// Whether these bytes are a token. RFC 9110 section 5.6.2.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && Class::TOKEN.prefix(bytes) == bytes.len()
}

/// Whether this byte is optional whitespace. RFC 9110 section 5.6.3.
#[inline]
fn is_whitespace(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// These bytes without the optional whitespace around them.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    without_trailing_whitespace(skip_whitespace(bytes))
}

#[inline]
fn skip_whitespace(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

#[inline]
fn without_trailing_whitespace(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// What of `bytes` comes before `rest`, with which they end.
#[inline(always)]
pub(crate) fn before<'a>(bytes: &'a [u8], rest: &[u8]) -> &'a [u8] {
    bytes.get(..bytes.len() - rest.len()).unwrap_or_default()
}
