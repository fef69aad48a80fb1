//! What do the first lines of messages say? Does not know about fields.
//!
//! *Source*: RFC 9112 sections 2.3, 3 and 4.

use super::fields::is_token_byte;
use crate::{HeadError, Method, Span, Version};

/// A request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestLine {
    pub(crate) method: Method,
    pub(crate) method_name: Span,
    pub(crate) target: Span,
    pub(crate) version: Version,
}

/// Looks at what is there of a method, so that a peer that does not speak HTTP is told at its first bytes.
#[inline]
pub(crate) fn check_method(bytes: &[u8]) -> Result<(), HeadError> {
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b' ' if index > 0 => return Ok(()),
            b'\n' => return Err(HeadError::BareLf),
            _ if !is_token_byte(byte) => return Err(HeadError::BadRequestLine),
            _ if index == HeadError::MAX_METHOD_BYTES => return Err(HeadError::MethodTooLong),
            _ => {}
        }
    }
    Ok(())
}

/// Takes a request line apart. `line` lies within `head`, and [`check_method`] has seen it.
#[inline]
pub(crate) fn request_line(head: &[u8], line: &[u8]) -> Result<RequestLine, HeadError> {
    let (method, rest) = split_at_space(line).ok_or(HeadError::BadRequestLine)?;
    let (target, version_name) = split_at_space(rest).ok_or_else(|| blame_cr(line, HeadError::BadRequestLine))?;
    if target.is_empty() || memchr::memchr(b' ', version_name).is_some() {
        return Err(blame_cr(line, HeadError::BadRequestLine));
    }
    if memchr::memchr(b'\r', target).is_some() {
        return Err(HeadError::BareCr);
    }
    Ok(RequestLine {
        method: Method::from_bytes(method),
        method_name: Span::locate(head, method),
        target: Span::locate(head, target),
        version: version(version_name).map_err(|error| blame_cr(line, error))?,
    })
}

/// A status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusLine {
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) reason: Span,
}

/// Looks at what is there of a status line, so that a server that does not speak HTTP is found at its first bytes.
#[inline]
pub(crate) fn check_status_line(bytes: &[u8]) -> Result<(), HeadError> {
    let fine = bytes.iter().zip(b"HTTP/").all(|(byte, expected)| byte == expected);
    if fine { Ok(()) } else { Err(HeadError::BadStatusLine) }
}

/// Takes a status line apart. `line` lies within `head`. The space before a reason that is not there may be
/// missing too, as many servers have it.
#[inline]
pub(crate) fn status_line(head: &[u8], line: &[u8]) -> Result<StatusLine, HeadError> {
    let (version_name, rest) = split_at_space(line).ok_or_else(|| blame_cr(line, HeadError::BadStatusLine))?;
    let version = version(version_name).map_err(|error| blame_cr(line, error))?;
    let (status, reason) = match rest {
        [a, b, c] => ([*a, *b, *c], [].as_slice()),
        [a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return Err(blame_cr(line, HeadError::BadStatusLine)),
    };
    let status = status_code(status).ok_or_else(|| blame_cr(line, HeadError::BadStatusLine))?;
    if reason.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(blame_cr(line, HeadError::BadStatusLine));
    }
    let reason = if reason.is_empty() {
        Span::default()
    } else {
        Span::locate(head, reason)
    };
    Ok(StatusLine {
        version,
        status,
        reason,
    })
}

fn status_code(digits: [u8; 3]) -> Option<u16> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = digits
        .iter()
        .fold(0, |status, &digit| status * 10 + u16::from(digit - b'0'));
    (100..600).contains(&status).then_some(status)
}

/// The version of this name. A later minor version of HTTP/1 is read as HTTP/1.1 (RFC 9110 section 2.5).
#[inline]
fn version(name: &[u8]) -> Result<Version, HeadError> {
    match name {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            match major {
                b'0' => Err(HeadError::BadVersion),
                b'1' => Ok(Version::Http11),
                _ => Err(HeadError::UnsupportedVersion),
            }
        }
        _ => Err(HeadError::BadVersion),
    }
}

/// The more precise reason where a CR without LF is to blame.
#[cold]
fn blame_cr(line: &[u8], error: HeadError) -> HeadError {
    if memchr::memchr(b'\r', line).is_some() {
        HeadError::BareCr
    } else {
        error
    }
}

fn split_at_space(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b' ', bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}
