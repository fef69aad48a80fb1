//! Why is a head not read? The readers of [`start_line`](super::start_line) and [`fields`](super::fields) take what
//! is well-formed and say nothing of the rest; here the rest is looked at again, line by line, for what is at fault,
//! or found to be no more than incomplete. Does not know what a well-formed head means.
//!
//! A fault counts once the line it is in has ended, and in the fields once the head has: so it does not matter how
//! the bytes were split. Only what shows a peer that does not speak HTTP at all is refused at its first bytes.

use super::bytes::Class;
use super::fields::field_line;
use super::start_line::version;
use crate::{HeadError, HeadLimits, Parsed};

/// What is wrong with a request line that begins at `start`, or that it is incomplete.
#[cold]
pub(crate) fn of_request_line(window: &[u8], start: usize, limits: HeadLimits) -> Result<Parsed, HeadError> {
    let rest = window.get(start..).unwrap_or_default();
    check_method(rest)?;
    match line(rest)? {
        Some(line) => Err(of_whole_request_line(line)),
        None if limits.is_reached(window) => Err(HeadError::TargetTooLong),
        None => Ok(Parsed::Partial),
    }
}

/// What is wrong with a status line, or that it is incomplete.
#[cold]
pub(crate) fn of_status_line(window: &[u8], limits: HeadLimits) -> Result<Parsed, HeadError> {
    if window.iter().zip(b"HTTP/").any(|(byte, expected)| byte != expected) {
        return Err(HeadError::BadStatusLine);
    }
    match line(window)? {
        Some(line) => Err(of_whole_status_line(line)),
        None => limits.wait_for_more(window),
    }
}

/// What is wrong with field lines, the first of which begins at `start`, or that they are incomplete.
///
/// *Cost*: one search for LF, which ends early when there are too many lines, and for a whole head a look at every
/// byte.
#[cold]
pub(crate) fn of_fields(window: &[u8], start: usize, limits: HeadLimits) -> Result<Parsed, HeadError> {
    let fields = window.get(start..).unwrap_or_default();
    let mut rest = fields;
    let mut count = 0;
    while let Some(line) = line(rest)? {
        if line.is_empty() {
            return Err(of_whole_fields(fields));
        }
        if count == limits.fields() {
            return Err(HeadError::TooManyFields);
        }
        count += 1;
        rest = after(rest, line);
    }
    limits.wait_for_more(window)
}

/// The first line, without its CRLF; none: it has not ended.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, HeadError> {
    let Some((line, _)) = memchr::memchr(b'\n', bytes).and_then(|at| bytes.split_at_checked(at)) else {
        return Ok(None);
    };
    line.strip_suffix(b"\r").map(Some).ok_or(HeadError::BareLf)
}

/// What follows the CRLF of this first line.
fn after<'a>(bytes: &'a [u8], line: &[u8]) -> &'a [u8] {
    bytes.get(line.len() + 2..).unwrap_or_default()
}

/// Looks at what is there of a method.
fn check_method(bytes: &[u8]) -> Result<(), HeadError> {
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b' ' if index > 0 => return Ok(()),
            b'\n' => return Err(HeadError::BareLf),
            _ if !Class::TOKEN.has(byte) => return Err(HeadError::BadRequestLine),
            _ if index == HeadError::MAX_METHOD_BYTES => return Err(HeadError::MethodTooLong),
            _ => {}
        }
    }
    Ok(())
}

/// What is wrong with a request line whose method is fine.
fn of_whole_request_line(line: &[u8]) -> HeadError {
    let mut parts = line.split(|&byte| byte == b' ').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(target @ [_, ..]), Some(name), None) if !target.contains(&b'\r') => match version(name) {
            Ok(_) => HeadError::BadTarget,
            Err(error) => blame_cr(line, error),
        },
        _ => blame_cr(line, HeadError::BadRequestLine),
    }
}

/// What is wrong with a status line.
fn of_whole_status_line(line: &[u8]) -> HeadError {
    let mut parts = line.splitn(2, |&byte| byte == b' ');
    match (parts.next().map(version), parts.next()) {
        (Some(Err(error)), Some(_)) => blame_cr(line, error),
        _ => blame_cr(line, HeadError::BadStatusLine),
    }
}

/// The more precise reason where a CR without LF is to blame.
fn blame_cr(line: &[u8], error: HeadError) -> HeadError {
    if line.contains(&b'\r') {
        HeadError::BareCr
    } else {
        error
    }
}

/// What is wrong with field lines that all end with CRLF, the empty line after them included.
fn of_whole_fields(fields: &[u8]) -> HeadError {
    let mut rest = fields;
    while let Ok(Some(line @ [_, ..])) = line(rest) {
        if let Err(error) = field_line(line) {
            return error;
        }
        rest = after(rest, line);
    }
    debug_assert!(false, "fields that are fine were not read");
    HeadError::BadFieldName
}
