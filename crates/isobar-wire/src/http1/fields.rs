//! What are the fields of a head? Names and values are found and checked, and nothing is known of their meaning but
//! which fields the proxy acts on.
//!
//! *Source*: RFC 9110 section 5, RFC 9112 section 5, without line folding.

use alloc::vec::Vec;

use super::bytes::Class;
use super::{growing, scan};
use crate::{Field, HeadError, Known, Span};

/// What there was to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    /// All fields of a head, which ends at `end`.
    Complete { end: usize },
    /// Well-formed fields, and the bytes end before the head does.
    Incomplete,
    /// A line that is not well-formed, one too many, or a long head that has not ended:
    /// [`refusal::of_fields`](super::refusal::of_fields) says what that means.
    Refused,
}

/// Reads the field lines of a head, the first of which begins at `start`, into `fields`.
///
/// *Shape*: `window` has at most 65,535 bytes, and `fields` is empty. What is in it is of use only where all fields
/// were read.
///
/// *Cost*: one pass over the bytes; more for heads that are longer than nearly all are.
#[inline]
pub(crate) fn read(window: &[u8], start: usize, max_fields: usize, fields: &mut Vec<Field>) -> Fields {
    let front = growing::front(window);
    match read_within(front, start, max_fields, fields) {
        Fields::Incomplete if front.len() < window.len() => {
            fields.clear();
            if growing::are_fields_worth_reading(window, start) {
                read_within(window, start, max_fields, fields)
            } else {
                Fields::Refused
            }
        }
        outcome => outcome,
    }
}

/// [`read`], with as many bytes as there are.
#[inline(never)]
fn read_within(window: &[u8], start: usize, max_fields: usize, fields: &mut Vec<Field>) -> Fields {
    let mut at = start;
    loop {
        let Some(colon) = scan::colon_after_token(window, at) else {
            return without_colon(window, at);
        };
        let name = match window.get(at..colon) {
            Some(name @ [_, ..]) if fields.len() < max_fields => name,
            _ => return Fields::Refused,
        };
        let value = skip_whitespace(window, colon + 1);
        let Some(cr) = scan::cr_after_text(window, value) else {
            return without_cr(window, value);
        };
        match window.get(cr + 1) {
            Some(b'\n') => {}
            Some(_) => return Fields::Refused,
            None => return Fields::Incomplete,
        }
        fields.push(Field {
            known: Known::from_name(name),
            nominated: false,
            name: Span::within(at, colon - at),
            value: Span::within(value, trim_end(window, value, cr) - value),
        });
        at = cr + 2;
    }
}

/// What a line is that does not begin with a name and a colon.
#[inline]
fn without_colon(window: &[u8], line: usize) -> Fields {
    match window.get(line..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Fields::Complete { end: line + 2 },
        [b'\r'] => Fields::Incomplete,
        rest if Class::TOKEN.prefix(rest) == rest.len() => Fields::Incomplete,
        _ => Fields::Refused,
    }
}

/// What a line is whose value does not end with a CR.
#[cold]
fn without_cr(window: &[u8], value: usize) -> Fields {
    let rest = window.get(value..).unwrap_or_default();
    if Class::TEXT.prefix(rest) == rest.len() {
        Fields::Incomplete
    } else {
        Fields::Refused
    }
}

/// Where the whitespace at `start` ends.
#[inline(always)]
fn skip_whitespace(window: &[u8], start: usize) -> usize {
    match (window.get(start), window.get(start + 1)) {
        (Some(b' '), Some(b'!'..)) => start + 1,
        _ => skip_unusual_whitespace(window, start),
    }
}

#[inline(never)]
fn skip_unusual_whitespace(window: &[u8], start: usize) -> usize {
    let rest = window.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|&&byte| is_whitespace(byte)).count()
}

/// Where the text between `start` and `end`, which begins with no whitespace, ends without the whitespace after it.
#[inline(always)]
fn trim_end(window: &[u8], start: usize, end: usize) -> usize {
    match window.get(end - 1) {
        Some(b'!'..) => end,
        _ => start + trim(window.get(start..end).unwrap_or_default()).len(),
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
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
